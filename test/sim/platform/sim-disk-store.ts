// The disk of one simulated machine: names, files and free space, of which a loss of power takes what was not synced. Names are synced by their
// directory alone, which is harsher than ext4: a file's sync does not save its name. Also holds the faults to inject; processes see it through SimDisk.
import { dirname, normalize as normalizeAny } from 'node:path/posix';
import { SimFile } from './sim-file.js';
import { errnoError } from './sim-process.js';
import type { SimRandom } from './sim-random.js';
import type { Simulator } from './simulator.js';

export interface DiskFaults {
  /** Chance that one operation fails with EIO. A failed write may have written a part, a failed sync loses changes. */
  readErrorRate: number;
  writeErrorRate: number;
  syncErrorRate: number;
  /** So many syncs of files fail, and then none: an error that the operating system tells of once. */
  syncErrorsLeft: number;
  /** Factor on every latency. */
  slowFactor: number;
  /** Every operation that makes a name or a byte fails with ENOSPC. */
  isFull: boolean;
}

export const NO_DISK_FAULTS: DiskFaults = {
  readErrorRate: 0,
  writeErrorRate: 0,
  syncErrorRate: 0,
  syncErrorsLeft: 0,
  slowFactor: 1,
  isFull: false,
};

const DIRECTORY = Symbol('directory');
type Entry = SimFile | typeof DIRECTORY;
/** An unsynced change of one or two names (a rename): `undefined` removes. */
type NameChange = ReadonlyArray<readonly [path: string, entry: Entry | undefined]>;

export class SimDiskStore {
  readonly #simulator: Simulator;
  readonly #host: string;
  readonly #random: SimRandom;
  readonly #faults = new Map<string, DiskFaults>();
  capacityBytes: number;
  #names = new Map<string, Entry>();
  #durableNames = new Map<string, Entry>();
  #unsyncedNames: NameChange[] = [];
  #usedBytes = 0;

  readonly #isDivided: boolean;

  constructor(simulator: Simulator, host: string, options: { capacityBytes?: number; isDivided?: boolean } = {}) {
    this.#isDivided = options.isDivided ?? false;
    this.#simulator = simulator;
    this.#host = host;
    this.#random = simulator.random(`${host}/disk-store`);
    this.capacityBytes = options.capacityBytes ?? 1024 * 1024 * 1024;
  }

