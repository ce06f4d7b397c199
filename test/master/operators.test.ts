// Operators' commands at the master, over fake chunkservers: draining, trash, copies wanted, safe mode, checks, recovery, and who may ask.
import test, { type ExecutionContext } from 'ava';
import { type ChunkHandle, type InodeId, ROOT_INODE } from '../../src/protocol/ids.js';
import type { MasterKind, Reply, Request } from '../../src/protocol/messages.js';
import { FakeCluster, fakeConnection, throwsCode } from './fake-cluster.js';
import type { FakeServer } from './fake-servers.js';

/** As an operator's tool asks. */
function ask<K extends MasterKind>(cluster: FakeCluster, kind: K, request: Request<K>): Promise<Reply<K>> {
  return cluster.ask(kind, request, { ...fakeConnection(), role: 'admin' });
}

const at = (path: string) => ({ start: ROOT_INODE, path });

interface SealedFile {
  inode: InodeId;
  handle: ChunkHandle;
  chain: FakeServer[];
}

/** A file with one sealed chunk of 100 bytes on the servers that are up. */
async function sealedFile(cluster: FakeCluster, path: string): Promise<SealedFile> {
  const inode = await cluster.createFile(path);
  const { handle, chain: wire } = await cluster.target(inode);
  const chain = cluster.chainOf({ chain: wire });
  for (const server of chain) server.hold(handle, 100);
  await cluster.ask('complain', { handle, version: 1 });
  await cluster.clock.advance(1_000);
  return { inode, handle, chain };
}

async function start(t: ExecutionContext, servers: number, settings = {}): Promise<FakeCluster> {
  return await FakeCluster.start(t, { servers, settings: { rereplicateAfter: 5_000, ...settings } });
}

const checkAll = { after: 0, limit: 100, repair: false };

test('who is no operator may look, and change nothing', async t => {
  const cluster = await start(t, 3);
  const { inode } = await sealedFile(cluster, 'f');
  const server = cluster.servers[0]!.id;
  await cluster.ask('unlink', { once: cluster.once(), where: at('f') });

  await throwsCode(t, cluster.ask('setDraining', { server, draining: true }), 'ACCESS_DENIED');
  await throwsCode(t, cluster.ask('restoreTrash', { inode, to: at('f') }), 'ACCESS_DENIED');
  await throwsCode(t, cluster.ask('purgeTrash', { inodes: [inode] }), 'ACCESS_DENIED');
  await throwsCode(t, cluster.ask('setReplication', { where: at(''), goal: 2 }), 'ACCESS_DENIED');
  await throwsCode(t, cluster.ask('safemode', { action: 'enter' }), 'ACCESS_DENIED');
  await throwsCode(t, cluster.ask('checkChunks', { ...checkAll, repair: true }), 'ACCESS_DENIED');
  await throwsCode(t, cluster.ask('checkOrphans', { repair: true }), 'ACCESS_DENIED');
  await throwsCode(t, cluster.ask('recoverFile', { where: at('f'), accept: true }), 'ACCESS_DENIED');

  t.false((await cluster.ask('drainStatus', { server })).draining);
  t.is((await cluster.ask('listTrash', { limit: 10 })).items.length, 1);
  t.deepEqual((await cluster.ask('checkMetadata', {})).problems, []);
});

test('a drained server may be stopped once its chunks have their copies elsewhere, and gets nothing new meanwhile', async t => {
  const cluster = await start(t, 4);
  const { handle, chain } = await sealedFile(cluster, 'f');
  const leaving = chain[0]!;

  const begun = await ask(cluster, 'setDraining', { server: leaving.id, draining: true });
  t.like(begun, { state: 'draining', waiting: 1, waitingBytes: 100, safe: false, obstacle: '' });
  await cluster.clock.advance(5_000);

  t.like(await ask(cluster, 'drainStatus', { server: leaving.address }), { waiting: 0, open: 0, safe: true });
  t.is(cluster.servers.filter(server => server !== leaving && server.chunks.has(handle)).length, 3);
  const next = await cluster.target(await cluster.createFile('g'));
  t.false(cluster.chainOf(next).includes(leaving));
});

