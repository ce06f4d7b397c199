// A bell that wakes everybody who waits for something to change; each then looks again for himself. It holds no state of what changed.
import type { Clock } from '../lib/clock.js';

export class Bell {
  private readonly waiting = new Set<() => void>();

  constructor(private readonly clock: Clock) {}

  ring(): void {
    for (const wake of [...this.waiting]) wake();
  }

  /** Settles at the next ring, or after `timeoutMs`; never rejects. */
  wait(timeoutMs: number): Promise<void> {
    return new Promise(resolve => {
      const wake = (): void => {
        timer.cancel();
        this.waiting.delete(wake);
        resolve();
      };
      const timer = this.clock.setTimer(Math.max(0, timeoutMs), wake);
      this.waiting.add(wake);
    });
  }

  /** Settles with true once `condition` holds, looking at each ring, or with false after `deadlineMs` (monotonic). */
  async until(condition: () => boolean, deadlineMs: number): Promise<boolean> {
    while (!condition()) {
      const leftMs = deadlineMs - this.clock.monotonicMs();
      if (leftMs <= 0) return false;
      await this.wait(leftMs);
    }
    return true;
  }
}
