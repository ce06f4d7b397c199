// Who this server is: an id made with the index of the first data directory and lost with it (DESIGN 4, rule 2), an epoch raised durably at
// every start, and the cluster it belongs to. It refuses directories of another server or cluster and never adopts one.
import { assert } from '../lib/assert.js';
import type { Platform } from '../lib/platform.js';
import { randomId } from '../lib/random.js';
import { GfsError } from '../protocol/errors.js';
import type { ServerId } from '../protocol/ids.js';
import type { Identity } from './chunk-index.js';
import type { DataDirectory } from './data-directory.js';

export class ServerIdentity {
  private constructor(
    private readonly disks: readonly DataDirectory[],
    readonly server: ServerId,
    readonly epoch: number,
    private cluster: string,
  ) {}

  /** Checks the directories against each other, raises the epoch durably. Throws WRONG_DATA naming the directory that does not belong. */
  static async begin(disks: readonly DataDirectory[], platform: Platform): Promise<ServerIdentity> {
    const first = disks[0];
    assert(first, 'a chunkserver has a data directory');
    const server = first.identity?.server ?? (randomId(platform.random) as ServerId);
    for (const disk of disks) checkOwner(disk, { server, first, isNew: !first.identity });
    const clusterId = disks.map(disk => disk.identity?.clusterId ?? '').find(id => id !== '') ?? '';
    for (const disk of disks) checkCluster(disk, clusterId);
    const epoch = Math.max(...disks.map(disk => disk.identity?.epoch ?? 0)) + 1;
    const identity = new ServerIdentity(disks, server, epoch, clusterId);
    await identity.save({ clean: false }, platform);
    return identity;
  }

  get clusterId(): string {
    return this.cluster;
  }

  /** Throws WRONG_CLUSTER when this server belongs to another one already. */
  async join(clusterId: string, platform: Platform): Promise<void> {
    if (this.cluster === clusterId) return;
    if (this.cluster !== '')
      throw new GfsError(
        'WRONG_CLUSTER',
        `the master is of cluster ${clusterId}, the data in ${this.disks[0]!.path} of cluster ${this.cluster}`,
      );
    this.cluster = clusterId;
    await this.save({ clean: false }, platform);
  }

  /** Everything was synced: the next start has nothing to doubt. */
  async saveClean(platform: Platform): Promise<void> {
    await this.save({ clean: true }, platform);
  }

  private async save(state: { clean: boolean }, platform: Platform): Promise<void> {
    for (const disk of this.disks) {
      if (disk.failure) continue;
      const identity: Identity = {
        server: this.server,
        disk: disk.identity?.disk ?? randomId(platform.random),
        clusterId: this.cluster,
        epoch: this.epoch,
        clean: state.clean,
      };
      await disk.saveIdentity(identity);
    }
  }
}

function checkOwner(disk: DataDirectory, owner: { server: ServerId; first: DataDirectory; isNew: boolean }): void {
  const found = disk.identity?.server;
  if (found === undefined || found === owner.server) return;
  const expected = owner.isNew
    ? `the first data directory ${owner.first.path} is new`
    : `the first data directory ${owner.first.path} belongs to server ${owner.server}`;
  throw new GfsError(
    'WRONG_DATA',
    `the data directory ${disk.path} belongs to server ${found}, but ${expected}; give the directories of one server, its first one first`,
  );
}

function checkCluster(disk: DataDirectory, clusterId: string): void {
  const found = disk.identity?.clusterId ?? '';
  if (found === '' || found === clusterId) return;
  throw new GfsError(
    'WRONG_DATA',
    `the data directory ${disk.path} belongs to cluster ${found}, the others to cluster ${clusterId}`,
  );
}