test('draining survives a restart of the master, and undrain ends it', async t => {
  const cluster = await start(t, 4);
  const server = cluster.servers[0]!.id;
  await ask(cluster, 'setDraining', { server, draining: true });

  await cluster.restartMaster();
  t.is((await ask(cluster, 'drainStatus', { server })).state, 'draining');
  await ask(cluster, 'setDraining', { server, draining: false });
  await cluster.restartMaster();

  t.like(await ask(cluster, 'drainStatus', { server }), { state: 'up', draining: false, safe: false });
});

test('draining says what stands in its way when too few other servers are up', async t => {
  const cluster = await start(t, 3);
  const { chain } = await sealedFile(cluster, 'f');

  const state = await ask(cluster, 'setDraining', { server: chain[0]!.id, draining: true });

  t.false(state.safe);
  t.regex(state.obstacle, /want up to 3 copies and 2 other servers are up/);
});

test('a server is found by its id, its beginning or its address; what fits several or none is refused', async t => {
  const cluster = await start(t, 3);
  const [first] = cluster.servers;

  t.is((await ask(cluster, 'drainStatus', { server: first!.id.slice(0, 6) })).server, first!.id);
  await throwsCode(t, ask(cluster, 'drainStatus', { server: '9999' }), 'NOT_FOUND');
  await throwsCode(t, ask(cluster, 'drainStatus', { server: first!.id.slice(0, 2) }), 'NOT_FOUND');
});

test('of servers that had one address the one that answers there is meant; where all are down the command is refused and names them', async t => {
  const cluster = await start(t, 4);
  const [first, second] = cluster.servers as [FakeServer, FakeServer];
  const { address } = first;
  first.isReachable = false;
  await cluster.clock.advance(60_000);
  (second as { address: string }).address = address;
  second.epoch++;
  await cluster.register(second);
  t.is((await ask(cluster, 'drainStatus', { server: address })).server, second.id);

  second.isReachable = false;
  await cluster.clock.advance(60_000);

  const refused = await t.throwsAsync(ask(cluster, 'setDraining', { server: address, draining: true }), {
    message: new RegExp(`2 chunkservers had this address and all are down.*: ${first.id}, ${second.id}`),
  });
  t.is((refused as unknown as { code: string }).code, 'INVALID');
  t.is((await ask(cluster, 'drainStatus', { server: second.id })).server, second.id);
});

test('a deleted file is listed with its path and gets its name back, or another one', async t => {
  const cluster = await start(t, 3);
  const { inode } = await sealedFile(cluster, 'f');
  await cluster.ask('unlink', { once: cluster.once(), where: at('f') });

  const { items } = await ask(cluster, 'listTrash', { limit: 10 });
  t.like(items[0], { inode, path: 'f', sizeBytes: 100 });
  await cluster.createFile('f');
  await throwsCode(t, ask(cluster, 'restoreTrash', { inode, to: at('f') }), 'EXISTS');
  await throwsCode(t, ask(cluster, 'restoreTrash', { inode, to: at('nowhere/f') }), 'NOT_FOUND');
  await ask(cluster, 'restoreTrash', { inode, to: at('g') });

  t.is((await cluster.ask('lookup', { where: at('g'), follow: true })).attributes.sizeBytes, 100);
  t.deepEqual((await ask(cluster, 'listTrash', { limit: 10 })).items, []);
});

