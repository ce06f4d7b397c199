// The primary's rules (DESIGN 4): which append is taken, at which offset, and when it is acknowledged. Everything up to giving out the offset
// happens in one turn, so that concurrent appenders are ordered without locks. Keeps I1, I3 and I4.
import type { Clock } from '../lib/clock.js';
import type { Logger } from '../lib/logger.js';
import { asGfsError, GfsError } from '../protocol/errors.js';
import { LIMITS } from '../protocol/limits.js';
import type { Reply, Request } from '../protocol/messages.js';
import type { Token } from '../protocol/token.js';
import type { Answer, CallContext } from '../rpc/types.js';
import type { Chain, ChainServer } from './chain.js';
import type { Chunk } from './chunk.js';
import type { ChunkStore } from './chunk-store.js';
import type { Lease, LeaseHolder } from './lease-holder.js';
import type { MasterClock } from './master-clock.js';
import type { ChunkserverSettings } from './settings.js';
import type { TokenGate } from './token-gate.js';

export interface PrimaryParts {
  me: ChainServer;
  clock: Clock;
  logger: Logger;
  settings: ChunkserverSettings;
  masterClock: MasterClock;
  tokens: TokenGate;
  store: ChunkStore;
  leases: LeaseHolder;
  chain: Chain;
  chunkSizeBytes: () => number;
  /** A server that stops begins nothing new. */
  isStopping: () => boolean;
}

type AppendRequest = Request<'append'>;

export class Primary {
  constructor(private readonly parts: PrimaryParts) {}

  async append(request: AppendRequest, context: CallContext): Promise<Answer<'append'>> {
    for (;;) {
      try {
        const lease = this.admit(request);
        // While a lease is being given back its appends wait: they are refused when it is, and served when it is not.
        if (lease.returned) await lease.returned.promise;
        else return await this.take(request, context, lease);
      } catch (error) {
        const refused = asGfsError(error);
        // The bytes of an append that came too early stay for its next try.
        if (request.push !== undefined && refused.code !== 'OUT_OF_ORDER')
          this.parts.chain.pushes.take(context.connection, request.push, request.lengthBytes);
        throw error;
      }
    }
  }

  /** The lease under which this append may be taken. Throws FENCED, BROKEN, NO_SPACE, BAD_TOKEN or TOO_LARGE. */
  private admit(request: AppendRequest): Lease {
    const { tokens, chain, me, store, leases } = this.parts;
    const token = tokens.open(request.token, 'append');
    chain.checkPlace(token, 0, me);
    if (request.lengthBytes === 0) throw new GfsError('BAD_MESSAGE', 'an append has at least one byte');
    if (request.lengthBytes > this.parts.chunkSizeBytes())
      throw new GfsError('TOO_LARGE', `an append of ${request.lengthBytes} bytes fits in no chunk`);
    const chunk = store.get(token.handle) ?? this.begin(token);
    checkOpen(chunk, token);
    if (chunk.disk.isFull) throw new GfsError('NO_SPACE', 'the disk of the chunk is full');
    checkSound(chunk);
    const lease = leases.find(chunk.handle, chunk.version);
    if (!lease && chunk.returnedVersion === chunk.version)
      throw new GfsError('BAD_TOKEN', 'the lease was given back; ask the master for a new target');
    if (!lease || lease.state === 'doubtful' || (leases.isOver(lease) && lease.state === 'held'))
      throw new GfsError('FENCED', 'this server holds no lease on the chunk (any more)');
    return lease;
  }

  /** A chunk comes into being with its first append, under the token of its allocation. */
  private begin(token: Token): Chunk {
    const { me, store, leases, masterClock, clock, logger } = this.parts;
    if (token.version !== 1) throw new GfsError('FENCED', 'there is no such chunk here');
    if (this.parts.isStopping()) throw new GfsError('FENCED', 'this chunkserver is stopping');
    const untilMs = masterClock.endsMs(token.leaseUntilMs);
    if (untilMs < clock.monotonicMs()) throw new GfsError('FENCED', 'the first lease of the chunk is over');
    const chunk = store.create(token.handle, me.epoch);
    chunk.version = 1;
    leases.begin(chunk, { untilMs, committedBytes: 0 });
    store.noteChange(chunk);
    logger.debug({ handle: chunk.handle, chain: token.chain.length }, 'a chunk begins');
    return chunk;
  }

