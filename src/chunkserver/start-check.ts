// What a start finds in one data directory, and what it does about it: torn tails are cut off, files and records compared, open chunks verified where
// they were not synced; after a loss of power all of those are suspect, otherwise those that lack bytes (DESIGN 4). It deletes no bytes that a record speaks of.
import { crc32 } from '../lib/checksum.js';
import type { Platform } from '../lib/platform.js';
import type { ChunkHandle } from '../protocol/ids.js';
import { LIMITS } from '../protocol/limits.js';
import { Chunk } from './chunk.js';
import type { ChunkStore } from './chunk-store.js';
import type { DataDirectory } from './data-directory.js';
import { BOUNDS } from './settings.js';
import { keepOneTwin } from './twins.js';

const BLOCK = LIMITS.blockBytes;

export class StartCheck {
  constructor(
    private readonly platform: Platform,
    private readonly store: ChunkStore,
    private readonly disk: DataDirectory,
  ) {}

  /**
   * Whether unsynced batches of this directory may be lost: it was not stopped cleanly, and the machine remembers a later batch than the
   * index holds, or nothing at all. To be asked before this process writes to it.
   */
  static wasLossy(disk: DataDirectory, platform: Platform): boolean {
    if (!disk.identity || disk.identity.clean) return false;
    const remembered = platform.witness.recall(disk.name);
    return remembered === undefined || remembered > disk.index.counter();
  }

  /** Loads all records into the store. Rejects with WRONG_DATA when the index cannot be read. */
  async run(options: { lossy: boolean }): Promise<void> {
    const { disk, store } = this;
    const doubtful: Chunk[] = [];
    for await (const [handle, record] of disk.index.records()) {
      const chunk = new Chunk(handle, disk);
      chunk.restore(record);
      const twin = store.get(handle);
      if (!twin) store.adopt(chunk);
      else if ((await keepOneTwin(store, this.platform.logger, twin, chunk)) === twin) continue;
      if (chunk.exists && chunk.state !== 'sealed' && !chunk.settled) doubtful.push(chunk);
    }
    const files = await this.checkFiles(options);
    await this.each(doubtful, chunk => this.checkOpen(chunk, { ...options, hasFile: files.has(chunk.handle) }));
  }

  /** Finds replicas without a file, and files without a replica. */
  private async checkFiles(options: { lossy: boolean }): Promise<Set<ChunkHandle>> {
    const { disk, store, platform } = this;
    const { handles, strangers } = await disk.listFiles();
    if (strangers.length > 0)
      platform.logger.warn(
        { disk: disk.path, count: strangers.length, first: strangers[0] },
        'files that are no chunks',
      );
    for (const chunk of store.all()) {
      if (chunk.disk !== disk || handles.has(chunk.handle) || chunk.writtenBytes === 0) continue;
      if (chunk.state === 'sealed' || chunk.settled) store.markCorrupt(chunk, 'its file is missing');
    }
    for (const handle of handles) {
      const chunk = store.get(handle);
      if (chunk?.disk === disk && chunk.exists) continue;
      await this.setAside(handle, options);
    }
    return handles;
  }

  /**
   * A file that no record speaks of: a first append that was never acknowledged, one whose record was lost with the power, or another server's chunk, after
   * directories were mixed up. Its bytes may be the last ones there are, and are never deleted here.
   */
  private async setAside(handle: ChunkHandle, options: { lossy: boolean }): Promise<void> {
    const { disk, platform } = this;
    const path = disk.pathOf(handle);
    if (((await platform.disk.sizeOf(path)) ?? 0) === 0) {
      await platform.disk.remove(path);
      platform.logger.info({ handle, path }, 'removed the empty file of a chunk that is not in the index');
      return;
    }
    const aside = await disk.setAside(handle);
    platform.logger.warn(
      { handle, path, aside, ...options },
      'set aside the file of a chunk that is not in the index; it can be deleted once gfs fsck finds all well',
    );
  }

  private async checkOpen(chunk: Chunk, options: { lossy: boolean; hasFile: boolean }): Promise<void> {
    const { disk } = this;
    const recorded = chunk.writtenBytes;
    const size = options.hasFile ? ((await this.platform.disk.sizeOf(disk.pathOf(chunk.handle))) ?? 0) : 0;
    if (size > recorded) {
      await disk.files.use(chunk.handle, { create: false }, file => file.truncate(recorded));
      this.platform.logger.info({ handle: chunk.handle, from: size, to: recorded }, 'cut a torn append off');
    }
    if (!options.lossy && chunk.syncedBytes >= recorded && size >= recorded) return;
    if (!options.lossy && size >= recorded && (await this.isDamagedInside(chunk))) {
      this.store.markCorrupt(chunk, 'a block does not match its checksum, and later ones do');
      return;
    }
    const verified = await this.verifiedLength(chunk, Math.min(size, recorded));
    // The index is complete, which does not show that the file is: where a file system was cut off, the last sync of another chunk may have brought
    // the record of this one to the disk, and nothing its bytes. When they match, only the process was gone.
    if (!options.lossy && verified === recorded) return;
    if (verified < recorded || !chunk.suspect) {
      this.platform.logger.warn(
        { handle: chunk.handle, version: chunk.version, recorded, verified, lossy: options.lossy },
        'an open chunk may have lost bytes: it is suspect',
      );
    }
    disk.usedBytes -= recorded - verified;
    chunk.suspect = true;
    chunk.setLength(verified);
    await this.store.commit(chunk, { sync: true });
    if (size > verified) await disk.files.use(chunk.handle, { create: false }, file => file.truncate(verified));
  }

