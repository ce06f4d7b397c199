// Brings a replica of a sealed chunk to its full length by copying what is missing, and its writers, from another server. It copies the missing
// tail and nothing more (DESIGN 2); what it has written counts only when all of it is there, synced and recorded as sealed. Keeps I7 and I8.

import { type Clock, sleep } from '../lib/clock.js';
import type { Logger } from '../lib/logger.js';
import { asGfsError, GfsError, hasCode } from '../protocol/errors.js';
import type { ChunkHandle } from '../protocol/ids.js';
import type { Reply, Request } from '../protocol/messages.js';
import type { PeerPool } from '../rpc/types.js';
import { partsByBlock } from './block-checksums.js';
import type { ChainServer } from './chain.js';
import type { Chunk } from './chunk.js';
import type { ChunkStore } from './chunk-store.js';
import type { Orders } from './orders.js';
import type { RateLimit } from './rate-limit.js';
import { BOUNDS } from './settings.js';
import type { WriterRow } from './writer-table.js';

export interface CopyingParts {
  me: ChainServer;
  clock: Clock;
  logger: Logger;
  /** What all copies to this server may take together. */
  rate: RateLimit;
  store: ChunkStore;
  peers: PeerPool;
  orders: Orders;
}

type CopyOrder = Request<'copyChunk'>;
type Source = CopyOrder['sources'][number];

interface Work {
  readonly order: CopyOrder;
  copied: number;
  /** What is here is to be replaced by what comes. */
  distrusts: boolean;
  isStopped: boolean;
}

/** How long a source may take for one piece. */
const PIECE_TIMEOUT_MS = 15_000;
/** Copied bytes after which progress is recorded, so that a crash does not begin anew. */
const RECORD_EVERY_BYTES = 16 * 1024 * 1024;

export class Copying {
  /** Bytes copied since the start of this process. */
  copiedBytes = 0;
  /** Running or waiting for their turn; bounded by what the master orders at once. */
  private readonly works = new Set<Work>();

  constructor(private readonly parts: CopyingParts) {}

  /** Settles with the bytes that were copied, also when it was stopped. Rejects with SUPERSEDED, NO_SPACE, or the failure of the last source. */
  async copy(order: CopyOrder): Promise<Reply<'copyChunk'>> {
    const work: Work = { order, copied: 0, distrusts: order.whole, isStopped: false };
    this.works.add(work);
    try {
      await this.parts.orders.serial.run(order.handle, () => this.run(work));
    } finally {
      this.works.delete(work);
    }
    return { copiedBytes: work.copied, ...(work.isStopped ? { stopped: true } : {}) };
  }

  /** Copies of this version end at their next piece, and what they made is taken away; what was there before stays, for the master to decide about. */
  stop(handle: ChunkHandle, version: number): void {
    for (const work of this.works)
      if (work.order.handle === handle && work.order.version <= version) work.isStopped = true;
  }

  private async run(work: Work): Promise<void> {
    const { store, me, logger } = this.parts;
    const { order } = work;
    if (work.isStopped) return;
    const isNew = store.existing(order.handle) === undefined;
    const chunk = store.get(order.handle) ?? store.create(order.handle, me.epoch);
    if (chunk.version > order.version) throw superseded(chunk, order);
    const isSealed = chunk.state === 'sealed' && chunk.writtenBytes === order.lengthBytes;
    if (isSealed && !order.whole && !chunk.corrupt) {
      work.isStopped = false;
      return;
    }
    if (chunk.state === 'sealed' && !order.whole && !chunk.corrupt) throw superseded(chunk, order);
    try {
      await this.fill(chunk, work);
      work.isStopped = false;
    } catch (error) {
      const isUseless = work.isStopped || chunk.writtenBytes === 0 || hasCode(asGfsError(error), 'NO_SPACE');
      await this.leave(chunk, order, isNew && isUseless);
      if (!work.isStopped) throw error;
      logger.info({ handle: order.handle, copied: work.copied, lengthBytes: order.lengthBytes }, 'a copy is stopped');
    }
  }

