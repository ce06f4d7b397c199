// The operations of the protocol by name and number, as in the kernel's enum fuse_opcode. Names without a meaning here are not listed: they are
// answered ENOSYS like those of kernels to come. Each listed name needs a handler, or the table of handlers does not compile.

/** Answered with data, with success, or with an errno. */
export const ANSWERED_OPCODES = {
  LOOKUP: 1,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  GETLK: 31,
  SETLK: 32,
  SETLKW: 33,
  ACCESS: 34,
  CREATE: 35,
  BMAP: 37,
  DESTROY: 38,
  IOCTL: 39,
  POLL: 40,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  STATX: 52,
  COPY_FILE_RANGE_64: 53,
} as const;

/** Never answered, or answered by the session itself. */
export const SESSION_OPCODES = { FORGET: 2, INIT: 26, INTERRUPT: 36, BATCH_FORGET: 42 } as const;

export type AnsweredOpcode = keyof typeof ANSWERED_OPCODES;
export type SessionOpcode = keyof typeof SESSION_OPCODES;

const ANSWERED_BY_NUMBER = new Map<number, AnsweredOpcode>(
  Object.entries(ANSWERED_OPCODES).map(([name, number]) => [number, name as AnsweredOpcode]),
);
const SESSION_BY_NUMBER = new Map<number, SessionOpcode>(
  Object.entries(SESSION_OPCODES).map(([name, number]) => [number, name as SessionOpcode]),
);

export function answeredOpcode(number: number): AnsweredOpcode | undefined {
  return ANSWERED_BY_NUMBER.get(number);
}

export function sessionOpcode(number: number): SessionOpcode | undefined {
  return SESSION_BY_NUMBER.get(number);
}
