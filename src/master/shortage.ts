// Whether chunkservers run full, and how much room is on its way: bytes of garbage chunks and of replicas that are being deleted. Files leave the trash
// early only as long as that is not enough. It is in memory, filled while space is short, and gives up nothing itself.
import type { ChunkHandle, ServerId } from '../protocol/ids.js';
import { garbageAfter } from './chunk-table.js';
import { sharersOf } from './cluster-space.js';
import type { MasterContext } from './master-context.js';
import type { Server } from './servers.js';

/**
 * The trash is emptied early when servers lack room for one more chunk, or the spare share, and until they have room for this many and half as much
 * again of the share. Without the distance the first file that goes would end it: a user who deletes ten to make room would get that of one.
 */
const CHUNKS_AGAIN = 4;
/** Chunks on their way that are counted; above it there is enough to wait for. */
const COMING_MAX = 50_000;
const ROWS_PER_PAGE = 1_024;
/** The next heartbeat after a deletion may have been on its way already, the one after it shows the room. */
const BEATS_TO_SHOW = 2;

interface Shown {
  server: ServerId;
  epoch: number;
  /** Of the heartbeat that shows it. */
  sequence: number;
  bytes: number;
}

export class Shortage {
  /** Garbage chunks and what of them is on each server. INVARIANT: `bytesOf` is the sum of these and of `deleted`. */
  private readonly coming = new Map<ChunkHandle, Map<ServerId, number>>();
  /** Replicas that are gone and still count as used in what their server said last. */
  private deleted: Shown[] = [];
  private readonly bytesOf = new Map<ServerId, number>();
  /** Garbage that was due before this has been counted. */
  private seenMs = 0;
  private isShortNow = false;
  /** As of the last look: servers that have a file system in common. */
  private sharers: ReadonlyMap<ServerId, ServerId[]> = new Map();

  constructor(private readonly context: MasterContext) {}

  get isShort(): boolean {
    return this.isShortNow;
  }

  /** Looks at the servers, and at what became garbage meanwhile. Called regularly; true while space is short. */
  async judge(): Promise<boolean> {
    const { logger } = this.context.platform;
    this.sharers = sharersOf(this.servers());
    const { roomy, needed } = this.count(this.isShortNow, () => 0);
    const isShort = roomy < needed;
    if (isShort !== this.isShortNow) {
      this.isShortNow = isShort;
      if (isShort) logger.warn({ roomy }, 'chunkservers run full: the trash is emptied early');
      else logger.info({}, 'chunkservers have room again: deleted files stay in the trash for their time');
    }
    if (isShort) await this.lookAtGarbage();
    else this.forget();
    return isShort;
  }

  /** What is on its way ends the shortage, or is more than is counted. */
  isEnoughComing(): boolean {
    if (this.coming.size >= COMING_MAX) return true;
    const { roomy, needed } = this.count(true, ({ id }) =>
      (this.sharers.get(id) ?? [id]).reduce((sum, other) => sum + (this.bytesOf.get(other) ?? 0), 0),
    );
    return roomy >= needed;
  }

  /** Chunks became garbage: their replicas go once the grace is over. */
  note(handles: readonly ChunkHandle[]): void {
    for (const handle of handles) {
      if (!this.isShortNow || this.coming.has(handle) || this.coming.size >= COMING_MAX) continue;
      const replicas = new Map<ServerId, number>();
      for (const { server, lengthBytes } of this.context.locations.get(handle)) {
        replicas.set(server, lengthBytes);
        this.add(server, lengthBytes);
      }
      this.coming.set(handle, replicas);
    }
  }

  /** The record of a chunk is gone; what is on these servers is deleted now. */
  onCollected(handle: ChunkHandle, deletedOn: ReadonlySet<ServerId>): void {
    const replicas = this.coming.get(handle);
    for (const server of replicas?.keys() ?? []) if (!deletedOn.has(server)) this.take(server, handle);
    if (replicas?.size === 0) this.coming.delete(handle);
  }

  /** A replica is gone from its server. */
  onDeleted(server: ServerId, handle: ChunkHandle): void {
    const bytes = this.take(server, handle);
    const from = this.context.servers.get(server);
    if (bytes === 0 || !from) return;
    this.deleted.push({ server, epoch: from.epoch, sequence: from.sequence + BEATS_TO_SHOW, bytes });
    this.add(server, bytes);
  }

  /** A replica does not go, or nobody knows when: nobody is to wait for its room. */
  onKept(server: ServerId, handle: ChunkHandle): void {
    this.take(server, handle);
  }

  private servers(): Server[] {
    return this.context.servers.members().filter(({ state, draining }) => state !== 'down' && !draining);
  }

  /** How many servers have room, counting in what comes, and how many should have. `again`: as much as ends a shortage. */
  private count(again: boolean, comingBytes: (server: Server) => number): { roomy: number; needed: number } {
    const { settings, cluster } = this.context;
    const { spareShare } = settings;
    const servers = this.servers();
    const share = again ? spareShare + Math.min(spareShare, 1000 - spareShare) / 2 : spareShare;
    const roomy = servers.filter(server => {
      // Copies of one chunk on servers that share a file system take its room together.
      const copies = Math.min(this.sharers.get(server.id)?.length ?? 1, cluster.replicas);
      const chunksBytes = (again ? CHUNKS_AGAIN : 1) * copies * cluster.chunkSizeBytes;
      const { freeBytes, capacityBytes } = server.space;
      return freeBytes + comingBytes(server) > Math.max(chunksBytes, (capacityBytes * share) / 1000);
    });
    // Without servers there is nothing to learn, and nothing to gain.
    return { roomy: roomy.length, needed: Math.min(cluster.replicas, servers.length) };
  }

  private async lookAtGarbage(): Promise<void> {
    const { store, servers } = this.context;
    this.deleted = this.deleted.filter(({ server, epoch, sequence, bytes }) => {
      const now = servers.get(server);
      if (now?.epoch === epoch && now.sequence < sequence) return true;
      this.add(server, -bytes);
      return false;
    });
    let after: { dueMs: number; handle: ChunkHandle | 0 } = { dueMs: this.seenMs, handle: 0 };
    while (this.coming.size < COMING_MAX) {
      const page = await garbageAfter(store, after, ROWS_PER_PAGE);
      this.note(page.map(({ handle }) => handle));
      after = page[page.length - 1] ?? after;
      // Those that come later may be due in the same moment.
      this.seenMs = after.dueMs;
      if (page.length < ROWS_PER_PAGE) return;
    }
  }

  private forget(): void {
    this.coming.clear();
    this.deleted = [];
    this.bytesOf.clear();
    this.seenMs = 0;
  }

  /** Takes a replica out of what comes; returns its bytes. */
  private take(server: ServerId, handle: ChunkHandle): number {
    const replicas = this.coming.get(handle);
    const bytes = replicas?.get(server) ?? 0;
    replicas?.delete(server);
    this.add(server, -bytes);
    if (replicas?.size === 0) this.coming.delete(handle);
    return bytes;
  }

  private add(server: ServerId, bytes: number): void {
    this.bytesOf.set(server, (this.bytesOf.get(server) ?? 0) + bytes);
  }
}
