import test from 'ava';
import { checkInvariants } from '../../src/master/check.js';
import { findChunk, forgetGarbage, garbageDue, openChunk, sealChunk } from '../../src/master/chunks.js';
import { readCounters } from '../../src/master/counters.js';
import { findInode } from '../../src/master/inodes.js';
import { makeDirectory, unlink } from '../../src/master/namespace.js';
import type { Store } from '../../src/master/store.js';
import { collectDue, getTrash, listTrash, purgeTrash, restoreTrash } from '../../src/master/trash.js';
import type { InodeId } from '../../src/protocol/ids.js';
import { append, at, CHAIN, createAt, find, formatted, OWNER, root, throwsCode } from './fixture.js';

const remove = (store: Store, path: string, nowMs = 5_000): unknown =>
  store.change(change => unlink(change, root(path), at(nowMs)));
const collect = (
  store: Store,
  nowMs: number,
  options: { isOpen?: (inode: InodeId) => boolean; filesMax?: number; extentsMax?: number } = {},
): Promise<{ collected: number; more: boolean }> =>
  collectDue(store, { at: at(nowMs), isOpen: () => false, filesMax: 10, extentsMax: 100, ...options });

test('a deleted file stays whole for the retention, an empty one for the grace', async t => {
  const { store } = await formatted();
  const { inode } = createAt(store, 'f');
  append(store, inode, 10);
  const empty = createAt(store, 'empty').inode;
  remove(store, 'f');
  remove(store, 'empty');

  t.deepEqual(await collect(store, 5_999), { collected: 0, more: false });
  t.deepEqual(await collect(store, 6_000), { collected: 1, more: false });
  t.is(findInode(store, empty), undefined);
  await collect(store, 14_999);
  t.is(findInode(store, inode)?.sealedBytes, 10);
  await collect(store, 15_000);

  t.is(findInode(store, inode), undefined);
  t.like(readCounters(store), { trash: 0, files: 0, garbage: 1 });
  await checkInvariants(store);
});

test('chunks of a collected file are forgotten after the grace, once', async t => {
  const { store } = await formatted();
  const { inode } = createAt(store, 'f');
  const { handle } = append(store, inode, 10);
  remove(store, 'f');
  await collect(store, 15_000);

  t.deepEqual(await garbageDue(store, 15_999, 10), []);
  t.deepEqual(await garbageDue(store, 16_000, 10), [handle]);
  t.true(store.change(change => forgetGarbage(change, handle)));
  t.false(store.change(change => forgetGarbage(change, handle)));
  t.is(findChunk(store, handle), undefined);
  t.like(readCounters(store), { chunks: 0, garbage: 0 });
  await checkInvariants(store);
});

test('a file that somebody has open outlives its time', async t => {
  const { store } = await formatted();
  const { inode } = createAt(store, 'f');
  append(store, inode, 10);
  remove(store, 'f');

  await collect(store, 20_000, { isOpen: open => open === inode });
  t.is(findInode(store, inode)?.trashDueMs, 21_000);
  t.deepEqual(await collect(store, 20_500), { collected: 0, more: false });
  t.deepEqual(await collect(store, 21_000), { collected: 1, more: false });
  await checkInvariants(store);
});

test('an open chunk of a collected file is garbage, and a late seal of it does no harm', async t => {
  const { store } = await formatted();
  const { inode } = createAt(store, 'f');
  append(store, inode, 10);
  const { handle } = store.change(change => openChunk(change, { inode, chain: CHAIN }, at(4_000)));
  remove(store, 'f');
  await collect(store, 15_000);
  await checkInvariants(store);

  store.change(change => sealChunk(change, handle, 5, at(15_100)));

  await checkInvariants(store);
  t.is((await garbageDue(store, 16_000, 10)).length, 2);
  store.change(change => forgetGarbage(change, handle));
  t.is(readCounters(store).openChunks, 0);
  await checkInvariants(store);
});

test('a file in the trash can still be sealed', async t => {
  const { store } = await formatted();
  const { inode } = createAt(store, 'f');
  const { handle } = store.change(change => openChunk(change, { inode, chain: CHAIN }, at(4_000)));
  remove(store, 'f');

  store.change(change => sealChunk(change, handle, 5, at(5_100)));

  t.is(findInode(store, inode)?.sealedBytes, 5);
  await checkInvariants(store);
});

test('collecting is bounded by files and by extents, and goes on where it stopped', async t => {
  const { store } = await formatted();
  const { inode } = createAt(store, 'big');
  for (let i = 0; i < 10; i++) append(store, inode, 10);
  remove(store, 'big');
  createAt(store, 'later');
  remove(store, 'later', 14_000);

  t.deepEqual(await collect(store, 15_000, { extentsMax: 4 }), { collected: 0, more: true });
  t.is(findInode(store, inode)?.extentCount, 6);
  await checkInvariants(store);
  t.deepEqual(await collect(store, 15_000, { filesMax: 1 }), { collected: 1, more: true });
  t.deepEqual(await collect(store, 15_000), { collected: 1, more: false });
  await checkInvariants(store);
});

test('the trash tells where files were and when they go, in pages', async t => {
  const { store } = await formatted();
  store.change(change => makeDirectory(change, { where: root('d'), mode: 0o755, ...OWNER }, at(2_000)));
  const inodes = ['d/f', 'g'].map(path => {
    const { inode } = createAt(store, path);
    append(store, inode, 10);
    remove(store, path, inode * 1_000);
    return inode;
  });

  const first = await listTrash(store, { limit: 1 });
  const second = await listTrash(store, { after: first[0]!, limit: 5 });

  t.like(first[0], { inode: inodes[0], path: 'd/f', name: 'f', dueMs: inodes[0]! * 1_000 + 10_000 });
  t.like(second[0], { inode: inodes[1], path: 'g', deletedMs: inodes[1]! * 1_000 });
  t.is(getTrash(store, inodes[0]!).parent, find(store, 'd').inode);
});

test('a restored file has a name again; a purged one goes now', async t => {
  const { store } = await formatted();
  const [f, g] = ['f', 'g'].map(path => {
    const { inode } = createAt(store, path);
    append(store, inode, 10);
    return inode;
  }) as [InodeId, InodeId];
  throwsCode(t, 'NOT_FOUND', () => store.change(change => restoreTrash(change, f, root('x'), at(6_000))));
  remove(store, 'f');
  remove(store, 'g');
  createAt(store, 'taken');

  throwsCode(t, 'EXISTS', () => store.change(change => restoreTrash(change, f, root('taken'), at(6_000))));
  store.change(change => restoreTrash(change, f, root('f2'), at(6_000)));
  store.change(change => purgeTrash(change, g, at(6_000)));
  await checkInvariants(store);
  await collect(store, 6_000);

  t.like(find(store, 'f2'), { inode: f, nlink: 1, sealedBytes: 10 });
  t.is(findInode(store, g), undefined);
  throwsCode(t, 'STALE', () => store.change(change => purgeTrash(change, g, at(6_000))));
  throwsCode(t, 'NOT_FOUND', () => store.change(change => purgeTrash(change, f, at(6_000))));
  await checkInvariants(store);
});
