// One data directory, which stands for one disk: its index, its chunk files, its space and whether it has failed or is full. It takes only its
// own chunks down with it. Whose chunk is where is known by chunk-store; what a start finds is judged by start-check.
import { dirname } from 'node:path';
import type { DiskSpace } from '../lib/disk.js';
import type { Kv } from '../lib/kv.js';
import type { Platform } from '../lib/platform.js';
import { GfsError } from '../protocol/errors.js';
import { type ChunkHandle, handleName } from '../protocol/ids.js';
import { ChunkIndex, type Identity } from './chunk-index.js';
import { GroupCommit } from './group-commit.js';
import { OpenFiles } from './open-files.js';
import { BOUNDS } from './settings.js';

const FOLDERS = 256;

export class DataDirectory {
  readonly files: OpenFiles;
  commits!: GroupCommit;
  identity: Identity | undefined;
  /** Nothing is written here any more until a start opens the directory anew. NO_SPACE: it lacked room; what is recorded is served all the same. */
  failure: GfsError | undefined;
  /** Called when the disk fails or is full; once more when a full one fails. */
  onFailure: (disk: DataDirectory) => void = () => undefined;
  /** A file was closed to make room for others, and with it bytes were lost. */
  onSyncLost: (handle: ChunkHandle, error: unknown) => void = () => undefined;
  space: DiskSpace = { capacityBytes: 0, freeBytes: 0, fileSystem: '' };
  /** Bytes of the chunks here. */
  usedBytes = 0;
  private isWitnessed = false;

  private constructor(
    readonly path: string,
    readonly index: ChunkIndex,
    readonly platform: Platform,
    openFilesMax: number,
  ) {
    this.files = new OpenFiles(platform.disk, `${path}/chunks`, openFilesMax, (handle, error) =>
      this.onSyncLost(handle, error),
    );
  }

  /**
   * Opens the directory, or makes it. Chunk files without an index are set aside under another name: nobody knows any more which of their
   * bytes count. Rejects with IN_USE, WRONG_DATA, NO_SPACE or DISK_FAILED, naming the directory.
   */
  static async open(path: string, platform: Platform, openFilesMax: number): Promise<DataDirectory> {
    try {
      await platform.disk.makeDirectory(path);
      const kv = (await openIndex(path, platform, false)) ?? (await makeIndex(path, platform));
      const directory = new DataDirectory(path, new ChunkIndex(kv), platform, openFilesMax);
      if (!directory.index.identity()) await makeDurable(path, platform);
      directory.identity = directory.index.identity();
      await directory.makeFolders();
      directory.space = await platform.disk.space(path);
      return directory;
    } catch (error) {
      throw nameDirectory(path, error);
    }
  }

  get name(): string {
    return `${this.identity?.server ?? ''}-${this.identity?.disk ?? ''}`;
  }

  pathOf(handle: ChunkHandle): string {
    return this.files.pathOf(handle);
  }

  /**
   * Goes on from the counter in the index. The witness hears of it only from beginWitness on: a start that dies before it has doubted every
   * chunk must find the loss of power again.
   */
  beginCommits(): void {
    const { index, platform } = this;
    const options = {
      index,
      witness: (counter: number) => {
        if (this.isWitnessed) platform.witness.raise(this.name, counter);
      },
      onFailure: (cause: unknown) => this.failIndex(cause),
    };
    this.commits = new GroupCommit(options, index.counter());
  }

  /** The start has looked at everything: from now on a smaller counter in the index means a loss. */
  beginWitness(): void {
    this.isWitnessed = true;
    this.platform.witness.raise(this.name, this.index.counter());
  }

  /** A disk that does not take it has failed. */
  async saveIdentity(identity: Identity): Promise<void> {
    try {
      await this.index.saveIdentity(identity);
      this.identity = identity;
    } catch (error) {
      this.failIndex(error);
    }
  }

  /** A batch of the index was refused. */
  failIndex(cause: unknown): GfsError {
    const code = isErrno(cause, 'ENOSPC', 'EDQUOT') ? 'NO_SPACE' : 'STORE_FAILED';
    const reason = `the index in ${this.path} cannot be written: ${(cause as Error).message}`;
    return this.fail(new GfsError(code, reason, { cause }));
  }

  /** It lacked room for something that had to be recorded: memory may be ahead of the index. */
  get isFull(): boolean {
    return this.failure?.code === 'NO_SPACE';
  }

  /** Gives the disk up. Returns the failure that counts, which is the first one, but for a failure of a full disk. */
  fail(error: GfsError): GfsError {
    if (this.failure && (!this.isFull || error.code === 'NO_SPACE')) return this.failure;
    this.failure = error;
    this.platform.logger.error(
      { disk: this.path, code: error.code, reason: error.message },
      this.isFull
        ? 'a disk is full: free some space on it; until then its chunks are read and not written'
        : 'a disk failed: its chunks are given up until this server is started again',
    );
    this.onFailure(this);
    return error;
  }

  async refreshSpace(): Promise<void> {
    if (this.failure && !this.isFull) return;
    try {
      this.space = await this.platform.disk.space(this.path);
    } catch (error) {
      this.fail(new GfsError('DISK_FAILED', `${this.path}: ${(error as Error).message}`, { cause: error }));
    }
  }

