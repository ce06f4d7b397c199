// Bytes of files that were read, in blocks, bounded over all files. Only committed bytes of one generation of a file enter, and those never
// change (DESIGN 2), so a block is right as long as its key is asked for.
import { LRUCache } from '../lib/lru.js';
import { LIMITS } from '../protocol/limits.js';
import type { InodeState } from './inode-state.js';

/** The first `lengthBytes` bytes of a block of the file; fewer than blockBytes where the file ended when it was read. */
export interface Block {
  readonly buffers: readonly Buffer[];
  readonly lengthBytes: number;
}

export const BLOCK_BYTES = LIMITS.blockBytes;
/** Smaller blocks are kept as copies: a slice of a few bytes would keep the whole piece in memory that it was received in (lib/receive-slabs.ts). */
const COPIED_BYTES_MAX = 16 * 1024;

export class BlockCache {
  /** Undefined without a cache. */
  readonly #blocks: LRUCache<string, Block> | undefined;

  constructor(cacheBytes: number) {
    if (cacheBytes === 0) return;
    this.#blocks = new LRUCache<string, Block>({
      maxSize: cacheBytes,
      maxEntrySize: cacheBytes,
      sizeCalculation: block => block.lengthBytes + 256,
    });
  }

  get(state: InodeState, index: number): Block | undefined {
    return this.#blocks?.get(blockKey(state, index));
  }

  set(key: string, block: Block): void {
    const known = this.#blocks?.peek(key);
    if (known && known.lengthBytes >= block.lengthBytes) return;
    this.#blocks?.set(key, block.lengthBytes > COPIED_BYTES_MAX ? block : copyOf(block));
  }

  clear(): void {
    this.#blocks?.clear();
  }
}

function copyOf({ buffers, lengthBytes }: Block): Block {
  const copy = Buffer.allocUnsafeSlow(lengthBytes);
  let filled = 0;
  for (const buffer of buffers) filled += buffer.copy(copy, filled);
  return { buffers: [copy], lengthBytes };
}

/** Names a block of the file's present generation. */
export function blockKey(state: InodeState, index: number): string {
  return `${state.inode}.${state.generation}.${index}`;
}
