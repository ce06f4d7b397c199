// The data directories that one chunkserver was given: which of them could be opened, which have failed since, which lack room. Those that fail
// take only their chunks away, as long as one says who the server is. What goes on inside of one is data-directory's.
import { assert } from '../lib/assert.js';
import type { Platform } from '../lib/platform.js';
import { asGfsError, GfsError, hasCode } from '../protocol/errors.js';
import type { ChunkStore } from './chunk-store.js';
import { DataDirectory, roomToOpen } from './data-directory.js';
import type { ChunkserverSettings } from './settings.js';
import { StartCheck } from './start-check.js';

/** Characters of a failure that the master is told. */
const FAILURE_TEXT_MAX = 500;

export class Disks {
  readonly opened: DataDirectory[] = [];
  private readonly absent: Array<{ path: string; failure: GfsError }> = [];
  /** Disks whose machine may have lost unsynced writes. */
  private lossy: ReadonlySet<DataDirectory> = new Set();
  /** Disks whose check failed: not used now. Those that lacked room for what had to be written down are opened anew when they have it. */
  private readonly unchecked = new Map<DataDirectory, GfsError>();

  constructor(
    private readonly platform: Platform,
    private readonly settings: ChunkserverSettings,
  ) {}

  /** Rejects with IN_USE, and as DataDirectory.open when no directory that can be opened says who this server is. */
  async open(): Promise<void> {
    const { data, openFiles } = this.settings;
    assert(data.length > 0, 'a chunkserver has a data directory');
    for (const path of data) {
      const before = this.settings.carried?.failedDisks.get(path);
      if (before) {
        this.absent.push({ path, failure: before });
        continue;
      }
      try {
        this.opened.push(await DataDirectory.open(path, this.platform, openFiles));
      } catch (error) {
        if (!hasCode(error, 'DISK_FAILED', 'WRONG_DATA', 'NO_SPACE')) throw error;
        this.absent.push({ path, failure: error });
      }
    }
    const [first] = this.absent;
    // New directories beside it say nothing: as a new server, this one would lose all it has.
    if (first && !this.opened.some(({ identity }) => identity)) throw first.failure;
    for (const { path, failure } of this.absent)
      this.platform.logger.error(
        { disk: path, code: failure.code, reason: failure.message },
        'a disk cannot be opened: going on without it',
      );
    // Asked before anything is written to the directories.
    this.lossy = new Set(this.opened.filter(disk => StartCheck.wasLossy(disk, this.platform)));
  }

  /** Some of the directories are not opened: they may know what the others do not. */
  get isPartial(): boolean {
    return this.absent.length > 0;
  }

  /** Why chunks may be here of which nobody knows: a disk was not opened, or not looked through. */
  get blindness(): GfsError | undefined {
    const [unchecked] = this.unchecked.values();
    return this.absent[0]?.failure ?? unchecked;
  }

  /** Takes in what is on the disks. One that fails meanwhile takes only its chunks away; rejects when none is left. */
  async takeIn(store: ChunkStore): Promise<void> {
    for (const disk of this.opened) {
      disk.beginCommits();
      if (!disk.failure) await this.check(disk, store);
    }
    await store.distrustAgain();
  }

  private async check(disk: DataDirectory, store: ChunkStore): Promise<void> {
    const lossy = this.lossy.has(disk);
    if (lossy) this.platform.logger.warn({ disk: disk.path }, 'unsynced writes may be lost: open chunks are verified');
    try {
      await new StartCheck(this.platform, store, disk).run({ lossy });
      disk.beginWitness();
    } catch (error) {
      const failure = disk.failure ?? asGfsError(error);
      if (this.opened.every(other => other === disk || other.failure)) throw failure;
      this.unchecked.set(disk, failure);
      disk.fail(new GfsError('DISK_FAILED', `${disk.path} cannot be checked: ${failure.message}`, { cause: error }));
    }
  }

  /** For the master. Full ones are well: that they are full shows in their space. */
  failed(): Array<{ path: string; error: string }> {
    const since = this.opened.flatMap(({ path, failure, isFull }) => (failure && !isFull ? [{ path, failure }] : []));
    return [...this.absent, ...since].map(({ path, failure }) => ({
      path,
      error: failure.message.slice(0, FAILURE_TEXT_MAX),
    }));
  }

  /** Whether one that lacked room has enough again to be opened anew and used. Never rejects. */
  async haveRoomAgain(): Promise<boolean> {
    const { reserve } = this.settings;
    for (const disk of this.opened) {
      await disk.refreshSpace();
      if (disk.isFull && disk.space.freeBytes >= roomToOpen(disk.space, reserve)) return true;
    }
    const unchecked = [...this.unchecked].map(([{ path }, failure]) => ({ path, failure }));
    for (const { path, failure } of [...this.absent, ...unchecked]) {
      if (failure.code !== 'NO_SPACE') continue;
      try {
        const space = await this.platform.disk.space(path);
        if (space.freeBytes >= roomToOpen(space, reserve)) return true;
      } catch (error) {
        this.platform.logger.debug({ disk: path, reason: asGfsError(error).message }, 'a full disk does not answer');
      }
    }
    return false;
  }

  /** Never rejects. */
  async close(): Promise<void> {
    for (const disk of this.opened) {
      if (disk.failure && !disk.isFull && this.unchecked.get(disk)?.code !== 'NO_SPACE')
        this.settings.carried?.failedDisks.set(disk.path, disk.failure);
      try {
        await disk.close();
      } catch (error) {
        this.platform.logger.warn(
          { disk: disk.path, reason: (error as Error).message },
          'a data directory was not closed well',
        );
      }
    }
  }
}
