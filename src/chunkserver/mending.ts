// Mends a damaged replica of a sealed chunk where it lies, block by block: what does not match its checksum is fetched from whichever other
// replica has that block whole, damaged ones too. It writes to bad blocks only, so no good byte is ever at stake, and says what stays bad (I8).
import { crc32OfAll } from '../lib/checksum.js';
import { type Clock, sleep } from '../lib/clock.js';
import type { Logger } from '../lib/logger.js';
import { asGfsError, GfsError, hasCode } from '../protocol/errors.js';
import { LIMITS } from '../protocol/limits.js';
import type { Reply, Request } from '../protocol/messages.js';
import type { PeerPool } from '../rpc/types.js';
import type { Chunk } from './chunk.js';
import type { ChunkStore } from './chunk-store.js';
import type { Orders } from './orders.js';
import type { RateLimit } from './rate-limit.js';
import { BOUNDS } from './settings.js';

export interface MendingParts {
  clock: Clock;
  logger: Logger;
  /** Shared with copies to this server. */
  rate: RateLimit;
  store: ChunkStore;
  peers: PeerPool;
  orders: Orders;
}

type MendOrder = Request<'mendChunk'>;
type Range = Reply<'mendChunk'>['bad'][number];

interface Work {
  readonly order: MendOrder;
  readonly chunk: Chunk;
  /** Bytes that came from others. */
  copied: number;
  readonly bad: Range[];
  isCut: boolean;
}

const BLOCK = LIMITS.blockBytes;
/** How long a source may take for one block. */
const BLOCK_TIMEOUT_MS = 5_000;

export class Mending {
  constructor(private readonly parts: MendingParts) {}

  /** Settles with what could not be mended; nothing: the replica is sealed and good. Rejects with NO_CHUNK, SUPERSEDED, DISK_FAILED, NO_SPACE. */
  mend(order: MendOrder): Promise<Reply<'mendChunk'>> {
    return this.parts.orders.serial.run(order.handle, () => this.run(order));
  }

  private async run(order: MendOrder): Promise<Reply<'mendChunk'>> {
    const { store, orders, logger } = this.parts;
    const chunk = store.existing(order.handle);
    if (!chunk) throw new GfsError('NO_CHUNK', `there is no chunk ${order.handle} here`);
    if (chunk.version > order.version || chunk.writtenBytes !== order.lengthBytes) throw superseded(chunk, order);
    if (!chunk.corrupt && chunk.state === 'sealed') return { copiedBytes: 0, bad: [] };
    if (chunk.state !== 'sealed') orders.stopAppends(chunk, order.version);
    await chunk.queue?.idle();
    this.check(chunk, order);
    const work: Work = { order, chunk, copied: 0, bad: [], isCut: false };
    const wasWhole = await this.mendBlocks(work);
    // Nothing was wrong with the bytes: then it was with the disk (a failed sync), which shows what it may not have.
    if (wasWhole) await this.writeAgain(work);
    chunk.distrustSync();
    await store.sync(chunk, order.lengthBytes);
    this.check(chunk, order);
    const { copied, bad, isCut } = work;
    if (bad.length === 0) {
      chunk.corrupt = false;
      await orders.seal(chunk, order.version, order.lengthBytes);
    }
    logger.info({ handle: order.handle, copied, badRanges: bad.length }, 'mended a damaged replica');
    return { copiedBytes: copied, bad, ...(isCut ? { more: true } : {}) };
  }

  /** Goes through all blocks; returns whether none was bad. */
  private async mendBlocks(work: Work): Promise<boolean> {
    const { order, chunk } = work;
    // By its name: the file may not be there any more.
    await chunk.disk.files.drop(chunk.handle, { discard: false });
    let wasWhole = true;
    for (let at = 0; at < order.lengthBytes; at += BOUNDS.pieceBytes) {
      const pieceBytes = Math.min(BOUNDS.pieceBytes, order.lengthBytes - at);
      if (await this.isGood(work, at, pieceBytes)) continue;
      for (let offset = at; offset < at + pieceBytes; offset += BLOCK) {
        const lengthBytes = Math.min(BLOCK, at + pieceBytes - offset);
        if (await this.isGood(work, offset, lengthBytes)) continue;
        wasWhole = false;
        if (!(await this.fetchBlock(work, offset, lengthBytes))) note(work, offset, lengthBytes);
      }
    }
    return wasWhole;
  }

