// Which chunks are read much, from what servers count (heartbeat `reads`), and how many copies more they get for it (document 001, dynamic
// replication). It places and deletes nothing: it raises a chunk's goal for a while.
import type { Clock } from '../lib/clock.js';
import type { ChunkHandle } from '../protocol/ids.js';

export interface HotChunkRules {
  /** Reads per second of one chunk above which it gets more copies; 0 never. */
  readsPerSecond: number;
  /** Copies of a hot chunk, in all. */
  replicasMax: number;
}

/** A rate counts half after this long without reads. */
const HALF_LIFE_MS = 10_000;
/** Below this part of the threshold a chunk is cool again; between the two nothing changes. */
const COOL_PART = 0.25;
const TRACKED_MAX = 10_000;

interface Heat {
  /** Reads, decayed; divided by the mean life it is a rate. */
  reads: number;
  atMs: number;
  extra: number;
}

export class HotChunks {
  private readonly heats = new Map<ChunkHandle, Heat>();

  constructor(
    private readonly clock: Clock,
    private readonly rules: HotChunkRules,
    /** The wanted number of copies changed. */
    private readonly onChanged: (handle: ChunkHandle) => void,
  ) {}

  /** Chunks that have more copies than their goal because of reads. */
  get count(): number {
    let count = 0;
    for (const { extra } of this.heats.values()) if (extra > 0) count++;
    return count;
  }

  extraOf(handle: ChunkHandle): number {
    return this.heats.get(handle)?.extra ?? 0;
  }

  /** What one server counted since its last heartbeat. `goal`: of a sealed chunk that files refer to, else undefined. */
  onReads(
    reads: ReadonlyArray<{ handle: ChunkHandle; reads: number }>,
    goal: (handle: ChunkHandle) => number | undefined,
  ): void {
    if (this.rules.readsPerSecond === 0) return;
    for (const { handle, reads: count } of reads) {
      let heat = this.heats.get(handle);
      if (!heat) {
        if (this.heats.size >= TRACKED_MAX) continue;
        heat = { reads: 0, atMs: this.clock.monotonicMs(), extra: 0 };
        this.heats.set(handle, heat);
      }
      this.decay(heat);
      heat.reads += count;
      this.judge(handle, heat, goal(handle));
    }
  }

  /** Lets chunks cool that nobody reads any more. Called regularly. */
  step(goal: (handle: ChunkHandle) => number | undefined): void {
    for (const [handle, heat] of this.heats) {
      this.decay(heat);
      this.judge(handle, heat, goal(handle));
      if (heat.extra === 0 && this.rate(heat) < this.rules.readsPerSecond * COOL_PART) this.heats.delete(handle);
    }
  }

  private judge(handle: ChunkHandle, heat: Heat, goal: number | undefined): void {
    const rate = this.rate(heat);
    const { readsPerSecond, replicasMax } = this.rules;
    let { extra } = heat;
    if (goal === undefined || rate < readsPerSecond * COOL_PART) extra = 0;
    else if (rate > readsPerSecond)
      // One more for each time the threshold is passed; they go together when the chunk is cool.
      extra = Math.max(extra, Math.min(Math.floor(rate / readsPerSecond), Math.max(0, replicasMax - goal)));
    if (extra === heat.extra) return;
    heat.extra = extra;
    this.onChanged(handle);
  }

  private rate(heat: Heat): number {
    return (heat.reads * 1000 * Math.LN2) / HALF_LIFE_MS;
  }

  private decay(heat: Heat): void {
    const now = this.clock.monotonicMs();
    heat.reads *= 0.5 ** ((now - heat.atMs) / HALF_LIFE_MS);
    heat.atMs = now;
  }
}