test('a file whose directory was removed: the refusal says what to do, and its directories are made again at a word', async t => {
  const cluster = await start(t, 3);
  const owner = { uid: 7, gid: 8 };
  for (const path of ['a', 'a/b'])
    await cluster.ask('makeDirectory', { once: cluster.once(), where: at(path), mode: 0o755, ...owner });
  const { inode } = await sealedFile(cluster, 'a/b/f');
  const changes = { where: at('a/b/f'), follow: false, mode: 0o640, ...owner };
  await cluster.ask('setAttributes', { once: cluster.once(), ...changes });
  await cluster.ask('unlink', { once: cluster.once(), where: at('a/b/f') });
  for (const path of ['a/b', 'a']) await cluster.ask('removeDirectory', { once: cluster.once(), where: at(path) });
  const to = at('a/b/f');

  const { items } = await ask(cluster, 'listTrash', { limit: 10 });
  t.is(items[0]?.path, 'a/b/f');
  await t.throwsAsync(ask(cluster, 'restoreTrash', { inode, to }), {
    message: /its directory is gone: .*--parents.*--to/,
  });
  await throwsCode(t, cluster.ask('lookup', { where: at('a'), follow: true }), 'NOT_FOUND');
  await ask(cluster, 'restoreTrash', { inode, to, parents: true });

  t.is((await cluster.ask('lookup', { where: to, follow: true })).attributes.sizeBytes, 100);
  const made = (await cluster.ask('lookup', { where: at('a/b'), follow: true })).attributes;
  t.like(made, { mode: 0o750, uid: 7, gid: 8, nlink: 2 });
  t.deepEqual((await ask(cluster, 'checkMetadata', {})).problems, []);
});

test('directories are not made for a file that cannot be restored, nor in the place of a file', async t => {
  const cluster = await start(t, 3);
  const { inode } = await sealedFile(cluster, 'f');
  await sealedFile(cluster, 'taken');

  await throwsCode(t, ask(cluster, 'restoreTrash', { inode, to: at('x/f'), parents: true }), 'NOT_FOUND');
  await throwsCode(t, cluster.ask('lookup', { where: at('x'), follow: true }), 'NOT_FOUND');
  await cluster.ask('unlink', { once: cluster.once(), where: at('f') });
  await throwsCode(t, ask(cluster, 'restoreTrash', { inode, to: at('taken/f'), parents: true }), 'NOT_DIRECTORY');
  await throwsCode(t, ask(cluster, 'restoreTrash', { inode, to: at('taken'), parents: true }), 'EXISTS');
});

test('what is purged from the trash is collected at once, and its chunks after the grace', async t => {
  const cluster = await start(t, 3, { gcGrace: 5_000 });
  const { inode, handle, chain } = await sealedFile(cluster, 'f');
  await cluster.ask('unlink', { once: cluster.once(), where: at('f') });

  t.is((await ask(cluster, 'purgeTrash', { inodes: [inode, 999 as InodeId] })).purged, 1);
  await cluster.clock.advance(15_000);

  t.deepEqual((await ask(cluster, 'listTrash', { limit: 10 })).items, []);
  t.true(chain.every(server => !server.chunks.has(handle)));
});

test('more copies of a file are made and fewer taken away; its open chunk is sealed first', async t => {
  const cluster = await start(t, 4);
  const { inode, handle } = await sealedFile(cluster, 'f');
  const open = await cluster.target(inode);
  for (const server of cluster.chainOf(open)) server.hold(open.handle, 30);

  const more = await ask(cluster, 'setReplication', { where: at('f'), goal: 4 });
  t.like(more, { changed: 2, shared: 0 });
  t.is(more.attributes.sizeBytes, 130);
  await cluster.clock.advance(5_000);
  for (const chunk of [handle, open.handle]) t.is(cluster.servers.filter(server => server.chunks.has(chunk)).length, 4);

  await ask(cluster, 'setReplication', { where: at('f'), goal: 1 });
  await cluster.clock.advance(10_000);
  t.is(cluster.servers.filter(server => server.chunks.has(handle)).length, 1);
  t.is((await cluster.target(inode)).chain.length, 1);
});

test("what is made in a directory inherits its copies, and a snapshot keeps a shared chunk's", async t => {
  const cluster = await start(t, 3);
  await sealedFile(cluster, 'f');
  const owner = { uid: 0, gid: 0 };
  await cluster.ask('makeDirectory', { once: cluster.once(), where: at('d'), mode: 0o755, ...owner });
  await ask(cluster, 'setReplication', { where: at('d'), goal: 2 });
  await cluster.ask('makeDirectory', { once: cluster.once(), where: at('d/e'), mode: 0o755, ...owner });
  t.is((await cluster.target(await cluster.createFile('d/e/g'))).chain.length, 2);

  await cluster.ask('snapshot', { once: cluster.once(), from: at('f'), to: at('s'), ...owner });
  const lowered = await ask(cluster, 'setReplication', { where: at('s'), goal: 1 });

  t.like(lowered, { changed: 0, shared: 1 });
  t.deepEqual((await ask(cluster, 'checkChunks', checkAll)).findings, []);
});

