// The numbers behind open files and directories, and the files this mount has open by inode. A file stays open a moment after its last handle,
// so that opening it again is free. It closes every file that it was given, and decides nothing about their content.
import type { OpenFile } from '../client/types.js';
import type { Clock, Timer } from '../lib/clock.js';
import type { Logger } from '../lib/logger.js';
import { settledOrLate } from '../lib/settled-or-late.js';
import { GfsError } from '../protocol/errors.js';
import { type FileHandle, type HandleFlags, MountedFile, type MountedFileOptions } from './mounted-file.js';
import { MOUNT_LIMITS } from './settings.js';

/** Files named when bytes of many were lost. */
const LOST_NAMED_MAX = 20;

/** Numbers from 1; 0 means "none" to fuse-native. */
export class HandleTable<T> {
  private readonly values = new Map<number, T>();
  private next = 1;

  add(value: T): number {
    const handle = this.next++;
    this.values.set(handle, value);
    return handle;
  }

  /** Throws BAD_HANDLE when it is not open. */
  get(handle: number): T {
    const value = this.values.get(handle);
    if (value === undefined) throw new GfsError('BAD_HANDLE', `handle ${handle} is not open`);
    return value;
  }

  find(handle: number): T | undefined {
    return this.values.get(handle);
  }

  remove(handle: number): T | undefined {
    const value = this.values.get(handle);
    this.values.delete(handle);
    return value;
  }
}

export interface FileTableOptions {
  clock: Clock;
  logger: Logger;
  file: MountedFileOptions;
}

export class FileTable {
  private readonly options: FileTableOptions;
  private readonly files = new Map<number, MountedFile>();
  /** Files without handles, the longest closed first; at most lingeringFilesMax. */
  private readonly lingering = new Map<MountedFile, Timer>();
  /** Opens that are on their way, so that one inode is opened once. */
  private readonly opening = new Map<number, Promise<MountedFile>>();

  constructor(options: FileTableOptions) {
    this.options = options;
  }

  find(inode: number): MountedFile | undefined {
    return this.files.get(inode);
  }

  all(): MountedFile[] {
    return [...this.files.values()];
  }

  /** A handle on the file of this inode, which `open` opens unless it is open already. */
  async openHandle(inode: number, open: () => Promise<OpenFile>, flags: HandleFlags): Promise<FileHandle> {
    for (;;) {
      const file = this.files.get(inode) ?? (await this.openOnce(inode, open));
      // It may have been closed between, when many others linger.
      if (this.files.get(inode) !== file) continue;
      this.lingering.get(file)?.cancel();
      this.lingering.delete(file);
      return file.openHandle(flags);
    }
  }

  /** Takes over a file that the client opened. */
  adopt(client: OpenFile): MountedFile {
    const known = this.files.get(client.inode);
    if (known) {
      this.closeClient(client);
      return known;
    }
    const file = new MountedFile(client, this.options.file);
    this.files.set(client.inode, file);
    this.linger(file);
    return file;
  }

  closeHandle(handle: FileHandle): void {
    const { file } = handle;
    if (file.closeHandle(handle)) this.linger(file);
  }

  /** Closes the file of an inode now if nobody has it open: its last name went. */
  drop(inode: number): void {
    const file = this.files.get(inode);
    if (file && this.lingering.has(file)) this.close(file);
  }

  /**
   * Closes all files and settles when everything written is on all replicas. Rejects with UNAVAILABLE, naming the files, when bytes of some fail and nobody
   * is left to be told, or are not acknowledged within `timeoutMs`; what is on its way then goes on.
   */
  async closeAll(timeoutMs: number): Promise<void> {
    const closing = this.all().map(file => ({ file, failuresBefore: file.failureCount, hasUntold: file.hasUntold }));
    for (const timer of this.lingering.values()) timer.cancel();
    this.lingering.clear();
    this.files.clear();
    const closed = Promise.all(closing.map(({ file }) => this.closeQuietly(file)));
    await settledOrLate(this.options.clock, closed, timeoutMs);
    const lost = closing.filter(
      ({ file, failuresBefore, hasUntold }) => file.hasUnsettled || file.failureCount > failuresBefore || hasUntold,
    );
    if (lost.length > 0) throw lostError(lost.map(({ file }) => file));
  }

  private async openOnce(inode: number, open: () => Promise<OpenFile>): Promise<MountedFile> {
    const underway = this.opening.get(inode);
    if (underway) return underway;
    const result = open().then(client => this.adopt(client));
    this.opening.set(inode, result);
    try {
      return await result;
    } finally {
      this.opening.delete(inode);
    }
  }

  private linger(file: MountedFile): void {
    const done = (): void => {
      // Its writer was killed while servers did not answer: a read must still see the bytes, and the end of the mount count them.
      if (file.hasUnsettled) this.linger(file);
      else this.close(file);
    };
    this.lingering.set(file, this.options.clock.setTimer(MOUNT_LIMITS.lingerMs, done, { background: true }));
    if (this.lingering.size <= MOUNT_LIMITS.lingeringFilesMax) return;
    for (const longest of this.lingering.keys()) {
      if (longest.hasUnsettled) continue;
      this.close(longest);
      break;
    }
  }

  private close(file: MountedFile): void {
    this.lingering.get(file)?.cancel();
    this.lingering.delete(file);
    if (this.files.get(file.inode) === file) this.files.delete(file.inode);
    void this.closeQuietly(file);
  }

  private async closeQuietly(file: MountedFile): Promise<void> {
    try {
      await file.close();
    } catch (error) {
      this.options.logger.warn({ inode: file.inode, error }, 'closing a file failed');
    }
  }

  private closeClient(client: OpenFile): void {
    client.close().catch(error => {
      this.options.logger.warn({ inode: client.inode, error }, 'closing a file failed');
    });
  }
}

function lostError(files: readonly MountedFile[]): GfsError {
  const names = files
    .slice(0, LOST_NAMED_MAX)
    .map(({ place, inode }) => `${place === '' ? '' : `${place}, `}inode ${inode}`);
  const more = files.length > names.length ? ` and ${files.length - names.length} more` : '';
  return new GfsError(
    'UNAVAILABLE',
    `the mount ended while written bytes were not acknowledged, which may be lost: ${names.join('; ')}${more}`,
  );
}
