// From failures to the errno that a system call ends with, in one place for both transports. It answers nothing itself and retries nothing.
import type { Logger } from '../lib/logger.js';
import { ERRNO, GfsError } from '../protocol/errors.js';

/** The positive errno of a failure. A GfsError is expected (debug log); anything else is our own bug: EIO and one error line. */
export function errnoOf(error: unknown, operation: string, logger: Logger): number {
  if (error instanceof GfsError) {
    logger.debug({ operation, code: error.code, reason: error.message }, 'operation refused');
    return ERRNO[error.errno];
  }
  logger.error({ operation, err: error }, 'operation failed by a bug');
  return ERRNO.EIO;
}
