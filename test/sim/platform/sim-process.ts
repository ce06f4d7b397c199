// One incarnation of a process on a simulated machine. Everything it waits for goes through here and goes silent when it ends:
// its timers never fire, its promises never settle, its late calls have no effect.
import type { SimEvent } from './event-queue.js';
import type { Simulator } from './simulator.js';

export type ProcessEnd = 'killed' | 'powerLost';

export class SimProcess {
  readonly simulator: Simulator;
  /** Name of the machine: the host part of its addresses. */
  readonly host: string;
  readonly incarnation: number;
  readonly #endHooks: Array<(end: ProcessEnd) => void> = [];
  #isAlive = true;
  #isStopped = false;
  /** What came due while it was stopped, in order. */
  #held: Array<{ event: SimEvent; run: () => void }> = [];

  constructor(simulator: Simulator, host: string, incarnation: number) {
    this.simulator = simulator;
    this.host = host;
    this.incarnation = incarnation;
  }

  get name(): string {
    return `${this.host}#${this.incarnation}`;
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  /** It stands still, as after SIGSTOP: nothing of it runs; what it began and is sent waits. Its clock goes on. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Runs `run` after `delayMs` unless the process has ended by then. */
  schedule(delayMs: number, run: () => void): SimEvent {
    const event = this.simulator.schedule(delayMs, () => {
      if (!this.#isAlive) return;
      if (this.#isStopped) this.#held.push({ event, run });
      else run();
    });
    return event;
  }

  /** For SimNode. */
  stop(): void {
    this.#isStopped = true;
  }

  /** For SimNode. What came due meanwhile runs now, each in a turn of its own, unless it was cancelled. */
  goOn(): void {
    this.#isStopped = false;
    for (const { event, run } of this.#held.splice(0)) {
      this.schedule(0, () => {
        if (event.run !== undefined) run();
      });
    }
  }

  /** Does `work` after `delayMs` and settles as it does; never does either when the process ends before. */
  after<T>(delayMs: number, work: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.schedule(delayMs, () => {
        try {
          resolve(work());
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  /** What the operating system does when the process ends; called in the order of registration. */
  onEnd(hook: (end: ProcessEnd) => void): void {
    this.#endHooks.push(hook);
  }

  /** For SimNode. */
  end(end: ProcessEnd): void {
    this.#isAlive = false;
    this.#isStopped = false;
    for (const hook of this.#endHooks) hook(end);
  }
}

/** An Error as the operating system reports it. */
export function errnoError(code: string, message: string): Error & { code: string } {
  return Object.assign(new Error(`${code}: ${message}`), { code });
}
