// The public API: a file system by paths, shaped like node:fs/promises, plus what GFS adds (record append, snapshot, chunks, locks). It turns
// paths into places and leaves the rest to the client.
import type { Readable, Writable } from 'node:stream';
import { type Random, randomId } from '../lib/random.js';
import { GfsError, hasCode } from '../protocol/errors.js';
import type { Reply } from '../protocol/messages.js';
import type { GfsFileSystemClient } from './client.js';
import { bufferOf, type Data, GfsFile } from './gfs-file.js';
import { componentsOf, placeOf } from './path.js';
import { GfsStats, nanosecondsOf } from './stats.js';
import { readStream, writeStream } from './streams.js';
import type { Attributes } from './types.js';

/** r: read. a: append, made when missing. w: from nothing. x: must be new. +: read as well. */
export type OpenFlags = 'r' | 'r+' | 'a' | 'a+' | 'ax' | 'ax+' | 'w' | 'w+' | 'wx' | 'wx+';
export type Time = Date | number | bigint;
export type ChunkInfo = Reply<'fileInfo'>['chunks'][number];

export interface DirectoryEntry {
  name: string;
  /** The size may be a second old. */
  stats: GfsStats;
}

export interface GfsOwner {
  random: Random;
  /** Owner of what is made. */
  uid: number;
  gid: number;
}

const FILE_MODE = 0o644;
const DIRECTORY_MODE = 0o755;
/** Names removed at the same time by rm. */
const REMOVALS_AT_ONCE = 16;

export class Gfs {
  constructor(
    /** The client by inode, for what paths cannot say. */
    readonly client: GfsFileSystemClient,
    private readonly owner: GfsOwner,
  ) {}

  get clusterId(): string {
    return this.client.clusterId;
  }

  /** The largest record, in bytes. */
  get recordBytesMax(): number {
    return this.client.recordBytesMax;
  }

