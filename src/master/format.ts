// Making a cluster and opening one: the identity and the settings that are fixed for its life, the root directory, the counters. A store that is not
// what it should be is refused with a word on what to do; nothing is ever made by surprise.
import { join } from 'node:path';
import type { KvStores } from '../lib/kv.js';
import type { Platform } from '../lib/platform.js';
import { randomId } from '../lib/random.js';
import { GfsError } from '../protocol/errors.js';
import { ROOT_INODE } from '../protocol/ids.js';
import { writeCounters } from './counters.js';
import { makeInodeNumbered, type NewInode } from './inodes.js';
import { metaKey } from './keys.js';
import { CLUSTER, type ClusterRecord } from './records.js';
import { type Change, Store, type StoreOptions } from './store.js';

export const STORE_FORMAT_VERSION = 1;
const KEY = metaKey('cluster');
const FORMAT_CACHE_ENTRIES = 64;
const FORMAT_CACHE_BYTES = 1024 * 1024;
/** A root directory without an owner is everybody's, like /tmp. */
const ROOT_MODE_OWNED = 0o755;
const ROOT_MODE_SHARED = 0o1777;

export interface FormatOptions {
  /** The master's data directory; made when absent. */
  data: string;
  chunkSize: number;
  replicas: number;
  minReplicas: number;
  /** Who owns the root directory; without it everybody may write there. */
  owner?: { uid: number; gid: number };
}

/** Where in a master's data directory the store is. */
export function storePath(data: string): string {
  return join(data, 'meta');
}

/**
 * Makes a new cluster in a data directory that holds none; settles when it is on disk. Rejects with WRONG_DATA when one is there, and changes nothing
 * then; IN_USE.
 */
export async function formatMaster(platform: FormatDoors, options: FormatOptions): Promise<ClusterRecord> {
  const { data, chunkSize, replicas, minReplicas, owner } = options;
  const store = await Store.open(platform.kv, storePath(data), {
    create: true,
    cacheEntriesMax: FORMAT_CACHE_ENTRIES,
    cacheBytesMax: FORMAT_CACHE_BYTES,
    logger: platform.logger,
  });
  try {
    refuseExisting(store, data);
    const cluster: ClusterRecord = {
      clusterId: randomId(platform.random),
      formatVersion: STORE_FORMAT_VERSION,
      chunkSizeBytes: chunkSize,
      replicas,
      minReplicas,
      createdMs: platform.clock.wallMs(),
    };
    store.change(change => writeFirstRows(change, cluster, owner));
    await store.durable();
    return cluster;
  } finally {
    await store.close();
  }
}

type FormatDoors = Pick<Platform, 'kv' | 'random' | 'logger' | 'clock'>;

function refuseExisting(store: Store, data: string): void {
  const value = store.get(KEY);
  if (value === undefined) return;
  const { clusterId } = CLUSTER.decode(KEY, value);
  throw new GfsError(
    'WRONG_DATA',
    `${data} already holds the cluster ${clusterId}; nothing was changed (remove the directory to give up the cluster and all its files)`,
  );
}

function writeFirstRows(change: Change, cluster: ClusterRecord, owner: FormatOptions['owner']): void {
  const numbers = { nextInode: ROOT_INODE + 1, nextHandle: 1, keyEpoch: 1 };
  const counts = { files: 0, directories: 1, trash: 0, chunks: 0, openChunks: 0, garbage: 0 };
  writeCounters(change, { ...numbers, ...counts });
  const root: NewInode = {
    type: 'directory',
    mode: owner === undefined ? ROOT_MODE_SHARED : ROOT_MODE_OWNED,
    uid: owner?.uid ?? 0,
    gid: owner?.gid ?? 0,
    goal: cluster.replicas,
    parent: ROOT_INODE,
    name: '',
  };
  makeInodeNumbered(change, ROOT_INODE, root, { nowMs: cluster.createdMs, trashMs: 0, graceMs: 0 });
  change.put(KEY, CLUSTER.encode(KEY, cluster));
}

/** Opens the store of a formatted cluster; never makes one. Rejects with WRONG_DATA (none, half made, damaged, newer) or IN_USE. */
export async function openCluster(
  kv: KvStores,
  data: string,
  options: Omit<StoreOptions, 'create'>,
): Promise<{ store: Store; cluster: ClusterRecord }> {
  const store = await Store.open(kv, storePath(data), { ...options, create: false });
  try {
    return { store, cluster: readCluster(store, data) };
  } catch (error) {
    await store.close();
    throw error;
  }
}

function readCluster(store: Store, data: string): ClusterRecord {
  const value = store.get(KEY);
  if (value === undefined) {
    throw new GfsError('WRONG_DATA', `${data} holds no cluster; make one with: gfs-master format --data ${data}`);
  }
  const cluster = CLUSTER.decode(KEY, value);
  if (cluster.formatVersion !== STORE_FORMAT_VERSION) {
    throw new GfsError(
      'WRONG_DATA',
      `${data} has format ${cluster.formatVersion}, this master knows ${STORE_FORMAT_VERSION}; use the version of gfs that wrote it`,
    );
  }
  return cluster;
}
