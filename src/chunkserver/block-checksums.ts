// CRC-32 of every 64 KiB block of every chunk (paper, §5.2), in pages of 64 blocks: changed pages stay with their chunk until a batch has
// written them, others come from the index through a cache. It never reads chunk bytes itself; a wrong block is found by verified-reader.
import { assert } from '../lib/assert.js';
import { crc32, crc32Combine } from '../lib/checksum.js';
import { boundedCache } from '../lib/lru.js';
import { LIMITS } from '../protocol/limits.js';
import type { Chunk } from './chunk.js';
import { BOUNDS } from './settings.js';

const BLOCK = LIMITS.blockBytes;
export const BLOCKS_PER_PAGE = 64;
const PAGE_BYTES = BLOCKS_PER_PAGE * 4;

/** A piece of an append that lies within one block. */
export interface BlockPart {
  lengthBytes: number;
  crc: number;
}

export class BlockChecksums {
  private readonly cache = boundedCache<string, Buffer>(BOUNDS.checksumPagesMax);

  /** CRC of what is written of block `block`. */
  get(chunk: Chunk, block: number): number {
    return this.page(chunk, Math.floor(block / BLOCKS_PER_PAGE)).readUInt32BE((block % BLOCKS_PER_PAGE) * 4);
  }

  /** CRC of what is written of the last block; 0 where none is begun. */
  last(chunk: Chunk): number {
    const { writtenBytes } = chunk;
    return writtenBytes % BLOCK === 0 ? 0 : this.get(chunk, Math.floor(writtenBytes / BLOCK));
  }

  set(chunk: Chunk, block: number, crc: number): void {
    const number = Math.floor(block / BLOCKS_PER_PAGE);
    const page = this.page(chunk, number);
    page.writeUInt32BE(crc, (block % BLOCKS_PER_PAGE) * 4);
    chunk.dirtyPages ??= new Map();
    chunk.dirtyPages.set(number, page);
  }

  /** Enters bytes that were written at `offset`, the end of what was written before. */
  extend(chunk: Chunk, offset: number, parts: readonly BlockPart[]): void {
    let at = offset;
    // From now on the checksum of the block says more: after a cut, or with a record of before it was kept, this is the last that is known of it.
    if (offset === chunk.syncedBytes) chunk.syncedCrc ??= this.last(chunk);
    for (const { lengthBytes, crc } of parts) {
      const block = Math.floor(at / BLOCK);
      const inBlock = at % BLOCK;
      assert(inBlock + lengthBytes <= BLOCK, 'a part lies within one block');
      this.set(chunk, block, inBlock === 0 ? crc : crc32Combine(this.get(chunk, block), crc, lengthBytes));
      at += lengthBytes;
    }
  }

  /** The cached pages of a chunk that was deleted are worth nothing. */
  forget(chunk: Chunk): void {
    for (let page = 0; page <= pageOf(chunk.endBytes); page++) this.cache.delete(keyOf(chunk, page));
    chunk.dirtyPages = undefined;
  }

  private page(chunk: Chunk, number: number): Buffer {
    const changed = chunk.dirtyPages?.get(number) ?? chunk.committingPages?.get(number);
    if (changed) return changed;
    const key = keyOf(chunk, number);
    let page = this.cache.get(key);
    if (!page) {
      const stored = chunk.disk.index.checksumPage(chunk.handle, number);
      page = stored ? Buffer.from(stored) : Buffer.alloc(PAGE_BYTES);
      this.cache.set(key, page);
    }
    return page;
  }
}

function keyOf(chunk: Chunk, page: number): string {
  return `${chunk.handle}/${page}`;
}

/** Number of the page that holds the checksum of the block at `offset`. */
export function pageOf(offset: number): number {
  return Math.floor(offset / BLOCK / BLOCKS_PER_PAGE);
}

/** CRCs of the parts that bytes at `offset` of a chunk fall into by blocks. */
export function partsByBlock(buffers: readonly Buffer[], offset: number): BlockPart[] {
  const parts: BlockPart[] = [];
  let room = BLOCK - (offset % BLOCK);
  let open: BlockPart = { lengthBytes: 0, crc: 0 };
  for (const buffer of buffers) {
    let from = 0;
    while (from < buffer.length) {
      const take = Math.min(room, buffer.length - from);
      open.crc = crc32(take === buffer.length ? buffer : buffer.subarray(from, from + take), open.crc);
      open.lengthBytes += take;
      from += take;
      room -= take;
      if (room > 0) continue;
      parts.push(open);
      open = { lengthBytes: 0, crc: 0 };
      room = BLOCK;
    }
  }
  if (open.lengthBytes > 0) parts.push(open);
  return parts;
}

/** The CRC of all parts one after another. */
export function crcOfParts(parts: readonly BlockPart[]): number {
  let crc = 0;
  for (const part of parts) crc = crc32Combine(crc, part.crc, part.lengthBytes);
  return crc;
}
