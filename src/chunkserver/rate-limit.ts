// Holds a stream of bytes to a rate: a bucket that fills with time and may be overdrawn by what was taken last. It moves no bytes itself.
import type { Clock } from '../lib/clock.js';

/** What may be taken at once after a rest, in seconds of the rate. */
const BURST_S = 0.25;

export class RateLimit {
  private paidUntilMs = Number.NEGATIVE_INFINITY;

  /** `bytesPerSecond` 0: no limit. */
  constructor(
    private readonly clock: Clock,
    readonly bytesPerSecond: number,
  ) {}

  /** Settles when `lengthBytes`, taken in the order of the calls, are within the rate; never rejects. Requires a `wait` that settles after so many ms. */
  async take(lengthBytes: number, wait: (ms: number) => Promise<void>): Promise<void> {
    if (this.bytesPerSecond === 0) return;
    const now = this.clock.monotonicMs();
    const from = Math.max(this.paidUntilMs, now - BURST_S * 1000);
    this.paidUntilMs = from + (lengthBytes * 1000) / this.bytesPerSecond;
    if (this.paidUntilMs > now) await wait(this.paidUntilMs - now);
  }
}
