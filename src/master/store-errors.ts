// What the store says when it cannot be opened or written: a full disk is told from one that failed. It decides nothing.
import { GfsError } from '../protocol/errors.js';

/** The disk takes nothing more, and may again. */
export function isLackOfSpace(error: unknown): boolean {
  const code = (error as { code?: unknown } | undefined)?.code;
  return code === 'ENOSPC' || code === 'EDQUOT';
}

export function openError(path: string, error: unknown, create: boolean): GfsError {
  const code = (error as { code?: unknown }).code;
  const message = messageOf(error);
  if (code === 'ENOENT' && !create) {
    return new GfsError('WRONG_DATA', `${path} holds no cluster; make one with: gfs-master format --data DIR`, {
      cause: error,
    });
  }
  if (code === 'EBUSY')
    return new GfsError('IN_USE', `another process, probably a gfs-master, uses ${path}`, { cause: error });
  if (isLackOfSpace(error))
    return new GfsError('NO_SPACE', `the disk of the metadata in ${path} is full, free some space: ${message}`, {
      cause: error,
    });
  return new GfsError('WRONG_DATA', message, { cause: error });
}

/** `refusal`: of every later change. `doubt`: for those whose change may have been in the batch that failed. */
export function writeErrors(path: string, cause: unknown): { refusal: GfsError; doubt: GfsError } {
  const reason = messageOf(cause);
  if (isLackOfSpace(cause)) {
    const text = `the disk of the metadata in ${path} is full: nothing can be changed until there is room on it again (${reason})`;
    const unknown = `it is not known whether this was done: the disk of the metadata is full (${reason})`;
    return {
      refusal: new GfsError('NO_SPACE', text, { cause }),
      doubt: new GfsError('CONNECTION_LOST', unknown, { cause }),
    };
  }
  const text = `the metadata store cannot be written: ${reason}; restart the master once the disk is well`;
  const failure = new GfsError('STORE_FAILED', text, { cause });
  return { refusal: failure, doubt: failure };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
