// Pauses between repetitions: doubling, with jitter, bounded. It decides nothing about what is repeated.
import { type Clock, sleep } from '../lib/clock.js';
import type { Random } from '../lib/random.js';
import type { ClientSettings } from './settings.js';

export class Backoff {
  #count = 0;

  constructor(
    private readonly parts: { clock: Clock; random: Random; settings: ClientSettings },
    private readonly deadlineMs: number,
  ) {}

  /** Settles after the next pause, or at the deadline when that is earlier. */
  async pause(): Promise<void> {
    const { clock, random, settings } = this.parts;
    const fullMs = Math.min(settings.retryMaxMs, settings.retryFirstMs * 2 ** Math.min(this.#count++, 20));
    const pauseMs = fullMs * (0.5 + random.float() / 2);
    await sleep(clock, Math.max(0, Math.min(pauseMs, this.deadlineMs - clock.monotonicMs())));
  }
}
