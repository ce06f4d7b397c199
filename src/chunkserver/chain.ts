// The way of an append down the chain, and of a sync: what the primary and every secondary do alike. Each hop writes and forwards at the same
// time and has the append when it and all behind it have it (I2). The primary's and the secondary's own rules are in their files.
import { deferred } from '../lib/deferred.js';
import { GfsError } from '../protocol/errors.js';
import type { ServerId } from '../protocol/ids.js';
import type { Token } from '../protocol/token.js';
import type { CallContext, PeerPool } from '../rpc/types.js';
import type { AppendQueue } from './append-queue.js';
import { type BlockPart, crcOfParts, partsByBlock } from './block-checksums.js';
import type { Chunk } from './chunk.js';
import type { ChunkStore } from './chunk-store.js';
import type { MasterClock } from './master-clock.js';
import type { ForwardedPush, PushStage } from './push-stage.js';
import { BOUNDS, type ChunkserverSettings } from './settings.js';

/** An append as it goes through a replica. */
export interface ChainAppend {
  token: { sealed: Buffer; token: Token };
  /** This replica's place in the chain; 0 is the primary's. */
  position: number;
  offset: number;
  writer: string;
  sequence: number;
  /** The client knows what became of this writer's appends up to here. */
  settled: number;
  lengthBytes: number;
  crc: number;
  bytes: AppendBytes;
}

export interface AppendBytes {
  buffers: readonly Buffer[];
  /** Their checksums by blocks of the chunk. */
  parts: readonly BlockPart[];
  forwarded: ForwardedPush | undefined;
}

export interface ChainServer {
  server: ServerId;
  epoch: number;
}

export class Chain {
  /** Bytes of appends in work here. */
  private inFlight = 0;

  constructor(
    private readonly settings: ChunkserverSettings,
    private readonly store: ChunkStore,
    private readonly peers: PeerPool,
    readonly pushes: PushStage,
    private readonly masterClock: MasterClock,
  ) {}

  get inFlightBytes(): number {
    return this.inFlight;
  }

  /** Throws FENCED unless the token names this server, in this life, at `position` of its chain (DESIGN 4, rule 2). */
  checkPlace(token: Token, position: number, me: ChainServer): void {
    const place = token.chain[position];
    if (!place || place.server !== me.server)
      throw new GfsError('FENCED', `this server is not at place ${position} of the chain of chunk ${token.handle}`);
    if (place.epoch !== me.epoch)
      throw new GfsError('FENCED', 'the token is from before the last start of this server');
  }

  /**
   * The bytes of an append that goes to `offset` of its chunk, from its message or pushed ahead. Whether they match their checksum is seen from the
   * checksums of their blocks, so that they are gone over once. Throws PUSH_LOST or BAD_MESSAGE.
   */
  takeBytes(
    request: { push?: number | undefined; lengthBytes: number; crc: number },
    context: CallContext,
    offset: number,
  ): AppendBytes {
    const { buffers, forwarded } = this.received(request, context);
    const parts = partsByBlock(buffers, offset);
    if (crcOfParts(parts) !== request.crc)
      throw new GfsError('BAD_MESSAGE', 'the bytes of an append do not match its checksum');
    return { buffers, parts, forwarded };
  }

  private received(
    request: { push?: number | undefined; lengthBytes: number },
    context: CallContext,
  ): Omit<AppendBytes, 'parts'> {
    if (request.push === undefined) {
      let lengthBytes = 0;
      for (const buffer of context.payload) lengthBytes += buffer.length;
      if (lengthBytes !== request.lengthBytes)
        throw new GfsError('BAD_MESSAGE', `an append of ${request.lengthBytes} bytes came with ${lengthBytes}`);
      return { buffers: context.payload, forwarded: undefined };
    }
    const staged = this.pushes.take(context.connection, request.push, request.lengthBytes);
    if (!staged) throw new GfsError('PUSH_LOST');
    return staged;
  }