test('an operator enters safe mode and leaves it; appends are refused and healing rests meanwhile', async t => {
  const cluster = await start(t, 4, { safeModeWait: 500 });
  const { inode, handle, chain } = await sealedFile(cluster, 'f');

  t.like(await ask(cluster, 'safemode', { action: 'enter' }), { on: true, byOperator: true });
  const corrupt = { handle, version: 2, lengthBytes: 100, state: 'sealed' as const, suspect: false, corrupt: true };
  await cluster.beat(chain[0]!, { changed: [corrupt] });
  await cluster.clock.advance(60_000);
  t.is(cluster.servers.filter(server => server.countOf('copyChunk') > 0).length, 0);
  await throwsCode(t, cluster.ask('appendTarget', { inode }), 'SAFE_MODE');
  await throwsCode(t, ask(cluster, 'checkChunks', { ...checkAll, repair: true }), 'SAFE_MODE');

  t.like(await ask(cluster, 'safemode', { action: 'leave' }), { on: false });
  await cluster.clock.advance(5_000);
  t.is(cluster.servers.filter(server => server.countOf('copyChunk') > 0).length, 1);
});

test('FAULTS promise 8: safe mode because of old metadata is not left at a word', async t => {
  const cluster = await start(t, 3);
  const foreign = 999 as ChunkHandle;
  cluster.servers[0]!.chunks.set(foreign, { version: 1, lengthBytes: 5, state: 'sealed', suspect: false });
  await cluster.beat(cluster.servers[0]!, { changed: cluster.servers[0]!.reports() });

  await throwsCode(t, ask(cluster, 'safemode', { action: 'leave' }), 'SAFE_MODE');
  const { reason, oldMetadata } = await ask(cluster, 'safemode', { action: 'get' });
  t.true(oldMetadata);
  t.regex(reason, /old copy/);
  t.is((await ask(cluster, 'checkOrphans', { repair: false })).orphans[0]?.handle, foreign);
  await throwsCode(t, ask(cluster, 'checkOrphans', { repair: true }), 'SAFE_MODE');
});

test('a check names missing, corrupt and unreadable copies with the file and its bytes, and is clean after healing', async t => {
  const cluster = await start(t, 4);
  const { inode, handle, chain } = await sealedFile(cluster, 'f');
  const page = { under: ROOT_INODE, limit: 100, repair: false };
  t.like(await ask(cluster, 'checkFiles', page), { files: 1, findings: [] });

  const bad = { handle, version: 2, lengthBytes: 100, state: 'sealed' as const, suspect: false, corrupt: true };
  await cluster.beat(chain[0]!, { changed: [bad] });
  const { findings } = await ask(cluster, 'checkFiles', page);
  t.like(findings[0], { inode, path: 'f', fromByte: 0, lengthBytes: 100 });
  t.deepEqual(findings[0]!.finding.problems, ['missing', 'corrupt']);
  t.is(findings[0]!.finding.good, 2);
  await ask(cluster, 'checkFiles', { ...page, repair: true });
  await cluster.clock.advance(5_000);
  t.deepEqual((await ask(cluster, 'checkChunks', checkAll)).findings, []);

  const holders = cluster.servers.filter(server => server.chunks.has(handle));
  for (const server of holders) await cluster.beat(server, { changed: [bad] });
  const after = await ask(cluster, 'checkFiles', { ...page, under: inode });
  t.true(after.findings[0]!.finding.problems.includes('unreadable'));
  t.true(holders.every(server => server.chunks.has(handle)));
});

