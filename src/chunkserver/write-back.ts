// Sends appended bytes on to the disk a few megabytes behind the appends, so that the sync which ends a chunk, while its file waits, finds little
// left to do. It claims nothing: what is known to be on the disk is ChunkStore's to say, after a sync of its own.
import type { Chunk } from './chunk.js';
import type { DataDirectory } from './data-directory.js';
import { BOUNDS } from './settings.js';

export class WriteBack {
  /** INVARIANT: at most one at a time on each disk. */
  private readonly running = new Set<DataDirectory>();

  /** `onFailure`: a sync failed, and nobody will be told so a second time by the operating system. */
  constructor(private readonly onFailure: (chunk: Chunk, error: unknown) => Promise<unknown>) {}

  /** The chunk has grown. */
  onWritten(chunk: Chunk): void {
    const { disk } = chunk;
    if (chunk.writtenBytes - chunk.sentOnBytes < BOUNDS.writeBackBytes || this.running.has(disk) || disk.failure)
      return;
    chunk.sentOnBytes = chunk.writtenBytes;
    this.running.add(disk);
    void this.sendOn(chunk).finally(() => this.running.delete(disk));
  }

  private async sendOn(chunk: Chunk): Promise<void> {
    let failure: unknown;
    try {
      await chunk.disk.files.use(chunk.handle, { create: false }, file =>
        file.sync().catch(error => {
          failure = error;
        }),
      );
    } catch {
      // The file could not be opened: no sync was lost with that, and the next one will say what is wrong.
      return;
    }
    if (failure !== undefined) await this.onFailure(chunk, failure);
  }
}
