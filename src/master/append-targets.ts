// Answers where a file's next append goes: the open chunk under a live lease, granted, allocated or replaced as needed (DESIGN 4, Lease).
// It also takes part in what primaries say of their leases. Data and offsets never pass here.
import { within } from '../lib/deadline.js';
import { GfsError, hasCode } from '../protocol/errors.js';
import type { ChunkHandle, InodeId, ServerId } from '../protocol/ids.js';
import type { Request, WireTarget } from '../protocol/messages.js';
import { findChunk, isOpen, openChunk, raiseVersion, recordCommitted, recordReturned, tailOf } from './chunks.js';
import { findInode, getFile } from './inodes.js';
import type { Lease } from './lease-table.js';
import { type MasterContext, momentOf, noteGrowth } from './master-context.js';
import type { ChunkRecord } from './records.js';
import { grantedLength } from './seal-decision.js';
import type { Sealing } from './sealing.js';
import { BOUNDS } from './settings.js';

export class AppendTargets {
  /** INVARIANT: at most one grant per chunk. */
  private readonly granting = new Map<ChunkHandle, Promise<void>>();

  constructor(
    private readonly context: MasterContext,
    private readonly sealing: Sealing,
  ) {}

  /** The append target of a file for `client`, whom others who looked at the file are told of. Throws SAFE_MODE, TOO_FEW_SERVERS, NO_SPACE, UNAVAILABLE (at the deadline), STALE, IS_DIRECTORY. */
  async target(inode: InodeId, deadlineMs: number, client?: string): Promise<WireTarget> {
    const { clock } = this.context.platform;
    const { store, safeMode, leases, time, settings } = this.context;
    for (;;) {
      if (clock.monotonicMs() >= deadlineMs)
        throw new GfsError('UNAVAILABLE', `no append target for inode ${inode} in time`);
      if (safeMode.isOn) await safeMode.pass(Math.min(deadlineMs, clock.monotonicMs() + settings.safeModeWait));
      const tail = tailOf(store, getFile(store, inode));
      if (!tail) {
        this.allocate(inode);
        continue;
      }
      const lease = leases.live(tail.handle, time.nowMs(), this.leaseLeftMs);
      if (!lease || this.sealing.isSealing(tail.handle)) {
        await this.settle(tail.handle, deadlineMs);
        continue;
      }
      await store.durable();
      // Between the two the chunk may have been sealed or leased anew.
      if (leases.live(tail.handle, time.nowMs(), this.leaseLeftMs) !== lease || this.sealing.isSealing(tail.handle))
        continue;
      const file = getFile(store, inode);
      if (file.tailHandle !== tail.handle) continue;
      // From now on the file grows without the master's knowing (see WireAttributes.growing).
      if (leases.noteAppender(lease, client)) this.context.notices.inodeChanged(inode, client);
      if (lease.toldCount !== undefined) lease.toldCount++;
      return this.wireTarget(file, lease);
    }
  }

  /** Whether a target is at hand: a new chunk is allocated, at once, where the file has none and servers allow it. Requires a file that exists. */
  prepare(inode: InodeId): boolean {
    const { store, safeMode, leases, time } = this.context;
    if (safeMode.isOn) return false;
    const file = findInode(store, inode);
    if (file?.type !== 'file') return false;
    if (file.tailHandle !== 0) return leases.live(file.tailHandle, time.nowMs(), this.leaseLeftMs) !== undefined;
    try {
      this.allocate(inode);
      return true;
    } catch (error) {
      if (hasCode(error, 'TOO_FEW_SERVERS', 'NO_SPACE')) return false;
      throw error;
    }
  }

  /** The chunk is being granted or sealed. */
  isSettling(handle: ChunkHandle): boolean {
    return this.granting.has(handle) || this.sealing.isSealing(handle);
  }

