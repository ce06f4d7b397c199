// The real clock and timers. The only file of src/lib that reads the platform's time for others.
import { assert } from './assert.js';
import type { Clock, Timer } from './clock.js';

/** setTimeout keeps its delay in 31 bits and fires at once above that; longer delays are split. */
const DELAY_MS_MAX = 2 ** 31 - 1;

class SystemTimer implements Timer {
  readonly #dueMs: number;
  readonly #fire: () => void;
  readonly #background: boolean;
  #handle: NodeJS.Timeout | undefined;

  constructor(delayMs: number, fire: () => void, background: boolean) {
    this.#dueMs = performance.now() + delayMs;
    this.#fire = fire;
    this.#background = background;
    this.#arm(delayMs);
  }

  cancel(): void {
    if (this.#handle === undefined) return;
    clearTimeout(this.#handle);
    this.#handle = undefined;
  }

  #arm(delayMs: number): void {
    this.#handle = setTimeout(() => this.#onTimeout(), Math.min(Math.ceil(delayMs), DELAY_MS_MAX));
    if (this.#background) this.#handle.unref();
  }

  #onTimeout(): void {
    this.#handle = undefined;
    // The event loop counts whole milliseconds and may be early by a part of one.
    const earlyMs = this.#dueMs - performance.now();
    if (earlyMs > 0) this.#arm(earlyMs);
    else this.#fire();
  }
}

export class SystemClock implements Clock {
  monotonicMs(): number {
    return performance.now();
  }

  wallMs(): number {
    return Date.now();
  }

  setTimer(delayMs: number, fire: () => void, options: { background?: boolean } = {}): Timer {
    assert(delayMs >= 0, 'a delay is 0 or more');
    return new SystemTimer(delayMs, fire, options.background === true);
  }

  soon(fire: () => void): void {
    setImmediate(fire);
  }
}
