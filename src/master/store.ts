// The master's state as synchronous, atomic changes over an ordered store: an overlay of what is not yet on disk, a bounded cache, and group
// commit (DESIGN 5). It keeps I6: `durable` settles only when everything applied before is on disk. It knows no keys and no records.
import { assert } from '../lib/assert.js';
import { type Deferred, deferred } from '../lib/deferred.js';
import type { Kv, KvOp, KvRange, KvStores } from '../lib/kv.js';
import type { Logger } from '../lib/logger.js';
import { GfsError } from '../protocol/errors.js';
import { openError, writeErrors } from './store-errors.js';
import { type Edits, keyText, mergeScan } from './store-scan.js';
import { ValueCache } from './value-cache.js';

/** Anything that point reads can be asked of: the store, or a change in the making. */
export interface Reader {
  /** The value as it stands with every change applied so far, or undefined. The buffer must not be changed. */
  get(key: Buffer): Buffer | undefined;
}

/** A change in the making: sees its own writes; nobody else does before it is whole. */
export interface Change extends Reader {
  put(key: Buffer, value: Buffer): void;
  del(key: Buffer): void;
}

/** A row that stands in every batch. */
export interface BatchRow {
  /** As it is in the batch that leaves now. One batch is on its way at a time. */
  row(): KvOp;
  /** That batch is on the disk. */
  written(): void;
}

export interface StoreOptions {
  /** false: a missing store is refused (WRONG_DATA). */
  create: boolean;
  /** How many values the cache keeps, and of how many bytes. */
  cacheEntriesMax: number;
  cacheBytesMax: number;
  logger: Logger;
  /** Called once, when writing failed for another reason than a full disk: the process should stop. */
  onFailure?: (error: GfsError) => void;
  batchRow?: BatchRow;
}

/** An edit is a value, or undefined for a deletion. */
type Edit = { key: Buffer; value: Buffer | undefined };

export class Store implements Reader {
  readonly #kv: Kv;
  readonly #path: string;
  readonly #logger: Logger;
  readonly #onFailure: (error: GfsError) => void;
  readonly #cache: ValueCache;
  readonly #batchRow: BatchRow | undefined;

  /** Applied, waiting for the next batch. */
  #collecting: Edits = new Map<string, Edit>();
  /** In the batch that is being written. INVARIANT: empty when no batch is being written. */
  #writing: Edits = new Map<string, Edit>();
  /** Settles with the batch that takes what is in #collecting, and the one being written. */
  #nextBatch: Deferred<void> | undefined;
  #currentBatch: Deferred<void> | undefined;
  /** Edits in the range of each scan that is under way. */
  readonly #scans = new Set<{ range: KvRange; edits: Edits }>();
  /** What changes are refused with. */
  #failure: GfsError | undefined;
  /** What those are told whose changes may have been in a batch that failed. */
  #doubt: GfsError | undefined;
  #closing: Promise<void> | undefined;
  #flushing: Promise<void> | undefined;
  #inChange = false;
  #batches = 0;
  #ops = 0;

  private constructor(kv: Kv, path: string, options: StoreOptions) {
    this.#kv = kv;
    this.#path = path;
    this.#logger = options.logger;
    this.#onFailure = options.onFailure ?? (() => undefined);
    this.#batchRow = options.batchRow;
    this.#cache = new ValueCache({ entriesMax: options.cacheEntriesMax, bytesMax: options.cacheBytesMax });
  }

  /** Rejects with WRONG_DATA (none there, or damaged), IN_USE or NO_SPACE. */
  static async open(stores: KvStores, path: string, options: StoreOptions): Promise<Store> {
    try {
      return new Store(await stores.open(path, { create: options.create }), path, options);
    } catch (error) {
      throw openError(path, error, options.create);
    }
  }

  get(key: Buffer): Buffer | undefined {
    const text = keyText(key);
    const edit = this.#collecting.get(text) ?? this.#writing.get(text);
    if (edit !== undefined) return edit.value;
    const cached = this.#cache.get(text);
    if (cached !== undefined) return cached;
    const value = this.#kv.getSync(key);
    if (value !== undefined) this.#cache.set(text, value);
    return value;
  }

