// Kv over LevelDB: the only file that knows the package `level`. Keys and values are buffers; errors of open get the codes that kv.ts names.
import * as fs from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { Level } from 'level';
import type { Kv, KvOp, KvRange, KvStores } from './kv.js';
import { makeDirectories } from './make-directories.js';

const MiB = 1024 * 1024;

export interface LevelKvOptions {
  /** LevelDB's cache of uncompressed blocks, per store. */
  cacheBytes?: number;
  /** Size of the log and of the table in memory before they become a file; two of them may be held, and open replays one. */
  writeBufferBytes?: number;
}

type Database = Level<Buffer, Buffer>;

/** Operations of waiting batches that are written together. */
const GROUP_OPS_MAX = 10_000;

/** `level` skips an empty batch and its sync with it; this one removes a key above all that prefixEnd allows. */
const NOTHING: KvOp = { type: 'del', key: Buffer.alloc(32, 0xff) };

interface WaitingBatch {
  ops: readonly KvOp[];
  isSync: boolean;
  resolve: () => void;
  reject: (error: unknown) => void;
}

/**
 * One write is in flight at a time and takes along all that waited for the one before. Left to LevelDB, concurrent batches
 * would overtake one another in libuv's threads, and only as many as there are threads would share a sync.
 */
class LevelKv implements Kv {
  readonly #db: Database;
  #waiting: WaitingBatch[] = [];
  #writing: Promise<void> | undefined;
  /** After a failed write the log on the disk is not known; nothing may be added to it. */
  #failure: unknown;

  constructor(db: Database) {
    this.#db = db;
  }

  getSync(key: Buffer): Buffer | undefined {
    return this.#db.getSync(key);
  }

  batch(ops: readonly KvOp[], options: { sync: boolean }): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ ops, isSync: options.sync, resolve, reject });
      this.#writing ??= this.#writeAll();
    });
  }

  async scan(range: KvRange): Promise<Array<[Buffer, Buffer]>> {
    return this.#db
      .iterator({ gte: range.gte, lt: range.lt, limit: range.limit, reverse: range.reverse === true })
      .all();
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#db.close();
  }

  /** Never rejects: each failure goes to the callers of its group. */
  async #writeAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#takeGroup();
      try {
        if (this.#failure !== undefined) throw this.#failure;
        const ops = group.length === 1 ? group[0]!.ops : group.flatMap(batch => batch.ops);
        await writeBatch(
          this.#db,
          ops.length === 0 ? [NOTHING] : ops,
          group.some(batch => batch.isSync),
        );
        for (const batch of group) batch.resolve();
      } catch (error) {
        this.#failure ??= isLackOfSpace(error) ? withCode('ENOSPC', (error as Error).message, error) : error;
        for (const batch of group) batch.reject(this.#failure);
      }
    }
    this.#writing = undefined;
  }

  #takeGroup(): WaitingBatch[] {
    let opCount = this.#waiting[0]!.ops.length;
    let count = 1;
    while (count < this.#waiting.length && opCount + this.#waiting[count]!.ops.length <= GROUP_OPS_MAX) {
      opCount += this.#waiting[count++]!.ops.length;
    }
    return this.#waiting.splice(0, count);
  }
}

/**
 * What `batch` ends in. That clones each operation for hooks, events and encodings that are not used here, which is half of what a small one costs; with keys
 * and values that are buffers nothing is left to encode.
 */
function writeBatch(db: Database, ops: readonly KvOp[], sync: boolean): Promise<void> {
  // Of a store that is not open only the public way says so; the other one would use memory that is not its own any more.
  if (db.status !== 'open') return db.batch(ops as KvOp[], { sync });
  return (db as unknown as { _batch(ops: readonly KvOp[], options: { sync: boolean }): Promise<void> })._batch(ops, {
    sync,
  });
}

export class LevelKvStores implements KvStores {
  readonly #cacheBytes: number;
  readonly #writeBufferBytes: number;

  constructor(options: LevelKvOptions = {}) {
    this.#cacheBytes = options.cacheBytes ?? 32 * MiB;
    this.#writeBufferBytes = options.writeBufferBytes ?? 8 * MiB;
  }

  async open(path: string, options: { create: boolean }): Promise<Kv> {
    if (options.create) {
      await makeDurableDirectory(path).catch(error => {
        throw named(`the store in ${path} cannot be made`, error);
      });
    } else if (!(await hasStore(path))) {
      throw Object.assign(new Error(`there is no store in ${path}`), { code: 'ENOENT' });
    }
    await checkWritable(path);
    const db: Database = new Level<Buffer, Buffer>(path, {
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
      createIfMissing: options.create,
      cacheSize: this.#cacheBytes,
      writeBufferSize: this.#writeBufferBytes,
    });
    try {
      await db.open();
    } catch (error) {
      throw withOpenCode(path, error);
    }
    return new LevelKv(db);
  }
}

/** LevelDB syncs what it puts into its directory, but not the entry of the directory in its parent. */
async function makeDurableDirectory(path: string): Promise<void> {
  const firstMade = await makeDirectories(path);
  if (firstMade === undefined) return;
  const top = dirname(resolve(firstMade));
  for (let made = resolve(path); made !== top; made = dirname(made)) {
    const parent = await fs.open(dirname(made), 'r');
    try {
      await parent.sync();
    } finally {
      await parent.close();
    }
  }
}

/** LevelDB calls a directory that it cannot write to an IO error, like a damaged one. */
async function checkWritable(path: string): Promise<void> {
  try {
    await fs.access(path, fs.constants.W_OK);
  } catch (error) {
    throw named(`the store in ${path} cannot be written`, error);
  }
}

/** The same failure, by its code, with a word on what failed. */
function named(what: string, error: unknown): Error {
  const { code, message } = error as NodeJS.ErrnoException;
  return Object.assign(new Error(`${what}: ${message}`, { cause: error }), { code });
}

async function hasStore(path: string): Promise<boolean> {
  try {
    await fs.stat(join(path, 'CURRENT'));
    return true;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return false;
    throw error;
  }
}

function withOpenCode(path: string, error: unknown): Error {
  const cause = (error as { cause?: { code?: string; message?: string } }).cause;
  if (cause?.code === 'LEVEL_LOCKED') return withCode('EBUSY', `the store in ${path} is in use`, error);
  const detail = cause?.message ?? (error as Error).message;
  const code = isLackOfSpace(cause) ? 'ENOSPC' : 'EIO';
  return withCode(code, `the store in ${path} cannot be opened: ${detail}`, error);
}

function withCode(code: string, message: string, cause: unknown): Error {
  return Object.assign(new Error(message, { cause }), { code });
}

/** LevelDB has one code for all that goes wrong with files, and the words of strerror behind it. */
function isLackOfSpace(error: unknown): boolean {
  return /No space left on device|Disk quota exceeded/.test((error as { message?: string } | undefined)?.message ?? '');
}
