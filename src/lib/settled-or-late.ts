// A bound on waiting, where what was waited for may go on without us. It decides nothing about late outcomes.
import type { Clock } from './clock.js';
import { deferred } from './deferred.js';

/** Settles as `work` does, or with undefined after `timeoutMs`; a failure that comes later is nobody's any more. */
export async function settledOrLate<T>(clock: Clock, work: Promise<T>, timeoutMs: number): Promise<T | undefined> {
  const late = deferred<undefined>();
  const timer = clock.setTimer(Math.max(0, timeoutMs), () => late.resolve(undefined));
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    timer.cancel();
  }
}