  /** From the first source that has all of it. */
  private async fill(chunk: Chunk, work: Work): Promise<void> {
    const { store, orders, logger } = this.parts;
    const { order } = work;
    orders.stopAppends(chunk, order.version);
    await chunk.queue?.idle();
    this.check(chunk, order);
    if (chunk.tombstone) store.unbury(chunk);
    chunk.settled = false;
    if (!store.hasRoom(chunk, order.lengthBytes - Math.min(chunk.writtenBytes, order.lengthBytes)))
      throw new GfsError('NO_SPACE', `no room for chunk ${order.handle} in ${chunk.disk.path}`);

    work.distrusts ||= chunk.corrupt;
    let failure: unknown = new GfsError('UNAVAILABLE', 'the order names no source');
    for (const source of order.sources) {
      try {
        await this.copyFrom(source, chunk, work);
        logger.info(
          { handle: order.handle, from: source.server, copied: work.copied, lengthBytes: order.lengthBytes },
          'copied a chunk',
        );
        return;
      } catch (error) {
        failure = error;
        if (work.isStopped) throw error;
        const { code, message } = asGfsError(error);
        logger.warn({ handle: order.handle, from: source.server, code, reason: message }, 'a copy failed');
        this.check(chunk, order);
      }
    }
    throw failure;
  }

  /** What a failed copy leaves is told to the master or taken away: nobody would count or delete a replica that it does not know. */
  private async leave(chunk: Chunk, order: CopyOrder, isUseless: boolean): Promise<void> {
    const { store, orders, logger } = this.parts;
    const isStillOurs = chunk.state === 'fenced' && chunk.version === order.version && !chunk.gone;
    if (!isStillOurs || chunk.failure) return;
    try {
      if (isUseless) await orders.discard(chunk);
      else await store.commit(chunk, { sync: false });
    } catch (cause) {
      const { code, message } = asGfsError(cause);
      logger.warn({ handle: chunk.handle, code, reason: message }, 'what a failed copy left could not be cleared up');
    }
    store.noteChange(chunk);
  }

  private async copyFrom(source: Source, chunk: Chunk, work: Work): Promise<void> {
    const { store, orders } = this.parts;
    const { order } = work;
    const writers = await this.fetchWriters(source);
    this.check(chunk, order);
    if (work.distrusts) {
      await this.readThrough(source, chunk, work);
      await store.cut(chunk, 0, () => {
        chunk.corrupt = false;
      });
      work.distrusts = false;
    } else if (chunk.writtenBytes > order.lengthBytes) {
      await store.cut(chunk, order.lengthBytes, () => undefined);
    }
    // Before the bytes: should this process end in between, a replica with all bytes is taken for whole, and its word that an append is absent for true.
    await this.replaceWriters(chunk, writers);
    this.check(chunk, order);
    await this.fetchBytes(source, chunk, work);
    await store.sync(chunk, order.lengthBytes);
    this.check(chunk, order);
    await orders.seal(chunk, order.version, order.lengthBytes);
  }

  /** Nothing is dropped before it is seen that there is something better, to the last block: a damaged replica may have what the source lacks. */
  private async readThrough(source: Source, chunk: Chunk, work: Work): Promise<void> {
    const end = work.order.lengthBytes;
    for (let offset = 0; offset < end; offset += BOUNDS.pieceBytes) {
      const { lengthBytes } = await this.fetch(source, { offset, end });
      this.checkWanted(chunk, work);
      await this.keepRate(lengthBytes);
      this.checkWanted(chunk, work);
    }
  }

  private async fetchBytes(source: Source, chunk: Chunk, work: Work): Promise<void> {
    const { store } = this.parts;
    const { order } = work;
    let recordedBytes = chunk.writtenBytes;
    let coming = this.fetchNext(source, chunk.writtenBytes, order.lengthBytes);
    while (chunk.writtenBytes < order.lengthBytes) {
      const piece = await coming;
      this.checkWanted(chunk, work);
      // The next piece is on its way while this one is written.
      coming = this.fetchNext(source, chunk.writtenBytes + piece.lengthBytes, order.lengthBytes);
      coming.catch(() => undefined);
      await this.write(chunk, piece);
      work.copied += piece.lengthBytes;
      this.copiedBytes += piece.lengthBytes;
      this.checkWanted(chunk, work);
      if (chunk.writtenBytes - recordedBytes >= RECORD_EVERY_BYTES) {
        recordedBytes = chunk.writtenBytes;
        await store.commit(chunk, { sync: false });
      }
      await this.keepRate(piece.lengthBytes);
    }
    await store.commit(chunk, { sync: false });
    this.check(chunk, order);
  }

