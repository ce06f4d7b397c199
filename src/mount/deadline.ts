// A deadline on a promise: whatever happens below, the system call above ends.
import type { Clock } from '../lib/clock.js';
import { GfsError } from '../protocol/errors.js';

/** Settles as `work` does, or rejects with TIMED_OUT after `timeoutMs`; the work itself goes on and its late outcome is dropped. */
export function withDeadline<T>(clock: Clock, timeoutMs: number, what: string, work: Promise<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const timer = clock.setTimer(
      timeoutMs,
      () => reject(new GfsError('TIMED_OUT', `${what}: no answer within ${timeoutMs} ms`)),
      { background: true },
    );
    work.then(
      value => {
        timer.cancel();
        resolve(value);
      },
      error => {
        timer.cancel();
        reject(error);
      },
    );
  });
}
