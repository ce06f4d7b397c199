// A clock that stands still until a test moves it, and then fires what is due in order, letting promises settle in between.
import type { Clock, Timer } from '../../src/lib/clock.js';

export class ManualClock implements Clock {
  private now = 1_000;
  private nextId = 1;
  private readonly timers = new Map<number, { dueMs: number; fire: () => void }>();

  constructor(public wallOffsetMs = 1_600_000_000_000) {}

  monotonicMs(): number {
    return this.now;
  }

  wallMs(): number {
    return this.now + this.wallOffsetMs;
  }

  setTimer(delayMs: number, fire: () => void): Timer {
    const id = this.nextId++;
    this.timers.set(id, { dueMs: this.now + delayMs, fire });
    return { cancel: () => void this.timers.delete(id) };
  }

  soon(fire: () => void): void {
    this.setTimer(0, fire);
  }

  /** Moves time on by `ms`, firing timers at their time. */
  async advance(ms: number): Promise<void> {
    const endMs = this.now + ms;
    for (;;) {
      await quiet();
      const next = [...this.timers].sort(([a, x], [b, y]) => x.dueMs - y.dueMs || a - b)[0];
      if (!next || next[1].dueMs > endMs) break;
      this.timers.delete(next[0]);
      this.now = Math.max(this.now, next[1].dueMs);
      next[1].fire();
    }
    this.now = endMs;
    await quiet();
  }

  /** Time passes while this process stands still: nothing runs, and what was due fires late, with the next advance. */
  standStill(ms: number): void {
    this.now += ms;
  }

  /** The outcome of `work`, moving time on for as long as it takes, at most `maxMs`. */
  async run<T>(work: Promise<T>, maxMs = 120_000): Promise<T> {
    let isSettled = false;
    const done = (): void => {
      isSettled = true;
    };
    work.then(done, done);
    await quiet();
    for (let passedMs = 0; !isSettled; passedMs += 10) {
      if (passedMs > maxMs) throw new Error(`nothing settled within ${maxMs} ms of test time`);
      await this.advance(10);
    }
    return await work;
  }
}

/** Lets everything that waits for promises only run to its end. */
export async function quiet(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise(resolve => setImmediate(resolve));
}
