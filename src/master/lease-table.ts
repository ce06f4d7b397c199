// Who may acknowledge appends: at most one lease per chunk, always of the version that the record has (I4). In memory only and without
// timers: callers pass the master's time, and a lease whose time is over does not exist.
import { assert } from '../lib/assert.js';
import type { ChunkHandle, ServerId } from '../protocol/ids.js';

/** Clients remembered per lease; a file with more of them is anybody's. */
const APPENDERS_MAX = 16;

export interface ChainMember {
  server: ServerId;
  /** Epoch of the server's process that the lease speaks of. */
  epoch: number;
}

export interface Lease {
  readonly handle: ChunkHandle;
  readonly version: number;
  /** Primary first. INVARIANT: never changes while the lease lives. */
  readonly chain: readonly ChainMember[];
  /** End of the first lease of a new chunk, as its tokens say; 0 when it came by grant. */
  readonly firstUntilMs: number;
  untilMs: number;
  /** What the primary last said to be committed: a lower bound. */
  committedBytes: number;
  /** The clients that were told where to append under this lease; undefined when others may know as well. */
  appenders?: Set<string> | undefined;
  /** How often somebody was told where to append under this lease; undefined when others may have been. */
  toldCount?: number;
}

export class LeaseTable {
  private readonly leases = new Map<ChunkHandle, Lease>();
  private readonly byServer = new Map<ServerId, Set<ChunkHandle>>();

  get size(): number {
    return this.leases.size;
  }

  /** Records a new lease in place of an older one of this chunk. Requires: the version is not below the older one's. */
  put(lease: Lease): void {
    const older = this.leases.get(lease.handle);
    assert(!older || older.version <= lease.version, 'a lease never goes back to an older version');
    this.drop(lease.handle);
    this.leases.set(lease.handle, lease);
    for (const { server } of lease.chain) {
      const handles = this.byServer.get(server) ?? new Set<ChunkHandle>();
      this.byServer.set(server, handles);
      handles.add(lease.handle);
    }
  }

  /** The lease of a chunk, if it lives at `nowMs` (for at least `leftMs` more). */
  live(handle: ChunkHandle, nowMs: number, leftMs = 0): Lease | undefined {
    const lease = this.leases.get(handle);
    return lease && lease.untilMs > nowMs + leftMs ? lease : undefined;
  }

  /** Whether anybody but `client` may be appending under the lease. */
  isOpenToOthers({ appenders }: Lease, client: string | undefined): boolean {
    return appenders === undefined || client === undefined || [...appenders].some(other => other !== client);
  }

  /** `client` is told where to append. Returns whether that is new: whoever believes the file to be at rest, or another's alone, must hear of it. */
  noteAppender(lease: Lease, client: string | undefined): boolean {
    const { appenders } = lease;
    if (appenders === undefined || (client !== undefined && appenders.has(client))) return false;
    if (client === undefined || appenders.size >= APPENDERS_MAX) lease.appenders = undefined;
    else appenders.add(client);
    return true;
  }

  /** Whether nobody but `client` was ever told where to append under it, and that once. */
  isToldOnce({ appenders, toldCount }: Lease, client: string): boolean {
    return toldCount === 1 && appenders?.size === 1 && appenders.has(client);
  }

  /** Prolongs a lease that lives and has this version and primary. Returns whether it did. */
  extend(
    { handle, version, primary }: { handle: ChunkHandle; version: number; primary: ServerId },
    untilMs: number,
    nowMs: number,
  ): boolean {
    const lease = this.live(handle, nowMs);
    if (!lease || lease.version !== version || lease.chain[0]!.server !== primary) return false;
    lease.untilMs = Math.max(lease.untilMs, untilMs);
    return true;
  }

  drop(handle: ChunkHandle): void {
    const lease = this.leases.get(handle);
    if (!lease) return;
    this.leases.delete(handle);
    for (const { server } of lease.chain) {
      const handles = this.byServer.get(server);
      handles?.delete(handle);
      if (handles?.size === 0) this.byServer.delete(server);
    }
  }

  /** Chunks whose lease names this server. */
  ofServer(server: ServerId): ChunkHandle[] {
    return [...(this.byServer.get(server) ?? [])];
  }

  /** Forgets leases that speak of another process of this server. */
  dropOtherEpochs(server: ServerId, epoch: number): void {
    for (const handle of this.ofServer(server)) {
      const member = this.leases.get(handle)!.chain.find(other => other.server === server);
      if (member!.epoch !== epoch) this.drop(handle);
    }
  }

  /** Forgets leases that ended before `nowMs`. */
  expire(nowMs: number): void {
    for (const lease of [...this.leases.values()]) if (lease.untilMs <= nowMs) this.drop(lease.handle);
  }
}
