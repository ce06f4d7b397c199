// The one interface between file-system logic and FUSE transports (fuse-native, the kernel's protocol). Types only: it neither talks to
// a transport nor to a master. An operation that fails rejects with a GfsError, whose errno the transport answers; anything else becomes EIO and is logged.

/** A place in the tree: `path` ('' or 'name' or 'a/b/c', no leading slash) below inode `start`. The kernel transport names one component, fuse-native a path from the root (inode 1). */
export interface Where {
  start: number;
  path: string;
}

export type FileType = 'file' | 'directory' | 'symlink';

export interface Attributes {
  inode: number;
  /** Grows when bytes once readable were cut off; caches of an older generation are void. */
  generation: number;
  type: FileType;
  /** Permission bits, 0 to 0o7777. */
  mode: number;
  uid: number;
  gid: number;
  nlink: number;
  sizeBytes: number;
  /** Nanoseconds since 1970. */
  atimeNs: bigint;
  mtimeNs: bigint;
  ctimeNs: bigint;
  /** Others may be appending to it and nobody will tell: the size is that of a moment, not to be kept by the kernel. */
  growing?: boolean | undefined;
  /** Surely without extended attributes. */
  noXattrs?: boolean | undefined;
}

/** Who made the system call; undefined where the transport does not know (fuse-native). */
export interface Caller {
  uid: number;
  gid: number;
  pid: number;
}

export interface AttributeChanges {
  mode?: number;
  uid?: number;
  gid?: number;
  sizeBytes?: number;
  atimeNs?: bigint | 'now';
  mtimeNs?: bigint | 'now';
}

export interface DirectoryEntry {
  name: string;
  inode: number;
  type: FileType;
  attributes: Attributes;
}

/** Space and counts for statfs(2). */
export interface FileSystemSpace {
  blockSizeBytes: number;
  blocks: number;
  blocksFree: number;
  blocksAvailable: number;
  files: number;
  filesFree: number;
  nameMaxBytes: number;
}

/** A byte range lock (fcntl) or a whole-file lock (flock; start 0, end maximal). */
export interface LockRange {
  /** Who holds it within this mount, as the kernel names lock owners. */
  owner: bigint;
  kind: 'shared' | 'exclusive' | 'unlock';
  startByte: number;
  /** Inclusive; Number.MAX_SAFE_INTEGER for "to the end". */
  endByte: number;
  pid: number;
  /** flock(2) rather than fcntl(2): the two do not see each other. */
  flock: boolean;
}

/** Lets the operations drop what the kernel cached. Only the kernel transport has one. */
export interface FuseNotifier {
  /** Cached attributes, and cached pages from `fromByte` on, of an inode; no error when the kernel does not know it. */
  invalidateInode(inode: number, fromByte?: number): void;
  /** The cached name in a directory. */
  invalidateEntry(parentInode: number, name: string): void;
  /** As the two above, of what did not change but will not be told of any more. */
  forgetInode(inode: number): void;
  forgetEntry(parentInode: number, name: string): void;
  /** Everything: changes were missed. */
  invalidateAll(): void;
}