test('a check goes through a tree in pages and keeps to the directory that was asked about', async t => {
  const cluster = await start(t, 3);
  const owner = { uid: 0, gid: 0 };
  for (const path of ['a', 'b'])
    await cluster.ask('makeDirectory', { once: cluster.once(), where: at(path), mode: 0o755, ...owner });
  const files = [];
  for (const path of ['a/1', 'a/2', 'b/1', 'c']) files.push(await sealedFile(cluster, path));
  const changed = files.map(({ handle }) => ({
    ...{ handle, version: 2, lengthBytes: 100, state: 'sealed' as const, suspect: false, corrupt: true },
  }));
  await cluster.call('safemode', { action: 'enter' }, { ...fakeConnection(), role: 'admin' });
  await cluster.beat(cluster.servers[0]!, { changed });
  const { attributes } = await cluster.ask('lookup', { where: at('a'), follow: true });

  const pathsOf = async (under: InodeId): Promise<string[]> => {
    const paths: string[] = [];
    for (let after: Reply<'checkFiles'>['next']; ; ) {
      const page: Reply<'checkFiles'> = await ask(cluster, 'checkFiles', {
        ...{ under, limit: 1, repair: false },
        ...(after ? { after } : {}),
      });
      paths.push(...page.findings.map(({ path }) => path));
      if (!page.next) return paths;
      after = page.next;
    }
  };

  t.deepEqual((await pathsOf(ROOT_INODE)).sort(), ['a/1', 'a/2', 'b/1', 'c']);
  t.deepEqual((await pathsOf(attributes.inode)).sort(), ['a/1', 'a/2']);
});

test('DESIGN 4, rule 8: an end that only suspect copies know is decided at an operator’s word, at the longest of them', async t => {
  const cluster = await start(t, 3);
  const inode = await cluster.createFile('f');
  const target = await cluster.target(inode);
  const [a, b, c] = cluster.chainOf(target) as [FakeServer, FakeServer, FakeServer];
  a.hold(target.handle, 70, { suspect: true });
  b.hold(target.handle, 90, { suspect: true });
  c.hold(target.handle, 120);
  c.isReachable = false;
  for (const server of [a, b]) server.epoch = 2;
  await cluster.restartMaster();
  await cluster.clock.advance(15_000);

  const shown = await ask(cluster, 'recoverFile', { where: at('f'), accept: false });
  t.like(shown.tail, { stuck: true, acceptBytes: 90, recordedBytes: 0 });
  t.deepEqual(shown.tail!.members.map(({ state }) => state).sort(), ['suspect', 'suspect', 'unreachable']);
  await throwsCode(t, cluster.ask('truncate', { once: cluster.once(), inode, sizeBytes: 5 }), 'UNAVAILABLE');

  const done = await ask(cluster, 'recoverFile', { where: at('f'), accept: true });
  t.true(done.sealed);
  t.is(done.attributes.sizeBytes, 90);
  c.isReachable = true;
  c.epoch = 2;
  await cluster.register(c);
  await cluster.clock.advance(5_000);
  t.is(c.chunks.get(target.handle)?.lengthBytes, 90);
});

test('an end that can be decided by itself is not sealed for an operator', async t => {
  const cluster = await start(t, 3);
  const inode = await cluster.createFile('f');
  const target = await cluster.target(inode);
  for (const server of cluster.chainOf(target)) server.hold(target.handle, 70);

  t.false((await ask(cluster, 'recoverFile', { where: at('f'), accept: false })).tail!.stuck);
  await throwsCode(t, ask(cluster, 'recoverFile', { where: at('f'), accept: true }), 'INVALID');
  t.is((await ask(cluster, 'recoverFile', { where: at('f'), accept: false })).sealed, false);
});

test('the report shows what copies moved lately and what the trash holds', async t => {
  const cluster = await start(t, 4);
  await sealedFile(cluster, 'f');
  await sealedFile(cluster, 'g');
  await cluster.ask('unlink', { once: cluster.once(), where: at('g') });
  await ask(cluster, 'setReplication', { where: at('f'), goal: 4 });
  await cluster.clock.advance(1_000);

  const { healing, trash, trashBytes } = await cluster.ask('report', {});

  t.deepEqual({ trash, trashBytes }, { trash: 1, trashBytes: 100 });
  t.is(healing?.copiedBytes, 100);
  t.true(healing!.bytesPerSecond! > 0);
  t.is(healing?.sealing, 0);
});
