// A deadline on a promise: whatever happens below, the system call above ends.
import type { Clock } from '../lib/clock.js';
import { within } from '../lib/deadline.js';
import { GfsError } from '../protocol/errors.js';

/** Settles as `work` does, or rejects with TIMED_OUT after `timeoutMs`; the work itself goes on and its late outcome is dropped. */
export function withDeadline<T>(clock: Clock, timeoutMs: number, what: string, work: Promise<T>): Promise<T> {
  const deadlineMs = clock.monotonicMs() + timeoutMs;
  const late = (): GfsError => new GfsError('TIMED_OUT', `${what}: no answer within ${timeoutMs} ms`);
  return within(clock, work, deadlineMs, late, { background: true });
}
