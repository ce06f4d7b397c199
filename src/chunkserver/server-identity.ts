// Who this server is: an id made with its first index and lost with its last one (DESIGN 4, rule 2), an epoch raised durably at every start, and
// the cluster it belongs to, each in every data directory. It refuses directories of another server or cluster and never adopts one.
import { assert } from '../lib/assert.js';
import type { Platform } from '../lib/platform.js';
import { randomId, randomInt } from '../lib/random.js';
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

  /**
   * Checks the directories that work against each other, raises the epoch durably; `isPartial`: others do not work. Throws WRONG_DATA naming the directory
   * that does not belong, and what a disk says when none takes the epoch, or the first one of a new server does not take its id.
   */
  static async begin(
    disks: readonly DataDirectory[],
    platform: Platform,
    options: { isPartial: boolean },
  ): Promise<ServerIdentity> {
    const first = disks[0];
    assert(first, 'a chunkserver has a data directory');
    const server = first.identity?.server ?? (randomId(platform.random) as ServerId);
    for (const disk of disks) checkOwner(disk, { server, first, isNew: !first.identity });
    const clusterId = disks.map(disk => disk.identity?.clusterId ?? '').find(id => id !== '') ?? '';
    for (const disk of disks) checkCluster(disk, clusterId);
    const known = Math.max(...disks.map(disk => disk.identity?.epoch ?? 0));
    // A start without these disks may have taken the next ones, and no two lives may have the same.
    const epoch = known + 1 + (options.isPartial ? randomInt(platform.random, EPOCHS_LEFT_OUT_MAX) : 0);
    const identity = new ServerIdentity(disks, server, epoch, clusterId);
    await identity.save({ clean: false, isNew: !first.identity }, platform);
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

  /**
   * On every disk that works; one that does not take it has failed. Throws when none does, and when the first one does not take the id of a new server:
   * known by the others only, that server would be refused as a mix of two at the next start.
   */
  private async save(state: { clean: boolean; isNew?: boolean }, platform: Platform): Promise<void> {
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
      if (state.isNew && disk.failure && disk === this.disks[0]) throw disk.failure;
    }
    const working = this.disks.find(({ failure }) => !failure);
    if (!working) throw this.disks[0]!.failure!;
  }
}

/** Where a disk that may know later epochs is away, one of so many is drawn. */
const EPOCHS_LEFT_OUT_MAX = 1_000_000;

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