  private take(request: AppendRequest, context: CallContext, lease: Lease): Promise<Answer<'append'>> {
    const { store, chain } = this.parts;
    const { chunk } = lease;
    store.activate(chunk, { isNew: chunk.endBytes === 0 });
    const known = this.repeated(request, context, lease);
    if (known) return known;
    this.checkOrder(request, lease);
    this.checkRoom(request, lease);
    if (chain.inFlightBytes + request.lengthBytes > this.parts.settings.inFlight && chain.inFlightBytes > 0)
      throw new GfsError('OVERLOADED', 'too many bytes of appends are in work on this server');
    const offset = chunk.endBytes;
    const bytes = chain.takeBytes(request, context, offset);
    const token = { sealed: request.token, token: this.parts.tokens.open(request.token, 'append') };
    const { writer, sequence, settled = 0, lengthBytes, crc } = request;
    lease.lastAppendMs = this.parts.clock.monotonicMs();
    lease.token = token;
    const work = this.perform(lease, {
      token,
      position: 0,
      offset,
      writer,
      sequence,
      settled,
      lengthBytes,
      crc,
      bytes,
    });
    lease.inWork.set(offset, work);
    const onDone = (): void => {
      lease.inWork.delete(offset);
    };
    work.then(onDone, onDone);
    return work.then(() => answer(offset, lease));
  }

  /** The answer to an append that is in the chunk already, or on its way. */
  private repeated(request: AppendRequest, context: CallContext, lease: Lease): Promise<Answer<'append'>> | undefined {
    const { chunk } = lease;
    const known = chunk.writers!.find(request.writer, request.sequence);
    if (!known) return undefined;
    if (request.push !== undefined) this.parts.chain.pushes.take(context.connection, request.push, request.lengthBytes);
    if (known.offset + known.lengthBytes <= lease.committedBytes) return Promise.resolve(answer(known.offset, lease));
    const work = lease.inWork.get(known.offset);
    if (!work) {
      // It stands here, but whether it stands everywhere is not known.
      chunk.brokenVersion = chunk.version;
      throw new GfsError('BROKEN');
    }
    return work.then(() => answer(known.offset, lease));
  }

  private checkOrder(request: AppendRequest, lease: Lease): void {
    const writers = lease.chunk.writers!;
    if (request.sequence <= writers.lastSequence(request.writer))
      throw new GfsError(
        'ALREADY_PAST',
        `append ${request.sequence} of ${request.writer} is older than one in the chunk`,
      );
    if (request.after !== 0 && !writers.find(request.writer, request.after))
      throw new GfsError('OUT_OF_ORDER', `append ${request.after} of ${request.writer} has not arrived`);
    if (writers.countBeyond(request.writer, lease.committedBytes) >= LIMITS.appendsInFlightMax)
      throw new GfsError('OVERLOADED', `${request.writer} has too many appends in work`);
  }

  private checkRoom(request: AppendRequest, lease: Lease): void {
    const { store, masterClock } = this.parts;
    const { chunk } = lease;
    if (request.expectedOffset !== undefined && request.expectedOffset !== chunk.endBytes)
      throw new GfsError('OFFSET_MISMATCH', `the chunk ends at ${chunk.endBytes}, not at ${request.expectedOffset}`);
    const fits =
      chunk.fullVersion !== chunk.version &&
      chunk.endBytes + request.lengthBytes <= this.parts.chunkSizeBytes() &&
      store.hasRoom(chunk, request.lengthBytes) &&
      chunk.writers!.makeRoom(request.writer, masterClock.nowMs(), lease.committedBytes);
    if (fits) return;
    // A smaller one that would still fit must not overtake this one.
    chunk.fullVersion = chunk.version;
    throw new GfsError('FULL');
  }

