// The open chunk files of one disk: opened when used, kept open while there is room, closed longest-unused first and never while in use.
// It knows paths and handles, not what is in the files; but it closes none that was written to without having asked whether the bytes are on the disk.
import { type Deferred, deferred } from '../lib/deferred.js';
import type { Disk, DiskFile } from '../lib/disk.js';
import { GfsError } from '../protocol/errors.js';
import { type ChunkHandle, handleName } from '../protocol/ids.js';

interface OpenFile {
  file: Promise<WatchedFile>;
  users: number;
  /** Not to be kept when the last user is done. */
  dropped: boolean;
}

export class OpenFiles {
  /** In the order of their last use. */
  private readonly files = new Map<ChunkHandle, OpenFile>();
  /**
   * Files on their way out. INVARIANT: a chunk has one descriptor at a time. An error of the disk is told to those that were open when it came; who opens
   * the file after one of them was told hears of success.
   */
  private readonly closing = new Map<ChunkHandle, Promise<void>>();
  private users = 0;
  /** Set by closeAll; resolved once nobody uses a file. */
  private over: Deferred<void> | undefined;

  /** `onLost`: bytes that were written through a file which had to make room are not on the disk. */
  constructor(
    private readonly disk: Disk,
    private readonly folder: string,
    private readonly filesMax: number,
    private readonly onLost: (handle: ChunkHandle, error: unknown) => void,
  ) {}

  folderOf(handle: ChunkHandle): string {
    return `${this.folder}/${handleName(handle).slice(-2)}`;
  }

  pathOf(handle: ChunkHandle): string {
    return `${this.folderOf(handle)}/${handleName(handle)}`;
  }

  /** Runs `work` with the chunk's file; rejects as Disk.open or `work` does, with STOPPING after closeAll. */
  async use<T>(handle: ChunkHandle, options: { create: boolean }, work: (file: DiskFile) => Promise<T>): Promise<T> {
    if (this.over) throw new GfsError('STOPPING', 'the files of this disk are closed');
    let open = this.files.get(handle);
    if (open) {
      this.files.delete(handle);
    } else {
      open = { file: this.open(handle, options), users: 0, dropped: false };
      this.makeRoom();
    }
    this.files.set(handle, open);
    open.users++;
    this.users++;
    try {
      return await work(await open.file);
    } catch (error) {
      // A file that failed is opened anew by the next user.
      this.forget(handle, open);
      throw error;
    } finally {
      open.users--;
      this.leave();
      // Not waited for: whoever failed is told at once, and the next user waits before it opens the file.
      if (open.users === 0 && open.dropped) void this.close(handle, open);
    }
  }

  /** Closes the chunk's file once nobody uses it. `discard`: nobody needs its bytes any more. */
  async drop(handle: ChunkHandle, options: { discard: boolean }): Promise<void> {
    const open = this.files.get(handle);
    if (!open) return this.closing.get(handle);
    this.forget(handle, open);
    if (options.discard) (await open.file.catch(() => undefined))?.discard();
    if (open.users === 0) await this.close(handle, open);
  }

  /** From this turn on nobody gets a file any more: the next server of this process may have it. Settles when all that were used are closed. */
  async closeAll(): Promise<void> {
    this.over ??= deferred<void>();
    if (this.users > 0) await this.over.promise;
    await Promise.all([...this.files.keys()].map(handle => this.drop(handle, { discard: true })));
    await Promise.all(this.closing.values());
  }

  private async open(handle: ChunkHandle, options: { create: boolean }): Promise<WatchedFile> {
    // At once where nothing is in the way.
    if (this.closing.has(handle)) await this.closing.get(handle);
    return new WatchedFile(await this.disk.open(this.pathOf(handle), options));
  }

  private leave(): void {
    this.users--;
    if (this.users === 0) this.over?.resolve();
  }

  private forget(handle: ChunkHandle, open: OpenFile): void {
    open.dropped = true;
    if (this.files.get(handle) === open) this.files.delete(handle);
  }

  private makeRoom(): void {
    if (this.files.size < this.filesMax) return;
    for (const [handle, open] of this.files) {
      if (open.users > 0) continue;
      this.forget(handle, open);
      void this.close(handle, open);
      return;
    }
  }

  private close(handle: ChunkHandle, open: OpenFile): Promise<void> {
    const before = this.closing.get(handle) ?? Promise.resolve();
    const closed = before
      .then(() => this.closeNow(handle, open))
      .finally(() => {
        if (this.closing.get(handle) === closed) this.closing.delete(handle);
      });
    this.closing.set(handle, closed);
    return closed;
  }

  private async closeNow(handle: ChunkHandle, open: OpenFile): Promise<void> {
    let file: WatchedFile;
    try {
      file = await open.file;
    } catch {
      // It was never opened: its users were told.
      return;
    }
    try {
      if (file.isUnsynced) await file.sync();
    } catch (error) {
      this.onLost(handle, error);
    }
    try {
      await file.close();
    } catch {
      // Nothing is left to close: what was written through it is on the disk, or has just been reported.
    }
  }
}

/** Knows whether anything was written since its last sync. */
class WatchedFile implements DiskFile {
  isUnsynced = false;
  private isDiscarded = false;

  constructor(private readonly file: DiskFile) {}

  discard(): void {
    this.isDiscarded = true;
    this.isUnsynced = false;
  }

  async write(buffers: readonly Buffer[], position: number): Promise<void> {
    try {
      await this.file.write(buffers, position);
    } finally {
      // At its end: a sync that began before it does not count.
      this.isUnsynced = !this.isDiscarded;
    }
  }

  read(length: number, position: number): Promise<Buffer> {
    return this.file.read(length, position);
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.file.truncate(sizeBytes);
  }

  /** A failed one is told to its caller, and by the operating system to nobody after. */
  sync(): Promise<void> {
    this.isUnsynced = false;
    return this.file.sync();
  }

  size(): Promise<number> {
    return this.file.size();
  }

  close(): Promise<void> {
    return this.file.close();
  }
}
