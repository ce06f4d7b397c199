// An open file of the public API: reads anywhere, appends at the end. It adds shapes that programs like (whole buffers, streams) to OpenFile.
import type { Readable, Writable } from 'node:stream';
import { GfsStats } from './stats.js';
import { type FileUse, readStream, writeStream } from './streams.js';
import type { OpenFile } from './types.js';

/** What can be written: text is UTF-8. */
export type Data = string | Uint8Array;

const READ_BYTES = 1024 * 1024;

export class GfsFile {
  constructor(
    private readonly file: OpenFile,
    private readonly access: { readable: boolean; writable: boolean; path: string },
  ) {}

  get inode(): number {
    return this.file.inode;
  }

  async stat(): Promise<GfsStats> {
    return new GfsStats(await this.file.attributes());
  }

  /** Up to `length` bytes from `offset`; fewer only at the end of the file. */
  async read(offset: number, length: number): Promise<Buffer> {
    this.#check('readable', 'reading');
    return Buffer.concat(await this.file.read(offset, length));
  }

  /** All bytes, as one buffer. */
  async readFile(): Promise<Buffer> {
    this.#check('readable', 'reading');
    const parts: Buffer[] = [];
    for (let offset = 0; ; ) {
      const buffers = await this.file.read(offset, READ_BYTES);
      if (buffers.length === 0) return Buffer.concat(parts);
      for (const buffer of buffers) {
        parts.push(buffer);
        offset += buffer.length;
      }
    }
  }

  /** Appends, after all earlier appends of this file, wherever it ends; long data may be cut at the ends of chunks. Returns the offset of the first byte. */
  async append(data: Data): Promise<number> {
    this.#check('writable', 'appending');
    return this.file.append([bufferOf(data)], { split: true });
  }

  /** Appends one record: whole, once, at the returned offset (paper, §3.3). At most `recordBytesMax` bytes. */
  async recordAppend(data: Data): Promise<number> {
    this.#check('writable', 'appending');
    return this.file.append([bufferOf(data)], { split: false });
  }

  /** Settles when all acknowledged appends are on the disks of every replica. */
  sync(): Promise<void> {
    return this.file.sync();
  }

  /** Cuts the file, or extends it with zeros that take no space. */
  async truncate(sizeBytes = 0): Promise<void> {
    this.#check('writable', 'truncating');
    await this.file.truncate(sizeBytes);
  }

  /** Bytes `start` to `end` (inclusive, as in node:fs) as a stream. The file stays open. */
  createReadStream(options: { start?: number; end?: number } = {}): Readable {
    this.#check('readable', 'reading');
    return readStream(this.#lent(), options);
  }

  /** A stream whose bytes are appended in order; it finishes when all of them are acknowledged. The file stays open. */
  createWriteStream(): Writable {
    this.#check('writable', 'appending');
    return writeStream(this.#lent());
  }

  /** Waits for appends on their way; with `durable` until they are on the disks. May be called twice. */
  close(options: { durable?: boolean } = {}): Promise<void> {
    return this.file.close(options);
  }

  #lent(): FileUse {
    return { open: () => Promise.resolve(this), close: () => Promise.resolve() };
  }

  #check(right: 'readable' | 'writable', what: string): void {
    if (!this.access[right]) throw new TypeError(`${this.access.path} is not open for ${what}`);
  }
}

export function bufferOf(data: Data): Buffer {
  if (typeof data === 'string') return Buffer.from(data);
  // The caller may go on using its memory; what is on its way must not change.
  return Buffer.from(data);
}
