import test from 'ava';
import { setAttributes } from '../../src/master/attributes.js';
import { checkInvariants } from '../../src/master/check.js';
import {
  findChunk,
  getChunk,
  isOpen,
  openChunk,
  raiseVersion,
  recordCommitted,
  recordReturned,
  sealChunk,
  tailOf,
} from '../../src/master/chunks.js';
import { listExtents, locateExtents, setGoal, truncateFile } from '../../src/master/file-extents.js';
import { toAttributes } from '../../src/master/inodes.js';
import type { InodeRecord } from '../../src/master/records.js';
import { snapshotFile } from '../../src/master/snapshot.js';
import type { Store } from '../../src/master/store.js';
import type { ChunkHandle, InodeId } from '../../src/protocol/ids.js';
import { append, at, CHAIN, createAt, find, formatted, OWNER, root, throwsCode } from './fixture.js';

const cut = (store: Store, inode: InodeId, sizeBytes: number): InodeRecord =>
  store.change(change => truncateFile(change, inode, sizeBytes, at(5_000)));
const shape = (store: Store, path: string): number[][] =>
  listExtents(store, find(store, path), 0, 100).map(e => [e.fileOffset, e.lengthBytes, e.handle, e.chunkOffset]);

test('a file has one open chunk, whose known bytes count to its size', async t => {
  const { store } = await formatted();
  const { inode } = createAt(store, 'f');

  const chunk = store.change(change => openChunk(change, { inode, chain: CHAIN }, at(3_000)));

  t.like(chunk, { state: 'open', version: 1, lengthBytes: 0, known: false, goal: 3, inode, chain: CHAIN });
  t.true(isOpen(chunk));
  t.is(tailOf(store, find(store, 'f'))?.handle, chunk.handle);
  t.throws(() => store.change(change => openChunk(change, { inode, chain: CHAIN }, at(3_000))));
  store.change(change => recordCommitted(change, chunk.handle, 10, at(4_000)));
  store.change(change => recordCommitted(change, chunk.handle, 7, at(4_500)));
  t.like(toAttributes(store, find(store, 'f')), { sizeBytes: 10, mtimeNs: 4_000_000_000n });
  t.like(
    store.change(change => recordReturned(change, chunk.handle, 12, at(5_000))),
    { lengthBytes: 12, known: true, modifiedMs: 5_000 },
  );
  t.like(
    store.change(change => raiseVersion(change, chunk.handle)),
    { version: 2, known: false, lengthBytes: 12 },
  );
  throwsCode(t, 'BAD_MESSAGE', () => store.change(change => recordReturned(change, chunk.handle, 11, at(6_000))));
  await checkInvariants(store);
});

test('a seal gives the file its extent, never shorter than what is committed (I5)', async t => {
  const { store } = await formatted();
  const { inode } = createAt(store, 'f');
  const { handle } = store.change(change => openChunk(change, { inode, chain: CHAIN }, at(3_000)));
  store.change(change => recordCommitted(change, handle, 10, at(4_000)));

  t.throws(() => store.change(change => sealChunk(change, handle, 9, at(5_000))), { message: /shorter/ });
  const chunk = store.change(change => sealChunk(change, handle, 15, at(5_000)));

  t.like(chunk, { state: 'sealed', lengthBytes: 15, known: true, references: 1 });
  t.like(find(store, 'f'), { sealedBytes: 15, tailHandle: 0, extentCount: 1 });
  t.throws(() => store.change(change => sealChunk(change, handle, 16, at(6_000))));
  await checkInvariants(store);
});

test('a chunk that is sealed empty leaves no extent and becomes garbage', async t => {
  const { store } = await formatted();
  const { inode } = createAt(store, 'f');

  const { handle } = append(store, inode, 0);

  t.is(find(store, 'f').extentCount, 0);
  t.is(getChunk(store, handle).garbageDueMs, 4_000);
  await checkInvariants(store);
});

test('explicitly set times stay until the file grows beyond what was known', async t => {
  const { store } = await formatted();
  const { inode } = createAt(store, 'f');
  const { handle } = store.change(change => openChunk(change, { inode, chain: CHAIN }, at(3_000)));
  store.change(change => recordCommitted(change, handle, 10, at(4_000)));
  store.change(change => setTime(change, inode));

  store.change(change => recordReturned(change, handle, 10, at(9_000)));

  t.is(find(store, 'f').mtimeNs, 1n);
});

