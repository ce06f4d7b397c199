// A formatted store in memory and short hands for its tests.
import type { ExecutionContext } from 'ava';
import { silentLogger } from '../../src/lib/logger.js';
import type { Random } from '../../src/lib/random.js';
import { openChunk, sealChunk } from '../../src/master/chunks.js';
import { formatMaster, openCluster } from '../../src/master/format.js';
import type { Moment } from '../../src/master/moment.js';
import { createFile, resolve } from '../../src/master/namespace.js';
import type { ChunkRecord, InodeRecord } from '../../src/master/records.js';
import type { Store } from '../../src/master/store.js';
import { type ErrorCode, GfsError } from '../../src/protocol/errors.js';
import { type InodeId, ROOT_INODE, type ServerId } from '../../src/protocol/ids.js';
import type { WireWhere } from '../../src/protocol/messages.js';
import { MemoryKvStores } from './memory-kv.js';

export const DATA = '/cluster';
export const CHAIN = ['1', '2', '3'].map(digit => ({ server: digit.repeat(16) as ServerId, epoch: 1 }));
export const OWNER = { uid: 1000, gid: 1000 };

const fixedRandom: Random = { float: () => 0.5, bytes: count => Buffer.alloc(count, 7) };

export function doors(kv: MemoryKvStores): Parameters<typeof formatMaster>[0] {
  const clock = {
    monotonicMs: () => 0,
    wallMs: () => 1_000,
    setTimer: () => ({ cancel: () => undefined }),
    soon: () => undefined,
  };
  return { kv, random: fixedRandom, logger: silentLogger, clock };
}

export const FORMAT = { data: DATA, chunkSize: 65_536, replicas: 3, minReplicas: 2 };

export async function formatted(): Promise<{ store: Store; kv: MemoryKvStores }> {
  const kv = new MemoryKvStores();
  await formatMaster(doors(kv), FORMAT);
  return { store: await reopen(kv), kv };
}

export async function reopen(kv: MemoryKvStores): Promise<Store> {
  return (await openCluster(kv, DATA, { cacheEntriesMax: 100, cacheBytesMax: 1e6, logger: silentLogger })).store;
}

/** Ten seconds of trash, one second of grace. */
export function at(nowMs: number): Moment {
  return { nowMs, trashMs: 10_000, graceMs: 1_000 };
}

export function root(path: string): WireWhere {
  return { start: ROOT_INODE, path };
}

export function createAt(store: Store, path: string, nowMs = 2_000): InodeRecord {
  const options = { where: root(path), mode: 0o644, ...OWNER, exclusive: false };
  return store.change(change => createFile(change, options, at(nowMs)).file);
}

/** A sealed chunk of `lengthBytes` at the end of a file. */
export function append(store: Store, inode: InodeId, lengthBytes: number, nowMs = 3_000): ChunkRecord {
  return store.change(change => {
    const { handle } = openChunk(change, { inode, chain: CHAIN }, at(nowMs));
    return sealChunk(change, handle, lengthBytes, at(nowMs));
  });
}

export function find(store: Store, path: string): InodeRecord {
  return resolve(store, root(path), false);
}

export function throwsCode(t: ExecutionContext, code: ErrorCode, work: () => unknown): void {
  const error = t.throws(work, { instanceOf: GfsError });
  t.is(error?.code, code, error?.message);
}
