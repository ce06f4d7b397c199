// gfs recover --accept-old-metadata at the master: the store is put back to an earlier copy while the servers went on. Nothing that the servers hold may go, what
// the copy does not know gets a name, and no number or version is given out twice.
import test, { type ExecutionContext } from 'ava';
import { findChunk } from '../../src/master/chunks.js';
import { readCounters } from '../../src/master/counters.js';
import { type ChunkHandle, handleName, type InodeId, ROOT_INODE } from '../../src/protocol/ids.js';
import type { MasterKind, Reply, Request } from '../../src/protocol/messages.js';
import { FakeCluster, fakeConnection, throwsCode } from './fake-cluster.js';

const at = (path: string) => ({ start: ROOT_INODE, path });

function ask<K extends MasterKind>(cluster: FakeCluster, kind: K, request: Request<K>): Promise<Reply<K>> {
  return cluster.ask(kind, request, { ...fakeConnection(), role: 'admin' });
}

/** A file whose open chunk has `lengthBytes`. */
async function openFile(cluster: FakeCluster, path: string, lengthBytes: number) {
  const inode = await cluster.createFile(path);
  const target = await cluster.target(inode);
  for (const server of cluster.chainOf(target)) server.hold(target.handle, lengthBytes);
  return { inode, handle: target.handle, version: target.version };
}

async function seal(
  cluster: FakeCluster,
  { handle, version }: { handle: ChunkHandle; version: number },
): Promise<void> {
  await cluster.ask('complain', { handle, version });
  await cluster.clock.advance(1_000);
}

type Rows = Map<string, [Buffer, Buffer]>;
const copyOf = (cluster: FakeCluster): Rows => new Map(cluster.kv.only.rows);

async function startOn(cluster: FakeCluster, rows: Rows, away: number[] = []): Promise<void> {
  cluster.stopBeats();
  await cluster.clock.run(cluster.master.stop());
  cluster.kv.only.rows.clear();
  for (const [key, row] of rows) cluster.kv.only.rows.set(key, row);
  for (const index of away) cluster.servers[index]!.isReachable = false;
  await cluster.startMaster();
  await cluster.registerAll();
}

const chunksOn = (cluster: FakeCluster): string[][] =>
  cluster.servers.map(({ chunks }) => [...chunks.keys()].map(handle => handleName(handle)).sort());

async function sizeOf(cluster: FakeCluster, path: string): Promise<number> {
  return (await cluster.ask('lookup', { where: at(path), follow: true })).attributes.sizeBytes;
}

async function foundNames(cluster: FakeCluster): Promise<string[]> {
  const { attributes } = await cluster.ask('lookup', { where: at('lost+found'), follow: true });
  const { entries } = await cluster.ask('readDirectory', { inode: attributes.inode, after: '', limit: 100 });
  return entries.map(({ name }) => name);
}

interface Scene {
  cluster: FakeCluster;
  old: Rows;
  kept: { inode: InodeId; handle: ChunkHandle };
  written: { inode: InodeId; handle: ChunkHandle };
  sealed: ChunkHandle;
  open: ChunkHandle;
}

/** A copy is made; then a file that was open grows and is sealed, two files are made, and one is deleted for good. */
async function scene(t: ExecutionContext): Promise<Scene> {
  const cluster = await FakeCluster.start(t, {
    servers: 4,
    settings: { rereplicateAfter: 5_000, gcGrace: 1_000, safeModeMax: 5_000, trash: 100_000 },
  });
  const kept = await openFile(cluster, 'kept', 100);
  await seal(cluster, kept);
  const deleted = await openFile(cluster, 'deleted', 50);
  await seal(cluster, deleted);
  const written = await openFile(cluster, 'written', 30);
  const inTrash = await openFile(cluster, 'trash', 20);
  await seal(cluster, inTrash);
  await cluster.ask('unlink', { once: cluster.once(), where: at('trash') });
  await cluster.master.rooms.context.store.durable();
  const old = copyOf(cluster);

  for (const server of cluster.servers) if (server.chunks.has(written.handle)) server.hold(written.handle, 80);
  await seal(cluster, written);
  const sealed = await openFile(cluster, 'later', 70);
  await seal(cluster, sealed);
  const open = await openFile(cluster, 'open', 40);
  await cluster.ask('unlink', { once: cluster.once(), where: at('deleted') });
  await ask(cluster, 'purgeTrash', { inodes: [deleted.inode] });
  await cluster.clock.advance(20_000);
  t.false(chunksOn(cluster).flat().includes(handleName(deleted.handle)));
  return { cluster, old, kept, written, sealed: sealed.handle, open: open.handle };
}

