// Which replicas of a server that came back are behind and will be made current: until none is left the server counts as recovering and gets
// no new chunks (document 000). It watches; healing does the work.
import type { ChunkHandle, ServerId } from '../protocol/ids.js';
import { findChunk } from './chunks.js';
import { isCurrent } from './locations.js';
import type { MasterContext } from './master-context.js';

/** Replicas looked at in one step, of each server. */
const LOOKS_PER_STEP = 1_024;

export class CatchingUp {
  private readonly behind = new Map<ServerId, Set<ChunkHandle>>();

  constructor(
    private readonly context: Pick<MasterContext, 'store' | 'locations' | 'servers' | 'platform'>,
    /** It can take what is missing elsewhere. */
    private readonly onRecovered: (server: ServerId) => void,
  ) {}

  /** A server is back with what it holds. */
  begin(server: ServerId): void {
    const { locations, servers, platform } = this.context;
    const behind = new Set([...locations.handlesOf(server)].filter(handle => this.isBehind(handle, server)));
    this.behind.delete(server);
    if (behind.size > 0) {
      this.behind.set(server, behind);
      platform.logger.info(
        { server, behind: behind.size },
        'chunkserver is recovering: some of its replicas are behind',
      );
    }
    servers.setBehind(server, behind.size);
  }

  /** Looks which replicas are current by now. Called regularly. */
  step(): void {
    const { servers, platform } = this.context;
    for (const [server, behind] of this.behind) {
      let looks = Math.min(LOOKS_PER_STEP, behind.size);
      for (const handle of behind) {
        if (looks-- === 0) break;
        behind.delete(handle);
        // Again at the end, so that the others have their turn.
        if (this.isBehind(handle, server)) behind.add(handle);
      }
      servers.setBehind(server, behind.size);
      if (behind.size > 0) continue;
      this.behind.delete(server);
      platform.logger.info({ server }, 'chunkserver has recovered');
      this.onRecovered(server);
    }
  }

  /** Whether the replica is to be made current and can be. One that no server can help stays as it is and keeps nobody waiting. */
  private isBehind(handle: ChunkHandle, server: ServerId): boolean {
    const { store, locations, servers } = this.context;
    const replica = locations.find(handle, server);
    if (!replica || replica.corrupt) return false;
    const chunk = findChunk(store, handle);
    if (chunk?.state !== 'sealed' || chunk.lengthBytes === 0 || chunk.garbageDueMs !== undefined) return false;
    if (isCurrent(replica, chunk)) return false;
    const hasSource = locations
      .get(handle)
      .some(other => other.server !== server && isCurrent(other, chunk) && servers.isLive(other.server));
    return hasSource || replica.lengthBytes >= chunk.lengthBytes;
  }
}