export interface FuseOperations {
  /** Called once by a transport that can invalidate, before the first operation. */
  attachNotifier?(notifier: FuseNotifier): void;
  /** Attributes of a place; when the file was opened, `handle` says so and unflushed writes count. */
  getAttributes(where: Where, handle?: number): Promise<Attributes>;
  /** Changes the given attributes only; `sizeBytes` truncates or extends with zeros. Returns the new ones. */
  setAttributes(where: Where, changes: AttributeChanges, handle?: number): Promise<Attributes>;
  readLink(where: Where): Promise<string>;
  /** mknod(2) of a regular file; `mode` are permission bits. */
  makeNode(where: Where, mode: number, caller?: Caller): Promise<Attributes>;
  makeDirectory(where: Where, mode: number, caller?: Caller): Promise<Attributes>;
  symlink(where: Where, target: string, caller?: Caller): Promise<Attributes>;
  link(existing: Where, created: Where): Promise<Attributes>;
  unlink(where: Where): Promise<void>;
  removeDirectory(where: Where): Promise<void>;
  /** rename(2); `noReplace` and `exchange` as in renameat2(2). */
  rename(from: Where, to: Where, options: { noReplace: boolean; exchange: boolean }): Promise<void>;
  /** Opens an existing file. `flags` are those of open(2) on Linux x64. The handle is a number from 1. `keepCache`: the kernel may keep pages it has. */
  open(where: Where, flags: number, caller?: Caller): Promise<{ handle: number; keepCache: boolean }>;
  /** Creates (unless it exists and O_EXCL is not set) and opens in one step. */
  create(
    where: Where,
    flags: number,
    mode: number,
    caller?: Caller,
  ): Promise<{ attributes: Attributes; handle: number; keepCache: boolean }>;
  /** Bytes from `offset`, at most `length`; fewer only at the end of the file. The buffers must not be changed by the transport. */
  read(handle: number, offset: number, length: number): Promise<Buffer[]>;
  /** Appends; returns the count written. `data` belongs to the operations from here on: a transport whose buffer is not its own passes a copy. */
  write(handle: number, offset: number, data: Buffer): Promise<number>;
  /** close(2) of one descriptor: settles when everything written is on all replicas, rejects with the first error not yet reported. Ends the POSIX locks of `lockOwner`. */
  flush(handle: number, lockOwner?: bigint): Promise<void>;
  fsync(handle: number, dataOnly: boolean): Promise<void>;
  /** The last descriptor is gone; never fails visibly. Ends the flock of `lockOwner`. */
  release(handle: number, lockOwner?: bigint): Promise<void>;
  openDirectory(where: Where): Promise<{ handle: number }>;
  /** The next entries after `afterName` ('' from the start), without '.' and '..', in a stable order; an empty list at the end. */
  readDirectory(handle: number, afterName: string): Promise<DirectoryEntry[]>;
  releaseDirectory(handle: number): Promise<void>;
  statfs(): Promise<FileSystemSpace>;
  getExtendedAttribute(where: Where, name: string): Promise<Buffer>;
  /** setxattr(2). */
  setExtendedAttribute(
    where: Where,
    name: string,
    value: Buffer,
    options: { create: boolean; replace: boolean },
  ): Promise<void>;
  listExtendedAttributes(where: Where): Promise<string[]>;
  removeExtendedAttribute(where: Where, name: string): Promise<void>;

  // What only the kernel transport can ask for. A transport answers ENOSYS or EOPNOTSUPP where one is absent.
  /** fallocate(2): mode 0 extends the size with zeros when the range passes the end; other modes are refused. */
  allocate?(handle: number, mode: number, offset: number, length: number): Promise<void>;
  /** lseek(2) for SEEK_DATA and SEEK_HOLE. Rejects with code NOT_FOUND past the end (the transport answers ENXIO). */
  seek?(handle: number, offset: number, whence: 'data' | 'hole'): Promise<number>;
  copyRange?(
    from: { handle: number; offset: number },
    to: { handle: number; offset: number },
    length: number,
  ): Promise<number>;
  /** The lock that would stand in the way, or undefined. */
  testLock?(handle: number, lock: LockRange): Promise<LockRange | undefined>;
  /** Takes or releases; with `wait` it settles when granted, and rejects with INTERRUPTED when `signal` aborts. Without: LOCKED (answered EAGAIN). */
  setLock?(handle: number, lock: LockRange, options: { wait: boolean; signal?: AbortSignal }): Promise<void>;
  /** The kernel forgot an inode: nothing about it needs to be invalidated any more. */
  forget?(inode: number): void;
}

export interface FuseTransportOptions {
  /** An existing directory. */
  mountPoint: string;
  operations: FuseOperations;
  readOnly: boolean;
  /** Mount options already checked by the command line, such as allow_other, default_permissions, noexec. */
  options: readonly string[];
  /** How long the kernel may keep attributes and names, in milliseconds, unless it is told earlier that they changed (FuseNotifier). */
  attributeTimeoutMs: number;
  entryTimeoutMs: number;
  /** Every operation is answered within this time, with ETIMEDOUT if need be. */
  operationTimeoutMs: number;
  /** What `mount` and `df` show as the source. */
  sourceName: string;
}

/** One mount by one transport. */
export interface FuseTransport {
  readonly kind: 'native' | 'kernel';
  /** Settles when the kernel has accepted the mount and operations can arrive; rejects with a GfsError whose message says what to do. */
  mount(): Promise<void>;
  /** Settles when the mount is gone, whoever unmounted it. */
  readonly ended: Promise<void>;
  /** Unmounts (lazily when busy) and settles with `ended`. May be called more than once. */
  unmount(): Promise<void>;
}
