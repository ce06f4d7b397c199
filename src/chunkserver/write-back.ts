// Sends appended bytes on to the disk a few megabytes behind the appends, so that the sync which ends a chunk, while its file waits, finds little
// left to do. What it brought to the disk goes into the chunk's record with the next batch of the index; it never makes one itself.
import type { Logger } from '../lib/logger.js';
import { asGfsError } from '../protocol/errors.js';
import type { Chunk } from './chunk.js';
import type { DataDirectory } from './data-directory.js';
import type { FileSync } from './file-sync.js';
import { BOUNDS } from './settings.js';

export class WriteBack {
  /** INVARIANT: at most one at a time on each disk. */
  private readonly running = new Set<DataDirectory>();

  constructor(
    private readonly fileSync: FileSync,
    private readonly logger: Logger,
  ) {}

  /** The chunk has grown. */
  onWritten(chunk: Chunk): void {
    const { disk } = chunk;
    if (chunk.writtenBytes - chunk.sentOnBytes < BOUNDS.writeBackBytes || this.running.has(disk) || chunk.failure)
      return;
    // Whoever waits for a sync is not made to wait for two.
    if (this.fileSync.isRunning(chunk)) return;
    chunk.sentOnBytes = chunk.writtenBytes;
    this.running.add(disk);
    void this.sendOn(chunk).finally(() => this.running.delete(disk));
  }

  private async sendOn(chunk: Chunk): Promise<void> {
    try {
      await this.fileSync.run(chunk);
    } catch (error) {
      // A failure has been noted with the chunk and its disk: whoever asks next is told.
      const { code, message } = asGfsError(error);
      this.logger.debug({ handle: chunk.handle, code, reason: message }, 'a chunk was not sent on to the disk');
    }
  }
}