  private async write(chunk: Chunk, piece: { buffers: Buffer[]; lengthBytes: number }): Promise<void> {
    const { store } = this.parts;
    const offset = chunk.writtenBytes;
    const parts = partsByBlock(piece.buffers, offset);
    await chunk.disk.files.use(chunk.handle, { create: true }, file => file.write(piece.buffers, offset));
    store.checksums.extend(chunk, offset, parts);
    chunk.endBytes = offset + piece.lengthBytes;
    chunk.writtenBytes = chunk.endBytes;
    chunk.disk.usedBytes += piece.lengthBytes;
    chunk.disk.space.freeBytes -= piece.lengthBytes;
  }

  private async fetchNext(
    source: Source,
    offset: number,
    end: number,
  ): Promise<{ buffers: Buffer[]; lengthBytes: number }> {
    if (offset >= end) return { buffers: [], lengthBytes: 0 };
    return this.fetch(source, { offset, end });
  }

  /** The source has checked the bytes against its checksums, the connection against those of the frame. */
  private async fetch(
    source: Source,
    range: { offset: number; end: number },
  ): Promise<{ buffers: Buffer[]; lengthBytes: number }> {
    const lengthBytes = Math.min(BOUNDS.pieceBytes, range.end - range.offset);
    const request = { token: source.token, offset: range.offset, lengthBytes };
    const { payload } = await this.parts.peers
      .get(source.address)
      .call('read', request, { timeoutMs: PIECE_TIMEOUT_MS });
    const received = payload.reduce((sum, buffer) => sum + buffer.length, 0);
    if (received !== lengthBytes)
      throw new GfsError('BAD_MESSAGE', `${source.address} answered ${received} bytes of ${lengthBytes}`);
    return { buffers: payload, lengthBytes };
  }

  private async fetchWriters(source: Source): Promise<Map<string, WriterRow>> {
    const rows = new Map<string, WriterRow>();
    let after = '';
    for (;;) {
      const { body } = await this.parts.peers
        .get(source.address)
        .call('readWriters', { token: source.token, after }, { timeoutMs: PIECE_TIMEOUT_MS });
      for (const { writer, appends, atMs } of body.writers) rows.set(writer, { appends, atMs });
      const last = body.writers[body.writers.length - 1]?.writer;
      if (body.end || last === undefined || last <= after) return rows;
      after = last;
    }
  }

  private async replaceWriters(chunk: Chunk, writers: Map<string, WriterRow>): Promise<void> {
    const { index } = chunk.disk;
    const ops = [];
    for (const [writer] of await index.writers(chunk.handle)) {
      if (!writers.has(writer)) ops.push(index.writerOp(chunk.handle, writer, undefined));
    }
    for (const [writer, row] of writers) ops.push(index.writerOp(chunk.handle, writer, row));
    chunk.writers = undefined;
    await this.parts.store.commit(chunk, { sync: false, ops });
  }

  private keepRate(lengthBytes: number): Promise<void> {
    return this.parts.rate.take(lengthBytes, ms => sleep(this.parts.clock, ms));
  }

  private checkWanted(chunk: Chunk, work: Work): void {
    this.check(chunk, work.order);
    if (work.isStopped) throw new GfsError('INTERRUPTED', 'the copy is not wanted any more');
  }

  /** Throws unless the replica still is what the order is about. */
  private check(chunk: Chunk, order: CopyOrder): void {
    if (chunk.failure) throw chunk.failure;
    if (chunk.gone || chunk.state !== 'fenced' || chunk.version !== order.version) throw superseded(chunk, order);
  }
}

function superseded(chunk: Chunk, order: CopyOrder): GfsError {
  return new GfsError(
    'SUPERSEDED',
    `chunk ${chunk.handle} is ${chunk.state} in version ${chunk.version} with ${chunk.writtenBytes} bytes here; ordered was a copy of version ${order.version} with ${order.lengthBytes}`,
  );
}