test('extents are found by offset, also in the middle of a long file', async t => {
  const { store } = await formatted();
  const { inode } = createAt(store, 'f');
  for (let i = 0; i < 20; i++) append(store, inode, 10 + i);
  const file = find(store, 'f');
  const offsets = listExtents(store, file, 0, 100).map(extent => extent.fileOffset);

  for (let byte = 0; byte < file.sealedBytes; byte++) {
    const { extents, more } = locateExtents(store, file, { fromByte: byte, limit: 2 });
    const expected = offsets.findLastIndex(offset => offset <= byte);
    t.is(extents[0]?.index, expected);
    t.is(more, expected < 18);
  }
  t.deepEqual(locateExtents(store, file, { fromByte: file.sealedBytes, limit: 2 }), { extents: [], more: false });
});

test('a cut takes whole extents and a part of one, raises the generation, and frees chunks', async t => {
  const { store } = await formatted();
  const { inode } = createAt(store, 'f');
  const handles = [10, 10, 10].map(length => append(store, inode, length).handle);

  t.like(cut(store, inode, 15), { sealedBytes: 15, extentCount: 2, generation: 1, mtimeNs: 5_000_000_000n });

  t.is(getChunk(store, handles[2]!).garbageDueMs, 6_000);
  t.is(getChunk(store, handles[1]!).lengthBytes, 10);
  t.deepEqual(shape(store, 'f'), [
    [0, 10, handles[0]!, 0],
    [10, 5, handles[1]!, 0],
  ]);
  t.is(cut(store, inode, 15).generation, 1);
  t.like(cut(store, inode, 0), { sealedBytes: 0, extentCount: 0, generation: 2 });
  t.is(getChunk(store, handles[0]!).references, 0);
  await checkInvariants(store);
});

test('an extension is a hole; holes that touch are one; appends go behind it', async t => {
  const { store } = await formatted();
  const { inode } = createAt(store, 'f');
  const first = append(store, inode, 10).handle;

  t.is(cut(store, inode, 20).generation, 0);
  cut(store, inode, 1_000_000);
  const last = append(store, inode, 5).handle;

  t.deepEqual(shape(store, 'f'), [
    [0, 10, first, 0],
    [10, 999_990, 0, 0],
    [1_000_000, 5, last, 0],
  ]);
  cut(store, inode, 12);
  t.deepEqual(shape(store, 'f')[1], [10, 2, 0, 0]);
  throwsCode(t, 'TOO_LARGE', () => cut(store, inode, 2 ** 53));
  throwsCode(t, 'IS_DIRECTORY', () => cut(store, find(store, '').inode, 0));
  await checkInvariants(store);
});

test('a truncation requires that the open chunk was sealed', async t => {
  const { store } = await formatted();
  const { inode } = createAt(store, 'f');
  store.change(change => openChunk(change, { inode, chain: CHAIN }, at(3_000)));

  t.throws(() => cut(store, inode, 0), { message: /sealed before/ });
});

test('a snapshot shares chunks, and they live until both files gave them up (§3.4)', async t => {
  const { store } = await formatted();
  const { inode } = createAt(store, 'f');
  const handle = append(store, inode, 10).handle;
  cut(store, inode, 30);
  cut(store, inode, 8);
  cut(store, inode, 20);

  const copy = store.change(change => snapshotFile(change, { from: root('f'), to: root('g'), ...OWNER }, at(6_000)));

  t.deepEqual(shape(store, 'g'), shape(store, 'f'));
  t.is(getChunk(store, handle).references, 2);
  cut(store, inode, 0);
  t.is(getChunk(store, handle).garbageDueMs, undefined);
  cut(store, copy.inode, 0);
  t.is(getChunk(store, handle).garbageDueMs, 6_000);
  throwsCode(t, 'EXISTS', () =>
    store.change(change => snapshotFile(change, { from: root('f'), to: root('g'), ...OWNER }, at(6_000))),
  );
  throwsCode(t, 'IS_DIRECTORY', () =>
    store.change(change => snapshotFile(change, { from: root(''), to: root('h'), ...OWNER }, at(6_000))),
  );
  await checkInvariants(store);
});

test('the wanted copies of a file reach all its chunks', async t => {
  const { store } = await formatted();
  const { inode } = createAt(store, 'f');
  const sealed = append(store, inode, 10).handle;
  const { handle } = store.change(change => openChunk(change, { inode, chain: CHAIN }, at(3_000)));

  store.change(change => setGoal(change, inode, 5));

  t.deepEqual([find(store, 'f').goal, getChunk(store, sealed).goal, getChunk(store, handle).goal], [5, 5, 5]);
  t.is(findChunk(store, 999 as ChunkHandle), undefined);
  throwsCode(t, 'NO_CHUNK', () => getChunk(store, 999 as ChunkHandle));
});

function setTime(change: Parameters<typeof truncateFile>[0], inode: InodeId): void {
  setAttributes(change, { where: { start: inode, path: '' }, follow: false, mtimeNs: 1n }, at(5_000));
}
