// Disk over node:fs. Owns the loops around short reads and writes, and never decides what a failure means: errors pass with their errno code.
// It uses the callback API on plain descriptors: FileHandle objects cost several microseconds more for each call.
import * as fs from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { assert } from './assert.js';
import { readBootId } from './boot-id.js';
import type { Disk, DiskFile, DiskSpace } from './disk.js';
import { makeDirectories } from './make-directories.js';

/** Buffers that one writev takes (IOV_MAX on Linux). */
const BUFFERS_PER_WRITE_MAX = 1024;
/**
 * Writes up to this size go to the page cache in this thread. Waking a thread of the pool and being woken by it costs about as much as copying a
 * megabyte (measured: a fifth of a chunkserver's time while streams are written). A disk that cannot keep up then slows this process down at
 * once, by at most the kernel's pause of 200 ms a write, instead of filling memory with waiting writes.
 */
const INLINE_BYTES_MAX = 4 * 1024 * 1024;
/** readSmall refuses larger files: they are not what the caller thinks they are. */
const SMALL_FILE_BYTES_MAX = 1024 * 1024;

class NodeDiskFile implements DiskFile {
  readonly #fd: number;
  #closed = false;

  constructor(fd: number) {
    this.#fd = fd;
  }

  write(buffers: readonly Buffer[], position: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const pending = buffers.filter(buffer => buffer.length > 0);
      if (bytesOf(pending) <= INLINE_BYTES_MAX) {
        try {
          writeInline(this.#fd, pending, position);
          resolve();
        } catch (error) {
          reject(error);
        }
        return;
      }
      writeAll(this.#fd, pending, position, error => (error === null ? resolve() : reject(error)));
    });
  }

  read(length: number, position: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const buffer = Buffer.allocUnsafeSlow(length);
      readAll(this.#fd, buffer, 0, position, (error, count) => {
        if (error !== null) reject(error);
        else resolve(count === length ? buffer : buffer.subarray(0, count));
      });
    });
  }

  truncate(sizeBytes: number): Promise<void> {
    return call(done => fs.ftruncate(this.#fd, sizeBytes, done));
  }

  sync(): Promise<void> {
    return call(done => fs.fdatasync(this.#fd, done));
  }

  size(): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.fstat(this.#fd, (error, stats) => (error === null ? resolve(stats.size) : reject(error)));
    });
  }

  /** May be called twice: a second close of the number would close somebody else's file. */
  close(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.#closed = true;
    return call(done => fs.close(this.#fd, done));
  }
}

export class NodeDisk implements Disk {
  /** Device numbers are this machine's own, and may change with its next start. */
  readonly #host = readBootId() || hostname();

  async open(path: string, options: { create?: boolean } = {}): Promise<DiskFile> {
    const flags = fs.constants.O_RDWR | (options.create === true ? fs.constants.O_CREAT : 0);
    return new NodeDiskFile(await openDescriptor(path, flags));
  }

  async makeDirectory(path: string): Promise<void> {
    await makeDirectories(path);
  }

  async syncDirectory(path: string): Promise<void> {
    const fd = await openDescriptor(path, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
    try {
      await call(done => fs.fsync(fd, done));
    } finally {
      await call(done => fs.close(fd, done));
    }
  }

  async list(path: string): Promise<string[]> {
    return (await fs.promises.readdir(path)).sort();
  }

  async sizeOf(path: string): Promise<number | undefined> {
    try {
      return (await fs.promises.stat(path)).size;
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
  }

  rename(from: string, to: string): Promise<void> {
    return call(done => fs.rename(from, to, done));
  }

  async remove(path: string): Promise<void> {
    try {
      await call(done => fs.unlink(path, done));
    } catch (error) {
      if (!isAbsent(error)) throw error;
    }
  }

  async space(path: string): Promise<DiskSpace> {
    const [stats, { dev }] = await Promise.all([fs.promises.statfs(path), fs.promises.stat(path)]);
    return {
      capacityBytes: stats.blocks * stats.bsize,
      freeBytes: stats.bavail * stats.bsize,
      fileSystem: `${this.#host} ${dev}`,
    };
  }

  async readSmall(path: string): Promise<Buffer | undefined> {
    const size = await this.sizeOf(path);
    if (size === undefined) return undefined;
    if (size > SMALL_FILE_BYTES_MAX) {
      throw Object.assign(new Error(`${path} has ${size} bytes, more than a small file may`), { code: 'EFBIG' });
    }
    try {
      return await fs.promises.readFile(path);
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
  }

  async writeSmall(path: string, content: Buffer): Promise<void> {
    assert(content.length <= SMALL_FILE_BYTES_MAX, 'a small file is small');
    const temporary = `${path}.tmp`;
    const fd = await openDescriptor(temporary, fs.constants.O_WRONLY | fs.constants.O_CREAT | fs.constants.O_TRUNC);
    const file = new NodeDiskFile(fd);
    try {
      await file.write([content], 0);
      await call(done => fs.fsync(fd, done));
    } finally {
      await file.close();
    }
    await this.rename(temporary, path);
    await this.syncDirectory(dirname(path));
  }
}

type Done = (error: NodeJS.ErrnoException | null) => void;

function call(start: (done: Done) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start(error => (error === null || error === undefined ? resolve() : reject(error)));
  });
}

function openDescriptor(path: string, flags: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.open(path, flags, 0o644, (error, fd) => (error === null ? resolve(fd) : reject(error)));
  });
}

function bytesOf(buffers: readonly Buffer[]): number {
  let bytes = 0;
  for (const buffer of buffers) bytes += buffer.length;
  return bytes;
}

function writeInline(fd: number, buffers: Buffer[], position: number): void {
  let at = position;
  let left = buffers;
  while (left.length > 0) {
    const written = fs.writevSync(fd, left.slice(0, BUFFERS_PER_WRITE_MAX), at);
    if (written === 0) throw Object.assign(new Error('write took no bytes'), { code: 'EIO' });
    at += written;
    left = afterBytes(left, written);
  }
}

function writeAll(fd: number, buffers: Buffer[], position: number, done: Done): void {
  if (buffers.length === 0) {
    done(null);
    return;
  }
  const onWritten = (error: NodeJS.ErrnoException | null, written: number): void => {
    if (error !== null) done(error);
    // Linux writes nothing at all only of an empty request; going on would loop for ever.
    else if (written === 0) done(Object.assign(new Error('write took no bytes'), { code: 'EIO' }));
    else writeAll(fd, afterBytes(buffers, written), position + written, done);
  };
  if (buffers.length === 1) fs.write(fd, buffers[0]!, 0, buffers[0]!.length, position, onWritten);
  else fs.writev(fd, buffers.slice(0, BUFFERS_PER_WRITE_MAX), position, onWritten);
}

/** What is left of `buffers` after their first `count` bytes. */
function afterBytes(buffers: Buffer[], count: number): Buffer[] {
  let index = 0;
  let left = count;
  while (index < buffers.length && left >= buffers[index]!.length) {
    left -= buffers[index]!.length;
    index++;
  }
  const rest = buffers.slice(index);
  if (left > 0) rest[0] = rest[0]!.subarray(left);
  return rest;
}

function readAll(
  fd: number,
  buffer: Buffer,
  filled: number,
  position: number,
  done: (error: NodeJS.ErrnoException | null, count: number) => void,
): void {
  fs.read(fd, buffer, filled, buffer.length - filled, position + filled, (error, count) => {
    const total = filled + count;
    if (error !== null) done(error, filled);
    else if (count === 0 || total === buffer.length) done(null, total);
    else readAll(fd, buffer, total, position, done);
  });
}

function isAbsent(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}
