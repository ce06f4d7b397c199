// Gives leases back (DESIGN 4, Lease): when nobody appends any more, when the master asks, when this server stops. Before it does, the whole
// chain has synced everything; after it did, nothing is acknowledged in that version. Which leases there are is lease-holder's.
import type { Logger } from '../lib/logger.js';
import { asGfsError, GfsError, hasCode } from '../protocol/errors.js';
import type { ChunkHandle } from '../protocol/ids.js';
import type { Chain } from './chain.js';
import type { ChunkStore } from './chunk-store.js';
import type { Lease, LeaseHolder } from './lease-holder.js';

export interface LeaseReturnParts {
  store: ChunkStore;
  leases: LeaseHolder;
  chain: Chain;
  logger: Logger;
  /** Sends returnLease; rejects as Peer.call does. */
  tell: (lease: { handle: ChunkHandle; version: number; lengthBytes: number }) => Promise<void>;
}

/** The master was not asked: there was no connection, or another master's. */
const UNSENT = ['UNREACHABLE', 'OVERLOADED', 'WRONG_CLUSTER', 'UNAUTHENTICATED'] as const;
const UNANSWERED = ['CONNECTION_LOST', 'TIMED_OUT', 'STOPPING'] as const;
/** Leases given back at the same time. */
const RETURNS_MAX = 64;

export class LeaseReturn {
  private readonly working = new Set<Lease>();
  private readonly complained = new WeakSet<Lease>();

  constructor(private readonly parts: LeaseReturnParts) {}

  /** Begins to give back all leases that nobody appended under lately. */
  returnIdle(): void {
    for (const lease of this.parts.leases.all()) {
      if (this.working.size >= RETURNS_MAX) return;
      if (!this.parts.leases.isActive(lease)) void this.giveBack(lease);
    }
  }

  /** Gives back everything, as far as that goes; settles when all attempts ended. */
  async returnAll(): Promise<void> {
    await Promise.all(this.parts.leases.all().map(lease => this.giveBack(lease)));
  }

  /** True when the lease is given back. An append that comes before the master was told keeps it; a failure leaves it to run out. */
  private async giveBack(lease: Lease): Promise<boolean> {
    if (this.working.has(lease) || lease.state === 'returning') return false;
    this.working.add(lease);
    try {
      return await this.tryGiveBack(lease);
    } catch (error) {
      const { code, message } = asGfsError(error);
      // Tried again at every look as long as the lease lasts: said once.
      const level = this.complained.has(lease) ? 'debug' : 'warn';
      this.complained.add(lease);
      this.parts.logger[level](
        { handle: lease.chunk.handle, code, reason: message },
        'a lease could not be given back',
      );
      return false;
    } finally {
      this.working.delete(lease);
    }
  }

  private async tryGiveBack(lease: Lease): Promise<boolean> {
    const { leases, tell, logger } = this.parts;
    const { chunk, lastAppendMs } = lease;
    if (leases.isOver(lease)) return false;
    await Promise.allSettled([...lease.inWork.values()]);
    if (!this.isQuiet(lease)) return false;
    const lengthBytes = lease.committedBytes;
    await this.syncChain(lease, lengthBytes);
    const isStill = lease.lastAppendMs === lastAppendMs && lease.committedBytes === lengthBytes;
    if (!isStill || !this.isQuiet(lease)) return false;
    const before = lease.state === 'doubtful' ? 'doubtful' : 'held';
    leases.setReturning(lease);
    try {
      const { version, changedMs } = lease;
      await tell({ handle: chunk.handle, version, lengthBytes, ...(changedMs === undefined ? {} : { changedMs }) });
    } catch (error) {
      // Where nothing was sent, or the master had no room to write it down, it still counts on this lease.
      const wasTaken = !hasCode(error, ...UNSENT, 'NO_SPACE');
      if (leases.isCurrent(lease)) leases.endReturning(lease, wasTaken ? 'doubtful' : before);
      if (!hasCode(error, ...UNSENT, ...UNANSWERED, 'NO_SPACE')) throw error;
      // The line to the master, or the master, says so once; this comes again for every lease.
      logger.debug({ handle: chunk.handle, code: error.code }, 'the master did not take a lease back');
      return false;
    }
    this.finish(lease);
    return true;
  }

  /** On the master's order: the answer is the length, and the lease is over. Rejects with FENCED or BROKEN when there is none to give. */
  async revoke(handle: ChunkHandle, version: number): Promise<number> {
    const { leases, store } = this.parts;
    const lease = leases.find(handle, version);
    if (!lease) {
      const chunk = store.existing(handle);
      if (chunk?.version === version && chunk.returnedVersion === version) return chunk.writtenBytes;
      throw new GfsError('FENCED', 'this server holds no lease on the chunk');
    }
    if (lease.returned) {
      await lease.returned.promise;
      return this.revoke(handle, version);
    }
    leases.setReturning(lease);
    try {
      await Promise.allSettled([...lease.inWork.values()]);
      if (!leases.isCurrent(lease)) throw new GfsError('SUPERSEDED');
      if (!this.isSound(lease)) throw new GfsError('BROKEN');
      await this.syncChain(lease, lease.committedBytes);
      if (!leases.isCurrent(lease)) throw new GfsError('SUPERSEDED');
    } catch (error) {
      if (leases.isCurrent(lease)) leases.endReturning(lease, 'doubtful');
      throw error;
    }
    this.finish(lease);
    return lease.committedBytes;
  }

  /** Nothing is in work and nothing is in doubt. */
  private isQuiet(lease: Lease): boolean {
    return lease.inWork.size === 0 && lease.state !== 'returning' && this.isSound(lease);
  }

  private isSound(lease: Lease): boolean {
    const { chunk } = lease;
    return (
      this.parts.leases.isCurrent(lease) &&
      chunk.brokenVersion !== lease.version &&
      chunk.endBytes === lease.committedBytes
    );
  }

  private async syncChain(lease: Lease, lengthBytes: number): Promise<void> {
    if (lengthBytes === 0) return;
    const { chain, store } = this.parts;
    // Before the first append under a lease everything was synced by the grant.
    if (lease.token) await chain.sync(lease.chunk, { token: lease.token, position: 0 }, lengthBytes);
    else await store.sync(lease.chunk, lengthBytes);
  }

  private finish(lease: Lease): void {
    const { leases, logger } = this.parts;
    if (!leases.isCurrent(lease)) return;
    const { chunk, version, committedBytes } = lease;
    chunk.returnedVersion = version;
    leases.drop(chunk.handle);
    logger.debug({ handle: chunk.handle, version, lengthBytes: committedBytes }, 'a lease was given back');
  }
}
