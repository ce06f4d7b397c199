// Disk as one process sees it: latencies and faults around a SimDiskStore. An operation takes effect at one moment, when its latency is over;
// when the process ends before, a write may have happened in part, a change of a name whole or not at all.
import { dirname } from 'node:path/posix';
import { assert } from '../../../src/lib/assert.js';
import type { Disk, DiskFile, DiskSpace } from '../../../src/lib/disk.js';
import type { DiskFaults, SimDiskStore } from './sim-disk-store.js';
import type { SimFile } from './sim-file.js';
import { errnoError, type SimProcess } from './sim-process.js';
import type { SimRandom } from './sim-random.js';

/** Bounds of each kind's latency, in milliseconds. */
const LATENCY = { read: [0.03, 0.3], write: [0.02, 0.2], sync: [0.5, 8], name: [0.02, 0.3] } as const;
type OperationKind = keyof typeof LATENCY;
/** Now and then a disk is busy with something else. */
const STALL_CHANCE = 0.002;
const STALL_MS_MAX = 200;
const SMALL_FILE_BYTES_MAX = 1024 * 1024;

export class SimDisk implements Disk {
  readonly process: SimProcess;
  readonly store: SimDiskStore;
  readonly random: SimRandom;
  /** What the operating system was asked to change and has not yet; called when the process ends first. */
  readonly #pending = new Set<() => void>();

  constructor(process: SimProcess, store: SimDiskStore) {
    this.process = process;
    this.store = store;
    this.random = process.simulator.random(`${process.name}/disk`);
    process.onEnd(() => {
      for (const leave of this.#pending) leave();
    });
  }

  open(path: string, options: { create?: boolean } = {}): Promise<DiskFile> {
    return this.change('name', path, () => {
      let file = this.store.file(path);
      if (file === undefined && options.create !== true) throw errnoError('ENOENT', path);
      if (file === undefined) {
        this.#requireRoom(path);
        file = this.store.create(path);
      }
      return new SimDiskFile(this, path, file);
    });
  }

  makeDirectory(path: string): Promise<void> {
    return this.change('name', path, () => this.store.makeDirectory(path));
  }

  syncDirectory(path: string): Promise<void> {
    return this.query('sync', path, faults => {
      if (this.random.chance(faults.syncErrorRate)) throw this.failure('EIO', 'sync of directory', path);
      this.store.syncDirectory(path);
    });
  }

  list(path: string): Promise<string[]> {
    return this.query('read', path, () => this.store.list(path));
  }

  sizeOf(path: string): Promise<number | undefined> {
    return this.query('read', path, () => this.store.file(path)?.sizeBytes);
  }

  rename(from: string, to: string): Promise<void> {
    return this.change('name', from, () => this.store.rename(from, to));
  }

  remove(path: string): Promise<void> {
    return this.change('name', path, () => this.store.remove(path));
  }

  space(path: string): Promise<DiskSpace> {
    return this.query('read', path, faults => ({
      capacityBytes: this.store.capacityBytes,
      freeBytes: faults.isFull ? 0 : this.store.freeBytesOf(path),
      fileSystem: `${this.process.host}${this.store.topOf(path)}`,
    }));
  }

  readSmall(path: string): Promise<Buffer | undefined> {
    return this.query('read', path, faults => {
      if (this.random.chance(faults.readErrorRate)) throw this.failure('EIO', 'read', path);
      const file = this.store.file(path);
      if (file !== undefined && file.sizeBytes > SMALL_FILE_BYTES_MAX) throw errnoError('EFBIG', path);
      return file?.read(file.sizeBytes, 0);
    });
  }

  async writeSmall(path: string, content: Buffer): Promise<void> {
    assert(content.length <= SMALL_FILE_BYTES_MAX, 'a small file is small');
    const temporary = `${path}.tmp`;
    await this.remove(temporary);
    const file = await this.open(temporary, { create: true });
    await file.write([content], 0);
    await file.sync();
    await file.close();
    await this.rename(temporary, path);
    await this.syncDirectory(dirname(path));
  }

  // For SimDiskFile.

  /** An operation that leaves no trace when the process ends before it is done. */
  query<T>(kind: OperationKind, path: string, work: (faults: DiskFaults) => T): Promise<T> {
    return this.process.after(this.#latencyMs(kind, path), () => work(this.store.faultsOf(path)));
  }

  /** An operation that may happen also when the process ends first: `workAtEnd` then does what of it is done, `work` by an even chance without one. */
  change<T>(kind: OperationKind, path: string, work: (faults: DiskFaults) => T, workAtEnd?: () => void): Promise<T> {
    const leave = (): void => {
      if (workAtEnd !== undefined) workAtEnd();
      else if (this.random.chance(0.5)) this.#attempt(path, work);
    };
    if (this.process.isAlive) this.#pending.add(leave);
    return this.query(kind, path, faults => {
      this.#pending.delete(leave);
      return work(faults);
    });
  }

  failure(code: string, operation: string, path: string): Error {
    this.process.simulator.fault(`disk-${code}`, `${this.process.host}:${path} ${operation}`);
    return errnoError(code, `${operation} of ${path}`);
  }

  #attempt(path: string, work: (faults: DiskFaults) => unknown): void {
    try {
      work(this.store.faultsOf(path));
    } catch (error) {
      // Nobody is left to hear of the failure.
      this.process.simulator.trace(`${this.process.name} ended in a failing disk operation: ${String(error)}`);
    }
  }

  #requireRoom(path: string): void {
    if (this.store.faultsOf(path).isFull) throw this.failure('ENOSPC', 'create', path);
  }

