import test from 'ava';
import { setAttributes } from '../../src/master/attributes.js';
import { checkInvariants } from '../../src/master/check.js';
import { readCounters } from '../../src/master/counters.js';
import { putInode, toAttributes } from '../../src/master/inodes.js';
import {
  createFile,
  link,
  makeDirectory,
  makeSymlink,
  readDirectory,
  removeDirectory,
  resolve,
  unlink,
} from '../../src/master/namespace.js';
import type { InodeRecord } from '../../src/master/records.js';
import type { Store } from '../../src/master/store.js';
import { getXattr, listXattrs, removeXattr, setXattr } from '../../src/master/xattrs.js';
import { type InodeId, ROOT_INODE } from '../../src/protocol/ids.js';
import { LIMITS } from '../../src/protocol/limits.js';
import { at, createAt, find, formatted, OWNER, reopen, root, throwsCode } from './fixture.js';

const mkdir = (store: Store, path: string, mode = 0o755, nowMs = 2_000): InodeRecord =>
  store.change(change => makeDirectory(change, { where: root(path), mode, ...OWNER }, at(nowMs)));
const symlink = (store: Store, path: string, target: string): InodeRecord =>
  store.change(change => makeSymlink(change, { where: root(path), target, ...OWNER }, at(2_000)));

test('a new file has an inode, an owner, a time, and its directory was modified', async t => {
  const { store } = await formatted();

  const file = createAt(store, 'a', 5_000);

  t.like(file, { type: 'file', nlink: 1, mode: 0o644, uid: 1000, goal: 3, mtimeNs: 5_000_000_000n });
  t.like(find(store, ''), { childCount: 1, nlink: 2, mtimeNs: 5_000_000_000n, ctimeNs: 5_000_000_000n });
  t.is(readCounters(store).files, 1);
  await checkInvariants(store);
});

test('an existing file is opened, or refused when it must be new', async t => {
  const { store } = await formatted();
  const file = createAt(store, 'a');
  const options = { where: root('a'), mode: 0o600, ...OWNER };

  const again = store.change(change => createFile(change, { ...options, exclusive: false }, at(9_000)));

  t.false(again.created);
  t.is(again.file.inode, file.inode);
  t.is(again.file.mode, 0o644);
  throwsCode(t, 'EXISTS', () => store.change(change => createFile(change, { ...options, exclusive: true }, at(9_000))));
  throwsCode(t, 'IS_DIRECTORY', () => createAt(store, ''));
});

test('names and paths are refused when they cannot be', async t => {
  const { store } = await formatted();
  createAt(store, 'file');

  throwsCode(t, 'NAME_TOO_LONG', () => createAt(store, 'n'.repeat(256)));
  throwsCode(t, 'NAME_TOO_LONG', () => createAt(store, 'ü'.repeat(128)));
  t.is(createAt(store, 'n'.repeat(255)).type, 'file');
  t.is(createAt(store, `${'ü'.repeat(127)}x`).type, 'file');
  throwsCode(t, 'NAME_TOO_LONG', () => createAt(store, 'd/'.repeat(2_048).concat('x')));
  for (const name of ['a//b', '/a', 'a/', '.', '..', 'a\0b', '\ud800']) {
    throwsCode(t, 'NAME_INVALID', () => createAt(store, name));
  }
  throwsCode(t, 'NOT_FOUND', () => createAt(store, 'none/a'));
  throwsCode(t, 'NOT_DIRECTORY', () => createAt(store, 'file/a'));
  throwsCode(t, 'NOT_FOUND', () => find(store, 'none'));
  throwsCode(t, 'STALE', () => resolve(store, { start: 999 as InodeId, path: '' }, true));
  throwsCode(t, 'NOT_FOUND', () => resolve(store, { start: 999 as InodeId, path: 'a' }, true));
});

test('symbolic links are followed on the way, at the end only when asked, and not for ever', async t => {
  const { store } = await formatted();
  mkdir(store, 'd');
  mkdir(store, 'd/e');
  const file = createAt(store, 'd/e/f');
  symlink(store, 'absolute', '/d/e');
  symlink(store, 'd/e/up', '../e/./f');
  symlink(store, 'loop', 'loop');
  symlink(store, 'slash', 'd/e/f/');
  symlink(store, 'root', '../../..');

  t.is(find(store, 'absolute/f').inode, file.inode);
  t.is(find(store, 'absolute').type, 'symlink');
  t.is(resolve(store, root('absolute'), true).type, 'directory');
  t.is(resolve(store, root('absolute/up'), true).inode, file.inode);
  t.is(resolve(store, root('root'), true).inode, ROOT_INODE);
  throwsCode(t, 'SYMLINK_LOOP', () => resolve(store, root('loop'), true));
  throwsCode(t, 'SYMLINK_LOOP', () => find(store, 'loop/x'));
  throwsCode(t, 'NOT_DIRECTORY', () => resolve(store, root('slash'), true));
  throwsCode(t, 'NOT_FOUND', () => symlink(store, 's', ''));
  throwsCode(t, 'NAME_TOO_LONG', () => symlink(store, 's', 'x'.repeat(4096)));
  t.is(toAttributes(store, find(store, 'absolute')).sizeBytes, 4);
});

