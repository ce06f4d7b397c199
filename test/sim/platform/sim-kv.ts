// Kv as one process sees it: latencies, group commit and faults around a SimKvStore. Batches apply in the order of the calls;
// when the process ends, some of the waiting ones, in that order, have been applied.
import { assert } from '../../../src/lib/assert.js';
import type { Kv, KvOp, KvRange, KvStores } from '../../../src/lib/kv.js';
import type { SimDiskStore } from './sim-disk-store.js';
import type { SimKvData, SimKvStore } from './sim-kv-store.js';
import { errnoError, type SimProcess } from './sim-process.js';
import type { SimRandom } from './sim-random.js';

const BATCH_MS = [0.02, 0.2] as const;
const SYNC_MS = [0.5, 8] as const;
const SCAN_MS = [0.02, 0.3] as const;
const OPEN_MS = [1, 20] as const;
/** Now and then a compaction holds a batch up. */
const STALL_CHANCE = 0.002;
const STALL_MS_MAX = 100;
/** On a full disk, that a batch does not fit into what the file has of its last block. */
const NO_FIT_CHANCE = 0.5;

interface WaitingBatch {
  ops: readonly KvOp[];
  isSync: boolean;
  resolve: () => void;
  reject: (error: Error) => void;
}

export class SimKvStores implements KvStores {
  readonly process: SimProcess;
  readonly store: SimKvStore;
  readonly random: SimRandom;
  readonly #disk: SimDiskStore;
  readonly #open = new Set<string>();

  constructor(process: SimProcess, store: SimKvStore, disk: SimDiskStore) {
    this.process = process;
    this.store = store;
    this.#disk = disk;
    this.random = process.simulator.random(`${process.name}/kv`);
  }

  open(path: string, options: { create: boolean }): Promise<Kv> {
    return this.process.after(this.latencyMs(OPEN_MS), () => {
      if (this.#open.has(path)) throw errnoError('EBUSY', `the store in ${path} is in use`);
      // As LevelDB, which writes its log into a table then.
      if (this.isFull(path)) throw errnoError('ENOSPC', `the store in ${path}`);
      const data = this.store.get(path) ?? (options.create ? this.store.create(path) : undefined);
      if (data === undefined) throw errnoError('ENOENT', `there is no store in ${path}`);
      if (data.isDamaged || this.random.chance(this.store.faults.openErrorRate)) {
        throw errnoError('EIO', `the store in ${path} is damaged`);
      }
      this.#open.add(path);
      return new SimKv(this, data, path, () => this.#open.delete(path));
    });
  }

  // For SimKv.

  /** Whether the disk that the store is on takes nothing more. */
  isFull(path: string): boolean {
    return this.#disk.faultsOf(path).isFull;
  }

  latencyMs([low, high]: readonly [number, number]): number {
    const stallMs = this.random.chance(STALL_CHANCE) ? this.random.between(0, STALL_MS_MAX) : 0;
    return (this.random.between(low, high) + stallMs) * this.store.faults.slowFactor;
  }
}

class SimKv implements Kv {
  readonly #stores: SimKvStores;
  readonly #data: SimKvData;
  readonly #path: string;
  readonly #onClose: () => void;
  #waiting: WaitingBatch[] = [];
  #isWriting = false;
  #isClosed = false;
  /** What all batches are refused with since one failed. */
  #failure: Error | undefined;

  constructor(stores: SimKvStores, data: SimKvData, path: string, onClose: () => void) {
    this.#stores = stores;
    this.#data = data;
    this.#path = path;
    this.#onClose = onClose;
    stores.process.onEnd(() => this.#onProcessEnd());
  }

  getSync(key: Buffer): Buffer | undefined {
    assert(!this.#isClosed, 'a store is read while it is open');
    const value = this.#data.entries.get(key.toString('latin1'));
    return value === undefined ? undefined : Buffer.from(value);
  }

  batch(ops: readonly KvOp[], options: { sync: boolean }): Promise<void> {
    if (this.#isClosed) return Promise.reject(errnoError('EBADF', `the store in ${this.#path} is closed`));
    if (this.#failure) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ ops: ops.map(copyOf), isSync: options.sync, resolve, reject });
      this.#writeNext();
    });
  }

  scan(range: KvRange): Promise<Array<[Buffer, Buffer]>> {
    assert(range.limit >= 1, 'a scan has a limit');
    return this.#stores.process.after(this.#stores.latencyMs(SCAN_MS), () => {
      if (this.#isClosed) throw errnoError('EBADF', `the store in ${this.#path} is closed`);
      const { entries } = this.#data;
      const keys = entries.range(
        range.gte.toString('latin1'),
        range.lt.toString('latin1'),
        range.limit,
        range.reverse === true,
      );
      return keys.map(key => [Buffer.from(key, 'latin1'), Buffer.from(entries.get(key)!)] as [Buffer, Buffer]);
    });
  }

  /** Waits for the batches that were begun. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    if (this.#waiting.length > 0) await Promise.allSettled([this.batch([], { sync: false })]);
    this.#isClosed = true;
    this.#onClose();
  }

  /** All that waits goes together; with one sync, when there is a sync batch among them. */
  #writeNext(): void {
    if (this.#isWriting || this.#waiting.length === 0) return;
    this.#isWriting = true;
    const group = this.#waiting.slice();
    const isSync = group.some(batch => batch.isSync);
    this.#stores.process.schedule(this.#stores.latencyMs(isSync ? SYNC_MS : BATCH_MS), () => {
      this.#isWriting = false;
      this.#waiting = this.#waiting.slice(group.length);
      this.#finish(group, isSync);
      this.#writeNext();
    });
  }

  #finish(group: readonly WaitingBatch[], isSync: boolean): void {
    const { random, store, process } = this.#stores;
    if (!this.#failure && this.#stores.isFull(this.#path) && random.chance(NO_FIT_CHANCE)) {
      // The group is one record of the log, and a torn one counts for nothing.
      process.simulator.fault('kv-ENOSPC', `${process.host}:${this.#path} batch`);
      this.#failure = errnoError('ENOSPC', `batch in ${this.#path}`);
    }
    if (!this.#failure && random.chance(store.faults.batchErrorRate)) {
      process.simulator.fault('kv-EIO', `${process.host}:${this.#path} batch`);
      this.#applySome(group);
      this.#failure = errnoError('EIO', `batch in ${this.#path}`);
    }
    if (this.#failure) {
      for (const batch of group) batch.reject(this.#failure);
      return;
    }
    for (const batch of group) this.#data.apply(batch.ops);
    if (isSync) this.#data.sync();
    for (const batch of group) batch.resolve();
  }

  #onProcessEnd(): void {
    if (!this.#failure && !this.#isClosed) this.#applySome(this.#waiting);
    this.#waiting = [];
  }

  #applySome(batches: readonly WaitingBatch[]): void {
    if (batches.length === 0) return;
    const count = this.#stores.random.int(batches.length + 1);
    for (const batch of batches.slice(0, count)) this.#data.apply(batch.ops);
  }
}

function copyOf(op: KvOp): KvOp {
  if (op.type === 'del') return { type: 'del', key: Buffer.from(op.key) };
  return { type: 'put', key: Buffer.from(op.key), value: Buffer.from(op.value) };
}
