// Waiting for some of several promises, with an end: what they stand for goes on. It stops nothing.
import type { Clock, Timer } from '../lib/clock.js';

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