  /**
   * Runs `work` and applies all it wrote, or nothing when it throws. Synchronous; `work` must not start another change. It is on disk when a
   * `durable` called afterwards settles. Throws STORE_FAILED after a failed write, NO_SPACE after one that the disk had no room for, STOPPING after close.
   */
  change<T>(work: (change: Change) => T): T {
    this.requireWritable();
    if (this.#closing !== undefined) throw new GfsError('STOPPING');
    assert(!this.#inChange, 'changes do not nest');
    const change = new OpenChange(this);
    this.#inChange = true;
    let result: T;
    try {
      result = work(change);
    } finally {
      change.end();
      this.#inChange = false;
    }
    assert(!(result instanceof Promise), 'a change is synchronous');
    this.#apply(change.edits);
    return result;
  }

  /**
   * Settles when everything applied so far is on disk; at once when it is. Every reply waits for it, also a reply that only shows state.
   * Rejects with STORE_FAILED; with CONNECTION_LOST when the disk had no room: whether the caller's change was made shows when there is some again.
   */
  durable(): Promise<void> {
    if (this.#doubt !== undefined) return Promise.reject(this.#doubt);
    return (this.#nextBatch ?? this.#currentBatch)?.promise ?? Promise.resolve();
  }

  /**
   * The disk is full: no change is made any more, and what is seen is what was written before. Whoever finds it so before he looks at anything needs not
   * wait for `durable`. It stays so until the store is opened anew.
   */
  get isReadOnly(): boolean {
    return this.#failure?.code === 'NO_SPACE';
  }

  /** Throws as `change` does, where it would. */
  requireWritable(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** The entries of a range as they stand, with every change applied so far, when it settles. */
  async scan(range: KvRange): Promise<Array<[Buffer, Buffer]>> {
    const scan = { range, edits: new Map<string, Edit>() };
    collectInRange(scan, this.#writing);
    collectInRange(scan, this.#collecting);
    this.#scans.add(scan);
    try {
      return await mergeScan(this.#kv, range, scan.edits);
    } finally {
      this.#scans.delete(scan);
    }
  }

  /** Batches written and the operations in them, and what the cache holds, for tests and reports. */
  get counters(): { batches: number; ops: number; pendingOps: number; cacheEntries: number; cacheBytes: number } {
    const pendingOps = this.#collecting.size + this.#writing.size;
    const { entryCount: cacheEntries, bytes: cacheBytes } = this.#cache;
    return { batches: this.#batches, ops: this.#ops, pendingOps, cacheEntries, cacheBytes };
  }

  /** Writes what is applied, then closes. May be called twice. */
  close(): Promise<void> {
    this.#closing ??= this.#finish();
    return this.#closing;
  }

  async #finish(): Promise<void> {
    await this.#flushing;
    await this.#kv.close();
  }

  #apply(edits: Edits): void {
    if (edits.size === 0) return;
    // What the cache has of these keys is hidden until the batch is written.
    for (const [text, edit] of edits) this.#collecting.set(text, edit);
    for (const scan of this.#scans) collectInRange(scan, edits);
    if (this.#nextBatch === undefined) {
      this.#nextBatch = deferred();
      // Whoever cares asks durable(); without this an unasked failure would be an unhandled rejection.
      this.#nextBatch.promise.catch(() => undefined);
    }
    this.#flushing ??= this.#flush();
  }

  /** One batch in flight, the next one collecting, until nothing is left. */
  async #flush(): Promise<void> {
    // All changes of one turn go into one batch.
    await Promise.resolve();
    while (this.#collecting.size > 0 && this.#failure === undefined) {
      this.#writing = this.#collecting;
      this.#collecting = new Map();
      this.#currentBatch = this.#nextBatch;
      this.#nextBatch = undefined;
      try {
        await this.#kv.batch(opsOf(this.#writing, this.#batchRow), { sync: true });
      } catch (error) {
        this.#fail(error);
        break;
      }
      this.#batchRow?.written();
      this.#batches++;
      this.#ops += this.#writing.size;
      for (const [text, { value }] of this.#writing)
        if (value === undefined) this.#cache.delete(text);
        else this.#cache.set(text, value);
      this.#writing = new Map();
      const written = this.#currentBatch;
      this.#currentBatch = undefined;
      written?.resolve();
    }
    this.#flushing = undefined;
  }

  /** After a failed sync nobody knows what is on disk: no more changes, no more answers (LevelDB does the same). */
  #fail(cause: unknown): void {
    const { refusal, doubt } = writeErrors(this.#path, cause);
    this.#failure = refusal;
    this.#doubt = doubt;
    this.#logger.error({ code: refusal.code, reason: refusal.message, cause }, 'the metadata store cannot be written');
    if (this.isReadOnly) {
      // Nobody was told of these changes. A batch whose sync failed may show when the store is opened anew, as after a crash.
      this.#writing = new Map();
      this.#collecting = new Map();
    }
    this.#currentBatch?.reject(doubt);
    this.#nextBatch?.reject(doubt);
    if (!this.isReadOnly) this.#onFailure(refusal);
  }
}

class OpenChange implements Change {
  readonly edits: Edits = new Map<string, Edit>();
  readonly #store: Store;
  #ended = false;

  constructor(store: Store) {
    this.#store = store;
  }

  get(key: Buffer): Buffer | undefined {
    const edit = this.edits.get(keyText(key));
    return edit === undefined ? this.#store.get(key) : edit.value;
  }

  put(key: Buffer, value: Buffer): void {
    assert(!this.#ended, 'a change is over when its work returned');
    this.edits.set(keyText(key), { key, value });
  }

  del(key: Buffer): void {
    assert(!this.#ended, 'a change is over when its work returned');
    this.edits.set(keyText(key), { key, value: undefined });
  }

  end(): void {
    this.#ended = true;
  }
}

function collectInRange(scan: { range: KvRange; edits: Edits }, edits: Edits): void {
  for (const [text, edit] of edits) {
    if (edit.key.compare(scan.range.gte) >= 0 && edit.key.compare(scan.range.lt) < 0) scan.edits.set(text, edit);
  }
}

function opsOf(edits: Edits, batchRow: BatchRow | undefined): KvOp[] {
  const ops: KvOp[] = batchRow ? [batchRow.row()] : [];
  for (const { key, value } of edits.values()) {
    ops.push(value === undefined ? { type: 'del', key } : { type: 'put', key, value });
  }
  return ops;
}
