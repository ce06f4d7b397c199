// Reads chunk bytes and believes none that does not match its checksum (I8). It reads whole blocks, checks them and returns slices without
// copying; a chunk with a wrong or missing block is marked corrupt here, and reported and replaced by others.
import { assert } from '../lib/assert.js';
import { crc32, crc32Combine } from '../lib/checksum.js';
import { asGfsError, GfsError } from '../protocol/errors.js';
import { LIMITS } from '../protocol/limits.js';
import type { BlockChecksums } from './block-checksums.js';
import type { Chunk } from './chunk.js';

const BLOCK = LIMITS.blockBytes;

export interface VerifiedBytes {
  buffers: Buffer[];
  /** CRC-32 of all of them. */
  crc: number;
}

export class VerifiedReader {
  constructor(
    private readonly checksums: BlockChecksums,
    private readonly markCorrupt: (chunk: Chunk, reason: string) => void,
  ) {}

  /** The bytes [offset, offset + lengthBytes), which must be recorded. Throws CORRUPT, or NO_CHUNK when the chunk changed meanwhile. */
  async read(chunk: Chunk, offset: number, lengthBytes: number): Promise<VerifiedBytes> {
    assert(offset + lengthBytes <= chunk.writtenBytes, 'only written bytes are read');
    const firstBlock = Math.floor(offset / BLOCK);
    const start = firstBlock * BLOCK;
    const end = Math.min(chunk.writtenBytes, Math.ceil((offset + lengthBytes) / BLOCK) * BLOCK);
    // What is written does not change, but the last block grows: its checksum of this moment belongs to the end of this moment.
    const expected: number[] = [];
    for (let at = start; at < end; at += BLOCK) expected.push(this.checksums.get(chunk, at / BLOCK));
    const { cuts } = chunk;
    const bytes = await this.readFile(chunk, start, end - start);
    if (chunk.gone || chunk.cuts !== cuts)
      throw new GfsError('NO_CHUNK', 'the replica was cut or deleted while it was read');
    if (bytes.length < end - start)
      throw this.corrupt(chunk, `the file ends at ${start + bytes.length}, its record says ${chunk.writtenBytes}`);
    return this.slice(chunk, bytes, { start, offset, lengthBytes }, expected);
  }

  private slice(
    chunk: Chunk,
    bytes: Buffer,
    range: { start: number; offset: number; lengthBytes: number },
    expected: readonly number[],
  ): VerifiedBytes {
    const buffers: Buffer[] = [];
    const end = range.offset + range.lengthBytes;
    let crc = 0;
    expected.forEach((blockCrc, i) => {
      const blockStart = range.start + i * BLOCK;
      const block = bytes.subarray(i * BLOCK, (i + 1) * BLOCK);
      if (crc32(block) !== blockCrc)
        throw this.corrupt(chunk, `the block at ${blockStart} does not match its checksum`);
      const from = Math.max(0, range.offset - blockStart);
      const to = Math.min(block.length, end - blockStart);
      const isWhole = from === 0 && to === block.length;
      const part = isWhole ? block : block.subarray(from, to);
      buffers.push(part);
      crc = crc32Combine(crc, isWhole ? blockCrc : crc32(part), part.length);
    });
    return { buffers, crc };
  }

  private async readFile(chunk: Chunk, position: number, lengthBytes: number): Promise<Buffer> {
    try {
      return await chunk.disk.files.use(chunk.handle, { create: false }, file => file.read(lengthBytes, position));
    } catch (error) {
      if (chunk.gone) throw new GfsError('NO_CHUNK', 'the replica was deleted while it was read');
      const { code, message } = error as { code?: string; message: string };
      if (code === 'ENOENT' || code === 'EIO') throw this.corrupt(chunk, `the file cannot be read: ${message}`);
      throw asGfsError(error);
    }
  }

  private corrupt(chunk: Chunk, reason: string): GfsError {
    this.markCorrupt(chunk, reason);
    return new GfsError('CORRUPT', `chunk ${chunk.handle}: ${reason}`);
  }
}
