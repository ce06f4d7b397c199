// Reads every stored byte once in a while and checks it, slowly and one piece at a time, so that rot is found while there are good copies
// (paper, §5.2). It repairs nothing: a corrupt replica is marked, and the master replaces it.
import type { Clock } from '../lib/clock.js';
import type { Logger } from '../lib/logger.js';
import { RateMeter } from '../lib/rate-meter.js';
import { hasCode } from '../protocol/errors.js';
import type { ChunkHandle } from '../protocol/ids.js';
import type { Request } from '../protocol/messages.js';
import type { Chunk } from './chunk.js';
import type { ChunkStore } from './chunk-store.js';
import type { Pause } from './pause.js';
import { BOUNDS } from './settings.js';

/** A round is never faster than this, however little there is to read. */
const ROUND_MS_MIN = 1_000;
/** A chunk that was appended to this lately is left for the next round. */
const QUIET_MS = 5_000;

export class Scrubber {
  /** Of the round that is going on. */
  checkedBytes = 0;
  roundsDone = 0;
  private totalBytes = 0;
  private readonly rate = new RateMeter();
  private stopped = false;

  constructor(
    private readonly store: ChunkStore,
    private readonly clock: Clock,
    private readonly logger: Logger,
    private readonly pause: Pause,
    private readonly periodMs: number,
  ) {}

  /** Scrubs until stop() is called; never rejects. */
  async run(): Promise<void> {
    if (this.periodMs === 0) return;
    while (!this.stopped) await this.round();
  }

  /** How far the round that is going on is, and how fast it was in the last half minute; undefined when nothing is scrubbed. */
  progress(): Request<'heartbeat'>['scrub'] {
    const { roundsDone, checkedBytes, totalBytes, periodMs } = this;
    if (periodMs === 0) return undefined;
    const bytesPerSecond = this.rate.bytesPerSecond(this.clock.monotonicMs());
    return { roundsDone, checkedBytes, totalBytes, bytesPerSecond };
  }

  stop(): void {
    this.stopped = true;
  }

  private async round(): Promise<void> {
    const beganMs = this.clock.monotonicMs();
    const lengths = new Map<ChunkHandle, number>();
    let totalBytes = 0;
    for (const chunk of this.store.all()) {
      lengths.set(chunk.handle, chunk.recordedBytes);
      totalBytes += chunk.recordedBytes;
    }
    this.checkedBytes = 0;
    this.totalBytes = totalBytes;
    const msPerByte = this.periodMs / Math.max(totalBytes, 1);
    // What a chunk has grown by since is left to the next round: at a pace meant for a few bytes it would take for ever.
    for (const [handle, lengthBytes] of lengths) {
      const chunk = this.store.existing(handle);
      if (chunk && this.isDue(chunk)) await this.check(chunk, lengthBytes, msPerByte);
      if (this.stopped) return;
    }
    if (totalBytes > 0)
      this.logger.info(
        { checkedBytes: this.checkedBytes, ms: this.clock.monotonicMs() - beganMs },
        'scrubbed all chunks',
      );
    // What is told of the next round begins with it.
    this.roundsDone++;
    this.checkedBytes = 0;
    const leftMs = beganMs + Math.max(this.periodMs, ROUND_MS_MIN) - this.clock.monotonicMs();
    await this.pause.sleep(Math.max(leftMs, ROUND_MS_MIN / 10));
  }

  private isDue(chunk: Chunk): boolean {
    const isQuiet = chunk.state !== 'open' || this.clock.monotonicMs() - chunk.lastUseMs > QUIET_MS;
    return isQuiet && chunk.isIdle && !chunk.corrupt && !chunk.failure;
  }

  private async check(chunk: Chunk, endByte: number, msPerByte: number): Promise<void> {
    // By its name: a file that somebody deleted is still there for who has it open.
    if (chunk.state === 'sealed') await chunk.disk.files.drop(chunk.handle, { discard: false });
    const end = (): number => Math.min(endByte, chunk.recordedBytes);
    for (let offset = 0; offset < end() && !this.stopped; offset += BOUNDS.pieceBytes) {
      const lengthBytes = Math.min(BOUNDS.pieceBytes, end() - offset);
      try {
        await this.store.reader.read(chunk, offset, lengthBytes);
      } catch (error) {
        // CORRUPT is marked and reported by the reader; a chunk that was cut or deleted meanwhile is seen again in the next round.
        if (!hasCode(error, 'CORRUPT', 'NO_CHUNK'))
          this.logger.warn({ handle: chunk.handle, reason: (error as Error).message }, 'a chunk could not be scrubbed');
        return;
      }
      this.checkedBytes += lengthBytes;
      this.rate.add(lengthBytes, this.clock.monotonicMs());
      await this.pause.sleep(lengthBytes * msPerByte);
      if (chunk.gone || chunk.corrupt) return;
    }
  }
}
