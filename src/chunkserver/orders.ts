// What the master orders about one replica: grant, adopt, fence, fix, delete, and its questions (DESIGN 4, fine print). What ends or changes
// appends takes effect in the turn an order arrives; the slow rest runs one order after another per chunk, and judges anew after every wait.
import type { Logger } from '../lib/logger.js';
import { Serial } from '../lib/serial.js';
import { GfsError, hasCode } from '../protocol/errors.js';
import type { ChunkHandle } from '../protocol/ids.js';
import { holderMs, LIMITS } from '../protocol/limits.js';
import type { Reply, Request } from '../protocol/messages.js';
import type { ChainServer } from './chain.js';
import type { Chunk } from './chunk.js';
import type { ChunkStore } from './chunk-store.js';
import type { LeaseHolder } from './lease-holder.js';
import type { MasterClock } from './master-clock.js';
import { BOUNDS } from './settings.js';
import type { TokenGate } from './token-gate.js';

export interface OrderParts {
  me: ChainServer;
  logger: Logger;
  clock: { monotonicMs(): number };
  masterClock: MasterClock;
  tokens: TokenGate;
  store: ChunkStore;
  leases: LeaseHolder;
  /** Set while there may be chunks here that the store does not know. */
  blindness: GfsError | undefined;
}

export class Orders {
  /** One slow order at a time for each chunk; copying takes part. */
  readonly serial = new Serial<ChunkHandle>();

  constructor(private readonly parts: OrderParts) {}

  async grant(handle: ChunkHandle, version: number): Promise<Reply<'grant'>> {
    const { me, store, leases } = this.parts;
    const chunk = store.get(handle);
    if (!chunk) return { exists: false, lengthBytes: 0, suspect: false, epoch: me.epoch };
    if (!chunk.exists || chunk.state !== 'open' || chunk.version >= version) throw superseded(chunk);
    if (chunk.corrupt) throw new GfsError('CORRUPT', `chunk ${handle} is corrupt here`);
    chunk.version = version;
    chunk.grantedMs = 0;
    leases.drop(handle);
    return this.serial.run(handle, async () => {
      await this.settle(chunk);
      if (chunk.version !== version || chunk.state !== 'open') throw superseded(chunk);
      await store.commit(chunk, { sync: true });
      store.activate(chunk, { isNew: chunk.writtenBytes === 0 });
      await store.loadWriters(chunk);
      if (chunk.version !== version || chunk.state !== 'open') throw superseded(chunk);
      chunk.grantedMs = this.parts.clock.monotonicMs();
      return { exists: true, lengthBytes: chunk.writtenBytes, suspect: chunk.suspect, epoch: me.epoch };
    });
  }

  adopt(handle: ChunkHandle, terms: { version: number; lengthBytes: number; leaseMs: number }): void {
    const { store, leases } = this.parts;
    const chunk = store.existing(handle);
    if (!chunk) throw new GfsError('NO_CHUNK', `there is no chunk ${handle} here`);
    if (chunk.state !== 'open' || chunk.version !== terms.version || chunk.grantedMs === 0) throw superseded(chunk);
    // The master counts from when it had the answers to the grant, which is later.
    const untilMs = chunk.grantedMs + holderMs(terms.leaseMs);
    const lease = leases.find(handle, terms.version);
    if (lease) {
      leases.extend(handle, terms.version, untilMs);
      return;
    }
    if (chunk.endBytes !== terms.lengthBytes || chunk.returnedVersion === terms.version) throw superseded(chunk);
    leases.begin(chunk, { untilMs, committedBytes: terms.lengthBytes });
  }

