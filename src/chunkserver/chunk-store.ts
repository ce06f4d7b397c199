// All chunks of this server, over all its disks: which are here, where a new one goes, what the disk is known to hold of each, and what the
// master has yet to hear. The table is in memory as a whole, about 400 bytes a chunk; bytes, checksums and writers stay in files and index.
import { assert } from '../lib/assert.js';
import type { KvOp } from '../lib/kv.js';
import type { Platform } from '../lib/platform.js';
import { asGfsError, GfsError } from '../protocol/errors.js';
import type { ChunkHandle } from '../protocol/ids.js';
import { LIMITS } from '../protocol/limits.js';
import type { WireChunkReport, WireSpace } from '../protocol/messages.js';
import { AppendQueue } from './append-queue.js';
import { BlockChecksums } from './block-checksums.js';
import { Chunk } from './chunk.js';
import type { Tombstone } from './chunk-record.js';
import type { DataDirectory } from './data-directory.js';
import { FileSync } from './file-sync.js';
import { ForwardGate } from './forward-gate.js';
import { BOUNDS, type ChunkserverSettings } from './settings.js';
import { VerifiedReader } from './verified-reader.js';
import { WriteBack } from './write-back.js';
import { WriterTable } from './writer-table.js';

export class ChunkStore {
  readonly checksums = new BlockChecksums();
  readonly reader = new VerifiedReader(this.checksums, (chunk, reason) => this.markCorrupt(chunk, reason));
  private readonly chunks = new Map<ChunkHandle, Chunk>();
  /** Records of chunks that are not here. INVARIANT: exactly those in `chunks` with a tombstone. */
  private readonly tombstones = new Set<Chunk>();
  /** Chunks with a queue, which take or lately took appends. */
  private readonly active = new Set<Chunk>();
  /** What the master has not heard of. Values are read when they are sent. */
  private readonly changed = new Map<ChunkHandle, Chunk>();
  private readonly syncs = new Map<Chunk, Promise<void>>();
  private readonly fileSync: FileSync;
  private readonly writeBack: WriteBack;
  /** Chunks that were read since the last heartbeat. */
  private readonly read = new Set<Chunk>();

  constructor(
    private readonly platform: Platform,
    private readonly settings: ChunkserverSettings,
    readonly disks: readonly DataDirectory[],
  ) {
    this.fileSync = new FileSync(platform, settings.carried, this.checksums, chunk => this.noteChange(chunk));
    this.writeBack = new WriteBack(this.fileSync, platform.logger);
    for (const disk of disks) {
      disk.onFailure = () => this.onDiskFailure(disk);
      disk.onSyncLost = (handle, error) => {
        const chunk = this.chunks.get(handle);
        if (chunk) void this.fileSync.fail(chunk, error);
      };
    }
  }

  // ---- the table

  /** The record of this chunk, a tombstone included. */
  get(handle: ChunkHandle): Chunk | undefined {
    return this.chunks.get(handle);
  }

  /** The replica, if there is one. */
  existing(handle: ChunkHandle): Chunk | undefined {
    const chunk = this.chunks.get(handle);
    return chunk?.exists ? chunk : undefined;
  }

  /** How many replicas are here. */
  get count(): number {
    return this.chunks.size - this.tombstones.size;
  }

  all(): IterableIterator<Chunk> {
    return this.chunks.values();
  }

  /** A chunk that a start found in the index. */
  adopt(chunk: Chunk): void {
    this.chunks.set(chunk.handle, chunk);
    if (chunk.tombstone) this.tombstones.add(chunk);
    chunk.disk.usedBytes += chunk.writtenBytes;
  }

  /** The record is not this server's any more; its bytes are the caller's business. */
  disown(chunk: Chunk): void {
    if (this.chunks.get(chunk.handle) === chunk) {
      this.chunks.delete(chunk.handle);
      this.tombstones.delete(chunk);
      chunk.disk.usedBytes -= chunk.writtenBytes;
    }
    chunk.gone = true;
  }

  /** A record for a chunk that has none here, on the disk with the most room. Nothing is written yet. Throws NO_SPACE or DISK_FAILED when no disk takes it. */
  create(handle: ChunkHandle, epoch: number): Chunk {
    assert(!this.chunks.has(handle), 'a chunk comes into being once');
    let best: DataDirectory | undefined;
    for (const disk of this.disks) {
      if (!disk.failure && (!best || disk.space.freeBytes > best.space.freeBytes)) best = disk;
    }
    if (!best) {
      if (this.disks.some(disk => disk.isFull)) throw new GfsError('NO_SPACE', 'the disks of this server are full');
      throw new GfsError('DISK_FAILED', 'no data directory of this server works');
    }
    const chunk = new Chunk(handle, best);
    chunk.createdEpoch = epoch;
    this.chunks.set(handle, chunk);
    return chunk;
  }

