// Kv over LevelDB: the only file that knows the package `level`. Keys and values are buffers; errors of open get the codes that kv.ts names.
import * as fs from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { Level } from 'level';
import type { Kv, KvOp, KvRange, KvStores } from './kv.js';

const MiB = 1024 * 1024;

export interface LevelKvOptions {
  /** LevelDB's cache of uncompressed blocks, per store. */
  cacheBytes?: number;
  /** Size of the log and of the table in memory before they become a file; two of them may be held, and open replays one. */
  writeBufferBytes?: number;
}

type Database = Level<Buffer, Buffer>;

class LevelKv implements Kv {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  getSync(key: Buffer): Buffer | undefined {
    return this.#db.getSync(key);
  }

  batch(ops: readonly KvOp[], options: { sync: boolean }): Promise<void> {
    // LevelDB joins waiting batches into one log record and one fdatasync by itself, so callers need not wait for one another.
    return this.#db.batch(ops as KvOp[], { sync: options.sync });
  }

  async scan(range: KvRange): Promise<Array<[Buffer, Buffer]>> {
    return this.#db
      .iterator({ gte: range.gte, lt: range.lt, limit: range.limit, reverse: range.reverse === true })
      .all();
  }

  close(): Promise<void> {
    return this.#db.close();
  }
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
      await makeDurableDirectory(path);
    } else if (!(await hasStore(path))) {
      throw Object.assign(new Error(`there is no store in ${path}`), { code: 'ENOENT' });
    }
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
  const firstMade = await fs.mkdir(path, { recursive: true });
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
  if (cause?.code === 'LEVEL_LOCKED') {
    return Object.assign(new Error(`the store in ${path} is in use`, { cause: error }), { code: 'EBUSY' });
  }
  const detail = cause?.message ?? (error as Error).message;
  return Object.assign(new Error(`the store in ${path} cannot be opened: ${detail}`, { cause: error }), {
    code: 'EIO',
  });
}