  /** `epoch`: of this server when it became a member. Throws SUPERSEDED, NO_SPACE, DISK_FAILED. */
  async fence({ handle, version, epoch }: Omit<Request<'fence'>, 'token'>): Promise<Reply<'fence'>> {
    const { me, store, logger, blindness } = this.parts;
    // Who does not see all its disks cannot say that there is none, unless the chunk is younger than its blindness.
    if (!store.get(handle) && blindness && epoch !== me.epoch) throw blindness;
    const chunk = store.get(handle) ?? this.buried(handle);
    if (chunk.state === 'sealed')
      return { exists: true, lengthBytes: chunk.writtenBytes, suspect: false, epoch: me.epoch, fixed: true };
    if (chunk.fencedVersion >= version || chunk.version > version) throw superseded(chunk);
    this.stopAppends(chunk, version);
    logger.info({ handle, version, exists: chunk.exists }, 'a chunk is fenced');
    return this.serial.run(handle, async () => {
      await chunk.queue?.idle();
      if (chunk.failure) throw chunk.failure;
      // One sync of the index for both: the file waits for this answer.
      await store.settle(chunk, () => {
        if (chunk.state === 'fenced') chunk.settled = true;
      });
      await this.verifyEnd(chunk);
      if (chunk.fencedVersion !== version || chunk.gone) throw superseded(chunk);
      store.noteChange(chunk);
      const { tombstone } = chunk;
      if (tombstone) return { exists: false, lengthBytes: 0, suspect: false, epoch: tombstone.epoch, fixed: false };
      const fixed = chunk.state === 'sealed';
      const answer = { exists: true, lengthBytes: chunk.writtenBytes, suspect: chunk.suspect, epoch: me.epoch, fixed };
      return chunk.corrupt ? { ...answer, corrupt: true } : answer;
    });
  }

  fix(handle: ChunkHandle, version: number, lengthBytes: number): Promise<Reply<'fix'>> {
    return this.serial.run(handle, async () => {
      const { store, me } = this.parts;
      let chunk = store.get(handle);
      if (!chunk) {
        if (lengthBytes > 0) return { short: true, lengthBytes: 0 };
        chunk = store.create(handle, me.epoch);
      }
      if (chunk.version > version) throw superseded(chunk);
      if (chunk.state === 'sealed') {
        if (chunk.writtenBytes !== lengthBytes && !chunk.corrupt) throw superseded(chunk);
        if (chunk.corrupt) return { short: true, lengthBytes: chunk.writtenBytes, corrupt: true };
      } else {
        this.stopAppends(chunk, version);
        await this.settle(chunk);
        if (chunk.version !== version || chunk.gone) throw superseded(chunk);
        if (chunk.tombstone && lengthBytes === 0) store.unbury(chunk);
        if (chunk.tombstone) return { short: true, lengthBytes: 0 };
      }
      if (chunk.corrupt || chunk.writtenBytes < lengthBytes) {
        await store.commit(chunk, { sync: true });
        return { short: true, lengthBytes: chunk.writtenBytes, ...(chunk.corrupt ? { corrupt: true } : {}) };
      }
      await this.seal(chunk, version, lengthBytes);
      return { short: false, lengthBytes };
    });
  }

  /** The replica holds all `lengthBytes` of the sealed chunk, or more: it is sealed at that, durably. */
  async seal(chunk: Chunk, version: number, lengthBytes: number): Promise<void> {
    const { store, logger } = this.parts;
    await store.cut(chunk, lengthBytes, () => {
      chunk.version = version;
      chunk.fencedVersion = version;
      chunk.moveTo('sealed');
      chunk.settled = true;
      chunk.suspect = false;
    });
    store.noteChange(chunk);
    logger.debug({ handle: chunk.handle, version, lengthBytes }, 'a chunk is sealed');
  }

  async deleteChunk(handle: ChunkHandle, version: number): Promise<void> {
    await this.serial.run(handle, async () => {
      const { store, logger } = this.parts;
      const chunk = store.get(handle);
      if (!chunk?.exists) return;
      if (chunk.version > version) throw superseded(chunk);
      this.stopAppends(chunk, version);
      await chunk.queue?.idle();
      if (chunk.failure) throw chunk.failure;
      if (chunk.version !== version) throw superseded(chunk);
      await this.discard(chunk);
      logger.info({ handle, version }, 'a replica is deleted');
    });
  }

  /** Takes the replica away. Requires that it takes no appends. */
  async discard(chunk: Chunk): Promise<void> {
    const { store, me, masterClock, tokens } = this.parts;
    // Without a trace, a late first append under a token of this epoch would begin the chunk anew.
    const mayBegin = chunk.createdEpoch === me.epoch;
    const tombstone = { epoch: me.epoch, keyId: tokens.newestKeyId, atMs: masterClock.nowMs() };
    await store.remove(chunk, mayBegin ? { tombstone } : {});
  }

