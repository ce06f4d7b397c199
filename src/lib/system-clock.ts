// The real clock and timers. The only file of src/lib that reads the platform's time for others.
import { assert } from './assert.js';
import type { Clock, Timer } from './clock.js';

/** setTimeout keeps its delay in 31 bits and fires at once above that; longer delays are split. */
const DELAY_MS_MAX = 2 ** 31 - 1;

class SystemTimer implements Timer {
  #handle: NodeJS.Timeout | undefined;
  readonly #fire: () => void;
  readonly #background: boolean;

  constructor(delayMs: number, fire: () => void, background: boolean) {
    this.#fire = fire;
    this.#background = background;
    this.#arm(delayMs);
  }

  cancel(): void {
    if (this.#handle === undefined) return;
    clearTimeout(this.#handle);
    this.#handle = undefined;
  }

  #arm(remainingMs: number): void {
    // setTimeout truncates fractions; rounding up keeps "no earlier than".
    const delayMs = Math.min(Math.ceil(remainingMs), DELAY_MS_MAX);
    this.#handle = setTimeout(() => this.#onTimeout(remainingMs - delayMs), delayMs);
    if (this.#background) this.#handle.unref();
  }

  #onTimeout(remainingMs: number): void {
    this.#handle = undefined;
    if (remainingMs > 0) this.#arm(remainingMs);
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
}
