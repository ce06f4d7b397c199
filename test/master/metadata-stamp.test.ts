// Old metadata that no chunk gives away: between the copy and the loss only names changed. Servers heard how far the metadata had come, and name it.
import test from 'ava';
import { deferred } from '../../src/lib/deferred.js';
import { silentLogger } from '../../src/lib/logger.js';
import { MetadataStamp } from '../../src/master/metadata-stamp.js';
import { Store } from '../../src/master/store.js';
import { ROOT_INODE, type ServerId } from '../../src/protocol/ids.js';
import type { MasterKind, Reply, Request } from '../../src/protocol/messages.js';
import { BEAT_MS, FakeCluster, fakeConnection, seeded, throwsCode } from './fake-cluster.js';
import { MemoryKvStores } from './memory-kv.js';

const at = (path: string) => ({ start: ROOT_INODE, path });
const SERVER = '1'.repeat(16) as ServerId;

function ask<K extends MasterKind>(cluster: FakeCluster, kind: K, request: Request<K>): Promise<Reply<K>> {
  return cluster.ask(kind, request, { ...fakeConnection(), role: 'admin' });
}

type Rows = Map<string, [Buffer, Buffer]>;
const copyOf = (cluster: FakeCluster): Rows => new Map(cluster.kv.only.rows);
const state = (cluster: FakeCluster) => ask(cluster, 'safemode', { action: 'get' });

/** A master on these rows; servers register when asked to. */
async function startOn(cluster: FakeCluster, rows: Rows): Promise<void> {
  cluster.stopBeats();
  await cluster.clock.run(cluster.master.stop());
  cluster.kv.only.rows.clear();
  for (const [key, row] of rows) cluster.kv.only.rows.set(key, row);
  await cluster.startMaster();
}

/** A file with a sealed chunk, in the trash when `copy` was made and restored after it: on the copy it is collected when its day is over. */
async function scene(t: Parameters<typeof FakeCluster.start>[0]) {
  const cluster = await FakeCluster.start(t, {
    servers: 4,
    settings: { gcGrace: 1_000, trash: 30_000, safeModeMax: 5_000 },
  });
  const inode = await cluster.createFile('f');
  const target = await cluster.target(inode);
  for (const server of cluster.chainOf(target)) server.hold(target.handle, 100);
  await cluster.ask('complain', { handle: target.handle, version: target.version });
  await cluster.clock.advance(1_000);
  await cluster.ask('unlink', { once: cluster.once(), where: at('f') });
  await cluster.clock.advance(BEAT_MS);
  const copy = copyOf(cluster);
  await ask(cluster, 'restoreTrash', { inode, to: at('f') });
  await cluster.clock.advance(BEAT_MS);
  const holders = () => cluster.servers.filter(server => server.chunks.has(target.handle)).length;
  return { cluster, copy, inode, handle: target.handle, holders };
}

test('a copy from before a restore out of the trash is found out when a server registers, and the file is not collected', async t => {
  const { cluster, copy, holders } = await scene(t);
  await startOn(cluster, copy);
  await cluster.registerAll();
  await cluster.clock.advance(120_000);

  const { on, oldMetadata, reason } = await state(cluster);
  t.true(on && oldMetadata);
  t.regex(reason, /was told of change \d+ of the metadata, .* up to change \d+: it is an old copy/);
  t.is(holders(), 3);
});

test('without what the servers heard that copy would go unnoticed: old processes name nothing, and are taken as they are', async t => {
  const { cluster, copy } = await scene(t);
  for (const server of cluster.servers) server.stamp = undefined;
  await startOn(cluster, copy);
  await cluster.registerAll();
  await cluster.clock.advance(10_000);

  t.false((await state(cluster)).on);
});

test('a copy is found out also when it was changed more often than what it lacks before any server registered, and after another start', async t => {
  const { cluster, copy, holders } = await scene(t);
  await startOn(cluster, copy);
  for (let i = 0; i < 50; i++) await cluster.createFile(`more${i}`);
  await cluster.register(cluster.servers[0]!);
  t.true((await state(cluster)).oldMetadata);

  await cluster.restartMaster();
  await cluster.clock.advance(120_000);
  t.true((await state(cluster)).oldMetadata);
  t.is(holders(), 3);
});

test('the right one after the copy is trusted, and so is every start of it; each tells the servers how far it is, once its safe mode is over', async t => {
  const { cluster, copy, holders } = await scene(t);
  const right = copyOf(cluster);
  const heard = cluster.servers.map(({ stamp }) => stamp!.number);
  await startOn(cluster, copy);
  for (let i = 0; i < 50; i++) await cluster.createFile(`more${i}`);
  await cluster.registerAll();
  await cluster.clock.advance(10_000);
  t.deepEqual(
    cluster.servers.map(({ stamp }) => stamp!.number),
    heard,
    'the wrong one told nothing',
  );

  await startOn(cluster, right);
  await cluster.registerAll();
  for (let i = 0; i < 5; i++) {
    t.false((await state(cluster)).on);
    await cluster.createFile(`again${i}`);
    await cluster.clock.advance(2 * BEAT_MS);
    const { durable } = cluster.master.rooms.context.stamp;
    for (const [j, { stamp }] of cluster.servers.entries()) {
      t.is(stamp!.start, durable.start);
      t.true(stamp!.number > heard[j]! && stamp!.number <= durable.number);
    }
    await cluster.restartMaster();
  }
  t.is(holders(), 3);
});

