// How much copying may go on: copies at once, in all and at each server, and bytes per second in the whole cluster. It counts and refuses; it
// starts nothing. What one server moves per second its own chunkserver bounds (chunkserver/rate-limit.ts).
import { assert } from '../lib/assert.js';
import type { Clock } from '../lib/clock.js';
import type { ServerId } from '../protocol/ids.js';

/** Copies may be begun for so long ahead of what is paid for, so that the rate is used although they are begun in rounds, which may be late. */
const AHEAD_MS = 1_000;

export interface CopyLimitValues {
  copiesMax: number;
  /** Copies that one server takes part in, as source or target. */
  copiesPerServer: number;
  /** 0: no limit. */
  bytesPerSecond: number;
}

export class CopyLimits {
  private readonly copiesOf = new Map<ServerId, number>();
  private count = 0;
  /** Bytes of copies that were begun are paid for until then. */
  private paidUntilMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly clock: Clock,
    private readonly values: CopyLimitValues,
  ) {}

  get running(): number {
    return this.count;
  }

  /** No copy at all may begin now. */
  get isFull(): boolean {
    return this.count >= this.values.copiesMax || this.paidUntilMs > this.clock.monotonicMs() + AHEAD_MS;
  }

  copiesAt(server: ServerId): number {
    return this.copiesOf.get(server) ?? 0;
  }

  /**
   * Takes a place for a copy of about `bytes` between these servers; undefined when there is none. The function returned gives it back, with the time that is
   * still to come for bytes that did not move, and takes what moved beyond them. A copy may begin when those before it are nearly paid for: a window of time
   * has at most the rate, what is ahead, and one chunk.
   */
  enter(servers: readonly ServerId[], bytes: number): ((movedBytes?: number) => void) | undefined {
    if (this.isFull || servers.some(server => this.copiesAt(server) >= this.values.copiesPerServer)) return undefined;
    const { bytesPerSecond } = this.values;
    const msOf = (ofBytes: number): number => (bytesPerSecond > 0 ? (ofBytes * 1000) / bytesPerSecond : 0);
    if (bytesPerSecond > 0) this.paidUntilMs = Math.max(this.paidUntilMs, this.clock.monotonicMs()) + msOf(bytes);
    const endsMs = this.paidUntilMs;
    this.change(servers, 1);
    let isLeft = false;
    return (movedBytes = bytes) => {
      assert(!isLeft, 'a copy ends once');
      isLeft = true;
      // Time that has passed is not given back: others could take it now, on top of what is theirs.
      const leftMs = Math.max(0, Math.min(endsMs, this.paidUntilMs) - this.clock.monotonicMs());
      if (bytesPerSecond > 0) this.paidUntilMs -= Math.min(msOf(bytes - movedBytes), leftMs);
      this.change(servers, -1);
    };
  }

  private change(servers: readonly ServerId[], by: 1 | -1): void {
    this.count += by;
    for (const server of servers) {
      const count = this.copiesAt(server) + by;
      if (count === 0) this.copiesOf.delete(server);
      else this.copiesOf.set(server, count);
    }
  }
}
