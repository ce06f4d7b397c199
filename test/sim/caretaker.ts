// What an operator does once chunkservers have lost their disks for good: ends files that wait for their word (`gfs recover`), and forgets them
// (`gfs forget`), which must take no byte along. It looks behind the master's back only to see which files those are.
import type { Platform } from '../../src/lib/platform.js';
import { asGfsError } from '../../src/protocol/errors.js';
import type { InodeId } from '../../src/protocol/ids.js';
import type { MasterKind, Reply, Request } from '../../src/protocol/messages.js';
import { RpcPeers } from '../../src/rpc/peer.js';
import { type Cluster, MASTER_ADDRESS } from './cluster.js';
import { allChunks } from './truth.js';

const CALL_MS = 3_000;
const PAUSE_MS = 100;
const WATCH_MS = 5_000;
/** A server is forgotten within this: its leases are over then, and what it had stands elsewhere. */
const FORGOTTEN_MS = 30_000;

export interface CaretakerOptions {
  /** Ids of servers that never come back. */
  lost: readonly string[];
  forgets: boolean;
  trace: (line: string) => void;
  violate: (promise: string, what: string) => void;
}

export class Caretaker {
  private readonly peers: RpcPeers;

  constructor(
    private readonly platform: Platform,
    private readonly cluster: Cluster,
    private readonly options: CaretakerOptions,
  ) {
    this.peers = new RpcPeers(platform, { role: 'admin', clusterId: () => '' });
  }

  /** Settles when no open chunk waits for a lost server, and those that are to be forgotten are. */
  async run(): Promise<void> {
    const untilMs = this.platform.clock.monotonicMs() + WATCH_MS;
    // The master may still be starting, and not know yet who is gone.
    while (this.waiting().length > 0 || this.platform.clock.monotonicMs() < untilMs) {
      for (const inode of this.waiting()) await this.recover(inode);
      await this.pause();
    }
    if (this.options.forgets) for (const server of this.options.lost) await this.forget(server);
  }

  /** Files with an open chunk of which a member is lost. */
  private waiting(): InodeId[] {
    const rooms = this.cluster.masterProcess?.rooms;
    if (!rooms) return [];
    return allChunks(rooms.context.store).flatMap(({ state, inode, chain }) => {
      const isWaiting = state === 'open' && chain.some(({ server }) => this.options.lost.includes(server));
      return isWaiting && inode !== 0 ? [inode] : [];
    });
  }

  /** Not before every member that may still say more has said what it has. */
  private async recover(inode: InodeId): Promise<void> {
    const where = { start: inode, path: '' };
    const look = await this.ask('recoverFile', { where, accept: false }, `look at the end of inode ${inode}`);
    if (typeof look === 'string' || !look.tail?.stuck) return;
    const { members } = look.tail;
    // A chunk was begun on them before their loss was noticed, and nobody is left to decide: they are forgotten first (docs/operating.md).
    if (members.every(({ server }) => this.options.lost.includes(server)))
      for (const { server } of members)
        await this.ask('forgetServer', { server, acceptLoss: true }, `forget ${server} with its open chunks`);
    if (members.every(({ server, state }) => state !== 'unreachable' || this.options.lost.includes(server)))
      await this.ask('recoverFile', { where, accept: true }, `recover inode ${inode}`);
  }

  private async forget(server: string): Promise<void> {
    const startMs = this.platform.clock.monotonicMs();
    for (let last = 'no answer'; ; await this.pause()) {
      const answer = await this.ask('forgetServer', { server, acceptLoss: false }, `forget ${server}`);
      if (answer === 'NOT_FOUND' || (typeof answer === 'object' && answer.forgotten)) return;
      last = typeof answer === 'object' ? `chunks ${answer.atRisk.handles.join(', ')} are at risk` : answer;
      if (this.platform.clock.monotonicMs() - startMs > FORGOTTEN_MS)
        return this.options.violate('A server that is gone can be forgotten, and no byte goes with it.', last);
    }
  }

  private async ask<K extends MasterKind>(kind: K, request: Request<K>, what: string): Promise<Reply<K> | string> {
    const { trace } = this.options;
    try {
      const { body } = await this.peers.get(MASTER_ADDRESS).call(kind, request, { timeoutMs: CALL_MS });
      trace(`caretaker: ${what}`);
      return body;
    } catch (error) {
      const { code } = asGfsError(error);
      trace(`caretaker: ${what} failed: ${code}`);
      return code;
    }
  }

  private pause(): Promise<void> {
    return new Promise(resolve => {
      this.platform.clock.setTimer(PAUSE_MS, () => resolve());
    });
  }
}
