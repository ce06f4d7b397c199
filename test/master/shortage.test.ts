// Servers that run full: files leave the trash early, and no more of them than give the room that is missing.
import test, { type ExecutionContext } from 'ava';
import { findInode } from '../../src/master/inodes.js';
import { type ChunkHandle, type InodeId, ROOT_INODE } from '../../src/protocol/ids.js';
import { FakeCluster, fakeConnection } from './fake-cluster.js';
import type { FakeServer } from './fake-servers.js';

const LENGTH = 60_000;
const CHUNK = 65_536;

interface File {
  inode: InodeId;
  handle: ChunkHandle;
}

/** Three servers that are full of `count` deleted files but for `freeBytes`; no part of their space is kept in reserve. */
async function withTrash(
  t: ExecutionContext,
  { count, freeBytes, fileSystem }: { count: number; freeBytes: number; fileSystem?: string },
): Promise<{ cluster: FakeCluster; files: File[]; trash: () => Promise<number> }> {
  const cluster = await FakeCluster.start(t, {
    settings: { spareShare: 0, balanceThreshold: 0, sessionTtl: 3_600_000 },
  });
  const files: File[] = [];
  for (let i = 0; i < count; i++) {
    const inode = await cluster.createFile(`f${i}`);
    const target = await cluster.target(inode);
    for (const server of cluster.chainOf(target)) server.hold(target.handle, LENGTH);
    await cluster.ask('complain', { handle: target.handle, version: 1 });
    files.push({ inode, handle: target.handle });
  }
  const roomOf = (server: FakeServer): number =>
    [...server.chunks.values()].reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
  const full = roomOf(cluster.servers[0]!);
  for (const server of cluster.servers) {
    server.fileSystem = fileSystem;
    const sharers = fileSystem === undefined ? [server] : cluster.servers;
    const freed = (): number => sharers.reduce((sum, sharer) => sum + full - roomOf(sharer), 0);
    Object.defineProperty(server, 'freeBytes', { get: () => freeBytes + freed() });
  }
  return { cluster, files, trash: async () => (await cluster.ask('report', {})).trash };
}

async function unlinkAll(cluster: FakeCluster, files: readonly File[]): Promise<void> {
  for (const i of files.keys()) {
    const once = cluster.once();
    // What came before was answered: the master remembers a bounded number.
    const where = { start: ROOT_INODE, path: `f${i}` };
    await cluster.ask('unlink', { once: { ...once, ackedBelow: once.sequence }, where });
  }
}

test('of a thousand deleted files as many leave the trash early as give the room that is missing', async t => {
  const { cluster, files, trash } = await withTrash(t, { count: 1_000, freeBytes: 10_000 });
  await unlinkAll(cluster, files);

  // Room for four chunks is missing but for what there is; the chunks go after a tenth of the ten minutes of grace.
  const leaving = Math.ceil((4 * CHUNK - 10_000) / LENGTH);
  await cluster.clock.advance(40_000);
  t.is(await trash(), files.length - leaving);
  t.is(cluster.servers[0]!.chunks.size, files.length);
  await cluster.clock.advance(4 * 60_000);

  t.is(await trash(), files.length - leaving);
  for (const server of cluster.servers) t.is(server.chunks.size, files.length - leaving);
  t.deepEqual(
    files.filter(({ inode }) => !findInode(cluster.master.rooms.context.store, inode)),
    files.slice(0, leaving),
    'the oldest',
  );
});

test('servers on one file system need the room of all copies of a chunk, and get that of all', async t => {
  const { cluster, files, trash } = await withTrash(t, { count: 30, freeBytes: 2 * CHUNK, fileSystem: 'here' });
  await unlinkAll(cluster, files);

  await cluster.clock.advance(4 * 60_000);

  t.is(await trash(), files.length - Math.ceil((4 * 3 * CHUNK - 2 * CHUNK) / (3 * LENGTH)));
});

test('files that somebody has open keep their time in the trash, and do not keep others from leaving it', async t => {
  const { cluster, files, trash } = await withTrash(t, { count: 310, freeBytes: 10_000 });
  const client = { client: 'a'.repeat(16), name: 'a', open: [], wantsChanges: false };
  const { session } = await cluster.ask('openSession', client, fakeConnection());
  const open = files.slice(0, 300);
  for (const { inode } of open) await cluster.ask('openFile', { session, inode });
  const untilMs = cluster.clock.wallMs() + 86_400_000;
  await unlinkAll(cluster, files);

  await cluster.clock.advance(5 * 60_000);

  t.is(await trash(), files.length - 5);
  for (const { inode } of open) t.true(findInode(cluster.master.rooms.context.store, inode)!.trashDueMs! >= untilMs);
});

test('room that does not come, because servers do not delete, is not waited for', async t => {
  const { cluster, files, trash } = await withTrash(t, { count: 20, freeBytes: 10_000 });
  for (const server of cluster.servers)
    server.before = kind => {
      if (kind === 'deleteChunk') throw new Error('the disk is broken');
    };
  await unlinkAll(cluster, files);
  await cluster.clock.advance(40_000);
  t.is(await trash(), files.length - 5);

  await cluster.clock.advance(60_000);
  t.is(await trash(), files.length - 10, 'the next five');
});
