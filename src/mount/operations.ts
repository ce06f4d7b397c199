// System calls as operations of the client library: the FuseOperations of a mounted cluster. It puts a deadline on every call and passes the notices
// of other clients' changes to the caches; what each call means stands in names.ts, files.ts, xattrs.ts and lock-operations.ts.
import type { ChangeNotice } from '../client/types.js';
import { MountContext, type MountContextOptions } from './context.js';
import { withDeadline } from './deadline.js';
import { FileOperations } from './files.js';
import type {
  AttributeChanges,
  Attributes,
  Caller,
  DirectoryEntry,
  FileSystemSpace,
  FuseNotifier,
  FuseOperations,
  LockRange,
  Where,
} from './fuse-operations.js';
import { LockOperations } from './lock-operations.js';
import { NameOperations } from './names.js';
import { XattrOperations } from './xattrs.js';

export class ClientOperations implements FuseOperations {
  private readonly context: MountContext;
  private readonly names: NameOperations;
  private readonly files: FileOperations;
  private readonly xattrs: XattrOperations;
  private readonly locks: LockOperations;

  constructor(options: MountContextOptions) {
    this.context = new MountContext(options);
    this.names = new NameOperations(this.context);
    this.files = new FileOperations(this.context);
    this.xattrs = new XattrOperations(this.context);
    this.locks = new LockOperations(this.context);
    options.client.onChange = notice => this.onChange(notice);
  }

  attachNotifier(notifier: FuseNotifier): void {
    this.context.notifier = notifier;
  }

  /**
   * Settles when everything written is on all replicas and all files are closed. Rejects with UNAVAILABLE, naming the files, when that is not so after
   * `timeoutMs`. No operation may follow.
   */
  close(timeoutMs: number): Promise<void> {
    return this.context.files.closeAll(timeoutMs);
  }

  getAttributes(where: Where, handle?: number): Promise<Attributes> {
    return this.bounded('getattr', this.names.getAttributes(where, handle));
  }

  setAttributes(where: Where, changes: AttributeChanges, handle?: number): Promise<Attributes> {
    return this.bounded('setattr', this.names.setAttributes(where, changes, handle));
  }

  readLink(where: Where): Promise<string> {
    return this.bounded('readlink', this.names.readLink(where));
  }

  makeNode(where: Where, mode: number, caller?: Caller): Promise<Attributes> {
    return this.bounded('mknod', this.files.makeNode(where, mode, caller));
  }

  makeDirectory(where: Where, mode: number, caller?: Caller): Promise<Attributes> {
    return this.bounded('mkdir', this.names.makeDirectory(where, mode, caller));
  }

  symlink(where: Where, target: string, caller?: Caller): Promise<Attributes> {
    return this.bounded('symlink', this.names.symlink(where, target, caller));
  }

  link(existing: Where, created: Where): Promise<Attributes> {
    return this.bounded('link', this.names.link(existing, created));
  }

  unlink(where: Where): Promise<void> {
    return this.bounded('unlink', this.names.unlink(where));
  }

  removeDirectory(where: Where): Promise<void> {
    return this.bounded('rmdir', this.names.removeDirectory(where));
  }

  rename(from: Where, to: Where, options: { noReplace: boolean; exchange: boolean }): Promise<void> {
    return this.bounded('rename', this.names.rename(from, to, options));
  }

  open(where: Where, flags: number): Promise<{ handle: number; keepCache: boolean }> {
    return this.bounded('open', this.files.open(where, flags));
  }

  create(
    where: Where,
    flags: number,
    mode: number,
    caller?: Caller,
  ): Promise<{ attributes: Attributes; handle: number; keepCache: boolean }> {
    return this.bounded('create', this.files.create(where, flags, mode, caller));
  }

  read(handle: number, offset: number, length: number): Promise<Buffer[]> {
    return this.bounded('read', this.files.read(handle, offset, length));
  }

  write(handle: number, offset: number, data: Buffer): Promise<number> {
    return this.bounded('write', this.files.write(handle, offset, data));
  }

  flush(handle: number, lockOwner?: bigint): Promise<void> {
    return this.bounded('close', this.flushAndUnlock(handle, lockOwner));
  }

  fsync(handle: number): Promise<void> {
    return this.bounded('fsync', this.files.fsync(handle));
  }

  release(handle: number, lockOwner?: bigint): Promise<void> {
    return this.bounded('release', this.unlockAndRelease(handle, lockOwner));
  }