test('old metadata is shown and waits; accepted, it goes on with every byte that servers hold, and gives out no number twice', async t => {
  const { cluster, old, written, sealed, open } = await scene(t);
  const before = chunksOn(cluster);
  await startOn(cluster, old);
  await cluster.clock.advance(60_000);
  t.deepEqual(chunksOn(cluster), before);

  const shown = await ask(cluster, 'recoverMetadata', { accept: false });
  t.like(shown, { oldMetadata: true, unknownChunks: 2, unknownBytes: 110, newerChunks: 1, accepted: false });
  await throwsCode(t, cluster.ask('recoverMetadata', { accept: true }), 'ACCESS_DENIED');
  t.true((await ask(cluster, 'safemode', { action: 'get' })).oldMetadata);

  t.like(await ask(cluster, 'recoverMetadata', { accept: true }), { accepted: true, adopted: 2 });
  await cluster.clock.advance(60_000);

  t.like(await ask(cluster, 'safemode', { action: 'get' }), { on: false, oldMetadata: false });
  t.deepEqual(
    await foundNames(cluster),
    [sealed, open].map(handle => `chunk-${handleName(handle)}`),
  );
  t.is(await sizeOf(cluster, `lost+found/chunk-${handleName(sealed)}`), 70);
  t.is(await sizeOf(cluster, `lost+found/chunk-${handleName(open)}`), 40, 'its end was decided');
  t.is(await sizeOf(cluster, 'written'), 80, 'as the servers know it');
  t.deepEqual((await ask(cluster, 'checkMetadata', {})).problems, []);
  const after = chunksOn(cluster);
  for (const [i, names] of before.entries())
    for (const name of names) t.true(after.flat().includes(name), `server ${i}: ${name} is still there`);
  const { findings } = await ask(cluster, 'checkFiles', { under: ROOT_INODE, limit: 100, repair: false });
  t.deepEqual(
    findings.map(({ path }) => path),
    ['deleted'],
    'what went since is named, and nothing else',
  );

  const next = await openFile(cluster, 'next', 5);
  t.true(next.handle > open + 1_000_000 && next.inode > 1_000_000);
  t.true((await cluster.target(written.inode)).handle > open);
});

test('after it was accepted the master starts as ever, and trusts its metadata', async t => {
  const { cluster, old } = await scene(t);
  await startOn(cluster, old);
  await ask(cluster, 'recoverMetadata', { accept: true });
  await cluster.clock.advance(30_000);
  const before = chunksOn(cluster);

  await cluster.restartMaster();
  await cluster.clock.advance(60_000);

  t.like(await ask(cluster, 'recoverMetadata', { accept: false }), { oldMetadata: false, unknownChunks: 0 });
  t.deepEqual(chunksOn(cluster), before);
  await throwsCode(t, ask(cluster, 'recoverMetadata', { accept: true }), 'INVALID');
});

test('a server that was away when it was accepted: its unknown chunks are never deleted, and are adopted at another word', async t => {
  const { cluster, old, sealed, written } = await scene(t);
  // The last copy of one chunk is on the server that is away, and it knows the end of another.
  const away = cluster.servers.find(server => server.chunks.has(sealed) && server.chunks.has(written.handle))!;
  for (const server of cluster.servers) if (server !== away) server.chunks.delete(sealed);
  away.chunks.get(written.handle)!.version = 50;
  const { nextHandle } = readCounters(cluster.master.rooms.context.store);
  await startOn(cluster, old, [cluster.servers.indexOf(away)]);
  t.like(await ask(cluster, 'recoverMetadata', { accept: false }), { unknownChunks: 1, serversDown: 1 });
  await ask(cluster, 'recoverMetadata', { accept: true });
  await cluster.clock.advance(20_000);
  for (let i = 0; i < 5; i++) await openFile(cluster, `more${i}`, 10);

  away.isReachable = true;
  away.epoch++;
  await cluster.restartMaster();
  await cluster.clock.advance(60_000);
  t.true(away.chunks.has(sealed), 'never deleted');
  t.false((await ask(cluster, 'safemode', { action: 'get' })).oldMetadata, 'its versions are not above those since');
  await ask(cluster, 'checkOrphans', { repair: true });
  await cluster.clock.advance(20_000);
  t.true(away.chunks.has(sealed), 'also not at the word to repair');

  const numbers = readCounters(cluster.master.rooms.context.store);
  t.true(numbers.nextHandle > nextHandle);
  t.like(await ask(cluster, 'recoverMetadata', { accept: true }), { accepted: true, adopted: 1 });
  t.is(readCounters(cluster.master.rooms.context.store).nextHandle, numbers.nextHandle, 'numbers are skipped once');
  await cluster.clock.advance(20_000);
  t.is(await sizeOf(cluster, `lost+found/chunk-${handleName(sealed)}`), 70);
  t.is(cluster.servers.filter(server => server.chunks.has(sealed)).length, 3, 'and healed');

  // Deleted by its owner, it is garbage like any other.
  const { attributes } = await cluster.ask('lookup', {
    where: at(`lost+found/chunk-${handleName(sealed)}`),
    follow: true,
  });
  await cluster.ask('unlink', { once: cluster.once(), where: at(`lost+found/chunk-${handleName(sealed)}`) });
  await ask(cluster, 'purgeTrash', { inodes: [attributes.inode] });
  await cluster.clock.advance(60_000);
  t.is(findChunk(cluster.master.rooms.context.store, sealed), undefined);
  t.is(cluster.servers.filter(server => server.chunks.has(sealed)).length, 0);
});

test('what the copy has in its trash stays for as long as if it were deleted now', async t => {
  const { cluster, old } = await scene(t);
  const { settings } = cluster.master.rooms.context;
  await cluster.clock.advance(settings.trash - 30_000);
  await startOn(cluster, old);
  await ask(cluster, 'recoverMetadata', { accept: true });
  await cluster.clock.advance(60_000);

  t.deepEqual(
    (await ask(cluster, 'listTrash', { limit: 10 })).items.map(({ path }) => path),
    ['trash'],
  );
});

test('metadata that explains everything is not accepted, as there is nothing to accept', async t => {
  const { cluster } = await scene(t);

  await throwsCode(t, ask(cluster, 'recoverMetadata', { accept: true }), 'INVALID');
});
