// What the client library offers to programs that address files by inode, the mount above all; the path-based public API stands on it.
// Types only.
import type { WireAttributes, WireLockRange, WireWhere } from '../protocol/messages.js';

export type Attributes = WireAttributes;
export type Where = WireWhere;

export interface CreateOptions {
  /** Permission bits. */
  mode: number;
  uid: number;
  gid: number;
  /** Refuse an existing file with EXISTS. */
  exclusive: boolean;
  /** Cut an existing file to nothing. */
  truncate: boolean;
}

export interface AppendOptions {
  /** One append never straddles chunks unless it may be split. At most recordBytesMax when it may not: TOO_LARGE. */
  split: boolean;
  /** Offset in the file where it must land; OFFSET_MISMATCH (and nothing appended) when the file ends elsewhere. */
  expectedOffset?: number;
}

export interface ReadDirectoryResult {
  entries: Array<{ name: string; attributes: Attributes }>;
  end: boolean;
}

/** An open file: reads with read-ahead, ordered appends, exactly once. Belongs to the client's session until closed. */
export interface OpenFile {
  readonly inode: number;
  /** When the last append that this client heard of was committed, in ms of the master's clock; undefined when it heard of none. */
  readonly changedMs: number | undefined;
  /** Current attributes with the exact size (asks the primary when a lease is live). */
  attributes(): Promise<Attributes>;
  /**
   * Up to `length` bytes from `offset`, fewer only at the end of the file. Bytes come from the cache, which never holds bytes that were cut off.
   * Sequential readers are served ahead. The buffers must not be changed. Rejects with UNAVAILABLE, CORRUPT, TIMED_OUT, STALE.
   */
  read(offset: number, length: number): Promise<Buffer[]>;
  /**
   * Appends the bytes once, contiguous (unless split), after all earlier appends of this open file. Settles with the offset in the file of the first
   * byte once every replica holds them. Several may be in flight; they land in the order of the calls. When one fails for good, later ones that were
   * already queued fail too. The buffers must not be changed afterwards.
   */
  append(data: readonly Buffer[], options: AppendOptions): Promise<number>;
  /** Settles when all appends that settled before are on the disk of every replica. */
  sync(): Promise<void>;
  truncate(sizeBytes: number): Promise<Attributes>;
  /** Waits for appends in flight. May be called twice. With `durable` it syncs first. */
  close(options?: { durable?: boolean }): Promise<void>;
}

/**
 * Notice that other clients changed these; sent by the master to sessions that looked at them. `lost`: the connection broke, anything may have changed.
 * `forgotten`: they did not change, but there will be no notice when they do.
 */
export interface ChangeNotice {
  lost: boolean;
  forgotten?: boolean;
  inodes: readonly number[];
  entries: ReadonlyArray<{ parent: number; name: string }>;
}

export interface FileSystemClient {
  readonly clusterId: string;
  readonly chunkSizeBytes: number;
  readonly recordBytesMax: number;
  /** Attributes with the exact size. `follow`: the last component's symlink is followed (symlinks before it always are). */
  lookup(where: Where, options?: { follow?: boolean }): Promise<Attributes>;
  readDirectory(inode: number, after: string, limit?: number): Promise<ReadDirectoryResult>;
  createFile(
    where: Where,
    options: CreateOptions,
  ): Promise<{ attributes: Attributes; created: boolean; file: OpenFile }>;
  openInode(inode: number): Promise<OpenFile>;
  makeDirectory(where: Where, options: { mode: number; uid: number; gid: number }): Promise<Attributes>;
  makeSymlink(where: Where, target: string, options: { uid: number; gid: number }): Promise<Attributes>;
  link(existing: Where, created: Where): Promise<Attributes>;
  unlink(where: Where): Promise<void>;
  removeDirectory(where: Where): Promise<void>;
  rename(from: Where, to: Where, options?: { noReplace?: boolean; exchange?: boolean }): Promise<void>;
  setAttributes(
    where: Where,
    changes: { mode?: number; uid?: number; gid?: number; atimeNs?: bigint; mtimeNs?: bigint },
    options?: { follow?: boolean },
  ): Promise<Attributes>;
  truncate(inode: number, sizeBytes: number): Promise<Attributes>;
  getXattr(where: Where, name: string): Promise<Buffer>;
  setXattr(where: Where, name: string, value: Buffer, options?: { create?: boolean; replace?: boolean }): Promise<void>;
  listXattrs(where: Where): Promise<string[]>;
  removeXattr(where: Where, name: string): Promise<void>;
  /** Space in bytes of files, all their copies paid for: what is used, what can be written now, and both with what servers that are down have room for. */
  statfs(): Promise<{ capacityBytes: number; freeBytes: number; usedBytes: number; files: number }>;
  snapshot(from: Where, to: Where, options: { uid: number; gid: number }): Promise<Attributes>;
  /**
   * Takes a lock; waits up to `waitMs` (0: not at all, but for a master that has just started). Rejects with LOCKED when it is not granted by then. `onLost`: it
   * is not held any more, because this client was cut off for longer than a session lives.
   */
  lock(
    inode: number,
    lock: WireLockRange,
    options?: { waitMs?: number; onLost?: (reason: string) => void },
  ): Promise<void>;
  unlock(inode: number, lock: Pick<WireLockRange, 'owner' | 'startByte' | 'endByte' | 'space'>): Promise<void>;
  testLock(inode: number, lock: WireLockRange): Promise<WireLockRange | undefined>;
  /** Called for each notice; only when the client was made with `wantsChanges`. */
  onChange: (notice: ChangeNotice) => void;
  /**
   * Ends the session and all connections; open files are closed first. After `waitMs` without regard to appends on their way, which then fail here and may
   * stand all the same, nor to the master.
   */
  close(options?: { waitMs?: number }): Promise<void>;
}
