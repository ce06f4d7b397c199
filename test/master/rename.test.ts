import test from 'ava';
import { checkInvariants } from '../../src/master/check.js';
import { link, makeDirectory, makeSymlink, renameEntry } from '../../src/master/namespace.js';
import type { Renamed } from '../../src/master/rename.js';
import type { Store } from '../../src/master/store.js';
import { at, createAt, find, formatted, OWNER, root, throwsCode } from './fixture.js';

function rename(
  store: Store,
  from: string,
  to: string,
  flags: { noReplace?: boolean; exchange?: boolean } = {},
): Renamed {
  const options = { from: root(from), to: root(to), noReplace: false, exchange: false, ...flags };
  return store.change(change => renameEntry(change, options, at(7_000)));
}

/** Directories d, d/sub, e; files f, g, d/inner; a symlink s to d. */
async function tree(): Promise<Store> {
  const { store } = await formatted();
  for (const path of ['d', 'd/sub', 'e']) {
    store.change(change => makeDirectory(change, { where: root(path), mode: 0o755, ...OWNER }, at(2_000)));
  }
  for (const path of ['f', 'g', 'd/inner']) createAt(store, path);
  store.change(change => makeSymlink(change, { where: root('s'), target: 'd', ...OWNER }, at(2_000)));
  return store;
}

test('a file moves with its inode; both directories and its change time show it', async t => {
  const store = await tree();
  const { inode } = find(store, 'f');

  rename(store, 'f', 's/moved');

  t.like(find(store, 'd/moved'), { inode, ctimeNs: 7_000_000_000n, mtimeNs: 2_000_000_000n });
  throwsCode(t, 'NOT_FOUND', () => find(store, 'f'));
  t.is(find(store, '').mtimeNs, 7_000_000_000n);
  t.is(find(store, 'd').mtimeNs, 7_000_000_000n);
  await checkInvariants(store);
});

test('a file replaces a file, which goes to the trash when that was its last name', async t => {
  const store = await tree();
  const [f, g] = [find(store, 'f'), find(store, 'g')];

  const { moved, other } = rename(store, 'f', 'g');

  t.is(moved.inode, f.inode);
  t.is(other?.inode, g.inode);
  t.is(find(store, 'g').inode, f.inode);
  await checkInvariants(store);
});

test('a directory moves with everything below it and replaces an empty one', async t => {
  const store = await tree();
  const { inode } = find(store, 'd/inner');

  rename(store, 'd', 'e');

  t.is(find(store, 'e/inner').inode, inode);
  t.is(find(store, 'e/sub').type, 'directory');
  t.is(find(store, '').nlink, 3);
  await checkInvariants(store);
});

test('a directory moves between directories, and their link counts follow', async t => {
  const store = await tree();

  rename(store, 'd/sub', 'e/sub');

  t.is(find(store, 'd').nlink, 2);
  t.is(find(store, 'e').nlink, 3);
  await checkInvariants(store);
});

test('what cannot be renamed is refused, and nothing changes', async t => {
  const store = await tree();
  const entries = async (): Promise<string[]> => {
    const rows = await store.scan({ gte: Buffer.from('d'), lt: Buffer.from('e'), limit: 100 });
    return rows.map(row => row.map(bytes => bytes.toString('hex')).join(' '));
  };
  const before = await entries();

  throwsCode(t, 'NOT_FOUND', () => rename(store, 'none', 'x'));
  throwsCode(t, 'NOT_FOUND', () => rename(store, 'f', 'none/x'));
  throwsCode(t, 'NOT_DIRECTORY', () => rename(store, 'f', 'g/x'));
  throwsCode(t, 'NOT_DIRECTORY', () => rename(store, 'd', 'f'));
  throwsCode(t, 'IS_DIRECTORY', () => rename(store, 'f', 'e'));
  throwsCode(t, 'NOT_EMPTY', () => rename(store, 'e', 'd'));
  throwsCode(t, 'NOT_EMPTY', () => rename(store, 'd/sub', 'd'));
  throwsCode(t, 'INVALID', () => rename(store, 'd', 'd/sub/x'));
  throwsCode(t, 'INVALID', () => rename(store, 'd', 'd/x'));
  throwsCode(t, 'INVALID', () => rename(store, 'd', 's/x'));
  throwsCode(t, 'BUSY', () => rename(store, '', 'x'));
  throwsCode(t, 'BUSY', () => rename(store, 'f', ''));
  throwsCode(t, 'EXISTS', () => rename(store, 'f', 'g', { noReplace: true }));
  throwsCode(t, 'EXISTS', () => rename(store, 'f', 'f', { noReplace: true }));
  throwsCode(t, 'INVALID', () => rename(store, 'f', 'g', { noReplace: true, exchange: true }));
  throwsCode(t, 'NOT_FOUND', () => rename(store, 'f', 'none', { exchange: true }));
  throwsCode(t, 'INVALID', () => rename(store, 'd/sub', 'd', { exchange: true }));
  throwsCode(t, 'INVALID', () => rename(store, 'd', 'd/sub', { exchange: true }));

  t.deepEqual(await entries(), before);
  await checkInvariants(store);
});

test('two names of one file, or one name twice: nothing happens', async t => {
  const store = await tree();
  store.change(change => link(change, { existing: root('f'), created: root('d/h') }, at(3_000)));

  rename(store, 'f', 'd/h');
  rename(store, 'f', 'f');
  rename(store, 'd', 'd');

  t.is(find(store, 'f').inode, find(store, 'd/h').inode);
  t.is(find(store, 'f').nlink, 2);
  t.is(find(store, 'f').ctimeNs, 3_000_000_000n);
  await checkInvariants(store);
});

test('a symlink is renamed itself, not what it points to', async t => {
  const store = await tree();

  rename(store, 's', 'f');

  t.is(find(store, 'f').type, 'symlink');
  t.is(find(store, 'd').type, 'directory');
  await checkInvariants(store);
});

test('an exchange swaps names of any kinds, in one directory and between two', async t => {
  const store = await tree();
  const [f, sub, e, inner] = ['f', 'd/sub', 'e', 'd/inner'].map(path => find(store, path).inode);

  rename(store, 'f', 'd/sub', { exchange: true });
  rename(store, 'e', 'd/inner', { exchange: true });

  t.deepEqual([find(store, 'd/sub').inode, find(store, 'f').inode], [f, sub]);
  t.deepEqual([find(store, 'd/inner').inode, find(store, 'e').inode], [e, inner]);
  t.is(find(store, 'd').nlink, 3);
  await checkInvariants(store);
});