test('a server that was away while old metadata was accepted heard of changes that are lost: it is no reason to distrust any more', async t => {
  const { cluster, copy } = await scene(t);
  const away = cluster.servers[0]!;
  for (let i = 0; i < 20; i++) await cluster.createFile(`lost${i}`);
  await cluster.clock.advance(BEAT_MS);
  away.isReachable = false;
  const others = cluster.servers.slice(1);
  for (const server of others) server.stamp!.number -= 10;
  await startOn(cluster, copy);
  await cluster.registerAll();
  t.true((await state(cluster)).oldMetadata);
  const before = cluster.master.rooms.context.stamp.durable.number;

  t.true((await ask(cluster, 'recoverMetadata', { accept: true })).accepted);
  await cluster.clock.advance(5_000);
  t.false((await state(cluster)).on);
  for (const { stamp } of others) t.true(stamp!.number > before + 2 ** 32);

  away.isReachable = true;
  await cluster.register(away);
  await cluster.clock.advance(5_000);
  t.false((await state(cluster)).on);
  t.is(away.stamp!.start, others[0]!.stamp!.start);
  await cluster.restartMaster();
  await cluster.clock.advance(5_000);
  t.false((await state(cluster)).on);
});

test('a number is told when its batch is on the disk, and not before; every batch has the next one', async t => {
  const stores = new MemoryKvStores();
  const open = async () => {
    const stamp = new MetadataStamp();
    const options = { create: true, cacheEntriesMax: 8, cacheBytesMax: 1024, logger: silentLogger, batchRow: stamp };
    const store = await Store.open(stores, '/m', options);
    stamp.begin(store, seeded(stores.only.rows.size));
    await store.durable();
    return { store, stamp };
  };
  const { store, stamp } = await open();
  const first = stamp.durable;
  t.is(first.number, 1);
  const gate = deferred<void>();
  stores.only.gate = gate.promise;
  store.change(change => change.put(Buffer.from('x'), Buffer.from('1')));
  await new Promise(resolve => setImmediate(resolve));
  t.is(stores.only.batches.length, 2, 'it is on its way');
  store.change(change => change.put(Buffer.from('x'), Buffer.from('2')));
  t.is(stamp.durable.number, 1);
  gate.resolve();
  await store.durable();
  t.is(stamp.durable.number, 3);
  await store.close();

  const again = await open();
  t.is(again.stamp.durable.number, 4);
  t.not(again.stamp.durable.start, first.start);
  t.is(again.stamp.lacking(SERVER, { start: first.start, number: 3 }), undefined);
  t.is(again.stamp.lacking(SERVER, { start: first.start, number: 4 }), 3, 'the earlier start went on elsewhere');
  t.is(again.stamp.lacking(SERVER, { start: again.stamp.durable.start, number: 4 }), undefined);
  t.is(again.stamp.lacking(SERVER, { start: again.stamp.durable.start, number: 5 }), 4, 'it never was on the disk');
  t.is(again.stamp.lacking(SERVER, { start: 'f'.repeat(16), number: 3 }), undefined, 'of a copy that is out of use');
  t.is(again.stamp.lacking(SERVER, { start: 'f'.repeat(16), number: 4 }), 3);
  await again.store.close();
});

test('a start on a full disk, which is not written down, serves names and is no reason to distrust the next one', async t => {
  const { cluster, holders } = await scene(t);
  const before = cluster.servers.map(({ stamp }) => stamp!.number);
  cluster.kv.only.failure = Object.assign(new Error('no room'), { code: 'ENOSPC' });
  cluster.space.freeBytes = 0;
  await cluster.restartMaster();
  await cluster.clock.advance(10_000);
  t.is((await cluster.ask('lookup', { where: at('f'), follow: true })).attributes.nlink, 1);
  await throwsCode(t, cluster.createFile('new'), 'NO_SPACE');
  t.false((await state(cluster)).on);
  t.deepEqual(
    cluster.servers.map(({ stamp }) => stamp!.number),
    before,
  );

  cluster.kv.only.failure = undefined;
  cluster.space.freeBytes = 5e8;
  await cluster.restartMaster();
  await cluster.createFile('new');
  await cluster.clock.advance(10_000);
  t.false((await state(cluster)).on);
  t.true(cluster.servers.every(({ stamp }, i) => stamp!.number > before[i]!));
  t.is(holders(), 3);
});