  async open(path: string, flags: OpenFlags = 'r', options: { mode?: number } = {}): Promise<GfsFile> {
    const access = { path, readable: flags.startsWith('r') || flags.endsWith('+'), writable: flags !== 'r' };
    const isExclusive = flags.includes('x');
    const truncates = flags.startsWith('w');
    if (flags.startsWith('r')) {
      return new GfsFile(await this.client.openInode(await this.#fileAt(path)), access);
    }
    const { uid, gid } = this.owner;
    try {
      const creation = { mode: options.mode ?? FILE_MODE, uid, gid, exclusive: isExclusive, truncate: truncates };
      const { file } = await this.client.createFile(placeOf(path), creation);
      return new GfsFile(file, access);
    } catch (error) {
      throw named(error, path);
    }
  }

  async readFile(path: string, encoding: BufferEncoding): Promise<string>;
  async readFile(path: string): Promise<Buffer>;
  async readFile(path: string, encoding?: BufferEncoding): Promise<Buffer | string> {
    const bytes = await this.#with(path, 'r', file => file.readFile());
    return encoding === undefined ? bytes : bytes.toString(encoding);
  }

  /** The file holds exactly `data` then. */
  async writeFile(path: string, data: Data, options: { mode?: number } = {}): Promise<void> {
    await this.#with(path, 'w', file => appendIfAny(file, data), options);
  }

  async appendFile(path: string, data: Data, options: { mode?: number } = {}): Promise<void> {
    await this.#with(path, 'a', file => appendIfAny(file, data), options);
  }

  /** Appends one record, whole and once; returns its offset. Keep a file open to append many. */
  recordAppend(path: string, data: Data): Promise<number> {
    return this.#with(path, 'a', file => file.recordAppend(data));
  }

  /** Bytes `start` to `end` (inclusive, as in node:fs). */
  createReadStream(path: string, options: { start?: number; end?: number } = {}): Readable {
    return readStream({ open: () => this.open(path, 'r'), close: file => file.close() }, options);
  }

  /** A stream that replaces the file, or appends to it (flags 'a'). It finishes when all bytes are acknowledged. */
  createWriteStream(path: string, options: { flags?: 'a' | 'w' | 'ax' | 'wx'; mode?: number } = {}): Writable {
    const { flags = 'w', ...rest } = options;
    return writeStream({ open: () => this.open(path, flags, rest), close: file => file.close() });
  }

  /** Follows a symlink. */
  async stat(path: string): Promise<GfsStats> {
    return new GfsStats(await this.#lookup(path, true));
  }

  async lstat(path: string): Promise<GfsStats> {
    return new GfsStats(await this.#lookup(path, false));
  }

  async exists(path: string): Promise<boolean> {
    try {
      await this.#lookup(path, true);
      return true;
    } catch (error) {
      if (hasCode(error, 'NOT_FOUND', 'NOT_DIRECTORY', 'SYMLINK_LOOP')) return false;
      throw error;
    }
  }

  /** All entries, in the order of their names' bytes. */
  async readdir(path: string): Promise<DirectoryEntry[]> {
    const entries: DirectoryEntry[] = [];
    for await (const entry of this.entries(path)) entries.push(entry);
    return entries;
  }

  /** The same page by page, for directories that do not fit in memory. */
  async *entries(path: string): AsyncGenerator<DirectoryEntry> {
    const directory = await this.#lookup(path, true);
    if (directory.type !== 'directory') throw new GfsError('NOT_DIRECTORY', `${path} is not a directory`);
    for (let after = ''; ; ) {
      const page = await this.client.readDirectory(directory.inode, after);
      for (const { name, attributes } of page.entries) yield { name, stats: new GfsStats(attributes) };
      const last = page.entries[page.entries.length - 1];
      if (page.end || !last) return;
      after = last.name;
    }
  }

  async mkdir(path: string, options: { recursive?: boolean; mode?: number } = {}): Promise<void> {
    const { uid, gid } = this.owner;
    const mode = options.mode ?? DIRECTORY_MODE;
    if (!options.recursive) {
      await this.#named(path, this.client.makeDirectory(placeOf(path), { mode, uid, gid }));
      return;
    }
    const components = componentsOf(path);
    for (let depth = 1; depth <= components.length; depth++) {
      const part = `/${components.slice(0, depth).join('/')}`;
      try {
        await this.client.makeDirectory(placeOf(part), { mode, uid, gid });
      } catch (error) {
        if (!hasCode(error, 'EXISTS') || !(await this.stat(part)).isDirectory()) throw named(error, part);
      }
    }
  }

  /** Removes a file or symlink; with `recursive` a directory with all it has; with `force` a missing path is fine. */
  async rm(path: string, options: { recursive?: boolean; force?: boolean } = {}): Promise<void> {
    try {
      const { type } = await this.#lookup(path, false);
      if (type !== 'directory') await this.client.unlink(placeOf(path));
      else if (options.recursive) await this.#removeTree(path);
      else throw new GfsError('IS_DIRECTORY', `${path} is a directory; say recursive to remove it`);
    } catch (error) {
      if (options.force && hasCode(error, 'NOT_FOUND')) return;
      throw named(error, path);
    }
  }

  rmdir(path: string): Promise<void> {
    return this.#named(path, this.client.removeDirectory(placeOf(path)));
  }

  unlink(path: string): Promise<void> {
    return this.#named(path, this.client.unlink(placeOf(path)));
  }

  rename(from: string, to: string, options: { noReplace?: boolean; exchange?: boolean } = {}): Promise<void> {
    return this.#named(`${from} -> ${to}`, this.client.rename(placeOf(from), placeOf(to), options));
  }

  async link(existing: string, created: string): Promise<void> {
    await this.#named(`${existing} -> ${created}`, this.client.link(placeOf(existing), placeOf(created)));
  }

  async symlink(target: string, path: string): Promise<void> {
    const { uid, gid } = this.owner;
    await this.#named(path, this.client.makeSymlink(placeOf(path), target, { uid, gid }));
  }

  async readlink(path: string): Promise<string> {
    const { target } = await this.#lookup(path, false);
    if (target === undefined) throw new GfsError('INVALID', `${path} is not a symbolic link`);
    return target;
  }

  async truncate(path: string, sizeBytes = 0): Promise<void> {
    await this.client.truncate(await this.#fileAt(path), sizeBytes);
  }

  async chmod(path: string, mode: number): Promise<void> {
    await this.#set(path, { mode });
  }

  async chown(path: string, uid: number, gid: number): Promise<void> {
    await this.#set(path, { uid, gid });
  }

  /** Numbers are seconds since 1970, as in node:fs; bigints are nanoseconds. */
  async utimes(path: string, atime: Time, mtime: Time): Promise<void> {
    await this.#set(path, { atimeNs: nanosecondsOf(atime), mtimeNs: nanosecondsOf(mtime) });
  }

  /** A copy of a file at this moment that shares its chunks (paper, §3.4). `to` must not exist. */
  async snapshot(from: string, to: string): Promise<void> {
    const { uid, gid } = this.owner;
    await this.#named(`${from} -> ${to}`, this.client.snapshot(placeOf(from), placeOf(to), { uid, gid }));
  }

  /** The chunks of a file, in order, with the state of every replica. */
  async chunks(path: string): Promise<ChunkInfo[]> {
    const chunks: ChunkInfo[] = [];
    for (;;) {
      const page = await this.#named(path, this.client.fileInfo(placeOf(path), chunks.length));
      chunks.push(...page.chunks);
      if (!page.more || page.chunks.length === 0) return chunks;
    }
  }

  statfs(): Promise<Reply<'statfs'>> {
    return this.client.statfs();
  }

  /**
   * An advisory lock on a whole file, shared or exclusive; ends with `release()` or with this client. Rejects with LOCKED after `waitMs`. It outlives a restart
   * of the master; `onLost` is called when it is not held any more, because this client was cut off for longer than a session lives.
   */
  async lock(
    path: string,
    options: { exclusive?: boolean; waitMs?: number; onLost?: (reason: string) => void } = {},
  ): Promise<() => Promise<void>> {
    const inode = await this.#fileAt(path);
    const range = { owner: randomId(this.owner.random), startByte: 0, endByte: Number.MAX_SAFE_INTEGER };
    const kind = options.exclusive === false ? ('shared' as const) : ('exclusive' as const);
    const space = 'flock' as const;
    await this.client.lock(
      inode,
      { ...range, kind, space, pid: 0 },
      {
        waitMs: options.waitMs ?? 0,
        ...(options.onLost ? { onLost: options.onLost } : {}),
      },
    );
    let released: Promise<void> | undefined;
    return () => {
      released ??= this.client.unlock(inode, { ...range, space });
      return released;
    };
  }

  getXattr(path: string, name: string): Promise<Buffer> {
    return this.#named(path, this.client.getXattr(placeOf(path), name));
  }

  setXattr(path: string, name: string, value: Data, options?: { create?: boolean; replace?: boolean }): Promise<void> {
    return this.#named(path, this.client.setXattr(placeOf(path), name, bufferOf(value), options));
  }

  listXattrs(path: string): Promise<string[]> {
    return this.#named(path, this.client.listXattrs(placeOf(path)));
  }

  removeXattr(path: string, name: string): Promise<void> {
    return this.#named(path, this.client.removeXattr(placeOf(path), name));
  }

  /** Ends the session and all connections; open files are closed first. */
  close(): Promise<void> {
    return this.client.close();
  }

  #lookup(path: string, follow: boolean): Promise<Attributes> {
    return this.#named(path, this.client.lookup(placeOf(path), { follow }));
  }

  /** The inode of a file; a directory is refused. */
  async #fileAt(path: string): Promise<number> {
    const { inode, type } = await this.#lookup(path, true);
    if (type === 'directory') throw new GfsError('IS_DIRECTORY', `${path} is a directory`);
    return inode;
  }

  async #set(path: string, changes: Parameters<GfsFileSystemClient['setAttributes']>[1]): Promise<void> {
    await this.#named(path, this.client.setAttributes(placeOf(path), changes, { follow: true }));
  }

  async #removeTree(path: string): Promise<void> {
    for (;;) {
      const { inode } = await this.#lookup(path, false);
      const { entries } = await this.client.readDirectory(inode, '', REMOVALS_AT_ONCE);
      if (entries.length === 0) break;
      await Promise.all(
        entries.map(({ name, attributes }) => {
          const child = `/${[...componentsOf(path), name].join('/')}`;
          return attributes.type === 'directory' ? this.#removeTree(child) : this.#unlinkIfThere(child);
        }),
      );
    }
    await this.rmdir(path);
  }

  async #unlinkIfThere(path: string): Promise<void> {
    try {
      await this.client.unlink(placeOf(path));
    } catch (error) {
      // Somebody else removes the same tree.
      if (!hasCode(error, 'NOT_FOUND')) throw error;
    }
  }

  async #with<T>(
    path: string,
    flags: OpenFlags,
    use: (file: GfsFile) => Promise<T>,
    options?: { mode?: number },
  ): Promise<T> {
    const file = await this.open(path, flags, options);
    try {
      return await use(file);
    } finally {
      await file.close();
    }
  }

  async #named<T>(path: string, work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      throw named(error, path);
    }
  }
}

/** The same failure, saying at which path. */
function named(error: unknown, path: string): unknown {
  if (!(error instanceof GfsError) || error.message.includes(path)) return error;
  return new GfsError(error.code, `${path}: ${error.message}`, { cause: error });
}

async function appendIfAny(file: GfsFile, data: Data): Promise<void> {
  if (data.length > 0) await file.append(data);
}