test('a chain of as many links as are followed resolves, one more does not', async t => {
  const { store } = await formatted();
  createAt(store, 'l0');
  for (let i = 1; i <= LIMITS.symlinksMax + 1; i++) symlink(store, `l${i}`, `l${i - 1}`);

  t.is(resolve(store, root(`l${LIMITS.symlinksMax}`), true).type, 'file');
  throwsCode(t, 'SYMLINK_LOOP', () => resolve(store, root(`l${LIMITS.symlinksMax + 1}`), true));
});

test('creating through a dangling symlink makes what it points to, unless the file must be new', async t => {
  const { store } = await formatted();
  mkdir(store, 'd');
  symlink(store, 's', 'd/new');

  throwsCode(t, 'EXISTS', () =>
    store.change(change => createFile(change, { where: root('s'), mode: 0o644, ...OWNER, exclusive: true }, at(2_000))),
  );
  const file = createAt(store, 's');

  t.is(find(store, 'd/new').inode, file.inode);
  await checkInvariants(store);
});

test('directories count their subdirectories as links and refuse removal while they have entries', async t => {
  const { store } = await formatted();
  mkdir(store, 'd');
  mkdir(store, 'd/e');
  t.is(find(store, 'd').nlink, 3);

  throwsCode(t, 'EXISTS', () => mkdir(store, 'd'));
  throwsCode(t, 'EXISTS', () => mkdir(store, ''));
  throwsCode(t, 'NOT_EMPTY', () => store.change(change => removeDirectory(change, root('d'), at(3_000))));
  throwsCode(t, 'IS_DIRECTORY', () => store.change(change => unlink(change, root('d'), at(3_000))));
  throwsCode(t, 'BUSY', () => store.change(change => removeDirectory(change, root(''), at(3_000))));
  store.change(change => removeDirectory(change, root('d/e'), at(3_000)));
  t.like(find(store, 'd'), { nlink: 2, childCount: 0, mtimeNs: 3_000_000_000n });
  const { inode } = store.change(change => removeDirectory(change, root('d'), at(3_000)));

  throwsCode(t, 'NOT_FOUND', () => resolve(store, { start: inode, path: 'x' }, false));
  t.is(readCounters(store).directories, 1);
  createAt(store, 'f');
  throwsCode(t, 'NOT_DIRECTORY', () => store.change(change => removeDirectory(change, root('f'), at(3_000))));
  await checkInvariants(store);
});

test('hard links share an inode; the last name sends it to the trash', async t => {
  const { store } = await formatted();
  mkdir(store, 'd');
  const file = createAt(store, 'a');
  const add = (existing: string, created: string): InodeRecord =>
    store.change(change => link(change, { existing: root(existing), created: root(created) }, at(4_000)));

  t.like(add('a', 'd/b'), { inode: file.inode, nlink: 2, ctimeNs: 4_000_000_000n });
  throwsCode(t, 'EXISTS', () => add('a', 'd/b'));
  throwsCode(t, 'NOT_PERMITTED', () => add('d', 'c'));
  throwsCode(t, 'NOT_FOUND', () => add('none', 'c'));
  t.is(store.change(change => unlink(change, root('a'), at(5_000))).nlink, 1);
  t.is(store.change(change => unlink(change, root('d/b'), at(5_000))).nlink, 0);
  t.is(resolve(store, { start: file.inode, path: '' }, false).nlink, 0);
  throwsCode(t, 'NOT_FOUND', () =>
    store.change(change => link(change, { existing: { start: file.inode, path: '' }, created: root('c') }, at(6_000))),
  );
  t.like(readCounters(store), { files: 0, trash: 1 });
  await checkInvariants(store);
});

test('a file takes only so many links', async t => {
  const { store } = await formatted();
  const file = createAt(store, 'a');
  const linkWith = (nlink: number): unknown =>
    store.change(change => {
      putInode(change, { ...file, nlink });
      return link(change, { existing: root('a'), created: root('b') }, at(1));
    });

  throwsCode(t, 'TOO_MANY_LINKS', () => linkWith(LIMITS.linksMax));
  t.notThrows(() => linkWith(LIMITS.linksMax - 1));
});

