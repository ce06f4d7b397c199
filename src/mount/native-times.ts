// The times of utimens(2) as fuse-native has them: fuse-native.c:345 passes the access time twice, but each call comes with the memory of its thread,
// in which the modification time stands as well. Reads numbers out of that memory, and believes none before it has recognised the place.

/** Its number in fuse-native.c, which is also its place among the handlers. */
export const UTIMENS = 12;
/** fuse_thread_locals_t of fuse-native.c where pointers have 64 bits. */
const OFFSET = { opcode: 8, atime: 104, mtime: 112 } as const;

export interface NativeTimes {
  /** In milliseconds since 1970; negative before. */
  atimeMs: number;
  mtimeMs: number;
  /** False when the memory is not laid out as in the version that this was written for: then mtimeMs is the access time, which is all that there is. */
  isExact: boolean;
}

/** `locals`: the thread's memory; `atimeLow` and `atimeHigh`: the access time as the binding passes it. */
export function timesOf(locals: Buffer, atimeLow: number, atimeHigh: number): NativeTimes {
  const atime = (BigInt(atimeHigh) << 32n) | BigInt(atimeLow);
  const isKnown =
    locals.length >= OFFSET.mtime + 8 &&
    locals.readUInt32LE(OFFSET.opcode) === UTIMENS &&
    locals.readBigUInt64LE(OFFSET.atime) === atime;
  // Times before 1970 went through an unsigned type.
  const atimeMs = Number(BigInt.asIntN(64, atime));
  return { atimeMs, mtimeMs: isKnown ? Number(locals.readBigInt64LE(OFFSET.mtime)) : atimeMs, isExact: isKnown };
}
