// The chunk that comes with a new file and is given back unused (touch, lock files): it goes again, unless somebody may have appended to it.
import test, { type ExecutionContext } from 'ava';
import { findChunk } from '../../src/master/chunks.js';
import { readCounters } from '../../src/master/counters.js';
import { type InodeId, ROOT_INODE } from '../../src/protocol/ids.js';
import type { Reply, WireTarget } from '../../src/protocol/messages.js';
import { FakeCluster, fakeConnection, throwsCode } from './fake-cluster.js';

const CLIENT = 'c'.repeat(16);
const OTHER = 'd'.repeat(16);
const LEASE_MS = 60_000;

async function withNewFile(t: ExecutionContext) {
  const cluster = await FakeCluster.start(t, { settings: { lease: LEASE_MS, sessionTtl: 10 * LEASE_MS } });
  const greeting = { client: CLIENT, name: 'test', open: [], wantsChanges: false };
  const { session } = await cluster.ask('openSession', greeting, fakeConnection());
  const create = (once = cluster.once(CLIENT)): Promise<Reply<'createFile'>> =>
    cluster.ask('createFile', {
      ...{ once, where: { start: ROOT_INODE, path: 'f' }, mode: 0o644, uid: 0, gid: 0 },
      ...{ exclusive: false, truncate: false, session, wantTarget: true },
    });
  const once = cluster.once(CLIENT);
  const { attributes, target } = await create(once);
  const { inode } = attributes;
  const close = async (unused: Pick<WireTarget, 'handle' | 'version'> | undefined): Promise<void> => {
    await cluster.ask('closeFile', { session, inode, ...(unused ? { unused: pick(unused) } : {}) });
    await cluster.clock.advance(200);
  };
  return { cluster, inode, target: target!, session, close, createAgain: () => create(once) };
}

function pick({ handle, version }: Pick<WireTarget, 'handle' | 'version'>): Pick<WireTarget, 'handle' | 'version'> {
  return { handle, version };
}

function isThere(cluster: FakeCluster, { handle }: WireTarget): boolean {
  return findChunk(cluster.master.rooms.context.store, handle) !== undefined;
}

function ordersOf(cluster: FakeCluster): number {
  return cluster.servers.reduce((sum, server) => sum + server.orders.length, 0);
}

async function size(cluster: FakeCluster, inode: InodeId): Promise<number> {
  return (await cluster.ask('lookup', { where: { start: inode, path: '' }, follow: false })).attributes.sizeBytes;
}

test('a file that was made and closed without an append keeps no chunk, and looking at it later asks no chunkserver', async t => {
  const { cluster, inode, target, close } = await withNewFile(t);
  const { store, leases } = cluster.master.rooms.context;

  await close(target);
  await cluster.clock.advance(2 * LEASE_MS);

  t.is(await size(cluster, inode), 0);
  t.is(ordersOf(cluster), 0);
  t.false(isThere(cluster, target));
  t.is(leases.size, 0);
  const { chunks, openChunks, garbage } = readCounters(store);
  t.deepEqual({ chunks, openChunks, garbage }, { chunks: 0, openChunks: 0, garbage: 0 });
});

test('a file whose unused chunk went gets another one for its next append', async t => {
  const { cluster, inode, target, close } = await withNewFile(t);
  await close(target);

  const next = await cluster.target(inode);

  t.true(next.handle > target.handle);
  await close(target);
  t.true(isThere(cluster, next), 'closing again takes nothing back');
});

test('a chunk stays when its file is closed without a word about it', async t => {
  const { cluster, target, close } = await withNewFile(t);

  await close(undefined);

  t.true(isThere(cluster, target));
});

test('a chunk that another client was told of stays', async t => {
  const { cluster, inode, target, close } = await withNewFile(t);
  await cluster.ask('appendTarget', { inode, client: OTHER });

  await close(target);

  t.true(isThere(cluster, target));
});

test('a chunk that somebody without a name was told of stays', async t => {
  const { cluster, inode, target, close } = await withNewFile(t);
  await cluster.ask('appendTarget', { inode });

  await close(target);

  t.true(isThere(cluster, target));
});

test('a chunk stays when its client asked for it once more: the word of its close may be an old one', async t => {
  const { cluster, inode, target, close } = await withNewFile(t);
  await cluster.ask('appendTarget', { inode, client: CLIENT });

  await close(target);

  t.true(isThere(cluster, target));
});

test('a chunk stays when the request that made its file came twice', async t => {
  const { cluster, target, close, createAgain } = await withNewFile(t);
  await createAgain();

  await close(target);

  t.true(isThere(cluster, target));
});

test('a chunk with bytes stays, whatever its client says', async t => {
  const { cluster, target, close } = await withNewFile(t);
  const [primary] = cluster.chainOf(target);
  const lease = { handle: target.handle, version: target.version, committedBytes: 10, active: true };
  await cluster.beat(primary!, { leases: [lease] });

  await close(target);

  t.true(isThere(cluster, target));
});

test('a chunk stays when its lease is over, and when it was granted again', async t => {
  const { cluster, inode, target, close } = await withNewFile(t);
  for (const server of cluster.chainOf(target)) server.hold(target.handle, 0);
  await cluster.clock.advance(2 * LEASE_MS);
  await close(target);
  t.true(isThere(cluster, target));

  const again = await cluster.ask('appendTarget', { inode, client: CLIENT });
  await close(again.target);

  t.is(again.target.version, 2);
  t.true(isThere(cluster, target));
});

test('who complains about a chunk that was given back is sent to look again, and nothing is sealed', async t => {
  const { cluster, inode, target, close } = await withNewFile(t);
  await close(target);

  t.deepEqual(await cluster.ask('complain', pick(target)), { outcome: 'again' });

  t.is(ordersOf(cluster), 0);
  t.is(await size(cluster, inode), 0);
  const append = { writer: 'a'.repeat(16), sequence: 1 };
  await throwsCode(t, cluster.ask('complain', { ...pick(target), append }), 'STALE');
});

test('a chunk that is asked for between its close and its end stays', async t => {
  const { cluster, inode, target, session } = await withNewFile(t);
  await cluster.ask('closeFile', { session, inode, unused: pick(target) });
  const next = await cluster.target(inode);

  await cluster.clock.advance(200);

  t.is(next.handle, target.handle);
  t.true(isThere(cluster, target));
});

test('many chunks that were given back go in one write', async t => {
  const { cluster, session } = await withNewFile(t);
  const created = [];
  for (let i = 0; i < 20; i++)
    created.push(
      await cluster.ask('createFile', {
        ...{ once: cluster.once(CLIENT), where: { start: ROOT_INODE, path: `f${i}` }, mode: 0o644, uid: 0, gid: 0 },
        ...{ exclusive: false, truncate: false, session, wantTarget: true },
      }),
    );
  await cluster.clock.advance(200);
  const before = cluster.kv.only.batches.length;

  for (const { attributes, target } of created)
    await cluster.call('closeFile', { session, inode: attributes.inode, unused: pick(target!) });
  await cluster.clock.advance(200);

  t.is(cluster.kv.only.batches.length, before + 1);
  t.true(created.every(({ target }) => !isThere(cluster, target!)));
});
