// From failures to the errno that a system call ends with, in one place for both transports. It answers nothing itself and retries nothing.
import type { Logger } from '../lib/logger.js';
import { ERRNO, type ErrnoName, GfsError } from '../protocol/errors.js';

/** Errnos that only transports use. */
const TRANSPORT_ERRNO = { EAGAIN: 11, EPROTO: 71 } as const;

/** A transport's own answer, such as ENOSYS for "never ask this again". It belongs to no failure of the file system; operations reject with GfsError. */
export class Refusal extends Error {
  override name = 'Refusal';
  readonly errno: number;

  constructor(name: ErrnoName | keyof typeof TRANSPORT_ERRNO) {
    super(name);
    this.errno = { ...ERRNO, ...TRANSPORT_ERRNO }[name];
  }
}

/** The positive errno of a failure. A GfsError is expected (debug log); anything else is our own bug: EIO and one error line. */
export function errnoOf(error: unknown, operation: string, logger: Logger): number {
  if (error instanceof Refusal) return error.errno;
  if (error instanceof GfsError) {
    logger.debug({ operation, code: error.code, reason: error.message }, 'operation refused');
    return ERRNO[error.errno];
  }
  logger.error({ operation, err: error }, 'operation failed by a bug');
  return ERRNO.EIO;
}