  private async perform(lease: Lease, append: Parameters<Chain['carry']>[1]): Promise<void> {
    const { chain, leases, logger, masterClock } = this.parts;
    const { chunk, version } = lease;
    try {
      await chain.carry(chunk, append, () => lease.committedBytes);
    } catch (error) {
      const cause = asGfsError(error);
      if (chunk.version === version) chunk.brokenVersion = version;
      logger.warn(
        { handle: chunk.handle, version, offset: append.offset, code: cause.code, reason: cause.message },
        'an append did not reach every replica: the chunk takes no more in this version',
      );
      throw new GfsError('BROKEN', cause.message, { cause });
    }
    // It is on every replica, but whether it stands is for the master to say where this server's word has run out meanwhile.
    if (chunk.version !== version || chunk.state !== 'open' || !leases.isCurrent(lease) || leases.isOver(lease))
      throw new GfsError('FENCED');
    lease.committedBytes = Math.max(lease.committedBytes, append.offset + append.lengthBytes);
    lease.changedMs = Math.max(lease.changedMs ?? 0, Math.floor(masterClock.nowMs()));
  }

  // ---- the rest of what clients ask of a primary

  /** How many bytes are committed, and since when; only the holder of the lease knows. */
  tailLength(sealed: Buffer): Reply<'tailLength'> {
    const { tokens, chain, me, store, leases, masterClock, clock } = this.parts;
    const token = tokens.open(sealed, 'append', 'read');
    chain.checkPlace(token, 0, me);
    const chunk = store.get(token.handle);
    if (!chunk) {
      // Allocated, and nobody has appended yet.
      if (token.version === 1 && masterClock.endsMs(token.leaseUntilMs) > clock.monotonicMs())
        return { committedBytes: 0 };
      throw new GfsError('FENCED', 'there is no such chunk here');
    }
    checkOpen(chunk, token);
    const lease = leases.find(chunk.handle, chunk.version);
    const isHeld = lease && lease.state !== 'doubtful' && !leases.isOver(lease);
    // On a full disk nothing more is acknowledged, and it may be that nobody has room to seal the chunk: its length is what it was.
    const isBroken = chunk.brokenVersion === chunk.version && !chunk.disk.isFull;
    if (!isHeld || isBroken) throw new GfsError('FENCED', 'this server holds no lease');
    return committed(lease);
  }

  /** Everything up to `lengthBytes` reaches the disk of every replica. */
  async syncChunk(sealed: Buffer, lengthBytes: number): Promise<void> {
    const { tokens, chain, me, store, leases } = this.parts;
    if (lengthBytes === 0) return;
    const token = tokens.open(sealed, 'append', 'read');
    chain.checkPlace(token, 0, me);
    const chunk = store.get(token.handle);
    if (!chunk) throw new GfsError('FENCED', 'there is no such chunk here');
    checkOpen(chunk, token);
    checkSound(chunk);
    // A lease that was given back took everything to the disks first.
    if (chunk.returnedVersion === chunk.version && lengthBytes <= chunk.durableBytes) return;
    const lease = leases.find(chunk.handle, chunk.version);
    if (!lease || lengthBytes > lease.committedBytes)
      throw new GfsError('FENCED', 'this server does not know that so much is committed');
    await chain.sync(chunk, { token: { sealed, token }, position: 0 }, lengthBytes);
  }
}

/** Throws FENCED unless the chunk takes appends in the token's version. */
export function checkOpen(chunk: Chunk, token: Token): void {
  if (!chunk.exists || chunk.state !== 'open' || chunk.version !== token.version)
    throw new GfsError('FENCED', `chunk ${chunk.handle} is ${chunk.state} in version ${chunk.version}`);
}

/** Throws BROKEN when an append failed in this version, or when what is here is not to be trusted. */
export function checkSound(chunk: Chunk): void {
  if (chunk.brokenVersion === chunk.version || chunk.corrupt || chunk.failure) throw new GfsError('BROKEN');
}

function answer(offset: number, lease: Lease): Answer<'append'> {
  return { body: { offset, ...committed(lease) } };
}

function committed({ committedBytes, changedMs }: Lease): Reply<'tailLength'> {
  return changedMs === undefined ? { committedBytes } : { committedBytes, changedMs };
}
