// Chunks that somebody waits for and no server can serve: healing takes them before others that have as few copies (paper, §4.3). It only
// remembers; what was asked for long ago is forgotten.
import type { Clock } from '../lib/clock.js';
import { boundedCache } from '../lib/lru.js';
import type { ChunkHandle } from '../protocol/ids.js';

const BLOCKED_MAX = 10_000;
/** Who still waits asks again sooner. */
const BLOCKED_MS = 30_000;

export class BlockedChunks {
  private readonly askedMs = boundedCache<ChunkHandle, number>(BLOCKED_MAX);

  constructor(private readonly clock: Clock) {}

  note(handle: ChunkHandle): void {
    this.askedMs.set(handle, this.clock.monotonicMs());
  }

  has(handle: ChunkHandle): boolean {
    const askedMs = this.askedMs.get(handle);
    return askedMs !== undefined && this.clock.monotonicMs() - askedMs < BLOCKED_MS;
  }
}