test('children of a set-group-id directory belong to its group, and directories pass the bit on', async t => {
  const { store } = await formatted();
  mkdir(store, 'd', 0o2775);
  store.change(change => setAttributes(change, { where: root('d'), follow: false, gid: 77 }, at(2_000)));

  t.like(createAt(store, 'd/f'), { gid: 77, mode: 0o644 });
  t.like(mkdir(store, 'd/e', 0o700), { gid: 77, mode: 0o2700 });
});

test('owner, mode and times are set as asked, and a change of hands takes set-id bits away', async t => {
  const { store } = await formatted();
  createAt(store, 'f');
  const set = (changes: object): InodeRecord =>
    store.change(change => setAttributes(change, { where: root('f'), follow: true, ...changes }, at(8_000)));

  t.like(set({ mode: 0o6755 }), { mode: 0o6755, ctimeNs: 8_000_000_000n });
  t.like(set({ uid: 5 }), { uid: 5, gid: 1000, mode: 0o755 });
  t.is(set({ mode: 0o2644, gid: 6 }).mode, 0o2644);
  t.is(set({ gid: 7 }).mode, 0o2644);
  t.like(set({ atimeNs: 0n, mtimeNs: -1n }), { atimeNs: 8_000_000_000n, mtimeNs: -1n });
  t.like(find(store, 'f'), { mtimeNs: -1n });
});

test('a directory is read in pages, in byte order, each entry once', async t => {
  const { store } = await formatted();
  const names = ['b', 'a', 'ü', 'Z', 'aa', '\u{1f600}', 'a b'];
  for (const name of names) createAt(store, name);
  await store.durable();
  createAt(store, 'ab');

  const seen: string[] = [];
  for (let after = '', end = false; !end; ) {
    const page = await readDirectory(store, { inode: ROOT_INODE, after, limit: 3 });
    seen.push(...page.entries.map(({ name }) => name));
    after = seen[seen.length - 1]!;
    end = page.end;
  }

  const sorted = [...names, 'ab'].sort((a, b) => Buffer.from(a).compare(Buffer.from(b)));
  t.deepEqual(seen, sorted);
  await t.throwsAsync(readDirectory(store, { inode: find(store, 'a').inode, after: '', limit: 3 }), {
    message: /directory/,
  });
});

test('extended attributes are set, listed, replaced and removed, and go with their inode', async t => {
  const { store } = await formatted();
  mkdir(store, 'd');
  const set = (name: string, value: Buffer, flags: object = {}): void =>
    store.change(change =>
      setXattr(
        change,
        resolve(change, root('d'), true),
        { name, value, create: false, replace: false, ...flags },
        at(9_000),
      ),
    );

  set('user.a', Buffer.from('1'));
  set('user.b', Buffer.alloc(0));
  set('user.a', Buffer.from('2'), { replace: true });

  t.deepEqual(listXattrs(store, find(store, 'd')), ['user.a', 'user.b']);
  t.is(String(getXattr(store, find(store, 'd'), 'user.a')), '2');
  t.is(getXattr(store, find(store, 'd'), 'user.b').length, 0);
  throwsCode(t, 'EXISTS', () => set('user.a', Buffer.alloc(1), { create: true }));
  throwsCode(t, 'NO_ATTRIBUTE', () => set('user.c', Buffer.alloc(1), { replace: true }));
  throwsCode(t, 'ATTRIBUTE_SPACE', () => set('user.c', Buffer.alloc(LIMITS.xattrValueBytesMax + 1)));
  throwsCode(t, 'NAME_TOO_LONG', () => set('n'.repeat(256), Buffer.alloc(1)));
  throwsCode(t, 'NO_ATTRIBUTE', () => getXattr(store, find(store, 'd'), 'user.c'));
  for (let i = 2; i < LIMITS.xattrsPerInodeMax; i++) set(`user.${i}`, Buffer.alloc(1));
  throwsCode(t, 'ATTRIBUTE_SPACE', () => set('user.more', Buffer.alloc(1)));
  store.change(change => removeXattr(change, resolve(change, root('d'), true), 'user.a', at(9_000)));
  throwsCode(t, 'NO_ATTRIBUTE', () =>
    store.change(change => removeXattr(change, resolve(change, root('d'), true), 'user.a', at(9_000))),
  );
  await checkInvariants(store);
  store.change(change => removeDirectory(change, root('d'), at(9_000)));
  await checkInvariants(store);
});

test('everything survives a restart', async t => {
  const { store, kv } = await formatted();
  mkdir(store, 'd');
  createAt(store, 'd/f');
  await store.close();

  const again = await reopen(kv);

  t.is(find(again, 'd/f').type, 'file');
  t.true(createAt(again, 'd/g').inode > find(again, 'd/f').inode);
  await checkInvariants(again);
});