  private async isGood({ order, chunk }: Work, offset: number, lengthBytes: number): Promise<boolean> {
    try {
      await this.parts.store.reader.read(chunk, offset, lengthBytes);
      return true;
    } catch (error) {
      if (!hasCode(error, 'CORRUPT')) throw error;
      return false;
    } finally {
      this.check(chunk, order);
    }
  }

  /**
   * One block from the first source that has it as this server's checksum knows it. A source that is behind may have its beginning, which is that of every
   * replica (I1): with the rest as it is here the block may be whole, and the checksum tells.
   */
  private async fetchBlock(work: Work, offset: number, lengthBytes: number): Promise<boolean> {
    const { store, peers, rate, clock, logger } = this.parts;
    const { order, chunk } = work;
    for (const { token, address, server, lengthBytes: sourceBytes = order.lengthBytes } of order.sources) {
      const partBytes = Math.min(lengthBytes, sourceBytes - offset);
      if (partBytes <= 0) continue;
      try {
        const request = { token, offset, lengthBytes: partBytes };
        const { payload } = await peers.get(address).call('read', request, { timeoutMs: BLOCK_TIMEOUT_MS });
        const rest = await this.asItIs(work, offset + partBytes, lengthBytes - partBytes);
        if (rest === undefined || crc32OfAll([...payload, rest]) !== store.checksums.get(chunk, offset / BLOCK))
          continue;
        this.check(chunk, order);
        await chunk.disk.files.use(chunk.handle, { create: true }, file => file.write(payload, offset));
        work.copied += partBytes;
        await rate.take(partBytes, ms => sleep(clock, ms));
        this.check(chunk, order);
        return true;
      } catch (error) {
        const { code, message } = asGfsError(error);
        // What is wrong here is not the source's fault.
        if (code === 'SUPERSEDED' || code === 'DISK_FAILED' || code === 'NO_SPACE') throw asGfsError(error);
        logger.debug({ handle: order.handle, offset, from: server, code, reason: message }, 'a block is not to be had');
      }
    }
    return false;
  }

  /** Bytes of a bad block, which nobody may believe; undefined when they are not there. */
  private async asItIs({ chunk }: Work, position: number, lengthBytes: number): Promise<Buffer | undefined> {
    if (lengthBytes === 0) return Buffer.alloc(0);
    try {
      const bytes = await chunk.disk.files.use(chunk.handle, { create: false }, file =>
        file.read(lengthBytes, position),
      );
      return bytes.length === lengthBytes ? bytes : undefined;
    } catch (error) {
      const { code } = error as { code?: string };
      if (code === 'ENOENT' || code === 'EIO') return undefined;
      throw error;
    }
  }

  /** Has the disk take bytes that it claims to have: the same ones, verified while they are read. */
  private async writeAgain({ order, chunk }: Work): Promise<void> {
    for (let at = 0; at < order.lengthBytes; at += BOUNDS.pieceBytes) {
      const lengthBytes = Math.min(BOUNDS.pieceBytes, order.lengthBytes - at);
      const { buffers } = await this.parts.store.reader.read(chunk, at, lengthBytes);
      this.check(chunk, order);
      await chunk.disk.files.use(chunk.handle, { create: false }, file => file.write(buffers, at));
      this.check(chunk, order);
    }
  }

  /** Throws unless the replica still is what the order is about. */
  private check(chunk: Chunk, order: MendOrder): void {
    if (chunk.failure) throw chunk.failure;
    const isSame = !chunk.gone && chunk.version <= order.version && chunk.writtenBytes === order.lengthBytes;
    if (!isSame || chunk.state === 'open') throw superseded(chunk, order);
  }
}

/** Ranges that touch become one; past the bound they are not told one by one any more. */
function note(work: Work, fromByte: number, lengthBytes: number): void {
  const last = work.bad[work.bad.length - 1];
  if (last && last.fromByte + last.lengthBytes === fromByte) last.lengthBytes += lengthBytes;
  else if (work.bad.length < LIMITS.badRangesMax) work.bad.push({ fromByte, lengthBytes });
  else work.isCut = true;
}

function superseded(chunk: Chunk, order: MendOrder): GfsError {
  return new GfsError(
    'SUPERSEDED',
    `chunk ${chunk.handle} is ${chunk.state} in version ${chunk.version} with ${chunk.writtenBytes} bytes here; to be mended was version ${order.version} with ${order.lengthBytes}`,
  );
}
