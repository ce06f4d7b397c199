// What the master holds in memory and what it reads at a start depends on its settings, not on how many files there are.
import test, { type ExecutionContext } from 'ava';
import { readCounters } from '../../src/master/counters.js';
import { Notices } from '../../src/master/notices.js';
import { MASTER_SETTINGS } from '../../src/master/settings.js';
import { ValueCache } from '../../src/master/value-cache.js';
import { type InodeId, ROOT_INODE } from '../../src/protocol/ids.js';
import { FakeCluster, fakeConnection } from './fake-cluster.js';
import { append } from './fixture.js';

const CACHE_ENTRIES = 100;

async function withFiles(t: ExecutionContext, files: number): Promise<FakeCluster> {
  const cluster = await FakeCluster.start(t, { settings: { cacheEntries: CACHE_ENTRIES } });
  for (let i = 0; i < files; i++) {
    const inode = await cluster.createFile(`f${i}`);
    if (i % 4 === 0) append(cluster.master.rooms.context.store, inode, 100);
  }
  return cluster;
}

/** Values read from the store between the start and the first answer about a file. */
async function readsOfStart(cluster: FakeCluster): Promise<number> {
  const { reads } = cluster.kv.only;
  await cluster.clock.run(cluster.master.stop());
  cluster.stopBeats();
  const before = reads.gets + reads.scanned;
  await cluster.startMaster();
  await cluster.ask('lookup', { where: { start: ROOT_INODE, path: 'f1' }, follow: false });
  return reads.gets + reads.scanned - before;
}

test('after making many files the caches hold what the settings allow and the tables nothing', async t => {
  const cluster = await withFiles(t, 1_000);
  const { context, sessions } = cluster.master.rooms;
  const { store, leases } = context;
  await cluster.clock.run(store.durable());

  t.is(readCounters(store).files, 1_000);
  t.true(store.counters.cacheEntries <= CACHE_ENTRIES);
  t.true(store.counters.cacheBytes <= MASTER_SETTINGS.cacheSize.default!);
  t.is(store.counters.pendingOps, 0);
  t.is(leases.size, 0);
  t.is(sessions.size, 0);
});

test('listing a directory reads a page at a time and leaves no more in the cache than the settings allow', async t => {
  const cluster = await withFiles(t, 1_000);
  const { reads } = cluster.kv.only;
  const before = reads.scanned;

  const page = await cluster.ask('readDirectory', { inode: ROOT_INODE, after: 'f5', limit: 50 });

  t.is(page.entries.length, 50);
  t.is(reads.scanned - before, 50);
  t.true(cluster.master.rooms.context.store.counters.cacheEntries <= CACHE_ENTRIES);
});

test('a start reads the same few values whether there are ten files or a thousand', async t => {
  const [few, many] = [await withFiles(t, 10), await withFiles(t, 1_000)];

  const [readsOfFew, readsOfMany] = [await readsOfStart(few), await readsOfStart(many)];

  t.is(readsOfMany, readsOfFew);
  t.true(readsOfFew < 30, `${readsOfFew} values were read`);
});

test('large values do not fill the memory: the cache counts bytes as well', t => {
  const cache = new ValueCache({ entriesMax: 1_000, bytesMax: 100_000 });
  for (let i = 0; i < 100; i++) cache.set(`k${i}`, Buffer.alloc(10_000, i));

  t.true(cache.bytes <= 100_000);
  t.true(cache.entryCount < 10);
  t.deepEqual(cache.get('k99'), Buffer.alloc(10_000, 99));
  t.is(cache.get('k1'), undefined);
  cache.set('k99', Buffer.alloc(200_000));
  t.is(cache.get('k99'), undefined, 'what is too large is not kept, and neither is what it replaced');
});

test('a value that was replaced or deleted does not come back from what the cache keeps at hand', t => {
  const cache = new ValueCache({ entriesMax: 10, bytesMax: 100_000 });
  cache.set('k', Buffer.from('old'));
  t.is(String(cache.get('k')), 'old');
  cache.set('k', Buffer.from('new'));
  t.is(String(cache.get('k')), 'new');
  cache.delete('k');
  t.is(cache.get('k'), undefined);
});

test('who looks at more than is remembered for him is told of all of the rest at once, in bounded notices', t => {
  const notices = new Notices({ interestsPerSessionMax: 10, noticeQueuedBytesMax: 1_000 });
  const connection = fakeConnection();
  notices.watch('session', 'client', connection);
  for (let i = 1; i <= 5_000; i++) notices.sawInode('client', i as InodeId);

  notices.flush();

  const told = connection.notices as Array<{ inodes: number[]; entries: unknown[]; forgotten?: boolean }>;
  t.true(told.every(({ forgotten }) => forgotten));
  t.is(told.flatMap(({ inodes }) => inodes).length, 4_990);
  t.true(told.every(({ inodes }) => inodes.length <= 1024));
  notices.flush();
  t.is(told.length, 5, 'nothing is left to be told');

  notices.inodeChanged(4_995 as InodeId);
  notices.inodeChanged(1 as InodeId);
  notices.flush();
  t.deepEqual(
    told.slice(5),
    [{ inodes: [4_995], entries: [] }] as typeof told,
    'what was forgotten is not told of again',
  );
});