  /** Whether the disk of `chunk` has room for `lengthBytes` besides what it keeps free. */
  hasRoom(chunk: Chunk, lengthBytes: number): boolean {
    return chunk.disk.space.freeBytes - lengthBytes >= this.settings.reserve;
  }

  // ---- appending

  /** Makes ready to take appends: a queue, and the writers as far as they are needed. */
  activate(chunk: Chunk, options: { isNew: boolean }): AppendQueue {
    chunk.lastUseMs = this.platform.clock.monotonicMs();
    chunk.queue ??= new AppendQueue(chunk, this.platform.clock, this.checksums, this.writeBack);
    chunk.gate ??= new ForwardGate(this.platform.clock);
    chunk.writers ??= new WriterTable(writer => chunk.disk.index.writer(chunk.handle, writer), options.isNew);
    this.active.add(chunk);
    return chunk.queue;
  }

  /** All writers of the chunk in memory, as its primary needs them. Requires an idle queue. */
  async loadWriters(chunk: Chunk): Promise<void> {
    if (chunk.writers?.complete) return;
    const rows = await chunk.disk.index.writers(chunk.handle);
    if (chunk.writers?.complete || !chunk.isIdle) return;
    const load = (writer: string) => chunk.disk.index.writer(chunk.handle, writer);
    chunk.writers = new WriterTable(load, true, rows);
    chunk.writers.cutAt(chunk.writtenBytes);
  }

  /** Forgets what only chunks that take appends need, of those that do not. */
  deactivateIdle(): void {
    const idleSince = this.platform.clock.monotonicMs() - BOUNDS.activeIdleMs;
    for (const chunk of this.active) {
      const isOver = chunk.state !== 'open' || chunk.gone;
      if (!chunk.isIdle || (!isOver && chunk.lastUseMs > idleSince)) continue;
      chunk.queue = undefined;
      chunk.gate = undefined;
      chunk.writers = undefined;
      this.active.delete(chunk);
    }
  }

  /** Doubts again what an earlier server of this process could not write down. */
  async distrustAgain(): Promise<void> {
    const { carried } = this.settings;
    for (const handle of carried?.distrusted ?? []) {
      const chunk = this.chunks.get(handle);
      if (chunk?.exists) await this.fileSync.distrust(chunk);
    }
  }

  // ---- the disk

  /** Records the chunk as it is, on the disk when `sync`. Throws STORE_FAILED, DISK_FAILED or NO_SPACE when its disk takes nothing any more or a sync of it has failed. */
  async commit(chunk: Chunk, options: { sync: boolean; ops?: readonly KvOp[] }): Promise<void> {
    if (chunk.failure) throw chunk.failure;
    await chunk.disk.commits.commit(chunk, options);
  }

  /**
   * Everything up to `lengthBytes`, which must be recorded, and its record are on the disk afterwards. Throws DISK_FAILED when they are not:
   * then nobody knows what the disk has, and it takes no more writes (a second fsync would claim success).
   */
  async sync(chunk: Chunk, lengthBytes: number): Promise<void> {
    if (chunk.failure) throw chunk.failure;
    while (chunk.durableBytes < lengthBytes && !chunk.gone) {
      let running = this.syncs.get(chunk);
      if (!running) {
        running = this.syncNow(chunk).finally(() => this.syncs.delete(chunk));
        this.syncs.set(chunk, running);
      }
      await running;
      if (chunk.failure) throw chunk.failure;
      if (chunk.writtenBytes < lengthBytes)
        throw new GfsError('NO_CHUNK', 'the replica has less than was to be synced');
    }
  }

  /** All written bytes are on the disk, and then the record as `change` leaves it. Rejects as `sync`. Requires an idle queue. */
  async settle(chunk: Chunk, change: () => void): Promise<void> {
    const { writtenBytes, cuts } = chunk;
    if (chunk.durableBytes < writtenBytes) await this.fileSync.run(chunk);
    change();
    await this.commit(chunk, { sync: true });
    if (chunk.failure) throw chunk.failure;
    if (chunk.cuts === cuts) chunk.durableBytes = Math.max(chunk.durableBytes, writtenBytes);
  }

