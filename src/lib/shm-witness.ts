// Witness over a directory in shared memory (/dev/shm), which survives processes and not the machine.
// Each name is one small file: 8 bytes of value, then the boot id of the machine, so that a file that outlived its boot is not believed.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { assert } from './assert.js';
import { readBootId } from './boot-id.js';
import type { Witness } from './witness.js';

const VALUE_BYTES = 8;
const NAME_BYTES_MAX = 200;

interface Slot {
  /** Undefined until the first raise, and for ever where there is no shared memory. */
  fd: number | undefined;
  value: number | undefined;
}

export class ShmWitness implements Witness {
  readonly #directory: string;
  readonly #bootId: string;
  /** False when there is no shared memory that is ours alone; then nothing is recalled, which callers must treat as a loss of power. */
  readonly #available: boolean;
  readonly #slots = new Map<string, Slot>();
  readonly #scratch = Buffer.alloc(VALUE_BYTES);

  constructor(directory: string, bootIdPath?: string) {
    this.#directory = directory;
    this.#bootId = readBootId(bootIdPath);
    this.#available = this.#bootId !== '' && makePrivateDirectory(directory);
  }

  recall(name: string): number | undefined {
    return this.#slot(name).value;
  }

  raise(name: string, value: number): void {
    assert(Number.isSafeInteger(value) && value >= 0, 'a witness keeps a whole number');
    const slot = this.#slot(name);
    // Without memory a restart of the process must find nothing, rather than half of the truth.
    if (!this.#available) return;
    if (slot.fd === undefined) slot.fd = this.#create(name, value);
    else this.#store(slot.fd, value);
    slot.value = value;
  }

  #slot(name: string): Slot {
    let slot = this.#slots.get(name);
    if (slot === undefined) {
      slot = this.#available ? this.#open(name) : { fd: undefined, value: undefined };
      this.#slots.set(name, slot);
    }
    return slot;
  }

  #open(name: string): Slot {
    let fd: number;
    try {
      fd = fs.openSync(this.#path(name), fs.constants.O_RDWR | fs.constants.O_NOFOLLOW);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { fd: undefined, value: undefined };
      throw error;
    }
    const expected = Buffer.from(this.#bootId, 'latin1');
    const content = Buffer.alloc(VALUE_BYTES + expected.length + 1);
    const count = fs.readSync(fd, content, 0, content.length, 0);
    const value = Number(content.readBigUInt64LE(0));
    const isOurs = count === content.length - 1 && content.subarray(VALUE_BYTES, count).equals(expected);
    if (isOurs && Number.isSafeInteger(value)) return { fd, value };
    fs.closeSync(fd);
    return { fd: undefined, value: undefined };
  }

  /** The file appears whole or not at all: a process may die at any system call. */
  #create(name: string, value: number): number {
    const path = this.#path(name);
    const temporary = `${path}.tmp`;
    fs.rmSync(temporary, { force: true });
    const fd = fs.openSync(temporary, 'wx+', 0o600);
    fs.writeSync(fd, Buffer.from(this.#bootId, 'latin1'), 0, this.#bootId.length, VALUE_BYTES);
    this.#store(fd, value);
    fs.renameSync(temporary, path);
    return fd;
  }

  /** One 8-byte write within a page: the kernel copies it whole before the process can die. */
  #store(fd: number, value: number): void {
    this.#scratch.writeBigUInt64LE(BigInt(value));
    fs.writeSync(fd, this.#scratch, 0, VALUE_BYTES, 0);
  }

  #path(name: string): string {
    // encodeURIComponent leaves no slash; the prefix keeps '.' and '..' from being directories.
    const safe = `w-${encodeURIComponent(name)}`;
    assert(safe.length <= NAME_BYTES_MAX, 'the name of a witness fits in a file name');
    return join(this.#directory, safe);
  }
}

/** Makes the directory for this user alone. False when shared memory is absent or the name belongs to somebody else. */
function makePrivateDirectory(path: string): boolean {
  try {
    fs.mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'EACCES' || code === 'EROFS' || code === 'ENOTDIR') return false;
    if (code !== 'EEXIST') throw error;
  }
  const stats = fs.lstatSync(path);
  const isOthers = (stats.mode & 0o022) !== 0;
  return stats.isDirectory() && stats.uid === process.getuid?.() && !isOthers;
}
