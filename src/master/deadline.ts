// Waiting with an end: a promise that is given up at a moment, while what it stands for goes on.
import type { Clock, Timer } from '../lib/clock.js';

/** Settles as `work` does, or rejects with `late()` once the monotonic clock reaches `deadlineMs`; `work` is not stopped. */
export function within<T>(clock: Clock, work: Promise<T>, deadlineMs: number, late: () => Error): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = clock.setTimer(Math.max(0, deadlineMs - clock.monotonicMs()), () => reject(late()));
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

/** Settles once one of `works` fulfils with true, or all have settled; never rejects. */
export function firstTrue(works: readonly Promise<boolean>[]): Promise<void> {
  return new Promise(resolve => {
    let left = works.length;
    if (left === 0) resolve();
    const done = (isTrue: boolean): void => {
      left--;
      if (isTrue || left === 0) resolve();
    };
    for (const work of works)
      work.then(done, () => {
        done(false);
      });
  });
}

/**
 * The results of `works` that fulfilled, in the order they did: of all once all have settled, or of those there are `graceMs` after `isEnough` held of
 * them. Never rejects; the works left go on.
 */
export function enough<T>(
  clock: Clock,
  works: readonly Promise<T>[],
  isEnough: (results: readonly T[]) => boolean,
  graceMs: number,
): Promise<T[]> {
  return new Promise(resolve => {
    const results: T[] = [];
    let left = works.length;
    let grace: Timer | undefined;
    const finish = (): void => {
      grace?.cancel();
      resolve([...results]);
    };
    if (left === 0) finish();
    const onSettled = (): void => {
      left--;
      if (left === 0) finish();
      else if (isEnough(results)) grace ??= clock.setTimer(graceMs, finish);
    };
    for (const work of works)
      work.then(result => {
        results.push(result);
        onSettled();
      }, onSettled);
  });
}