  /**
   * Settles when the chunk's length is exact or with its primary again: it has a live lease, its lease was returned, or it is not open any more.
   * Throws UNAVAILABLE at the deadline.
   */
  async settle(handle: ChunkHandle, deadlineMs: number): Promise<void> {
    const { store, leases, time } = this.context;
    if (this.sealing.isSealing(handle)) return await this.sealing.seal(handle, deadlineMs);
    const chunk = findChunk(store, handle);
    if (!chunk || !isOpen(chunk)) return;
    if (!chunk.known && (await this.awaitPrimary(chunk.chain[0]!.server, deadlineMs))) {
      if (leases.live(handle, time.nowMs(), this.leaseLeftMs)) return;
    }
    let grant = this.granting.get(handle);
    if (!grant) {
      // After the wait: whoever came first has begun.
      if (this.sealing.isSealing(handle)) return await this.sealing.seal(handle, deadlineMs);
      grant = this.grant(handle).finally(() => this.granting.delete(handle));
      this.granting.set(handle, grant);
      grant.catch(() => undefined);
    }
    await within(
      this.context.platform.clock,
      grant,
      deadlineMs,
      () => new GfsError('UNAVAILABLE', `chunk ${handle} could not be leased in time`),
    );
    if (leases.live(handle, time.nowMs())) return;
    const after = findChunk(store, handle);
    if (after && isOpen(after)) await this.sealing.seal(handle, deadlineMs);
  }

  /** The primary gave its lease up in peace: its length is exact from now on. Anything but the current lease's is ignored. Durable when it settles. */
  async onReturnLease(request: Request<'returnLease'>): Promise<void> {
    const { store, leases } = this.context;
    const chunk = this.leasedTo(request.handle, request.version, request.server);
    if (chunk && !chunk.known) {
      const at = momentOf(this.context);
      const changed = { ...at, nowMs: request.changedMs ?? at.nowMs };
      store.change(change => recordReturned(change, chunk.handle, request.lengthBytes, changed));
      leases.drop(chunk.handle);
      if (request.lengthBytes > chunk.lengthBytes) noteGrowth(this.context, chunk.inode);
    }
    await store.durable();
  }

  /**
   * Takes over what a primary says of its leases: extends the active ones, and takes up again those that this master does not remember because it
   * was restarted. Returns those that go on.
   */
  onLeases(server: ServerId, held: Request<'heartbeat'>['leases']): Array<{ handle: ChunkHandle; version: number }> {
    const { store, leases, time, settings } = this.context;
    const extended: Array<{ handle: ChunkHandle; version: number }> = [];
    const grown: Array<{ chunk: ChunkRecord; committedBytes: number; changedMs: number }> = [];
    const at = momentOf(this.context);
    const untilMs = time.nowMs() + settings.lease;
    for (const { handle, version, committedBytes, active, changedMs = at.nowMs } of held) {
      const chunk = this.leasedTo(handle, version, server);
      if (!chunk || chunk.known) continue;
      const lease = leases.live(handle, time.nowMs()) ?? this.readopt(chunk, untilMs);
      if (!lease) continue;
      lease.committedBytes = Math.max(lease.committedBytes, committedBytes);
      if (committedBytes > chunk.lengthBytes && !store.isReadOnly) grown.push({ chunk, committedBytes, changedMs });
      // Those that nobody appends under cannot be given back then, and readers learn the length from their primaries.
      if ((active || store.isReadOnly) && leases.extend({ handle, version, primary: server }, untilMs, time.nowMs()))
        extended.push({ handle, version });
    }
    if (grown.length > 0) {
      store.change(change => {
        // The file changed when the append came, not when this is heard: its readers heard so from the primary before.
        for (const { chunk, committedBytes, changedMs } of grown)
          recordCommitted(change, chunk.handle, committedBytes, { ...at, nowMs: changedMs });
      });
      for (const { chunk } of grown) noteGrowth(this.context, chunk.inode);
    }
    return extended;
  }

  /** The open chunk, when its record says that this server may hold its lease under this version. */
  private leasedTo(handle: ChunkHandle, version: number, server: ServerId): ChunkRecord | undefined {
    if (this.isSettling(handle)) return undefined;
    const chunk = findChunk(this.context.store, handle);
    if (!chunk || !isOpen(chunk) || chunk.version !== version || chunk.chain[0]!.server !== server) return undefined;
    return chunk;
  }

  private get leaseLeftMs(): number {
    return Math.min(BOUNDS.leaseLeftMs, this.context.settings.lease / 10);
  }

  /** After a start: whether the primary has been silent so far and has spoken now, so that its lease is known. */
  private async awaitPrimary(primary: ServerId, deadlineMs: number): Promise<boolean> {
    const { servers, settings, startedMs } = this.context;
    if (servers.get(primary)?.beaten) return false;
    const untilMs = Math.min(deadlineMs, startedMs + settings.deadAfter);
    return await servers.changed.until(() => servers.get(primary)?.beaten === true, untilMs);
  }

