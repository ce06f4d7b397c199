// Files as readers see them: attributes with a size that never goes back, the tail to ask for more, the extents with their current replicas
// (I7). What a crash left unclear is settled first, by a lease or a seal; it changes nothing else but what
// primaries say of their lengths.
import { asGfsError, GfsError } from '../protocol/errors.js';
import { HOLE, type InodeId, type ServerId } from '../protocol/ids.js';
import type { Reply, WireAttributes, WireExtent, WireTail } from '../protocol/messages.js';
import type { AppendTargets } from './append-targets.js';
import { findChunk, getChunk, isOpen, recordCommitted, tailOf } from './chunks.js';
import { type IndexedExtent, locateExtents } from './file-extents.js';
import { findInode, getFile, getInode, toAttributes } from './inodes.js';
import type { Lease } from './lease-table.js';
import { isCurrent, type Replica } from './locations.js';
import { type MasterContext, momentOf } from './master-context.js';
import type { ChunkRecord, InodeRecord } from './records.js';

/** How long a reader waits for locations that servers may still be reporting. */
const LOCATIONS_WAIT_MS = 5_000;

export interface FileView {
  attributes: WireAttributes;
  tail?: WireTail;
}

export class FileViews {
  constructor(
    private readonly context: MasterContext,
    private readonly targets: AppendTargets,
  ) {}

  /**
   * What `stat` needs of an inode, as `client` may keep it. Throws STALE; UNAVAILABLE at the deadline when the end of the file is not known, because bytes that somebody was
   * shown could vanish.
   */
  async view(inode: InodeId, deadlineMs: number, client?: string): Promise<FileView> {
    const { store } = this.context;
    for (;;) {
      const record = getInode(store, inode);
      const chunk = record.type === 'file' ? tailOf(store, record) : undefined;
      if (!chunk) return { attributes: toAttributes(store, record) };
      const tail = this.wireTail(record, chunk);
      if (tail) return { attributes: this.withSize(record, tail, client), tail };
      await this.settleTail(chunk, deadlineMs);
    }
  }

  /** Attributes with the size that the master knows of, at once: for listings. It may be a heartbeat old. */
  glance(record: InodeRecord, client?: string): WireAttributes {
    return this.marked(toAttributes(this.context.store, record), record, client);
  }

  /**
   * Asks the primary of a file's open chunk what is committed and writes it down, so that its growth carries the time of now and not of the next
   * heartbeat. Without an answer nothing happens; never rejects for that.
   */
  async learnLength(inode: InodeId): Promise<void> {
    const { store, leases, time, orders, tokens } = this.context;
    const record = findInode(store, inode);
    const lease = record?.type === 'file' && record.tailHandle !== 0 && leases.live(record.tailHandle, time.nowMs());
    if (!lease) return;
    const token = tokens.chain('read', { ...lease, leaseUntilMs: lease.firstUntilMs });
    const answer = await orders.askLength(lease.chain[0]!.server, token);
    const chunk = findChunk(store, lease.handle);
    // It may have been sealed meanwhile, or leased to another primary.
    if (answer === undefined || !chunk || !isOpen(chunk) || chunk.version !== lease.version) return;
    const { committedBytes, changedMs } = answer;
    if (committedBytes <= chunk.lengthBytes) return;
    const at = momentOf(this.context);
    const changed = { ...at, nowMs: changedMs ?? at.nowMs };
    store.change(change => recordCommitted(change, lease.handle, committedBytes, changed));
  }

  /** Extents from `fromByte` on, and the tail when they reach it. Throws STALE, IS_DIRECTORY, INVALID, UNAVAILABLE. */
  async locate(
    { inode, fromByte, limit }: { inode: InodeId; fromByte: number; limit: number },
    deadlineMs: number,
  ): Promise<Reply<'locate'>> {
    const { store } = this.context;
    for (let hasWaited = false; ; ) {
      const file = getFile(store, inode);
      const { extents, more } = locateExtents(store, file, { fromByte, limit });
      // Waiting again would help nobody: then answer what there is.
      if (!hasWaited && (await this.awaitLocations(extents, deadlineMs))) {
        hasWaited = true;
        continue;
      }
      const chunk = more ? undefined : tailOf(store, file);
      const tail = chunk && this.wireTail(file, chunk);
      if (chunk && !tail) {
        try {
          await this.settleTail(chunk, deadlineMs);
          continue;
        } catch (error) {
          // The sealed part can be read although the end is unclear; `more` sends whoever reads on here again.
          if (extents.length === 0 || asGfsError(error).code === 'STOPPING') throw error;
          return { attributes: this.glance(file), extents: extents.map(extent => this.wireExtent(extent)), more: true };
        }
      }
      return {
        attributes: tail ? this.withSize(file, tail) : this.glance(file),
        extents: extents.map(extent => this.wireExtent(extent)),
        ...(tail ? { tail } : {}),
        more,
      };
    }
  }

