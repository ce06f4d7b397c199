// Chunks that may need something, each with the time before which it is not looked at, and in which order they have their turn: fewest good
// copies first, then those that block somebody (paper, §4.3). It does not know what they need.
import { type Clock, nextTurn } from '../lib/clock.js';
import type { ChunkHandle } from '../protocol/ids.js';
import { BOUNDS } from './settings.js';

/** Entries looked at before others have their turn. */
const SEEN_PER_TURN = 2_048;

export interface HealingOrder {
  /** Good copies that can be reached, as far as the locations say. */
  copies: (handle: ChunkHandle) => number;
  isBlocked: (handle: ChunkHandle) => boolean;
}

export class HealingQueue {
  /** In monotonic time. */
  private readonly dueMs = new Map<ChunkHandle, number>();

  constructor(
    private readonly clock: Clock,
    private readonly order: HealingOrder,
  ) {}

  get size(): number {
    return this.dueMs.size;
  }

  /** Those that are not put off. */
  get dueCount(): number {
    const now = this.clock.monotonicMs();
    let count = 0;
    for (const dueMs of this.dueMs.values()) if (dueMs <= now) count++;
    return count;
  }

  has(handle: ChunkHandle): boolean {
    return this.dueMs.has(handle);
  }

  /** Not before `afterMs`; sooner when that was said already. A full queue takes nothing more, which is no loss: the sweep comes by. */
  add(handle: ChunkHandle, afterMs: number): void {
    const dueMs = this.clock.monotonicMs() + afterMs;
    const queuedMs = this.dueMs.get(handle);
    if (queuedMs === undefined && this.dueMs.size >= BOUNDS.healingQueueMax) return;
    this.dueMs.set(handle, Math.min(queuedMs ?? Number.POSITIVE_INFINITY, dueMs));
  }

  /** Not before `afterMs`, whatever was said. */
  putOff(handle: ChunkHandle, afterMs: number): void {
    this.dueMs.set(handle, this.clock.monotonicMs() + afterMs);
  }

  delete(handle: ChunkHandle): void {
    this.dueMs.delete(handle);
  }

  /** Up to `limit` chunks that are due, in their order. Of a long queue others have their turn meanwhile, and what they change is not seen. */
  async due(limit: number): Promise<ChunkHandle[]> {
    const now = this.clock.monotonicMs();
    const byCopies: Array<{ blocked: ChunkHandle[]; others: ChunkHandle[] }> = [];
    let seen = 0;
    // No longer than it was when this began, however fast others add.
    let left = this.dueMs.size;
    for (const [handle, dueMs] of this.dueMs) {
      if (left-- === 0) break;
      if (++seen % SEEN_PER_TURN === 0) await nextTurn(this.clock);
      if (dueMs > now) continue;
      const copies = this.order.copies(handle);
      byCopies[copies] ??= { blocked: [], others: [] };
      byCopies[copies][this.order.isBlocked(handle) ? 'blocked' : 'others'].push(handle);
    }
    return byCopies.flatMap(({ blocked, others }) => [...blocked, ...others]).slice(0, limit);
  }
}
