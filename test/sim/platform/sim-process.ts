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

  /** Runs `run` after `delayMs` unless the process has ended by then. */
  schedule(delayMs: number, run: () => void): SimEvent {
    return this.simulator.schedule(delayMs, () => {
      if (this.#isAlive) run();
    });
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
    for (const hook of this.#endHooks) hook(end);
  }
}

/** An Error as the operating system reports it. */
export function errnoError(code: string, message: string): Error & { code: string } {
  return Object.assign(new Error(`${code}: ${message}`), { code });
}
