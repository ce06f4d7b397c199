// The error table: every failure that a user, a peer or a test can see, with its errno and whether trying again can help.
// Codes are stable and documented in docs/errors.md; messages are for people and say what to try. Our own bugs are not here (lib/assert.ts).

/** Linux errno values (asm-generic/errno.h) for the names used in the table. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EBADF: 9,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  EMLINK: 31,
  ERANGE: 34,
  EDEADLK: 35,
  ENAMETOOLONG: 36,
  ENOLCK: 37,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  ENODATA: 61,
  EILSEQ: 84,
  EOPNOTSUPP: 95,
  ETIMEDOUT: 110,
  ESTALE: 116,
} as const;

export type ErrnoName = keyof typeof ERRNO;

interface ErrorRow {
  errno: ErrnoName;
  /** Trying the same request again later can succeed without anybody changing it. */
  retryable: boolean;
  meaning: string;
}

const row = (errno: ErrnoName, retryable: boolean, meaning: string): ErrorRow => ({ errno, retryable, meaning });

export const ERRORS = {
  // Names
  NOT_FOUND: row('ENOENT', false, 'No file or directory has this name.'),
  EXISTS: row('EEXIST', false, 'The name is taken.'),
  NOT_DIRECTORY: row('ENOTDIR', false, 'A directory is needed here.'),
  IS_DIRECTORY: row('EISDIR', false, 'A file is needed here, this is a directory.'),
  NOT_EMPTY: row('ENOTEMPTY', false, 'The directory still has entries.'),
  NAME_TOO_LONG: row('ENAMETOOLONG', false, 'A name has more than 255 bytes, or a path more than 4096.'),
  NAME_INVALID: row('EILSEQ', false, 'A name is not valid UTF-8, is empty, or holds a slash or a NUL byte.'),
  SYMLINK_LOOP: row('ELOOP', false, 'Too many symbolic links in a path.'),
  TOO_MANY_LINKS: row('EMLINK', false, 'The link count of a file or directory is at its limit.'),
  INVALID: row('EINVAL', false, 'The request makes no sense as it stands, such as moving a directory into itself.'),
  NOT_PERMITTED: row('EPERM', false, 'This kind of object cannot be used so, such as a hard link to a directory.'),
  ACCESS_DENIED: row('EACCES', false, 'The permissions forbid it.'),
  STALE: row('ESTALE', false, 'The open file was deleted and collected.'),
  NO_ATTRIBUTE: row('ENODATA', false, 'The file has no extended attribute of this name.'),
  ATTRIBUTE_TOO_LARGE: row('ERANGE', false, 'The value or the list does not fit.'),
  ATTRIBUTE_SPACE: row('ENOSPC', false, 'An extended attribute is larger than allowed.'),
  BUSY: row('EBUSY', false, 'It is in use.'),
  // Data
  NOT_APPEND: row('EOPNOTSUPP', false, 'Written bytes cannot be changed: this file system only appends.'),
  NOT_SUPPORTED: row('EOPNOTSUPP', false, 'The operation is not offered.'),
  TOO_LARGE: row('EFBIG', false, 'A file, a record or a request is over its limit.'),
  NO_SPACE: row(
    'ENOSPC',
    true,
    'Too few chunkservers have room, or the disk of one that has to record something is full.',
  ),
  TOO_FEW_SERVERS: row('EROFS', true, 'Fewer chunkservers are up than a chunk needs copies; reading goes on.'),
  SAFE_MODE: row('EROFS', true, 'The master waits for its chunkservers after a start; reading goes on.'),
  READ_ONLY: row('EROFS', false, 'The mount is read-only.'),
  UNAVAILABLE: row('EIO', true, 'No current copy of the data can be reached.'),
  CORRUPT: row('EIO', false, 'A copy does not match its checksum.'),
  DISK_FAILED: row('EIO', false, 'A disk reported an error.'),
  BAD_HANDLE: row('EBADF', false, 'The handle is closed or not open for this.'),
  // Locks and sessions
  LOCKED: row('EBUSY', true, 'Another owner holds a lock that conflicts.'),
  GRACE: row('EBUSY', true, 'After a start the master gives no new locks before clients have claimed those they hold.'),
  DEADLOCK: row('EDEADLK', false, 'Waiting for this lock would never end.'),
  NO_LOCKS: row('ENOLCK', true, 'The lock table is at its bound.'),
  SESSION_EXPIRED: row('ESTALE', false, 'The session ended; its open files and locks are gone.'),
  // Between processes
  UNREACHABLE: row('ETIMEDOUT', true, 'No connection to a server could be made.'),
  CONNECTION_LOST: row(
    'EIO',
    true,
    'The connection broke before the answer: it is not known whether the request was done.',
  ),
  TIMED_OUT: row('ETIMEDOUT', true, 'The deadline passed before the answer.'),
  OVERLOADED: row('EIO', true, 'A queue of the server is at its bound.'),
  BAD_MESSAGE: row('EIO', false, 'A peer sent something that is no valid message.'),
  BAD_TOKEN: row('EIO', true, 'A token is forged, expired or from another time; ask the master for a new one.'),
  WRONG_CLUSTER: row('EIO', false, 'The peer belongs to another cluster.'),
  WRONG_VERSION: row('EIO', false, 'The peer speaks another version of the protocol.'),
  UNAUTHENTICATED: row('EACCES', false, 'The peer does not know the shared secret.'),
  STOPPING: row('EIO', true, 'The server is stopping.'),
  INTERRUPTED: row('EINTR', false, 'The caller gave up.'),
  // Appends (DESIGN 4): answers of the chain, handled by the client library and never shown to users
  FULL: row('EIO', true, 'The chunk has no room for this append; it goes to the next chunk.'),
  FENCED: row('EIO', true, 'The chunk took another version, was sealed, or this server holds no lease on it.'),
  BROKEN: row('EIO', true, 'A replica of the chain failed; the chunk takes no more appends in this version.'),
  OFFSET_MISMATCH: row('EOPNOTSUPP', false, 'The file does not end where the writer expects.'),
  OUT_OF_ORDER: row('EIO', true, 'An earlier append of this writer has not arrived.'),
  ALREADY_PAST: row('EIO', false, 'A later append of this writer was applied; this one can no longer be.'),
  PUSH_LOST: row('EIO', true, 'The pushed bytes of this append are not here; send them again.'),
  NO_CHUNK: row('EIO', true, 'This server has no such chunk, or not this much of it.'),
  SUPERSEDED: row('EIO', true, 'A newer order for this chunk, or a newer request of this client, was seen.'),
  // Servers and their data
  WRONG_DATA: row('EIO', false, 'A data directory is empty, damaged, of another format or of another cluster.'),
  IN_USE: row('EBUSY', false, 'Another process holds this data directory, port or mount point.'),
  STORE_FAILED: row('EIO', false, 'The metadata store failed; the server refuses changes until it is restarted.'),
  USAGE: row('EINVAL', false, 'A command line or a setting is wrong.'),
  FAILED: row('EIO', false, 'Something failed that has no code of its own; the log has the cause.'),
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

/** A failure of the world (not of this program): a stable code, a message that says what failed and what to try, the cause when there is one. */
export class GfsError extends Error {
  override name = 'GfsError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message?: string, options?: { cause?: unknown }) {
    super(message ?? ERRORS[code].meaning, options);
    this.code = code;
  }

  /** The errno name for system calls. */
  get errno(): ErrnoName {
    return ERRORS[this.code].errno;
  }

  get retryable(): boolean {
    return ERRORS[this.code].retryable;
  }
}

export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERRORS, code);
}

/** Whether `error` is a GfsError with one of `codes`. */
export function hasCode(error: unknown, ...codes: ErrorCode[]): error is GfsError {
  return error instanceof GfsError && codes.includes(error.code);
}

/** The same failure as a GfsError: itself when it is one, a disk's errno translated, else FAILED with the cause. */
export function asGfsError(error: unknown): GfsError {
  if (error instanceof GfsError) return error;
  const code = (error as { code?: unknown } | undefined)?.code;
  const message = error instanceof Error ? error.message : String(error);
  if (code === 'ENOSPC' || code === 'EDQUOT') return new GfsError('NO_SPACE', message, { cause: error });
  if (code === 'EIO' || code === 'EROFS') return new GfsError('DISK_FAILED', message, { cause: error });
  return new GfsError('FAILED', message, { cause: error });
}
