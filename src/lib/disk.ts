// Files as an interface: what a chunkserver needs of a file system and nothing more, so that the simulator can lose power.
// Failures reject with an Error whose `code` is the errno name (ENOSPC, EIO, ENOENT, EEXIST, …); callers translate it.

export interface DiskFile {
  /** Writes all buffers one after another from `position`; settles when the operating system has them. A failed write may have written a part. */
  write(buffers: readonly Buffer[], position: number): Promise<void>;
  /** Up to `length` bytes from `position`; fewer only at the end of the file. The buffer belongs to the caller. */
  read(length: number, position: number): Promise<Buffer>;
  truncate(sizeBytes: number): Promise<void>;
  /** fdatasync: settles when data and size are on the disk. After a rejection the file's unsynced content is unknown. */
  sync(): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

export interface DiskSpace {
  capacityBytes: number;
  /** What an unprivileged process may still write. */
  freeBytes: number;
  /** Name of the file system: the same for all directories on it, whatever process asks, and for no other. */
  fileSystem: string;
}

export interface Disk {
  /** Opens for reading and writing. `create`: makes it when absent; otherwise ENOENT. */
  open(path: string, options?: { create?: boolean }): Promise<DiskFile>;
  /** Makes a directory and its parents; an existing one is fine. */
  makeDirectory(path: string): Promise<void>;
  /** fsync of a directory: names made, renamed or removed in it before are on the disk after. */
  syncDirectory(path: string): Promise<void>;
  /** Names in a directory, sorted; ENOENT when absent. */
  list(path: string): Promise<string[]>;
  /** Size of a file, or undefined when there is none. */
  sizeOf(path: string): Promise<number | undefined>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file; an absent one is fine. */
  remove(path: string): Promise<void>;
  space(path: string): Promise<DiskSpace>;
  /** A small file's content (at most 1 MiB), or undefined when absent. */
  readSmall(path: string): Promise<Buffer | undefined>;
  /** Replaces a small file as a whole and durably: temporary file, sync, rename, sync of the directory. */
  writeSmall(path: string, content: Buffer): Promise<void>;
}
