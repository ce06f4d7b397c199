// This server's idea of the master's time, from the answers to registrations and heartbeats. It bounds waiting and the life of tokens;
// no safety depends on it (DESIGN 4, rule 7).
import type { Clock } from '../lib/clock.js';

export class MasterClock {
  private masterMs: number | undefined;
  private heardMs = 0;

  constructor(private readonly clock: Clock) {}

  /** The master's clock stood at `masterNowMs` when it answered, which arrived now. */
  heard(masterNowMs: number): void {
    this.masterMs = masterNowMs;
    this.heardMs = this.clock.monotonicMs();
  }

  /** A little behind the master's clock; this machine's own before the master was heard. */
  nowMs(): number {
    if (this.masterMs === undefined) return this.clock.wallMs();
    return this.masterMs + this.clock.monotonicMs() - this.heardMs;
  }

  /** A moment of the master's clock on this process's monotonic clock. */
  toMonotonicMs(masterMs: number): number {
    return this.clock.monotonicMs() + masterMs - this.nowMs();
  }
}
