// Names all replicas to the master again and again, a small piece with each heartbeat, so that whatever the two disagree about is found although
// only changes are reported. What a difference means is the master's to say.
import type { Clock } from '../lib/clock.js';
import type { ChunkHandle } from '../protocol/ids.js';
import type { Request } from '../protocol/messages.js';
import type { ChunkStore } from './chunk-store.js';
import { BOUNDS } from './settings.js';

export type ComparedPiece = NonNullable<Request<'heartbeat'>['compared']>;

export class Comparison {
  /** Handles of this round in order, and how many of them were told. */
  private handles: ChunkHandle[] = [];
  private told = 0;
  private from = 0;
  private nextRoundMs: number;

  constructor(
    private readonly store: ChunkStore,
    private readonly clock: Clock,
    private readonly pauseMs: number = BOUNDS.comparePauseMs,
  ) {
    // The registration has just named them all.
    this.nextRoundMs = clock.monotonicMs() + pauseMs;
  }

  /** The next piece, undefined between two rounds. A piece whose heartbeat is lost comes again in the next round. */
  next(): ComparedPiece | undefined {
    if (this.told === 0) {
      if (this.clock.monotonicMs() < this.nextRoundMs) return undefined;
      this.handles = [...this.store.all()].filter(chunk => chunk.exists).map(({ handle }) => handle);
      this.handles.sort((a, b) => a - b);
      this.from = 0;
    }
    const page = this.handles.slice(this.told, this.told + BOUNDS.comparedMax);
    this.told += page.length;
    const isLast = this.told >= this.handles.length;
    const through = isLast ? Number.MAX_SAFE_INTEGER : page[page.length - 1]!;
    const piece = { from: this.from, through, chunks: this.store.reportOf(page) };
    this.from = through + (isLast ? 0 : 1);
    if (isLast) {
      this.told = 0;
      this.handles = [];
      this.nextRoundMs = this.clock.monotonicMs() + this.pauseMs;
    }
    return piece;
  }
}
