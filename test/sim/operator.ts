// An operator at work: drains servers and takes it back, asks for other numbers of copies, holds the master in safe mode for a while, repairs what fsck
// finds, and purges files from the trash, with the commands that `gfs` sends. Once the faults are over nothing is drained or held any more.
import { sleep } from '../../src/lib/clock.js';
import type { Platform } from '../../src/lib/platform.js';
import { asGfsError, hasCode } from '../../src/protocol/errors.js';
import { type InodeId, ROOT_INODE } from '../../src/protocol/ids.js';
import { LIMITS } from '../../src/protocol/limits.js';
import type { MasterKind, Reply, Request } from '../../src/protocol/messages.js';
import { RpcPeers } from '../../src/rpc/peer.js';
import type { SimRandom } from './platform/sim-random.js';

const CALL_MS = 3_000;
const ASK_AGAIN_MS = 300;
const PAUSE_MS = [100, 2_500] as const;
/** '' is the root, of which new files inherit. */
const PATHS = ['shared-1', 'shared-2', ''];
const SAFE_MODE_MS = [100, 1_500] as const;
/** With one copy a file is as safe as its one server, which these scenarios break. */
const GOAL_MIN = 2;

/** Names a file of the trash `path`; the code of the failure, if it failed. */
export async function restoreFile(
  platform: Platform,
  { master, inode, path }: { master: string; inode: number; path: string },
): Promise<string | undefined> {
  const peers = new RpcPeers(platform, { role: 'admin', clusterId: () => '' });
  try {
    const to = { start: ROOT_INODE, path };
    await peers.get(master).call('restoreTrash', { inode: inode as InodeId, to }, { timeoutMs: CALL_MS });
    return undefined;
  } catch (error) {
    return asGfsError(error).code;
  }
}

/** `gfs fsck --repair`, as far as it is about chunks. */
export async function repairChunks(platform: Platform, master: string): Promise<void> {
  const peers = new RpcPeers(platform, { role: 'admin', clusterId: () => '' });
  const request = { after: 0, limit: LIMITS.checkPageMax, repair: true };
  await peers.get(master).call('checkChunks', request, { timeoutMs: CALL_MS });
}

/** `gfs setrep` of a file. */
export async function setReplication(
  platform: Platform,
  { master, inode, goal }: { master: string; inode: InodeId; goal: number },
): Promise<void> {
  const peer = new RpcPeers(platform, { role: 'admin', clusterId: () => '' }).get(master);
  await peer.call('setReplication', { where: { start: inode, path: '' }, goal }, { timeoutMs: CALL_MS });
}

/** Drains a server; settles when it is said to be safe to stop. */
export async function drainServer(
  platform: Platform,
  { master, server }: { master: string; server: string },
): Promise<void> {
  const peer = new RpcPeers(platform, { role: 'admin', clusterId: () => '' }).get(master);
  await peer.call('setDraining', { server, draining: true }, { timeoutMs: CALL_MS });
  while (!(await peer.call('drainStatus', { server }, { timeoutMs: CALL_MS })).body.safe)
    await sleep(platform.clock, ASK_AGAIN_MS);
}

/** Has a server forgotten that is gone for good, once that takes no byte along. */
export async function forgetServer(
  platform: Platform,
  { master, server }: { master: string; server: string },
): Promise<void> {
  const peer = new RpcPeers(platform, { role: 'admin', clusterId: () => '' }).get(master);
  const request = { server, acceptLoss: false };
  for (;;) {
    try {
      if ((await peer.call('forgetServer', request, { timeoutMs: CALL_MS })).body.forgotten) return;
    } catch (error) {
      // It may still be taken for up, or hold leases by time.
      if (!hasCode(error, 'BUSY')) throw error;
    }
    await sleep(platform.clock, ASK_AGAIN_MS);
  }
}

export interface OperatorOptions {
  master: string;
  /** Addresses. */
  servers: readonly string[];
  random: SimRandom;
  /** The faults are over: bring the cluster to rest, and end. */
  isOver: () => boolean;
  /** The file will be gone for good. */
  onPurge: (inode: number) => void;
  /** The metadata was said to be damaged, which no fault does. */
  onRepaired: (what: string) => void;
  trace: (line: string) => void;
}

