// The open chunk files of one disk: opened when used, kept open while there is room, closed longest-unused first and never while in use.
// It knows paths and handles, not what is in the files.
import type { Disk, DiskFile } from '../lib/disk.js';
import { type ChunkHandle, handleName } from '../protocol/ids.js';

interface OpenFile {
  file: Promise<DiskFile>;
  users: number;
  /** Not to be kept when the last user is done. */
  dropped: boolean;
}

export class OpenFiles {
  /** In the order of their last use. */
  private readonly files = new Map<ChunkHandle, OpenFile>();

  constructor(
    private readonly disk: Disk,
    private readonly folder: string,
    private readonly filesMax: number,
  ) {}

  folderOf(handle: ChunkHandle): string {
    return `${this.folder}/${handleName(handle).slice(-2)}`;
  }

  pathOf(handle: ChunkHandle): string {
    return `${this.folderOf(handle)}/${handleName(handle)}`;
  }

  /** Runs `work` with the chunk's file; rejects as Disk.open or `work` does. */
  async use<T>(handle: ChunkHandle, options: { create: boolean }, work: (file: DiskFile) => Promise<T>): Promise<T> {
    let open = this.files.get(handle);
    if (open) {
      this.files.delete(handle);
    } else {
      open = { file: this.disk.open(this.pathOf(handle), options), users: 0, dropped: false };
      this.makeRoom();
    }
    this.files.set(handle, open);
    open.users++;
    try {
      return await work(await open.file);
    } catch (error) {
      // A file that failed is opened anew by the next user.
      this.forget(handle, open);
      throw error;
    } finally {
      open.users--;
      if (open.users === 0 && open.dropped) await close(open);
    }
  }

  /** Closes the chunk's file once nobody uses it. */
  async drop(handle: ChunkHandle): Promise<void> {
    const open = this.files.get(handle);
    if (!open) return;
    this.forget(handle, open);
    if (open.users === 0) await close(open);
  }

  async closeAll(): Promise<void> {
    await Promise.all([...this.files.keys()].map(handle => this.drop(handle)));
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
      void close(open);
      return;
    }
  }
}

async function close(open: OpenFile): Promise<void> {
  try {
    await (await open.file).close();
  } catch {
    // It was never opened, or the disk that it is on has failed: its users were told, and nothing is left to close.
  }
}