  private async syncNow(chunk: Chunk): Promise<void> {
    const { writtenBytes, cuts } = chunk;
    await this.fileSync.run(chunk);
    await this.commit(chunk, { sync: true });
    if (chunk.cuts === cuts) chunk.durableBytes = Math.max(chunk.durableBytes, writtenBytes);
  }

  /**
   * Takes everything beyond `lengthBytes` away, durably: the record first, then the file, so that a crash between them leaves a torn tail for the
   * next start to cut. `change` is made in the same turn as the length. Requires an idle queue. Throws CORRUPT when the last block is bad.
   */
  async cut(chunk: Chunk, lengthBytes: number, change: () => void): Promise<void> {
    const start = Math.floor(lengthBytes / LIMITS.blockBytes) * LIMITS.blockBytes;
    const isLonger = chunk.writtenBytes > lengthBytes;
    const last =
      isLonger && start < lengthBytes ? await this.reader.read(chunk, start, lengthBytes - start) : undefined;
    assert(chunk.isIdle, 'a chunk is cut when no append is in work');
    if (last) this.checksums.set(chunk, start / LIMITS.blockBytes, last.crc);
    if (isLonger) {
      chunk.disk.usedBytes -= chunk.writtenBytes - lengthBytes;
      chunk.writers?.cutAt(lengthBytes);
      chunk.setLength(lengthBytes);
    }
    change();
    await this.commit(chunk, { sync: true });
    await this.trimFile(chunk);
  }

  /** Cuts off what a failed or torn write left in the file behind the recorded bytes. */
  async trimFile(chunk: Chunk): Promise<void> {
    const size = (await this.platform.disk.sizeOf(chunk.disk.pathOf(chunk.handle))) ?? 0;
    if (size <= chunk.writtenBytes || !chunk.isIdle) return;
    await chunk.disk.files.use(chunk.handle, { create: false }, file => file.truncate(chunk.writtenBytes));
  }

  /** Removes bytes, checksums and writers; `tombstone` keeps a record that there is no such chunk. Requires an idle queue. */
  async remove(chunk: Chunk, { tombstone }: { tombstone?: Tombstone }): Promise<void> {
    assert(chunk.isIdle, 'a chunk is removed when no append is in work');
    const hadBytes = chunk.writtenBytes;
    const ops = await chunk.disk.index.removalOps(chunk.handle);
    this.checksums.forget(chunk);
    chunk.writers = undefined;
    chunk.queue = undefined;
    chunk.setLength(0);
    chunk.disk.usedBytes -= hadBytes;
    // With the length, as one step: whoever looks between two awaits sees a chunk or a tombstone.
    if (tombstone) this.bury(chunk, tombstone);
    else {
      chunk.gone = true;
      this.chunks.delete(chunk.handle);
    }
    await this.commit(chunk, { sync: true, ops });
    await chunk.disk.files.drop(chunk.handle, { discard: true });
    await this.platform.disk.remove(chunk.disk.pathOf(chunk.handle));
    this.noteChange(chunk);
  }

  /** There is no such chunk here: `tombstone` says since when. */
  bury(chunk: Chunk, tombstone: Tombstone): void {
    chunk.tombstone = tombstone;
    this.tombstones.add(chunk);
  }

  /** The chunk comes to be here after all, by a copy or as an empty sealed one. */
  unbury(chunk: Chunk): void {
    chunk.tombstone = undefined;
    this.tombstones.delete(chunk);
  }

  /** Drops tombstones that nothing can need any more: made before `keyIdMin`, the oldest token key, and long ago. */
  async dropTombstones(keyIdMin: number, masterNowMs: number): Promise<void> {
    for (const chunk of this.tombstones) {
      const { tombstone } = chunk;
      if (!tombstone || tombstone.keyId >= keyIdMin || masterNowMs - tombstone.atMs < BOUNDS.tombstoneMs) continue;
      if (chunk.failure) continue;
      chunk.gone = true;
      this.chunks.delete(chunk.handle);
      this.tombstones.delete(chunk);
      await this.commit(chunk, { sync: false });
    }
  }

  // ---- what the master hears

  noteChange(chunk: Chunk): void {
    this.changed.set(chunk.handle, chunk);
  }

  /** Takes up to `countMax` changes; give them back with noteChange when the master did not answer. */
  takeChanges(countMax: number): Chunk[] {
    const taken: Chunk[] = [];
    for (const chunk of this.changed.values()) {
      if (taken.length >= countMax) break;
      taken.push(chunk);
    }
    for (const chunk of taken) this.changed.delete(chunk.handle);
    return taken;
  }