  /**
   * Whether a block is bad that has a good one behind it. Where only the process was gone that is damage, and no lost end: cut there, the chunk would lose
   * what may be the last good copy of the blocks behind (I8).
   */
  private async isDamagedInside(chunk: Chunk): Promise<boolean> {
    let hasBad = false;
    const first = Math.floor(chunk.syncedBytes / BLOCK) * BLOCK;
    for (let start = first; start < chunk.writtenBytes; start += BLOCK) {
      const isGood = await this.isWholeBlock(chunk, start, chunk.writtenBytes);
      if (isGood && hasBad) return true;
      hasBad ||= !isGood;
    }
    return false;
  }

  /** How far the file matches its checksums, cut down to the end of an append. What was synced before is not doubted beyond its size. */
  private async verifiedLength(chunk: Chunk, size: number): Promise<number> {
    const trusted = Math.min(chunk.syncedBytes, size);
    let good = trusted;
    let cut = false;
    for (let start = Math.floor(trusted / BLOCK) * BLOCK; start < size && !cut; start += BLOCK) {
      if (await this.isWholeBlock(chunk, start, size)) good = Math.min(chunk.writtenBytes, start + BLOCK);
      else cut = true;
    }
    if (good === chunk.writtenBytes) return good;
    let boundary = Math.max(trusted, await this.lastAppendEnd(chunk, good));
    // A new checksum is made only of bytes that matched the old one: otherwise it would vouch for bits that flipped.
    while (!(await this.isSoundTo(chunk, boundary, size)))
      boundary = await this.lastAppendEnd(chunk, Math.floor(boundary / BLOCK) * BLOCK);
    await this.recomputeLastBlock(chunk, boundary);
    return boundary;
  }

  /** Whether the last block that `lengthBytes` begin is as it was written: all of it, or what was synced of it. */
  private async isSoundTo(chunk: Chunk, lengthBytes: number, size: number): Promise<boolean> {
    const start = Math.floor(lengthBytes / BLOCK) * BLOCK;
    if (start === lengthBytes) return true;
    if (await this.isWholeBlock(chunk, start, size)) return true;
    if (lengthBytes !== chunk.syncedBytes) return false;
    const bytes = await this.readBlock(chunk, start, lengthBytes - start);
    // Records of before this checksum was kept say nothing of it.
    return bytes.length === lengthBytes - start && (chunk.syncedCrc === undefined || crc32(bytes) === chunk.syncedCrc);
  }

  /** Whether all that is recorded of the block at `start` is in the file, whose first `size` bytes count, as it was written. */
  private async isWholeBlock(chunk: Chunk, start: number, size: number): Promise<boolean> {
    const recordedEnd = Math.min(chunk.writtenBytes, start + BLOCK);
    const bytes = await this.readBlock(chunk, start, Math.min(recordedEnd, size) - start);
    return bytes.length === recordedEnd - start && crc32(bytes) === this.store.checksums.get(chunk, start / BLOCK);
  }

  private async lastAppendEnd(chunk: Chunk, lengthBytes: number): Promise<number> {
    let last = 0;
    for (const [, row] of await this.disk.index.writers(chunk.handle)) {
      for (const entry of row.appends) {
        const end = entry.offset + entry.lengthBytes;
        if (end <= lengthBytes) last = Math.max(last, end);
      }
    }
    return last;
  }

  private async recomputeLastBlock(chunk: Chunk, lengthBytes: number): Promise<void> {
    const start = Math.floor(lengthBytes / BLOCK) * BLOCK;
    if (start === lengthBytes) return;
    const bytes = await this.readBlock(chunk, start, lengthBytes - start);
    this.store.checksums.set(chunk, start / BLOCK, crc32(bytes));
  }

  private readBlock(chunk: Chunk, start: number, lengthBytes: number): Promise<Buffer> {
    return this.disk.files.use(chunk.handle, { create: false }, file => file.read(lengthBytes, start));
  }

  private async each(chunks: Chunk[], work: (chunk: Chunk) => Promise<void>): Promise<void> {
    const worker = async (): Promise<void> => {
      for (let chunk = chunks.pop(); chunk; chunk = chunks.pop()) await work(chunk);
    };
    await Promise.all(Array.from({ length: BOUNDS.startChecksMax }, worker));
  }
}
