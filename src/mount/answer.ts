// Runs one operation of the file system for one request of the kernel and answers it exactly once, within the deadline.
// It knows no transport; what an answer looks like is the caller's. Invariant: `reply` is called once per run, never twice, never not.
import type { Clock } from '../lib/clock.js';
import type { Logger } from '../lib/logger.js';
import { ERRNO } from '../protocol/errors.js';
import { errnoOf } from './errno.js';

/** `errno` is 0 and `value` present, or `errno` is positive and `value` absent. */
export type Reply<T> = (errno: number, value?: T) => void;

export class Answerer {
  private readonly clock: Clock;
  private readonly logger: Logger;
  private readonly timeoutMs: number;

  constructor(parts: { clock: Clock; logger: Logger; timeoutMs: number }) {
    this.clock = parts.clock;
    this.logger = parts.logger;
    this.timeoutMs = parts.timeoutMs;
  }

  /**
   * Starts `work` at once. Replies with its value, with the errno of its failure, or with ETIMEDOUT when it is late; a later outcome is dropped.
   * `patient` work has no deadline; `onLate` gets a value that came too late, to undo what it stands for.
   */
  run<T>(
    operation: string,
    work: () => Promise<T>,
    reply: Reply<T>,
    options?: { patient?: boolean; onLate?: (value: T) => void },
  ): void {
    let isAnswered = false;
    const timer = options?.patient
      ? undefined
      : this.clock.setTimer(
          this.timeoutMs,
          () => {
            if (isAnswered) return;
            isAnswered = true;
            this.logger.warn({ operation, ms: this.timeoutMs }, 'operation answered ETIMEDOUT');
            reply(ERRNO.ETIMEDOUT);
          },
          { background: true },
        );
    const settle = (errno: number, value?: T): void => {
      if (isAnswered) return;
      isAnswered = true;
      timer?.cancel();
      reply(errno, value);
    };
    let result: Promise<T>;
    try {
      result = work();
    } catch (error) {
      settle(errnoOf(error, operation, this.logger));
      return;
    }
    result.then(
      value => {
        if (isAnswered) options?.onLate?.(value);
        settle(0, value);
      },
      error => settle(errnoOf(error, operation, this.logger)),
    );
  }
}
