// Blocks of files, from the cache, from a request that is already on its way, or by a new request for a run of neighbours. It decides no
// read-ahead and judges no sizes.
import { BLOCK_BYTES, type Block, type BlockCache, blockKey } from './block-cache.js';
import type { ChunkReader } from './chunk-reader.js';
import type { InodeState } from './inode-state.js';
import type { ClientParts } from './parts.js';

interface PendingBlock {
  readonly lengthBytes: number;
  readonly block: Promise<Block>;
}

export class BlockFetcher {
  /** Blocks on their way, by key. */
  readonly #pending = new Map<string, PendingBlock>();

  constructor(
    private readonly parts: ClientParts,
    private readonly chunks: ChunkReader,
    private readonly cache: BlockCache,
  ) {}

  /**
   * The blocks that hold bytes `fromByte` to `toByte` of the present generation, in order, each or a promise of it. Requires: toByte is not past
   * state.sizeBytes. What is missing is requested up to the end of its block or file, neighbours together; for what nobody wants yet the master is not asked.
   */
  request(state: InodeState, fromByte: number, toByte: number, deadlineMs: number): Array<Block | Promise<Block>> {
    const blocks: Array<Block | Promise<Block>> = [];
    const runMax = Math.max(1, Math.floor(this.parts.settings.readRequestBytes / BLOCK_BYTES));
    const lastIndex = Math.floor((toByte - 1) / BLOCK_BYTES);
    for (let index = Math.floor(fromByte / BLOCK_BYTES); index <= lastIndex; ) {
      const known = this.#known(state, index, toByte);
      if (known) {
        blocks.push(known);
        index++;
        continue;
      }
      let count = 1;
      while (count < runMax && index + count <= lastIndex && !this.#known(state, index + count, toByte)) count++;
      blocks.push(...this.#start(state, index, { count, toByte }, deadlineMs));
      index += count;
    }
    return blocks;
  }

  /** These bytes and no others, past the cache: where a block is damaged in part, the rest of it can be read. */
  exactly(state: InodeState, fromByte: number, toByte: number, deadlineMs: number): Promise<Buffer[]> {
    return this.chunks.fetch(state, fromByte, toByte, deadlineMs);
  }

  #known(state: InodeState, index: number, toByte: number): Block | Promise<Block> | undefined {
    const wantedBytes = Math.min(BLOCK_BYTES, toByte - index * BLOCK_BYTES);
    const cached = this.cache.get(state, index);
    if (cached && cached.lengthBytes >= wantedBytes) return cached;
    const pending = this.#pending.get(blockKey(state, index));
    return pending && pending.lengthBytes >= wantedBytes ? pending.block : undefined;
  }

  #start(
    state: InodeState,
    firstIndex: number,
    { count, toByte }: { count: number; toByte: number },
    deadlineMs: number,
  ): Array<Promise<Block>> {
    const fromByte = firstIndex * BLOCK_BYTES;
    const fullByte = Math.min(fromByte + count * BLOCK_BYTES, state.sizeBytes);
    const wantedByte = Math.min(toByte, fullByte);
    const knownByte = this.chunks.reach(state, fromByte, fullByte);
    const endByte = knownByte >= wantedByte ? knownByte : fullByte;
    const keys = Array.from({ length: count }, (_, i) => blockKey(state, firstIndex + i));
    const fetched = this.chunks.fetch(state, fromByte, endByte, deadlineMs).then(buffers => cut(buffers));
    return keys.map((key, i) => {
      const block = fetched.then(blocks => blocks[i]!);
      const pending = { block, lengthBytes: Math.min(BLOCK_BYTES, endByte - fromByte - i * BLOCK_BYTES) };
      this.#pending.set(key, pending);
      const settle = (): void => {
        if (this.#pending.get(key) === pending) this.#pending.delete(key);
      };
      block.then(
        arrived => {
          this.cache.set(key, arrived);
          settle();
        },
        // Who waits for the block hears of the failure; read-ahead that nobody waits for may fail in silence.
        settle,
      );
      return block;
    });
  }
}

/** Buffers cut at the borders of blocks; the first byte begins one. */
function cut(buffers: readonly Buffer[]): Block[] {
  const blocks: Block[] = [];
  let current: Buffer[] = [];
  let filled = 0;
  for (let buffer of buffers) {
    while (buffer.length > 0) {
      const part = buffer.subarray(0, BLOCK_BYTES - filled);
      current.push(part);
      filled += part.length;
      buffer = buffer.subarray(part.length);
      if (filled < BLOCK_BYTES) continue;
      blocks.push({ buffers: current, lengthBytes: filled });
      current = [];
      filled = 0;
    }
  }
  if (filled > 0) blocks.push({ buffers: current, lengthBytes: filled });
  return blocks;
}
