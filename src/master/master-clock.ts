// The master's time: the wall clock as it stood at the start, carried on by the monotonic clock, so that it never jumps while the process
// lives. Tokens, leases and heartbeat replies all speak of this time; safety never depends on it (DESIGN 4, rule 7).
import type { Clock } from '../lib/clock.js';

export class MasterClock {
  private readonly offsetMs: number;

  constructor(readonly clock: Clock) {
    this.offsetMs = clock.wallMs() - clock.monotonicMs();
  }

  /** Milliseconds since 1970, by this process. */
  nowMs(): number {
    return this.clock.monotonicMs() + this.offsetMs;
  }
}
