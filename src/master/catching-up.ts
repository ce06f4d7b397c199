// Which replicas of a server that came back are behind and will be made current: until none is left the server counts as recovering and gets
// no new chunks (document 000). It watches; healing does the work.
import type { ChunkHandle, ServerId } from '../protocol/ids.js';
import { findChunk } from './chunks.js';
import { isCurrent } from './locations.js';
import type { MasterContext } from './master-context.js';

/** Replicas looked at in one step, of each server, and in one turn when one of them is new. */
const LOOKS_PER_STEP = 1_024;
const LOOKS_PER_TURN = 512;

interface Watch {
  /** Not looked at yet since the server came back. */
  unseen: ChunkHandle[];
  behind: Set<ChunkHandle>;
}

export interface CatchingUpHooks {
  /** It can take what is missing elsewhere. */
  onRecovered: (server: ServerId) => void;
  /** Does something once others have had their turn. */
  soon: (work: () => void) => void;
}

export class CatchingUp {
  private readonly watches = new Map<ServerId, Watch>();
  private isLooking = false;

  constructor(
    private readonly context: Pick<MasterContext, 'store' | 'locations' | 'servers' | 'platform'>,
    private readonly hooks: CatchingUpHooks,
  ) {}

  /** A server is back with what it holds. Until all of it was looked at, a turn at a time, any of it may be behind. */
  begin(server: ServerId): void {
    const watch: Watch = { unseen: [...this.context.locations.handlesOf(server)], behind: new Set() };
    this.watches.set(server, watch);
    this.look(server, watch);
    this.goOn();
  }

  /** Looks which replicas are current by now. Called regularly. */
  step(): void {
    const { servers, platform } = this.context;
    for (const [server, { unseen, behind }] of this.watches) {
      if (unseen.length > 0) continue;
      let looks = Math.min(LOOKS_PER_STEP, behind.size);
      for (const handle of behind) {
        if (looks-- === 0) break;
        behind.delete(handle);
        // Again at the end, so that the others have their turn.
        if (this.isBehind(handle, server)) behind.add(handle);
      }
      servers.setBehind(server, behind.size, 0);
      if (behind.size > 0) continue;
      this.watches.delete(server);
      platform.logger.info({ server }, 'chunkserver has recovered');
      this.hooks.onRecovered(server);
    }
    // A damaged record may have ended the turns.
    this.goOn();
  }

  private goOn(): void {
    if (this.isLooking || ![...this.watches.values()].some(({ unseen }) => unseen.length > 0)) return;
    this.isLooking = true;
    this.hooks.soon(() => {
      this.isLooking = false;
      const [next] = [...this.watches].filter(([, { unseen }]) => unseen.length > 0);
      if (next) this.look(...next);
      this.goOn();
    });
  }

  /** The first look at some of the replicas. */
  private look(server: ServerId, { unseen, behind }: Watch): void {
    const { servers, platform } = this.context;
    for (let looks = 0; looks < LOOKS_PER_TURN && unseen.length > 0; looks++) {
      const handle = unseen.pop()!;
      if (this.isBehind(handle, server)) behind.add(handle);
    }
    servers.setBehind(server, behind.size, unseen.length);
    if (unseen.length > 0) return;
    if (behind.size === 0) this.watches.delete(server);
    else
      platform.logger.info(
        { server, behind: behind.size },
        'chunkserver is recovering: some of its replicas are behind',
      );
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
