// Reads of one open file: knows where the file ends, serves from blocks, and runs ahead of a sequential reader with several requests on
// their way. It never returns bytes past the known committed length, nor bytes of an older generation than the newest it knows of.
import { within } from '../lib/deadline.js';
import { deferred } from '../lib/deferred.js';
import { asGfsError, GfsError, hasCode } from '../protocol/errors.js';
import { BLOCK_BYTES, type Block } from './block-cache.js';
import type { BlockFetcher } from './block-fetcher.js';
import { Superseded } from './chunk-reader.js';
import type { InodeState } from './inode-state.js';
import type { ClientParts } from './parts.js';
import { CLIENT_LIMITS } from './settings.js';
import type { TailSizes } from './tail.js';

export class Reader {
  /** Where the last read ended: a read that begins there is sequential. */
  #nextOffset = 0;
  /** How far ahead the reader is served; doubles with each sequential read. */
  #windowBytes = 0;
  /** End of what was requested ahead. */
  #aheadUntil = 0;
  #generation = 0;
  #checking: Promise<void> | undefined;

  constructor(
    private readonly parts: ClientParts,
    private readonly state: InodeState,
    private readonly tails: TailSizes,
    private readonly blocks: BlockFetcher,
  ) {}

  /** See OpenFile.read. */
  async read(offset: number, length: number, deadlineMs: number): Promise<Buffer[]> {
    const { state } = this;
    while (this.parts.clock.monotonicMs() < deadlineMs) {
      await this.#revalidate(deadlineMs);
      if (offset + length > state.sizeBytes) await this.tails.exact(state.inode, deadlineMs);
      const endByte = Math.min(offset + length, state.sizeBytes);
      if (endByte <= offset) return [];
      const generation = state.generation;
      try {
        const wanted = this.blocks.request(state, offset, endByte, deadlineMs);
        this.#readAhead(offset, endByte, deadlineMs);
        if (!wanted.some(block => block instanceof Promise)) return gather(wanted as Block[], offset, endByte);
        // What another read has asked for may take as long as that one has time.
        const buffers = await within(
          this.parts.clock,
          this.#gatherOrExactly(wanted, { offset, endByte, deadlineMs }),
          deadlineMs + CLIENT_LIMITS.deadlineGraceMs,
          () => tooLong(offset, length),
        );
        if (state.generation === generation) return buffers;
      } catch (error) {
        if (!(error instanceof Superseded)) throw error;
        // The file was cut meanwhile: begin again with what it is now.
        state.checkedMs = Number.NEGATIVE_INFINITY;
      }
    }
    throw tooLong(offset, length);
  }

  /** A request may fail for damaged bytes beside those that are wanted. */
  async #gatherOrExactly(
    wanted: Array<Block | Promise<Block>>,
    { offset, endByte, deadlineMs }: { offset: number; endByte: number; deadlineMs: number },
  ): Promise<Buffer[]> {
    try {
      return gather(await Promise.all(wanted), offset, endByte);
    } catch (error) {
      if (!hasCode(error, 'CORRUPT')) throw error;
      return await this.blocks.exactly(this.state, offset, endByte, deadlineMs);
    }
  }

  /** Learns whether the file was cut, when that was not asked for a while. A master that does not answer holds a read up only briefly. */
  async #revalidate(deadlineMs: number): Promise<void> {
    const { clock, settings, logger } = this.parts;
    const { state } = this;
    if (clock.monotonicMs() - state.checkedMs <= settings.revalidateMs) return;
    this.#checking ??= this.tails
      .look(state.inode, deadlineMs)
      .then(() => undefined)
      .finally(() => {
        this.#checking = undefined;
      });
    const patience = deferred<void>();
    const patienceMs = Math.max(0, Math.min(settings.revalidateMs, deadlineMs - clock.monotonicMs()));
    const timer = clock.setTimer(patienceMs, () => patience.resolve(), { background: true });
    try {
      await Promise.race([this.#checking, patience.promise]);
    } catch (error) {
      if (hasCode(error, 'STALE')) throw error;
      logger.debug({ inode: state.inode, code: asGfsError(error).code }, 'reading goes on without the master');
    } finally {
      timer.cancel();
    }
    // Also when it did not answer: ask again after a while, not with every read.
    if (clock.monotonicMs() - state.checkedMs > settings.revalidateMs) state.checkedMs = clock.monotonicMs();
  }

  #readAhead(offset: number, endByte: number, deadlineMs: number): void {
    const { settings } = this.parts;
    const { state } = this;
    const isSequential = offset === this.#nextOffset && state.generation === this.#generation;
    this.#nextOffset = endByte;
    this.#generation = state.generation;
    if (!isSequential) {
      this.#windowBytes = 0;
      this.#aheadUntil = endByte;
      // A first read from the start is taken for the beginning of a sequential one.
      if (offset !== 0) return;
    }
    // What would be pushed out of the cache before it is read is better not asked for.
    const windowMax = Math.min(settings.readAheadBytes, Math.floor(settings.cacheBytes / 2));
    if (windowMax === 0) return;
    const firstBytes = Math.min(settings.readRequestBytes, windowMax);
    this.#windowBytes = Math.min(windowMax, Math.max(firstBytes, this.#windowBytes * 2));
    this.#aheadUntil = Math.max(this.#aheadUntil, endByte);
    // Requests are made a whole window half at a time, so that they are large.
    if (this.#aheadUntil - endByte > this.#windowBytes / 2) return;
    const untilByte = Math.min(state.sizeBytes, roundUp(endByte + this.#windowBytes));
    if (untilByte <= this.#aheadUntil) return;
    this.blocks.request(state, this.#aheadUntil, untilByte, deadlineMs);
    this.#aheadUntil = untilByte;
  }
}

function tooLong(offset: number, length: number): GfsError {
  return new GfsError('TIMED_OUT', `reading ${length} bytes at ${offset} took too long`);
}

function roundUp(offset: number): number {
  return Math.ceil(offset / BLOCK_BYTES) * BLOCK_BYTES;
}

/** The bytes of neighbouring blocks between two offsets of the file, without copying. */
function gather(blocks: readonly Block[], fromByte: number, toByte: number): Buffer[] {
  const buffers: Buffer[] = [];
  let at = Math.floor(fromByte / BLOCK_BYTES) * BLOCK_BYTES;
  for (const block of blocks) {
    for (const buffer of block.buffers) {
      const part = buffer.subarray(Math.max(0, fromByte - at), Math.max(0, toByte - at));
      if (part.length > 0) buffers.push(part);
      at += buffer.length;
    }
  }
  return buffers;
}
