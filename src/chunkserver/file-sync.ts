// Syncs of chunk files (fdatasync), one at a time for each chunk: the operating system tells of bytes that it could not write once, so that of two syncs at
// the same time one would hear of success. After a failed one no sync of that chunk is believed any more; what a sync proves about a chunk is chunk-store's to say.
import type { Platform } from '../lib/platform.js';
import { asGfsError, GfsError } from '../protocol/errors.js';
import type { BlockChecksums } from './block-checksums.js';
import type { Carried } from './carried.js';
import type { Chunk } from './chunk.js';

export class FileSync {
  /** The last one of each chunk. At most three wait: one for clients, one for an order, one of write-back. */
  private readonly running = new Map<Chunk, Promise<void>>();

  constructor(
    private readonly platform: Platform,
    private readonly carried: Carried | undefined,
    private readonly checksums: BlockChecksums,
    private readonly noteChange: (chunk: Chunk) => void,
  ) {}

  isRunning(chunk: Chunk): boolean {
    return this.running.has(chunk);
  }

  /** What was written when this settles' sync began is on the disk, and known to be. Rejects with DISK_FAILED; unless only its file could not be opened, the disk is given up, or full. */
  run(chunk: Chunk): Promise<void> {
    const work = (): Promise<void> => this.syncNow(chunk);
    const sync = (this.running.get(chunk) ?? Promise.resolve()).then(work, work);
    this.running.set(chunk, sync);
    const done = (): void => {
      if (this.running.get(chunk) === sync) this.running.delete(chunk);
    };
    sync.then(done, done);
    return sync;
  }

  /** A sync failed, and nobody will be told so a second time: returns the failure that its users are told. */
  async fail(chunk: Chunk, cause: unknown): Promise<GfsError> {
    const reason = `sync of chunk ${chunk.handle} in ${chunk.disk.path} failed: ${(cause as Error).message}`;
    // In this turn, before anything is waited for: a later sync would claim success.
    const code = asGfsError(cause).code === 'NO_SPACE' ? 'NO_SPACE' : 'DISK_FAILED';
    chunk.syncFailure ??= new GfsError(code, reason, { cause });
    await this.distrust(chunk);
    return chunk.disk.fail(chunk.syncFailure);
  }

  private async syncNow(chunk: Chunk): Promise<void> {
    if (chunk.failure) throw chunk.failure;
    if (chunk.writtenBytes === 0) return;
    const { writtenBytes, cuts, disk } = chunk;
    const crc = this.checksums.last(chunk);
    let failure: unknown;
    try {
      await disk.files.use(chunk.handle, { create: false }, file =>
        file.sync().catch(error => {
          failure = error;
        }),
      );
    } catch (error) {
      // No sync was lost with that: the next one asks again.
      throw new GfsError('DISK_FAILED', `${disk.pathOf(chunk.handle)}: ${(error as Error).message}`, { cause: error });
    }
    try {
      if (failure !== undefined) throw failure;
      // Its name, the first time.
      if (chunk.syncedBytes === 0) await this.platform.disk.syncDirectory(disk.files.folderOf(chunk.handle));
    } catch (error) {
      throw await this.fail(chunk, error);
    }
    // Meanwhile a descriptor may have been closed with an error (open-files.ts).
    if (chunk.failure) throw chunk.failure;
    if (chunk.cuts !== cuts || writtenBytes <= chunk.syncedBytes) return;
    chunk.syncedBytes = writtenBytes;
    chunk.syncedCrc = crc;
  }

  /** Reads show bytes that the disk may never get, also to later processes: the replica is to be copied as a whole. */
  async distrust(chunk: Chunk): Promise<void> {
    this.carried?.distrusted.add(chunk.handle);
    chunk.brokenVersion = chunk.version;
    chunk.corrupt = true;
    this.noteChange(chunk);
    try {
      // Past ChunkStore.commit, which refuses what has failed.
      if (chunk.disk.failure) return;
      await chunk.disk.commits.commit(chunk, { sync: true });
      this.carried?.distrusted.delete(chunk.handle);
    } catch (error) {
      const { code, message } = asGfsError(error);
      this.platform.logger.warn({ handle: chunk.handle, code, reason: message }, 'a failed sync could not be recorded');
    }
  }
}
