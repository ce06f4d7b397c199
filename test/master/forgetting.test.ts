// gfs forget at the master, over fake chunkservers: what is refused, what goes, what stays, and what becomes of a server that comes back.
import test, { type ExecutionContext } from 'ava';
import { findChunk } from '../../src/master/chunks.js';
import { type ChunkHandle, type InodeId, ROOT_INODE } from '../../src/protocol/ids.js';
import type { MasterKind, Reply, Request } from '../../src/protocol/messages.js';
import { FakeCluster, fakeConnection, throwsCode } from './fake-cluster.js';
import type { FakeServer } from './fake-servers.js';

const LEASE_MS = 20_000;
const at = (path: string) => ({ start: ROOT_INODE, path });

function ask<K extends MasterKind>(cluster: FakeCluster, kind: K, request: Request<K>): Promise<Reply<K>> {
  return cluster.ask(kind, request, { ...fakeConnection(), role: 'admin' });
}

const forget = (cluster: FakeCluster, server: FakeServer, acceptLoss = false) =>
  ask(cluster, 'forgetServer', { server: server.id, acceptLoss });

async function start(t: ExecutionContext, servers: number): Promise<FakeCluster> {
  return await FakeCluster.start(t, {
    servers,
    settings: { rereplicateAfter: 5_000, lease: LEASE_MS, safeModeMax: 10_000 },
  });
}

async function sealedFile(cluster: FakeCluster, path: string) {
  const inode: InodeId = await cluster.createFile(path);
  const target = await cluster.target(inode);
  const chain = cluster.chainOf(target);
  for (const server of chain) server.hold(target.handle, 100);
  await cluster.ask('complain', { handle: target.handle, version: 1 });
  await cluster.clock.advance(1_000);
  return { inode, handle: target.handle, chain };
}

/** Off, and for longer than any lease. */
async function goes(cluster: FakeCluster, ...servers: FakeServer[]): Promise<void> {
  for (const server of servers) server.isReachable = false;
  await cluster.clock.advance(LEASE_MS + 30_000);
}

async function comesBack(cluster: FakeCluster, server: FakeServer): Promise<void> {
  server.isReachable = true;
  server.epoch++;
  await cluster.register(server);
  await cluster.clock.advance(5_000);
}

const idsIn = async (cluster: FakeCluster): Promise<string[]> =>
  (await cluster.ask('report', {})).servers.map(({ id }) => id);

const copiesOf = (cluster: FakeCluster, handle: ChunkHandle): number =>
  cluster.servers.filter(server => server.chunks.has(handle)).length;

test('a server that is gone is forgotten once its chunks have copies elsewhere, also after a restart of the master', async t => {
  const cluster = await start(t, 4);
  const { handle, chain } = await sealedFile(cluster, 'f');
  const [gone] = chain as [FakeServer];
  await goes(cluster, gone);
  t.true((await idsIn(cluster)).includes(gone.id));

  t.like(await forget(cluster, gone), { server: gone.id, forgotten: true, chunks: 1, atRisk: { total: 0 } });

  t.false((await idsIn(cluster)).includes(gone.id));
  t.false(cluster.master.rooms.context.locations.get(handle).some(({ server }) => server === gone.id));
  await cluster.restartMaster();
  t.false((await idsIn(cluster)).includes(gone.id));
  t.false((await cluster.ask('report', {})).safemode, 'safe mode does not wait for it');
  await throwsCode(t, forget(cluster, gone), 'NOT_FOUND');
});

test('a server that is up, or was lately and may hold leases, is not forgotten, nor by somebody who is no operator', async t => {
  const cluster = await start(t, 3);
  const [server] = cluster.servers as [FakeServer];
  await throwsCode(t, cluster.ask('forgetServer', { server: server.id, acceptLoss: true }), 'ACCESS_DENIED');
  await throwsCode(t, forget(cluster, server, true), 'BUSY');

  server.isReachable = false;
  await cluster.clock.advance(LEASE_MS / 2 + 1_000);
  const error = await t.throwsAsync(forget(cluster, server, true), {
    message: /may still hold leases: forget it in \d+ s/,
  });
  t.is((error as unknown as { code: string }).code, 'BUSY');

  t.true((await idsIn(cluster)).includes(server.id));
});