  private readopt(chunk: ChunkRecord, untilMs: number): Lease | undefined {
    const { servers, leases } = this.context;
    // Only the primary's epoch decides here: it has not stopped since its lease. A member that lost its tail meanwhile breaks the chain at the
    // next append, because offsets do not fit. A chunk that was never granted has its epochs in the record.
    const chain = chunk.chain.map(({ server, epoch }) => ({
      server,
      epoch: chunk.version === 1 ? epoch : (servers.get(server)?.epoch ?? 0),
    }));
    if (chain.some(({ epoch }) => epoch === 0)) return undefined;
    const lease: Lease = {
      handle: chunk.handle,
      version: chunk.version,
      chain,
      firstUntilMs: 0,
      untilMs,
      committedBytes: chunk.lengthBytes,
    };
    leases.put(lease);
    return lease;
  }

  private allocate(inode: InodeId): void {
    const { store, servers, placer, leases, time, settings, cluster, platform } = this.context;
    const { goal } = getFile(store, inode);
    const least = Math.min(cluster.minReplicas, goal);
    const chosen = placer.choose(servers.candidates(least), {
      goal,
      least,
      bytes: cluster.chunkSizeBytes,
    });
    const chain = chosen.map(({ id }) => ({ server: id, epoch: servers.get(id)!.epoch }));
    const chunk = store.change(change => openChunk(change, { inode, chain }, momentOf(this.context)));
    const untilMs = time.nowMs() + settings.lease;
    leases.put({
      handle: chunk.handle,
      version: chunk.version,
      chain,
      firstUntilMs: untilMs,
      untilMs,
      committedBytes: 0,
      appenders: new Set(),
      toldCount: 0,
    });
    for (const { server } of chain) servers.noteAllocation(server);
    platform.logger.debug({ handle: chunk.handle, inode, chain: chain.map(({ server }) => server) }, 'chunk allocated');
  }

  /** Raises the version and asks the whole chain; the primary has a new lease afterwards, or the chunk must be sealed. */
  private async grant(handle: ChunkHandle): Promise<void> {
    const { store, leases, orders, servers, time, settings, platform } = this.context;
    const before = findChunk(store, handle);
    // A chain with a member that is down cannot be granted; fencing it raises the version anyway.
    if (!before || !isOpen(before) || before.chain.some(({ server }) => !servers.isLive(server))) return;
    leases.drop(handle);
    const { version } = store.change(change => raiseVersion(change, handle));
    await store.durable();
    const isCurrent = (): boolean => {
      const chunk = findChunk(store, handle);
      return chunk !== undefined && isOpen(chunk) && chunk.version === version && !this.sealing.isSealing(handle);
    };
    const results = await Promise.allSettled(
      before.chain.map(async ({ server }) => ({
        server,
        ...(await orders.give(server, 'grant', { handle, version })),
      })),
    );
    if (!isCurrent()) return;
    const answers = results.flatMap(result => (result.status === 'fulfilled' ? [result.value] : []));
    const lengthBytes = grantedLength(before, answers);
    if (lengthBytes === undefined) return;
    const untilMs = time.nowMs() + settings.lease;
    try {
      await orders.give(before.chain[0]!.server, 'adopt', { handle, version, lengthBytes, leaseMs: settings.lease });
    } catch (error) {
      platform.logger.warn({ handle, version, error: String(error) }, 'the primary did not adopt its lease');
      return;
    }
    if (!isCurrent()) return;
    leases.put({
      handle,
      version,
      chain: answers.map(({ server, epoch }) => ({ server, epoch })),
      firstUntilMs: 0,
      untilMs,
      committedBytes: lengthBytes,
      appenders: new Set(),
    });
    if (lengthBytes > before.lengthBytes) {
      store.change(change => recordCommitted(change, handle, lengthBytes, momentOf(this.context)));
      noteGrowth(this.context, before.inode);
    }
    platform.logger.debug({ handle, version, lengthBytes }, 'lease granted');
  }

  private wireTarget(file: { inode: InodeId; generation: number; sealedBytes: number }, lease: Lease): WireTarget {
    const { tokens, servers, time, cluster } = this.context;
    return {
      inode: file.inode,
      generation: file.generation,
      handle: lease.handle,
      version: lease.version,
      base: file.sealedBytes,
      chunkSizeBytes: cluster.chunkSizeBytes,
      chain: lease.chain.map(({ server }) => servers.wireReplica(server)),
      token: tokens.chain('append', {
        handle: lease.handle,
        version: lease.version,
        chain: lease.chain,
        leaseUntilMs: lease.firstUntilMs,
      }),
      leaseMs: Math.max(0, Math.floor(lease.untilMs - time.nowMs())),
    };
  }
}