export class Operator {
  private readonly peers: RpcPeers;
  private readonly drained = new Set<string>();

  constructor(
    private readonly platform: Platform,
    private readonly options: OperatorOptions,
  ) {
    this.peers = new RpcPeers(platform, { role: 'admin', clusterId: () => '' });
  }

  /** Settles when the faults are over and nothing is drained any more. */
  async run(): Promise<void> {
    const { random, isOver } = this.options;
    while (!isOver()) {
      await this.pause(random.between(...PAUSE_MS));
      const habits = [
        () => this.setReplication(),
        () => this.setReplication(),
        () => this.drainOrUndrain(),
        () => this.drainOrUndrain(),
        () => this.holdInSafeMode(),
        () => this.repair(),
        () => this.purge(),
      ];
      await habits[random.int(habits.length)]!();
    }
    while (this.drained.size > 0) {
      for (const server of [...this.drained]) await this.setDraining(server, false);
      await this.pause(100);
    }
  }

  private async setReplication(): Promise<void> {
    const { random, servers } = this.options;
    const path = PATHS[random.int(PATHS.length)]!;
    const goal = GOAL_MIN + random.int(Math.min(4, servers.length) - GOAL_MIN + 1);
    await this.ask('setReplication', { where: { start: ROOT_INODE, path }, goal }, `setrep ${path || '/'} ${goal}`);
  }

  private async drainOrUndrain(): Promise<void> {
    const { random, servers } = this.options;
    const server = servers[random.int(servers.length)]!;
    await this.setDraining(server, !this.drained.has(server) && random.chance(0.7));
  }

  private async holdInSafeMode(): Promise<void> {
    await this.ask('safemode', { action: 'enter' }, 'safemode enter');
    await this.pause(this.options.random.between(...SAFE_MODE_MS));
    // Without an answer it may be on. A master that starts anew is not held.
    while (!(await this.ask('safemode', { action: 'leave' }, 'safemode leave'))) await this.pause(100);
  }

  private async repair(): Promise<void> {
    const limit = LIMITS.checkPageMax;
    const metadata = await this.ask('checkMetadata', { repair: true }, 'fsck --repair of the metadata');
    const repaired = metadata?.repaired?.[0];
    if (repaired) this.options.onRepaired(`${repaired.problem}: ${repaired.action}`);
    await this.ask('checkFiles', { under: ROOT_INODE, limit, repair: true }, 'fsck --repair of files');
    await this.ask('checkChunks', { after: 0, limit, repair: true }, 'fsck --repair of chunks');
    await this.ask('checkOrphans', { repair: true }, 'fsck --repair of orphans');
  }

  private async purge(): Promise<void> {
    const { random, onPurge } = this.options;
    const page = await this.ask('listTrash', { limit: LIMITS.trashPageMax }, 'trash ls');
    const item = page?.items[random.int(Math.max(1, page.items.length))];
    if (!item) return;
    onPurge(item.inode);
    await this.ask('purgeTrash', { inodes: [item.inode] }, `trash purge ${item.inode}`);
  }

  private async setDraining(server: string, draining: boolean): Promise<void> {
    // Without an answer it may have been done.
    if (draining) this.drained.add(server);
    const answer = await this.ask('setDraining', { server, draining }, `${draining ? 'drain' : 'undrain'} ${server}`);
    if (answer && !draining) this.drained.delete(server);
  }

  private async ask<K extends MasterKind>(kind: K, request: Request<K>, what: string): Promise<Reply<K> | undefined> {
    const { master, trace } = this.options;
    try {
      const { body } = await this.peers.get(master).call(kind, request, { timeoutMs: CALL_MS });
      trace(`operator: ${what}`);
      return body;
    } catch (error) {
      trace(`operator: ${what} failed: ${asGfsError(error).code}`);
      return undefined;
    }
  }

  private pause(ms: number): Promise<void> {
    return new Promise(resolve => {
      this.platform.clock.setTimer(ms, () => resolve());
    });
  }
}