  /** The open chunk for readers, when its length is known or its primary knows it; undefined when it has to be settled first. */
  wireTail(file: InodeRecord, chunk: ChunkRecord): WireTail | undefined {
    const { leases, time, servers, tokens } = this.context;
    const lease = leases.live(chunk.handle, time.nowMs());
    if (!lease && !chunk.known) return undefined;
    const chain = lease ? lease.chain : this.presentChain(chunk);
    return {
      handle: chunk.handle,
      version: chunk.version,
      base: file.sealedBytes,
      committedBytes: Math.max(chunk.lengthBytes, lease?.committedBytes ?? 0),
      leased: lease !== undefined,
      chain: chain.map(({ server }) => servers.wireReplica(server)),
      token: tokens.chain('read', {
        handle: chunk.handle,
        version: chunk.version,
        chain,
        leaseUntilMs: lease?.firstUntilMs ?? 0,
      }),
    };
  }

  /** Servers from which a sealed chunk can be read now: live and exactly as recorded (I7). */
  currentServers(chunk: ChunkRecord): ServerId[] {
    const { locations, servers } = this.context;
    return locations
      .get(chunk.handle)
      .filter(replica => isCurrent(replica, chunk) && servers.isLive(replica.server))
      .map(({ server }) => server);
  }

  /** Where bytes of a chunk may be read: current replicas; where there is none, damaged ones, whose servers hand out the blocks that are good (I8). */
  private readableServers(chunk: ChunkRecord): ServerId[] {
    const { locations, servers } = this.context;
    const current = this.currentServers(chunk);
    if (current.length > 0) return current;
    const isWhole = (replica: Replica): boolean =>
      replica.corrupt && replica.version === chunk.version && replica.lengthBytes === chunk.lengthBytes;
    return locations
      .get(chunk.handle)
      .filter(replica => isWhole(replica) && servers.isLive(replica.server))
      .map(({ server }) => server);
  }

  private async settleTail(chunk: ChunkRecord, deadlineMs: number): Promise<void> {
    const { safeMode, platform, settings } = this.context;
    if (safeMode.isOn) {
      // Servers that are still coming make the difference between a lease that goes on and a chunk that ends here.
      const untilMs = Math.min(deadlineMs, platform.clock.monotonicMs() + settings.safeModeWait);
      await safeMode.pass(untilMs).catch(error => {
        if (safeMode.isDistrusting) throw error;
      });
    }
    if (platform.clock.monotonicMs() >= deadlineMs)
      throw new GfsError(
        'UNAVAILABLE',
        `the end of the file is not known: no replica of chunk ${chunk.handle} answers`,
      );
    await this.targets.settle(chunk.handle, deadlineMs);
  }

  private withSize(record: InodeRecord, tail: WireTail, client?: string): WireAttributes {
    return { ...this.glance(record, client), sizeBytes: tail.base + tail.committedBytes };
  }

  private marked(attributes: WireAttributes, record: InodeRecord, client: string | undefined): WireAttributes {
    const { leases, time } = this.context;
    const lease = record.tailHandle === 0 ? undefined : leases.live(record.tailHandle, time.nowMs());
    if (lease && leases.isOpenToOthers(lease, client)) attributes.growing = true;
    return attributes;
  }

  private presentChain(chunk: ChunkRecord): Lease['chain'] {
    return chunk.chain.map(({ server }) => ({ server, epoch: this.context.servers.get(server)?.epoch ?? 0 }));
  }

  private wireExtent(extent: IndexedExtent): WireExtent {
    const { fileOffset, lengthBytes, handle, chunkOffset } = extent;
    if (handle === HOLE) return { fileOffset, lengthBytes, handle, chunkOffset, version: 0, replicas: [] };
    const { store, servers, tokens } = this.context;
    const chunk = getChunk(store, handle);
    const readable = this.readableServers(chunk);
    if (this.currentServers(chunk).length === 0) this.context.blocked.note(handle);
    return {
      fileOffset,
      lengthBytes,
      handle,
      chunkOffset,
      version: chunk.version,
      replicas: readable.map(server => servers.wireReplica(server)),
      ...(readable.length > 0 ? { token: tokens.read(handle, chunk.version, readable) } : {}),
    };
  }

  /** Waits, bounded, while replicas of the first extent may still be reported. Returns whether it waited: the world may have changed. */
  private async awaitLocations(extents: readonly IndexedExtent[], deadlineMs: number): Promise<boolean> {
    const { store, servers, platform, startedMs, settings } = this.context;
    const first = extents.find(({ handle }) => handle !== HOLE);
    const chunk = first && findChunk(store, first.handle);
    if (!chunk || this.currentServers(chunk).length > 0) return false;
    const isOver = (): boolean => {
      const known = findChunk(store, chunk.handle);
      if (!known || this.currentServers(known).length > 0) return true;
      const comesYet = platform.clock.monotonicMs() < startedMs + settings.deadAfter;
      return !servers
        .all()
        .some(server => (server.state === 'recovering' && !server.reported) || (server.epoch === 0 && comesYet));
    };
    if (isOver()) return false;
    const untilMs = Math.min(deadlineMs, platform.clock.monotonicMs() + LOCATIONS_WAIT_MS);
    await servers.changed.until(isOver, untilMs);
    return true;
  }
}