  /**
   * Writes the append here and sends it on, at once or with those that gather behind a batch on its way; settles when this replica and all behind it hold
   * it. The caller has checked everything and given out the offset; this enters the append into the writer table. Rejects when any of them fails.
   */
  async carry(chunk: Chunk, append: ChainAppend, committedBytes: () => number): Promise<void> {
    const { offset, lengthBytes, writer, sequence, settled } = append;
    const { buffers, parts } = append.bytes;
    chunk.endBytes = offset + lengthBytes;
    const queue = this.store.activate(chunk, { isNew: offset === 0 && chunk.writtenBytes === 0 });
    chunk.writers!.add(writer, { sequence, offset, lengthBytes }, this.masterClock.nowMs(), settled);
    this.inFlight += lengthBytes;
    try {
      const { version } = chunk;
      const isLast = append.token.token.chain[append.position + 1] === undefined;
      // What waits for company on its way onward is written here with it, too.
      const here = queue.push({ offset, lengthBytes, buffers, parts, writer }, { isHeld: !isLast });
      const onward = isLast ? Promise.resolve() : this.forwardInTurn(chunk, queue, append, committedBytes);
      // At once: nothing more is given out under this version while the slower half is waited for.
      onward.catch(() => {
        if (chunk.version === version) chunk.brokenVersion = version;
      });
      // Both are waited for, so that bytes count as in flight as long as either holds them.
      const [first, second] = await Promise.allSettled([here, onward]);
      if (first.status === 'rejected') throw first.reason;
      if (second.status === 'rejected') throw second.reason;
    } finally {
      this.inFlight -= lengthBytes;
    }
  }

  /** Everything up to `lengthBytes` is on the disks of this replica and all behind it. Rejects when any of them fails. */
  async sync(
    chunk: Chunk,
    at: { token: { sealed: Buffer; token: Token }; position: number },
    lengthBytes: number,
  ): Promise<void> {
    const next = at.token.token.chain[at.position + 1];
    const onward = next
      ? this.peers
          .get(next.address)
          .call(
            'replicaSync',
            { token: at.token.sealed, position: at.position + 1, lengthBytes },
            { timeoutMs: this.timeoutMs(at.token.token, at.position) },
          )
      : Promise.resolve();
    const [here, there] = await Promise.allSettled([this.store.sync(chunk, lengthBytes), onward]);
    if (here.status === 'rejected') throw here.reason;
    if (there.status === 'rejected') throw there.reason;
    // Meanwhile it may have become clear that the bytes are not here after all.
    if (chunk.corrupt || chunk.failure || !chunk.exists) throw new GfsError('BROKEN');
  }

  /** Sends the append on as soon as the gate lets it, unless the chunk has changed or broken meanwhile. */
  private forwardInTurn(
    chunk: Chunk,
    queue: AppendQueue,
    append: ChainAppend,
    committedBytes: () => number,
  ): Promise<void> {
    const { version } = chunk;
    const sent = deferred<void>();
    chunk.gate!.enter(append.lengthBytes, leave => {
      const isStopped = chunk.version !== version || chunk.state !== 'open' || chunk.brokenVersion === version;
      const answered = isStopped
        ? Promise.reject(new GfsError('FENCED', 'the chunk changed before the append was sent on'))
        : this.forward(append, committedBytes());
      queue.release();
      answered.then(
        () => {
          leave();
          sent.resolve();
        },
        error => {
          leave();
          sent.reject(error);
        },
      );
    });
    return sent.promise;
  }

  private async forward(append: ChainAppend, committedBytes: number): Promise<void> {
    const { token, sealed } = append.token;
    const next = token.chain[append.position + 1]!;
    const peer = this.peers.get(next.address);
    const { forwarded, buffers } = append.bytes;
    // Parts that went ahead on a connection that is gone are gone with it: then all bytes go with the append.
    const isThere = forwarded?.peer === peer && forwarded.connectionNumber === peer.connectionNumber;
    const request = {
      token: sealed,
      position: append.position + 1,
      offset: append.offset,
      writer: append.writer,
      sequence: append.sequence,
      settled: append.settled,
      lengthBytes: append.lengthBytes,
      committedBytes,
      crc: append.crc,
    };
    const timeoutMs = this.timeoutMs(token, append.position);
    if (isThere) await peer.call('replicate', { ...request, push: forwarded.push }, { timeoutMs });
    else await peer.call('replicate', request, { timeoutMs, payload: buffers, payloadCrc: append.crc });
  }

  /** The nearer a replica is to the client the longer it waits, so that whoever is next to a failure reports it. */
  private timeoutMs(token: Token, position: number): number {
    return this.settings.chainTimeout + BOUNDS.hopMs * Math.max(0, token.chain.length - 2 - position);
  }
}