  #latencyMs(kind: OperationKind, path: string): number {
    const [low, high] = LATENCY[kind];
    const stallMs = this.random.chance(STALL_CHANCE) ? this.random.between(0, STALL_MS_MAX) : 0;
    return (this.random.between(low, high) + stallMs) * this.store.faultsOf(path).slowFactor;
  }
}

class SimDiskFile implements DiskFile {
  readonly #disk: SimDisk;
  readonly #path: string;
  readonly #file: SimFile;
  #isClosed = false;

  constructor(disk: SimDisk, path: string, file: SimFile) {
    this.#disk = disk;
    this.#path = path;
    this.#file = file;
  }

  async write(buffers: readonly Buffer[], position: number): Promise<void> {
    this.#requireOpen();
    // The copy is made now: what the caller does to its buffers later must not be written.
    const bytes = Buffer.concat(buffers);
    const work = (faults: DiskFaults): void => {
      if (this.#disk.random.chance(faults.writeErrorRate)) {
        this.#put(position, this.#part(bytes));
        throw this.#disk.failure('EIO', 'write', this.#path);
      }
      const growthBytes = Math.max(0, position + bytes.length - this.#file.sizeBytes);
      const missingBytes = faults.isFull ? growthBytes : growthBytes - this.#disk.store.freeBytes;
      if (growthBytes > 0 && missingBytes > 0) {
        this.#put(position, bytes.subarray(0, Math.max(0, bytes.length - missingBytes)));
        throw this.#disk.failure('ENOSPC', 'write', this.#path);
      }
      this.#put(position, bytes);
    };
    const workAtEnd = (): void => {
      if (this.#disk.random.chance(0.7)) this.#put(position, this.#part(bytes));
    };
    await this.#disk.change('write', this.#path, work, workAtEnd);
  }

  async read(length: number, position: number): Promise<Buffer> {
    this.#requireOpen();
    return this.#disk.query('read', this.#path, faults => {
      if (this.#disk.random.chance(faults.readErrorRate)) throw this.#disk.failure('EIO', 'read', this.#path);
      return this.#file.read(length, position);
    });
  }

  async truncate(sizeBytes: number): Promise<void> {
    this.#requireOpen();
    await this.#disk.change('name', this.#path, () => {
      this.#resize(() => this.#file.truncate(sizeBytes));
    });
  }

  async sync(): Promise<void> {
    this.#requireOpen();
    await this.#disk.query('sync', this.#path, faults => {
      const isNext = faults.syncErrorsLeft > 0;
      if (isNext) faults.syncErrorsLeft--;
      if (isNext || this.#disk.random.chance(faults.syncErrorRate)) {
        this.#file.failSync(this.#disk.random);
        throw this.#disk.failure('EIO', 'sync', this.#path);
      }
      this.#file.sync();
    });
  }

  async size(): Promise<number> {
    this.#requireOpen();
    return this.#disk.query('read', this.#path, () => this.#file.sizeBytes);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }

  #put(position: number, bytes: Buffer): void {
    this.#resize(() => this.#file.write(position, bytes));
  }

  /** A random first part, by a chance all. */
  #part(bytes: Buffer): Buffer {
    return bytes.subarray(0, this.#disk.random.int(bytes.length + 1));
  }

  #resize(work: () => void): void {
    const before = this.#file.sizeBytes;
    work();
    // A removed file that is still open is counted no more, as if its space were free at once.
    if (this.#disk.store.file(this.#path) === this.#file) this.#disk.store.accountBytes(this.#file.sizeBytes - before);
  }

  #requireOpen(): void {
    if (this.#isClosed) throw errnoError('EBADF', `${this.#path} is closed`);
  }
}
