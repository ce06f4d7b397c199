// This server's idea of the master's time, from the answers to registrations and heartbeats: never ahead of it, or never behind, as the asker needs. It bounds
// waiting, leases and the life of tokens; that no acknowledged byte is lost does not depend on it (DESIGN 4, rule 7).
import type { Clock } from '../lib/clock.js';
import { holderMs, LIMITS } from '../protocol/limits.js';

export class MasterClock {
  private masterMs: number | undefined;
  private sentMs = 0;
  private heardMs = 0;

  constructor(private readonly clock: Clock) {}

  /** The master's clock stood at `masterNowMs` when it answered, which arrived now, what was sent at `sentMs`. */
  heard(masterNowMs: number, sentMs: number): void {
    this.masterMs = masterNowMs;
    this.sentMs = sentMs;
    this.heardMs = this.clock.monotonicMs();
  }

  /** A little behind the master's clock; this machine's own before the master was heard. */
  nowMs(): number {
    if (this.masterMs === undefined) return this.clock.wallMs();
    return this.masterMs + this.clock.monotonicMs() - this.heardMs;
  }

  /** When, by this process's monotonic clock, what the master gives until `masterMs` by its own has to be given up: not later than there. */
  endsMs(masterMs: number): number {
    const nowMs = this.clock.monotonicMs();
    if (this.masterMs === undefined) return nowMs + holderMs(masterMs - this.clock.wallMs());
    // As if the master had answered at once, and its clock were fast.
    const latestMs = this.masterMs + (nowMs - this.sentMs) * (1 + LIMITS.driftShare);
    return nowMs + holderMs(masterMs - latestMs);
  }
}
