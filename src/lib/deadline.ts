// Waiting with an end: a promise that is given up at a moment, while what it stands for goes on. It stops nothing.
import type { Clock } from './clock.js';

/**
 * Settles as `work` does, or rejects with `late()` once the monotonic clock reaches `deadlineMs`; `work` is not stopped. `background`: waiting keeps no
 * process alive.
 */
export function within<T>(
  clock: Clock,
  work: Promise<T>,
  deadlineMs: number,
  late: () => Error,
  options: { background?: boolean } = {},
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = clock.setTimer(Math.max(0, deadlineMs - clock.monotonicMs()), () => reject(late()), options);
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