  openDirectory(where: Where): Promise<{ handle: number }> {
    return this.bounded('opendir', this.names.openDirectory(where));
  }

  readDirectory(handle: number, afterName: string): Promise<DirectoryEntry[]> {
    return this.bounded('readdir', this.names.readDirectory(handle, afterName));
  }

  releaseDirectory(handle: number): Promise<void> {
    return this.names.releaseDirectory(handle);
  }

  statfs(): Promise<FileSystemSpace> {
    return this.bounded('statfs', this.names.statfs());
  }

  getExtendedAttribute(where: Where, name: string): Promise<Buffer> {
    return this.bounded('getxattr', this.xattrs.get(where, name));
  }

  setExtendedAttribute(
    where: Where,
    name: string,
    value: Buffer,
    options: { create: boolean; replace: boolean },
  ): Promise<void> {
    return this.bounded('setxattr', this.xattrs.set(where, name, value, options));
  }

  listExtendedAttributes(where: Where): Promise<string[]> {
    return this.bounded('listxattr', this.xattrs.list(where));
  }

  removeExtendedAttribute(where: Where, name: string): Promise<void> {
    return this.bounded('removexattr', this.xattrs.remove(where, name));
  }

  allocate(handle: number, mode: number, offset: number, length: number): Promise<void> {
    return this.bounded('fallocate', this.files.allocate(handle, mode, offset, length));
  }

  seek(handle: number, offset: number, whence: 'data' | 'hole'): Promise<number> {
    return this.bounded('lseek', this.files.seek(handle, offset, whence));
  }

  copyRange(
    from: { handle: number; offset: number },
    to: { handle: number; offset: number },
    length: number,
  ): Promise<number> {
    return this.bounded('copy_file_range', this.files.copyRange(from, to, length));
  }

  testLock(handle: number, lock: LockRange): Promise<LockRange | undefined> {
    return this.bounded('getlk', this.locks.test(handle, lock));
  }

  /** Waiting for a lock is the one call without a deadline of its own: each question to the master has one, and a signal ends it. */
  setLock(handle: number, lock: LockRange, options: { wait: boolean; signal?: AbortSignal }): Promise<void> {
    const work = this.locks.set(handle, lock, options);
    return options.wait ? work : this.bounded('setlk', work);
  }

  private async flushAndUnlock(handle: number, lockOwner: bigint | undefined): Promise<void> {
    const { inode } = this.context.handles.get(handle).file;
    try {
      await this.files.flush(handle);
    } finally {
      if (lockOwner !== undefined) await this.locks.ownerGone(inode, lockOwner, 'posix');
    }
  }

  private async unlockAndRelease(handle: number, lockOwner: bigint | undefined): Promise<void> {
    const opened = this.context.handles.find(handle);
    try {
      if (opened && lockOwner !== undefined) await this.locks.ownerGone(opened.file.inode, lockOwner, 'flock');
    } finally {
      await this.files.release(handle);
    }
  }

  private onChange(notice: ChangeNotice): void {
    const { cache, files, notifier } = this.context;
    if (notice.forgotten) {
      this.onForgotten(notice);
      return;
    }
    if (notice.lost) {
      cache.clear();
      for (const file of files.all()) file.forgetEnd();
      notifier?.invalidateAll();
    }
    for (const inode of notice.inodes) {
      cache.dropInode(inode);
      files.find(inode)?.forgetEnd();
      notifier?.invalidateInode(inode, 0);
    }
    for (const { parent, name } of notice.entries) {
      cache.dropName({ start: parent, path: name });
      cache.dropInode(parent);
      notifier?.invalidateEntry(parent, name);
    }
  }

  /** Nothing changed, but what is cached would go on unchecked. */
  private onForgotten({ inodes, entries }: ChangeNotice): void {
    const { cache, files, notifier } = this.context;
    for (const inode of inodes) {
      cache.forgetInode(inode);
      files.find(inode)?.forgetEnd();
      notifier?.forgetInode(inode);
    }
    for (const { parent, name } of entries) {
      cache.forgetName({ start: parent, path: name });
      notifier?.forgetEntry(parent, name);
    }
  }

  private bounded<T>(what: string, work: Promise<T>): Promise<T> {
    return withDeadline(this.context.clock, this.context.settings.opTimeout, what, work);
  }
}
