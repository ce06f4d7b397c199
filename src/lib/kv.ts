// The ordered store as an interface: byte-ordered keys, atomic batches, synchronous point reads. Production puts LevelDB (`level`) behind it.

export type KvOp = { type: 'put'; key: Buffer; value: Buffer } | { type: 'del'; key: Buffer };

export interface KvRange {
  /** First key, inclusive. */
  gte: Buffer;
  /** End, exclusive. */
  lt: Buffer;
  /** At most this many entries, 1 or more. */
  limit: number;
  /** From the end of the range towards its start. */
  reverse?: boolean;
}

export interface Kv {
  /** The value, or undefined. Synchronous, so that a read and the decision on it cannot be interleaved. */
  getSync(key: Buffer): Buffer | undefined;
  /** Applies all operations or none. With `sync` it settles once they are on the disk, without it once they survive the process. After a rejection the store takes no more batches until it is opened anew; reads go on. Code ENOSPC: its disk is full. */
  batch(ops: readonly KvOp[], options: { sync: boolean }): Promise<void>;
  /** Entries of a range in byte order, as they stand at some moment during the call. */
  scan(range: KvRange): Promise<Array<[Buffer, Buffer]>>;
  close(): Promise<void>;
}

export interface KvStores {
  /**
   * Opens the store in a directory. `create` false: rejects with code ENOENT when there is none. A store in use elsewhere: code EBUSY. Damaged: code EIO.
   * No room on its disk: code ENOSPC. One that cannot be made or written: the system's code, such as EROFS or EACCES.
   */
  open(path: string, options: { create: boolean }): Promise<Kv>;
}

/** The smallest key above every key that starts with `prefix` (which must not be all 0xff). */
export function prefixEnd(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix);
  for (let i = end.length - 1; i >= 0; i--) {
    if (end[i]! < 0xff) {
      end[i]!++;
      return end.subarray(0, i + 1);
    }
  }
  throw new RangeError('prefix has no end');
}