  get freeBytes(): number {
    return Math.max(0, this.capacityBytes - this.#usedBytes);
  }

  /** The disk that `path` is on, '' when there is only one. */
  topOf(path: string): string {
    return this.#isDivided ? `/${normalize(path).split('/')[1]}/` : '';
  }

  /** Free for files below `path`, where each directory at the top may be a disk of its own. */
  freeBytesOf(path: string): number {
    const top = this.topOf(path);
    if (top === '') return this.freeBytes;
    let usedBytes = 0;
    for (const [name, entry] of this.#names)
      if (entry !== DIRECTORY && name.startsWith(top)) usedBytes += entry.sizeBytes;
    return Math.max(0, this.capacityBytes - usedBytes);
  }

  /** Sets faults for everything below `prefix` ('' for the whole disk); the longest prefix counts. */
  setFaults(faults: Partial<DiskFaults>, prefix = ''): void {
    this.#faults.set(prefix, { ...NO_DISK_FAULTS, ...faults });
  }

  clearFaults(): void {
    this.#faults.clear();
  }

  faultsOf(path: string): DiskFaults {
    let found = NO_DISK_FAULTS;
    let length = -1;
    for (const [prefix, faults] of this.#faults) {
      if (path.startsWith(prefix) && prefix.length > length) {
        found = faults;
        length = prefix.length;
      }
    }
    return found;
  }

  file(path: string): SimFile | undefined {
    const entry = this.#names.get(normalize(path));
    if (entry === DIRECTORY) throw errnoError('EISDIR', path);
    return entry;
  }

  create(path: string): SimFile {
    this.#requireDirectory(dirname(normalize(path)));
    const file = new SimFile();
    this.#changeNames([[normalize(path), file]]);
    return file;
  }

  makeDirectory(path: string): void {
    const normal = normalize(path);
    const entry = this.#names.get(normal);
    if (entry === DIRECTORY || isRoot(normal)) return;
    if (entry !== undefined) throw errnoError('EEXIST', path);
    this.makeDirectory(dirname(normal));
    this.#changeNames([[normal, DIRECTORY]]);
  }

  list(path: string): string[] {
    const directory = normalize(path);
    this.#requireDirectory(directory);
    const prefix = directory.endsWith('/') ? directory : `${directory}/`;
    const names: string[] = [];
    for (const name of this.#names.keys()) {
      if (name.length > prefix.length && name.startsWith(prefix) && !name.includes('/', prefix.length))
        names.push(name.slice(prefix.length));
    }
    return names.sort();
  }

  rename(from: string, to: string): void {
    const entry = this.#names.get(normalize(from));
    if (entry === undefined) throw errnoError('ENOENT', from);
    if (entry === DIRECTORY || this.#names.get(normalize(to)) === DIRECTORY) throw errnoError('EISDIR', from);
    this.#requireDirectory(dirname(normalize(to)));
    this.#usedBytes -= this.file(to)?.sizeBytes ?? 0;
    this.#changeNames([
      [normalize(from), undefined],
      [normalize(to), entry],
    ]);
  }

  remove(path: string): void {
    const file = this.file(path);
    if (file === undefined) return;
    this.#usedBytes -= file.sizeBytes;
    this.#changeNames([[normalize(path), undefined]]);
  }

  syncDirectory(path: string): void {
    const directory = normalize(path);
    this.#requireDirectory(directory);
    const touches = (change: NameChange): boolean => change.some(([name]) => dirname(name) === directory);
    for (const change of this.#unsyncedNames.filter(touches)) apply(this.#durableNames, change);
    this.#unsyncedNames = this.#unsyncedNames.filter(change => !touches(change));
  }

  /** Called by SimDisk around each change of a file's size. */
  accountBytes(byBytes: number): void {
    this.#usedBytes += byBytes;
  }

  /** Everything unsynced goes, but for a random first part of each file's changes and of the changes of names. */
  losePower(): void {
    const keptCount = this.#random.int(this.#unsyncedNames.length + 1);
    const lostCount = this.#unsyncedNames.length - keptCount;
    for (const change of this.#unsyncedNames.slice(0, keptCount)) apply(this.#durableNames, change);
    this.#unsyncedNames = [];
    this.#names = new Map();
    for (const [path, entry] of [...this.#durableNames].sort(byName)) {
      // A directory whose own name was lost takes what is in it along.
      if (isRoot(dirname(path)) || this.#names.get(dirname(path)) === DIRECTORY) this.#names.set(path, entry);
    }
    this.#durableNames = new Map(this.#names);
    this.#usedBytes = 0;
    for (const entry of this.#names.values()) {
      if (entry === DIRECTORY) continue;
      entry.losePower(this.#random);
      this.#usedBytes += entry.sizeBytes;
    }
    this.#simulator.trace(`${this.#host} disk lost ${lostCount} of ${lostCount + keptCount} unsynced names`);
  }

  /** One bit of one stored file changes; false when there is no such file or it is empty. */
  flipBit(path: string, at?: number): boolean {
    const isFlipped = this.file(path)?.flipBit(this.#random, at) ?? false;
    if (isFlipped) this.#simulator.fault('bit-flip', `${this.#host}:${path}`);
    return isFlipped;
  }

  /** All files below `prefix`, sorted: for checkers and for choosing a victim. */
  filePaths(prefix = ''): string[] {
    const paths = [...this.#names].filter(([path, entry]) => entry !== DIRECTORY && path.startsWith(prefix));
    return paths.map(([path]) => path).sort();
  }

  /** Somebody deletes a file, for good. Who has it open goes on with what is left of it. */
  loseFile(path: string): void {
    this.#simulator.fault('file-lost', `${this.#host}:${path}`);
    this.#lose(name => name === path);
  }

  /** The disk is replaced by a new one: as a whole, or what is in the directory `path`. */
  wipe(path = ''): void {
    this.#simulator.fault('disk-wiped', `${this.#host}:${path}`);
    this.#lose(name => path === '' || name === path || name.startsWith(`${path}/`));
  }

  #lose(isLost: (name: string) => boolean): void {
    for (const [name, entry] of this.#names) {
      if (!isLost(name)) continue;
      if (entry !== DIRECTORY) this.#usedBytes -= entry.sizeBytes;
      this.#names.delete(name);
    }
    for (const name of this.#durableNames.keys()) if (isLost(name)) this.#durableNames.delete(name);
    this.#unsyncedNames = this.#unsyncedNames.filter(change => !change.some(([name]) => isLost(name)));
  }

  #changeNames(change: NameChange): void {
    apply(this.#names, change);
    this.#unsyncedNames.push(change);
  }

  #requireDirectory(path: string): void {
    if (isRoot(path)) return;
    const entry = this.#names.get(path);
    if (entry === undefined) throw errnoError('ENOENT', path);
    if (entry !== DIRECTORY) throw errnoError('ENOTDIR', path);
  }
}

/** Of the same few paths again and again. */
function normalize(path: string): string {
  return UNUSUAL.test(path) ? normalizeAny(path) : path;
}

const UNUSUAL = /\/\/|\/\.|^\.|.\/$/;

function apply(names: Map<string, Entry>, change: NameChange): void {
  for (const [path, entry] of change) {
    if (entry === undefined) names.delete(path);
    else names.set(path, entry);
  }
}

function byName(a: [string, Entry], b: [string, Entry]): number {
  return a[0] < b[0] ? -1 : 1;
}

function isRoot(path: string): boolean {
  return path === '/' || path === '.';
}