test('a server that may hold the only good copy is kept until its loss is accepted, and then nothing is deleted', async t => {
  const cluster = await start(t, 3);
  const { handle, chain } = await sealedFile(cluster, 'f');
  const [last, ...others] = chain as [FakeServer, FakeServer, FakeServer];
  // The other copies rot, so that only one is good.
  const bad = { handle, version: 2, lengthBytes: 100, state: 'sealed' as const, suspect: false, corrupt: true };
  last.before = kind => {
    if (kind === 'copyChunk') throw new Error('no');
  };
  for (const server of others) {
    server.before = last.before;
    server.bad.set(handle, [{ fromByte: 0, lengthBytes: 50 }]);
  }
  await goes(cluster, last);
  for (const server of others) await cluster.beat(server, { changed: [bad] });

  const refused = await forget(cluster, last);
  t.like(refused, { forgotten: false, atRisk: { total: 1, bytes: 100, handles: [handle] } });
  t.true((await idsIn(cluster)).includes(last.id));

  t.like(await forget(cluster, last, true), { forgotten: true, atRisk: { total: 1 } });
  await cluster.clock.advance(60_000);
  const page = await ask(cluster, 'checkFiles', { under: ROOT_INODE, limit: 100, repair: false });
  t.true(page.findings[0]!.finding.problems.includes('unreadable'));
  t.is(copiesOf(cluster, handle), 3, 'what rotted may be all there is');

  // It comes back all the same: a new server, whose copy is good.
  for (const server of cluster.servers) {
    server.before = () => undefined;
    server.bad.clear();
  }
  await comesBack(cluster, last);
  await cluster.clock.advance(30_000);
  t.deepEqual((await ask(cluster, 'checkChunks', { after: 0, limit: 100, repair: false })).findings, []);
});

test('after a restart of the master a server that is away may hold whatever no other has', async t => {
  const cluster = await start(t, 3);
  const { handle, chain } = await sealedFile(cluster, 'f');
  const [away, ...others] = chain as [FakeServer, FakeServer, FakeServer];
  away.isReachable = false;
  for (const server of others) server.chunks.delete(handle);
  await cluster.restartMaster();
  await goes(cluster, away);
  await ask(cluster, 'safemode', { action: 'enter' });
  await throwsCode(t, forget(cluster, away, true), 'SAFE_MODE');
  await ask(cluster, 'safemode', { action: 'leave' });

  t.like(await forget(cluster, away), { forgotten: false, atRisk: { total: 1, handles: [handle] } });
});

test('a forgotten server that comes back is judged as any: its surplus goes, its stale copies go, nothing is read from them before', async t => {
  const cluster = await start(t, 4);
  const kept = await sealedFile(cluster, 'f');
  const deleted = await sealedFile(cluster, 'g');
  const gone = kept.chain.find(server => deleted.chain.includes(server))!;
  await goes(cluster, gone);
  await forget(cluster, gone);
  await cluster.ask('unlink', { once: cluster.once(), where: at('g') });
  await ask(cluster, 'purgeTrash', { inodes: [deleted.inode] });
  await cluster.clock.advance(cluster.master.rooms.context.settings.gcGrace + 10_000);
  t.is(findChunk(cluster.master.rooms.context.store, deleted.handle), undefined);

  await comesBack(cluster, gone);
  await cluster.clock.advance(20_000);

  t.is((await cluster.ask('report', {})).servers.find(({ id }) => id === gone.id)?.state, 'up');
  t.false(gone.chunks.has(deleted.handle));
  t.is(copiesOf(cluster, kept.handle), 3);
  t.deepEqual((await ask(cluster, 'checkChunks', { after: 0, limit: 100, repair: false })).findings, []);
  await cluster.restartMaster();
  t.true((await idsIn(cluster)).includes(gone.id), 'it is remembered again');
});

test('an open end whose servers are all forgotten ends at what is recorded, at an operator’s word', async t => {
  const cluster = await start(t, 6);
  const inode = await cluster.createFile('f');
  const target = await cluster.target(inode);
  const chain = cluster.chainOf(target);
  for (const server of chain) server.hold(target.handle, 70);
  await goes(cluster, ...chain);
  await throwsCode(t, ask(cluster, 'recoverFile', { where: at('f'), accept: true }), 'UNAVAILABLE');

  t.like(await forget(cluster, chain[0]!), { forgotten: false, atRisk: { total: 1, handles: [target.handle] } });
  for (const server of chain) t.true((await forget(cluster, server, true)).forgotten);
  t.like((await ask(cluster, 'recoverFile', { where: at('f'), accept: false })).tail, { stuck: true, acceptBytes: 0 });
  t.true((await ask(cluster, 'recoverFile', { where: at('f'), accept: true })).sealed);

  t.false(cluster.chainOf(await cluster.target(inode)).some(server => chain.includes(server)));
});

test('an open chunk does not keep a server when another member of its chain can decide its end', async t => {
  const cluster = await start(t, 3);
  const inode = await cluster.createFile('f');
  const target = await cluster.target(inode);
  const chain = cluster.chainOf(target);
  for (const server of chain) server.hold(target.handle, 70);
  await goes(cluster, chain[0]!);

  t.true((await forget(cluster, chain[0]!)).forgotten);
  await cluster.clock.advance(5_000);

  const chunk = findChunk(cluster.master.rooms.context.store, target.handle);
  t.like(chunk, { state: 'sealed', lengthBytes: 70 });
});