  /** Offset at which an append stands in a chunk sealed at `lengthBytes`, or undefined. Throws NO_CHUNK. */
  findAppend(query: {
    handle: ChunkHandle;
    lengthBytes: number;
    writer: string;
    sequence: number;
  }): number | undefined {
    const chunk = this.parts.store.existing(query.handle);
    if (chunk?.state !== 'sealed' || chunk.writtenBytes !== query.lengthBytes)
      throw new GfsError('NO_CHUNK', `chunk ${query.handle} is not sealed at ${query.lengthBytes} here`);
    const row = chunk.disk.index.writer(chunk.handle, query.writer);
    const entry = row?.appends.find(
      ({ sequence, offset, lengthBytes }) => sequence === query.sequence && offset + lengthBytes <= query.lengthBytes,
    );
    return entry?.offset;
  }

  /** Reads all bytes of a replica, by the name of its file, so that what is known of it is true of them. Rejects as reading does, but not for bad bytes. */
  async verify(handle: ChunkHandle, keepRate: (lengthBytes: number) => Promise<void>): Promise<void> {
    const chunk = this.parts.store.existing(handle);
    if (!chunk || chunk.corrupt) return;
    if (chunk.state === 'sealed') await chunk.disk.files.drop(handle, { discard: false });
    for (let offset = 0; offset < chunk.recordedBytes && !chunk.gone; offset += BOUNDS.pieceBytes) {
      const lengthBytes = Math.min(BOUNDS.pieceBytes, chunk.recordedBytes - offset);
      await keepRate(lengthBytes);
      // Cut or deleted meanwhile: what is answered says so.
      if (chunk.gone || offset + lengthBytes > chunk.recordedBytes) return;
      try {
        await this.parts.store.reader.read(chunk, offset, lengthBytes);
      } catch (error) {
        // Marked by the reader, or cut or deleted meanwhile: what is answered says so.
        if (hasCode(error, 'CORRUPT', 'NO_CHUNK')) return;
        throw error;
      }
    }
  }

  /**
   * Reads the end of what was synced, by the name of its file. The length is what a file may be sealed at: where these bytes are bad or the file is not
   * there any more, another's shorter but sound replica has to count, and not the bytes that only this one had.
   */
  private async verifyEnd(chunk: Chunk): Promise<void> {
    if (!chunk.exists || chunk.corrupt || chunk.writtenBytes === 0) return;
    await chunk.disk.files.drop(chunk.handle, { discard: false });
    const lastBlock = Math.ceil(chunk.writtenBytes / LIMITS.blockBytes) - 1;
    const offset = Math.max(0, lastBlock + 1 - BOUNDS.fenceVerifiedBlocks) * LIMITS.blockBytes;
    try {
      await this.parts.store.reader.read(chunk, offset, chunk.writtenBytes - offset);
    } catch (error) {
      // Marked by the reader, or cut or deleted meanwhile: what is answered says so.
      if (!hasCode(error, 'CORRUPT', 'NO_CHUNK')) throw error;
    }
  }

  inspect(handle: ChunkHandle): Reply<'inspectChunk'> {
    const chunk = this.parts.store.existing(handle);
    if (!chunk) {
      const unseen = this.parts.blindness !== undefined && !this.parts.store.get(handle);
      return { exists: false, ...(unseen ? { unseen } : {}), path: '' };
    }
    return { exists: true, report: chunk.report(), path: chunk.disk.pathOf(handle) };
  }

  /** From this turn on nothing is appended or acknowledged. */
  stopAppends(chunk: Chunk, version: number): void {
    this.parts.leases.drop(chunk.handle);
    chunk.moveTo('fenced');
    chunk.fencedVersion = Math.max(chunk.fencedVersion, version);
    chunk.version = Math.max(chunk.version, version);
  }

  /** Appends in work are in the file or have failed, and all bytes are on the disk. */
  private async settle(chunk: Chunk): Promise<void> {
    await chunk.queue?.idle();
    if (chunk.failure) throw chunk.failure;
    await this.parts.store.sync(chunk, chunk.writtenBytes);
  }

  /** A record that there is no such chunk here, nor will be (rule 4). */
  private buried(handle: ChunkHandle): Chunk {
    const { store, me, tokens, masterClock } = this.parts;
    const chunk = store.create(handle, me.epoch);
    store.bury(chunk, { epoch: me.epoch, keyId: tokens.newestKeyId, atMs: masterClock.nowMs() });
    return chunk;
  }
}

function superseded(chunk: Chunk): GfsError {
  return new GfsError(
    'SUPERSEDED',
    `chunk ${chunk.handle} is ${chunk.state} in version ${chunk.version} with ${chunk.writtenBytes} bytes here`,
  );
}