  /** One page of all replicas, behind `from` in `handles`. */
  reportOf(handles: readonly ChunkHandle[]): WireChunkReport[] {
    const reports: WireChunkReport[] = [];
    for (const handle of handles) {
      const chunk = this.existing(handle);
      if (chunk) reports.push(chunk.report());
    }
    return reports;
  }

  markCorrupt(chunk: Chunk, reason: string): void {
    if (chunk.corrupt || chunk.gone) return;
    chunk.corrupt = true;
    chunk.brokenVersion = chunk.version;
    this.platform.logger.error(
      { handle: chunk.handle, path: chunk.disk.pathOf(chunk.handle), reason },
      'a replica is corrupt: it is not read any more',
    );
    this.noteChange(chunk);
    this.commit(chunk, { sync: false }).catch(error => {
      const { code, message } = asGfsError(error);
      this.platform.logger.warn({ handle: chunk.handle, code, reason: message }, 'corruption could not be recorded');
    });
  }

  countRead(chunk: Chunk): void {
    chunk.reads++;
    this.read.add(chunk);
  }

  /** The most read chunks since the last call. */
  takeReads(): Array<{ handle: ChunkHandle; reads: number }> {
    const reads = [...this.read].map(({ handle, reads }) => ({ handle, reads }));
    for (const chunk of this.read) chunk.reads = 0;
    this.read.clear();
    reads.sort((a, b) => b.reads - a.reads || a.handle - b.handle);
    return reads.slice(0, BOUNDS.readsReportedMax);
  }

  async space(): Promise<WireSpace> {
    await Promise.all(this.disks.map(disk => disk.refreshSpace()));
    const space = { capacityBytes: 0, usedBytes: 0, freeBytes: 0, chunks: this.count };
    const disks: NonNullable<WireSpace['disks']> = [];
    for (const disk of this.disks) {
      if (disk.failure && !disk.isFull) continue;
      const { capacityBytes, fileSystem } = disk.space;
      const freeBytes = disk.isFull ? 0 : Math.max(0, disk.space.freeBytes - this.settings.reserve);
      space.usedBytes += disk.usedBytes;
      // Directories on one file system share its room.
      if (disks.some(other => other.fileSystem === fileSystem)) continue;
      space.capacityBytes += capacityBytes;
      space.freeBytes += freeBytes;
      disks.push({ fileSystem, capacityBytes, freeBytes });
    }
    return { ...space, disks };
  }

  /** Waits for writes in work and syncs what is not synced, until `deadlineMs`; false when something is left. */
  async syncAll(deadlineMs: number): Promise<boolean> {
    const { clock } = this.platform;
    let complete = true;
    const isDue = (chunk: Chunk): boolean => chunk.exists && !chunk.failure && chunk.syncedBytes < chunk.endBytes;
    const work = [...this.chunks.values()].filter(isDue);
    const worker = async (): Promise<void> => {
      for (let chunk = work.pop(); chunk; chunk = work.pop()) {
        if (clock.monotonicMs() > deadlineMs) {
          complete = false;
          return;
        }
        await chunk.queue?.idle();
        try {
          if (chunk.exists) await this.sync(chunk, chunk.recordedBytes);
        } catch (error) {
          complete = false;
          const { code, message } = asGfsError(error);
          this.platform.logger.warn({ handle: chunk.handle, code, reason: message }, 'a chunk could not be synced');
        }
      }
    };
    await Promise.all(Array.from({ length: BOUNDS.startChecksMax }, worker));
    return complete && this.disks.every(disk => !disk.failure);
  }

  checkInvariants(): void {
    for (const [handle, chunk] of this.chunks) {
      assert(chunk.handle === handle, 'a chunk stands under its handle');
      assert(!chunk.gone, 'a deleted chunk is not in the table');
      assert(this.tombstones.has(chunk) === (chunk.tombstone !== undefined), 'every tombstone is known as one');
      chunk.checkInvariants();
    }
  }

  private onDiskFailure(disk: DataDirectory): void {
    // What is on a full one stands as it is, and nothing is added.
    if (disk.isFull) return;
    for (const chunk of this.chunks.values()) {
      if (chunk.disk !== disk) continue;
      chunk.brokenVersion = chunk.version;
      this.noteChange(chunk);
    }
  }
}
