import test from 'ava';
import { checkInvariants } from '../../src/master/check.js';
import { findChunk, forgetGarbage, garbageDue, openChunk, sealChunk } from '../../src/master/chunks.js';
import { readCounters } from '../../src/master/counters.js';
import { findInode } from '../../src/master/inodes.js';
import { makeDirectory, unlink } from '../../src/master/namespace.js';
import type { Store } from '../../src/master/store.js';
import {
  collectDue,
  getTrash,
  listTrash,
  postponeTrash,
  purgeTrash,
  releaseEarly,
  restoreTrash,
} from '../../src/master/trash.js';
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

test('a file that is given up in part goes on going, before all others, and cannot be had back cut', async t => {
  const { store } = await formatted();
  createAt(store, 'empty');
  remove(store, 'empty', 2_000);
  const { inode } = createAt(store, 'big');
  for (let i = 0; i < 10; i++) append(store, inode, 10);
  remove(store, 'big');
  await releaseEarly(store, {
    ...{ at: at(2_500), isOpen: () => false, filesMax: 10, extentsMax: 5 },
    ...{ isEnough: () => false, onGarbage: () => undefined },
  });
  t.is(findInode(store, inode)?.extentCount, 6);
  await checkInvariants(store);

  t.deepEqual(await listTrash(store, { limit: 10 }), []);
  throwsCode(t, 'NOT_FOUND', () => store.change(change => restoreTrash(change, inode, root('x'), at(3_000))));
  store.change(change => purgeTrash(change, inode, at(3_000)));
  await postponeTrash(store, at(3_000));
  t.deepEqual(await collect(store, 3_000, { isOpen: () => true }), { collected: 1, more: false });

  t.is(findInode(store, inode), undefined);
  await checkInvariants(store);
});

test('files that leave early: the soonest due first, open ones keep their time, and no more than is enough', async t => {
  const { store } = await formatted();
  const inodes = ['a', 'b', 'c', 'd', 'e'].map((name, i) => {
    const { inode } = createAt(store, name);
    append(store, inode, 10);
    remove(store, name, 5_000 + i);
    return inode;
  });
  const garbage: unknown[] = [];
  const release = (after?: { dueMs: number; inode: InodeId }, filesMax = 10): ReturnType<typeof releaseEarly> =>
    releaseEarly(store, {
      ...{ at: at(6_000), after, isOpen: open => open === inodes[0], filesMax, extentsMax: 100 },
      ...{ isEnough: () => garbage.length >= 3, onGarbage: handles => garbage.push(...handles) },
    });

  const place = await release(undefined, 2);
  t.is(garbage.length, 1);
  t.like(await release(place), { inode: inodes[3] });
  t.like(await release(place), place!);

  t.deepEqual(
    (await listTrash(store, { limit: 10 })).map(({ inode, dueMs }) => ({ inode, dueMs })),
    [0, 4].map(i => ({ inode: inodes[i]!, dueMs: 15_000 + i })),
  );
  garbage.length = 0;
  t.is(await release(place), undefined, 'all were looked at');
  await checkInvariants(store);
});