  /** Handles of all chunk files and the names of everything else in the chunk folders. */
  async listFiles(): Promise<{ handles: Set<ChunkHandle>; strangers: string[] }> {
    const handles = new Set<ChunkHandle>();
    const strangers: string[] = [];
    for (let i = 0; i < FOLDERS; i++) {
      const folder = `${this.path}/chunks/${folderName(i)}`;
      for (const name of await this.platform.disk.list(folder)) {
        const value = /^[0-9a-f]{16}$/.test(name) ? Number.parseInt(name, 16) : 0;
        const isHandle = Number.isSafeInteger(value) && value > 0;
        if (isHandle && handleName(value as ChunkHandle).endsWith(folderName(i))) handles.add(value as ChunkHandle);
        else strangers.push(`${folder}/${name}`);
      }
    }
    return { handles, strangers };
  }

  /** Moves a chunk's file out of the way, to where only people look for it. Returns its new path, undefined when there is none. */
  async setAside(handle: ChunkHandle): Promise<string | undefined> {
    const { disk } = this.platform;
    if ((await disk.sizeOf(this.pathOf(handle))) === undefined) return undefined;
    await disk.makeDirectory(`${this.path}/orphans`);
    const aside = `${this.path}/orphans/${handleName(handle)}-${this.identity?.epoch ?? 0}`;
    await disk.rename(this.pathOf(handle), aside);
    return aside;
  }

  async close(): Promise<void> {
    await this.commits?.idle();
    await this.files.closeAll();
    await this.index.close();
  }

  private async makeFolders(): Promise<void> {
    const { disk } = this.platform;
    const present = new Set(await listOrNone(this.platform, `${this.path}/chunks`));
    if (present.size >= FOLDERS) return;
    for (let i = 0; i < FOLDERS; i++) {
      if (!present.has(folderName(i))) await disk.makeDirectory(`${this.path}/chunks/${folderName(i)}`);
    }
    await disk.syncDirectory(`${this.path}/chunks`);
    await disk.syncDirectory(this.path);
  }
}

/** Free bytes without which a full directory is not opened anew: LevelDB writes its log into a table then. */
export function roomToOpen(space: DiskSpace, reserveBytes: number): number {
  return Math.max(reserveBytes, Math.min(BOUNDS.openRoomBytes, space.capacityBytes / 8));
}

/** The folder of a chunk is named by the last two digits of its handle, which spread evenly. */
function folderName(index: number): string {
  return index.toString(16).padStart(2, '0');
}

/** The names of a fresh data directory and of whatever was made above it reach the disk: chunks below would be lost with them. */
async function makeDurable(path: string, platform: Platform): Promise<void> {
  for (let below = path, above = dirname(path); above !== below; below = above, above = dirname(above)) {
    try {
      await platform.disk.syncDirectory(above);
    } catch (error) {
      // Nothing was made in a directory that this user may not even open.
      if (isErrno(error, 'EACCES', 'EPERM')) return;
      throw error;
    }
  }
}

function isErrno(error: unknown, ...codes: string[]): boolean {
  return codes.includes((error as { code?: string }).code ?? '');
}

async function openIndex(path: string, platform: Platform, create: boolean): Promise<Kv | undefined> {
  try {
    return await platform.kv.open(`${path}/index`, { create });
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    if (code === 'ENOENT' && !create) return undefined;
    if (code === 'EBUSY')
      throw new GfsError('IN_USE', `the data directory ${path} is in use by another process`, { cause: error });
    if (code === 'EIO')
      throw new GfsError(
        'WRONG_DATA',
        `the index in ${path}/index is damaged (${message}); move it away to go on as a new, empty server`,
        { cause: error },
      );
    throw error;
  }
}

async function makeIndex(path: string, platform: Platform): Promise<Kv> {
  await setAside(path, platform);
  const kv = await openIndex(path, platform, true);
  if (!kv) throw new GfsError('FAILED', `cannot make an index in ${path}`);
  return kv;
}

/** Moves chunk files that no index speaks of out of the way. */
async function setAside(path: string, platform: Platform): Promise<void> {
  const { disk, logger, clock } = platform;
  const aside = `${path}/chunks.lost-${Math.floor(clock.wallMs())}`;
  let count = 0;
  for (const folder of await listOrNone(platform, `${path}/chunks`)) {
    for (const name of await listOrNone(platform, `${path}/chunks/${folder}`)) {
      if (count === 0) await disk.makeDirectory(aside);
      await disk.rename(`${path}/chunks/${folder}/${name}`, `${aside}/${name}`);
      count++;
    }
  }
  if (count === 0) return;
  await disk.syncDirectory(aside);
  await disk.syncDirectory(path);
  logger.error(
    { disk: path, aside, count },
    'chunk files without an index: the server that wrote them is lost; they are set aside and can be deleted once the cluster has healed',
  );
}

async function listOrNone(platform: Platform, path: string): Promise<string[]> {
  try {
    return await platform.disk.list(path);
  } catch (error) {
    const code = (error as { code?: string }).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw error;
  }
}

function nameDirectory(path: string, error: unknown): GfsError {
  if (error instanceof GfsError) return error;
  const { code, message } = error as { code?: string; message: string };
  if (code === 'EEXIST' || code === 'ENOTDIR')
    return new GfsError('WRONG_DATA', `the data directory ${path} is not a directory`, { cause: error });
  if (code === 'EACCES' || code === 'EPERM')
    return new GfsError('WRONG_DATA', `the data directory ${path} is not accessible: ${message}`, { cause: error });
  if (code === 'EROFS')
    return new GfsError('DISK_FAILED', `the data directory ${path} cannot be written: ${message}`, { cause: error });
  if (isErrno(error, 'ENOSPC', 'EDQUOT'))
    return new GfsError('NO_SPACE', `the disk of the data directory ${path} is full, free some space: ${message}`, {
      cause: error,
    });
  return new GfsError('DISK_FAILED', `the data directory ${path} cannot be used: ${message}`, { cause: error });
}
