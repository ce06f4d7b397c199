// Waiting that ends early when the server stops, so that no loop holds a stop up. It owns the timers of this server's loops.
import type { Clock, Timer } from '../lib/clock.js';

export class Pause {
  private readonly waiting = new Map<Timer, () => void>();
  private ended = false;

  constructor(private readonly clock: Clock) {}

  /** Settles after `delayMs`, or when end() is called; never rejects. */
  sleep(delayMs: number): Promise<void> {
    if (this.ended) return Promise.resolve();
    return new Promise(resolve => {
      const timer = this.clock.setTimer(
        Math.max(0, delayMs),
        () => {
          this.waiting.delete(timer);
          resolve();
        },
        { background: true },
      );
      this.waiting.set(timer, resolve);
    });
  }

  /** Ends all waits, present and future. */
  end(): void {
    this.ended = true;
    for (const [timer, resolve] of this.waiting) {
      timer.cancel();
      resolve();
    }
    this.waiting.clear();
  }
}
