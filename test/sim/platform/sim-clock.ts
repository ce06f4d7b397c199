// The clock of a simulated machine, with an offset and a rate of its own, and the timers of the processes on it.
import { assert } from '../../../src/lib/assert.js';
import type { Clock, Timer } from '../../../src/lib/clock.js';
import type { SimProcess } from './sim-process.js';
import type { Simulator } from './simulator.js';

/** 2026-01-01: where the wall clocks of all machines begin, give or take their offsets. */
const WALL_START_MS = 1_767_225_600_000;
/** A timer that is early by rounding waits this much more. */
const TICK_MS = 0.001;

/** A machine's hardware clock; survives its processes. */
export class SimMachineClock {
  readonly #simulator: Simulator;
  #rate: number;
  #sinceMs: number;
  #baseMs: number;
  #wallOffsetMs: number;

  constructor(simulator: Simulator, options: { rate: number; startMs: number; wallOffsetMs: number }) {
    this.#simulator = simulator;
    this.#rate = options.rate;
    this.#sinceMs = simulator.nowMs;
    this.#baseMs = options.startMs;
    this.#wallOffsetMs = WALL_START_MS + options.wallOffsetMs + simulator.nowMs - options.startMs;
  }

  get monotonicMs(): number {
    return this.#baseMs + (this.#simulator.nowMs - this.#sinceMs) * this.#rate;
  }

  get wallMs(): number {
    return Math.floor(this.monotonicMs + this.#wallOffsetMs);
  }

  get rate(): number {
    return this.#rate;
  }

  /** From now on the clock goes `rate` times as fast as true time. */
  setRate(rate: number): void {
    assert(rate > 0, 'a clock goes forward');
    this.#baseMs = this.monotonicMs;
    this.#sinceMs = this.#simulator.nowMs;
    this.#rate = rate;
  }

  /** Somebody sets the wall clock; the monotonic one does not notice. */
  jumpWall(byMs: number): void {
    this.#wallOffsetMs += byMs;
  }
}

/** The clock as one process sees it: the machine's time, timers that end with the process. */
export class SimClock implements Clock {
  readonly #process: SimProcess;
  readonly #machine: SimMachineClock;

  constructor(process: SimProcess, machine: SimMachineClock) {
    this.#process = process;
    this.#machine = machine;
  }

  monotonicMs(): number {
    return this.#machine.monotonicMs;
  }

  wallMs(): number {
    return this.#machine.wallMs;
  }

  setTimer(delayMs: number, fire: () => void): Timer {
    assert(delayMs >= 0, 'a delay is 0 or more');
    const dueMs = this.#machine.monotonicMs + delayMs;
    const onEvent = (): void => {
      const earlyMs = dueMs - this.#machine.monotonicMs;
      // Early by rounding, or because the clock became slower meanwhile.
      if (earlyMs > 0) event = this.#process.schedule(Math.max(earlyMs / this.#machine.rate, TICK_MS), onEvent);
      else fire();
    };
    let event = this.#process.schedule(delayMs / this.#machine.rate, onEvent);
    return { cancel: () => this.#process.simulator.cancel(event) };
  }

  soon(fire: () => void): void {
    this.#process.schedule(0, fire);
  }
}
