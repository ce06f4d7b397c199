import test from 'ava';
import { deferred } from '../../src/lib/deferred.js';
import { silentLogger } from '../../src/lib/logger.js';
import { settingValues } from '../../src/lib/settings.js';
import type { FuseNotifier, Where } from '../../src/mount/fuse-operations.js';
import { ClientOperations } from '../../src/mount/operations.js';
import { MOUNT_SETTINGS } from '../../src/mount/settings.js';
import { hasCode } from '../../src/protocol/errors.js';
import { ManualClock } from '../master/manual-clock.js';
import { FakeClient, FakeStore } from './fake-client.js';

const O_WRONLY = 0o1;
const O_RDWR = 0o2;
const O_EXCL = 0o200;
const O_TRUNC = 0o1000;
const O_APPEND = 0o2000;
const O_DSYNC = 0o10000;
const at = (path: string): Where => ({ start: 1, path });

function setup(options: { store?: FakeStore } = {}) {
  const store = options.store ?? new FakeStore();
  const client = new FakeClient(store);
  const clock = new ManualClock();
  const warnings: string[] = [];
  const logger = { ...silentLogger, warn: (_: unknown, message: string) => warnings.push(message) };
  const settings = settingValues(MOUNT_SETTINGS);
  const owner = { uid: 1000, gid: 100 };
  const operations = new ClientOperations({ client, clock, logger, settings, owner });
  return { store, client, clock, warnings, operations };
}

async function tick(): Promise<void> {
  await new Promise(resolve => setImmediate(resolve));
}

async function code(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return (error as { code: string }).code;
  }
  return 'no error';
}

test('an O_APPEND write ignores the offset of the kernel and lands where the file ends', async t => {
  const { store, operations } = setup();
  const { handle } = await operations.create(at('f'), O_WRONLY | O_APPEND, 0o644);
  await operations.write(handle, 0, Buffer.from('one\n'));
  store.append(store.find({ start: 1 as never, path: 'f' }), Buffer.from('elsewhere\n'));
  await operations.write(handle, 4, Buffer.from('two\n'));
  await operations.flush(handle);

  t.is(store.text('f'), 'one\nelsewhere\ntwo\n');
});

test('an O_APPEND write that the kernel cut at a page boundary stands whole between those of another mount', async t => {
  const store = new FakeStore();
  const [one, two] = [setup({ store }), setup({ store })];
  const a = await one.operations.create(at('f'), O_WRONLY | O_APPEND, 0o644);
  const b = await two.operations.open(at('f'), O_WRONLY | O_APPEND);
  await one.operations.write(a.handle, 0, Buffer.alloc(4000, 'x'));

  await one.operations.write(a.handle, 4000, Buffer.alloc(96, 'a'));
  await two.operations.write(b.handle, 4000, Buffer.from('b'));
  await one.operations.write(a.handle, 4096, Buffer.alloc(10, 'a'));
  await one.operations.flush(a.handle);

  t.is(store.text('f').slice(4000), `b${'a'.repeat(106)}`);
});

test('a stream that writes at the end as it knows it goes through with an expected offset', async t => {
  const { store, operations } = setup();
  const { handle } = await operations.create(at('f'), O_WRONLY, 0o644);
  await operations.write(handle, 0, Buffer.from('abc'));
  await operations.write(handle, 3, Buffer.from('def'));
  await operations.flush(handle);

  t.is(store.text('f'), 'abcdef');
  t.deepEqual(
    store.appends.map(append => append.expectedOffset),
    [0, 3],
  );
});

test('a write in the middle is refused with NOT_APPEND, logged once for the file, and changes nothing', async t => {
  const { store, operations, warnings } = setup();
  const { handle } = await operations.create(at('f'), O_RDWR, 0o644);
  await operations.write(handle, 0, Buffer.from('0123456789'));

  t.is(await code(operations.write(handle, 3, Buffer.from('XX'))), 'NOT_APPEND');
  t.is(await code(operations.write(handle, 4, Buffer.from('XX'))), 'NOT_APPEND');

  t.is(store.text('f'), '0123456789');
  t.is(warnings.length, 1);
  t.regex(warnings[0]!, /at 3 in a file of 10 bytes/);
});

test('a stream whose end another client moved is told, and the two never interleave', async t => {
  const { store, operations } = setup();
  const { handle } = await operations.create(at('f'), O_WRONLY, 0o644);
  await operations.write(handle, 0, Buffer.from('abc'));
  store.append(store.find({ start: 1 as never, path: 'f' }), Buffer.from('other'));

  await operations.write(handle, 3, Buffer.from('def'));

  t.is(await code(operations.flush(handle)), 'NOT_APPEND');
  t.is(await code(operations.write(handle, 6, Buffer.from('ghi'))), 'NOT_APPEND');
  t.is(store.text('f'), 'abcother');
});

test('a write past the end leaves zeros between', async t => {
  const { store, operations } = setup();
  const { handle } = await operations.create(at('f'), O_WRONLY, 0o644);
  await operations.write(handle, 2, Buffer.from('x'));
  await operations.flush(handle);
  await operations.write(handle, 2 * 1024 * 1024, Buffer.from('y'));
  await operations.flush(handle);

  t.is(store.text('f').length, 2 * 1024 * 1024 + 1);
  t.is(store.text('f').slice(0, 4), '\0\0x\0');
});

test('O_TRUNC cuts the file at open, and writing goes on from 0', async t => {
  const { store, operations } = setup();
  const first = await operations.create(at('f'), O_WRONLY, 0o644);
  await operations.write(first.handle, 0, Buffer.from('old content'));
  await operations.flush(first.handle);

  const { handle } = await operations.open(at('f'), O_WRONLY | O_TRUNC);
  await operations.write(handle, 0, Buffer.from('new'));
  await operations.flush(handle);

  t.is(store.text('f'), 'new');
});

test('making a file that another mount made meanwhile has the kernel look again', async t => {
  const store = new FakeStore();
  const [one, two] = [setup({ store }), setup({ store })];
  await one.operations.makeNode(at('f'), 0o644);

  t.is(await code(two.operations.makeNode(at('f'), 0o644)), 'STALE');
  t.is(await code(two.operations.create(at('f'), O_WRONLY | O_EXCL, 0o644)), 'EXISTS');
  t.is(await code(two.operations.create(at('f'), O_WRONLY, 0o644)), 'no error');
});

test('an open that makes its file, as mknod and open, does not cut what is empty; a later one cuts', async t => {
  const { store, operations, clock } = setup();
  const { generation } = await operations.makeNode(at('f'), 0o644);
  const first = await operations.open(at('f'), O_WRONLY | O_TRUNC);
  await operations.write(first.handle, 0, Buffer.from('abc'));
  await operations.flush(first.handle);
  t.is(store.calls.get('truncate'), undefined);
  t.is(store.text('f'), 'abc');

  await clock.advance(100);
  await operations.open(at('f'), O_WRONLY | O_TRUNC);

  t.is(store.calls.get('truncate'), 1);
  t.is((await operations.getAttributes(at('f'))).generation, generation + 1);
});

test('after write returns, getAttributes shows the new size, and read the bytes, before anything was acknowledged', async t => {
  const { store, operations } = setup();
  const { handle } = await operations.create(at('f'), O_RDWR, 0o644);
  await operations.write(handle, 0, Buffer.from('abc'));
  const gate = deferred<void>();
  store.gate = gate.promise;
  await operations.write(handle, 3, Buffer.from('def'));
  t.is(store.text('f'), 'abc');

  const attributes = operations.getAttributes(at('f'));
  const bytes = operations.read(handle, 0, 100);
  const settledBytes = await operations.read(handle, 0, 3);
  gate.resolve();

  t.is(Buffer.concat(settledBytes).toString(), 'abc');
  t.is((await attributes).sizeBytes, 6);
  t.is(Buffer.concat(await bytes).toString(), 'abcdef');
});

test('the first write after a pause reports its own failure, since shells do not look at what close says', async t => {
  const { store, operations } = setup();
  const { handle } = await operations.create(at('f'), O_WRONLY | O_APPEND, 0o644);
  store.appendFailures.push('TOO_FEW_SERVERS');

  t.is(await code(operations.write(handle, 0, Buffer.from('x'))), 'TOO_FEW_SERVERS');
  t.is(await code(operations.flush(handle)), 'TOO_FEW_SERVERS');
  t.is(await code(operations.flush(handle)), 'no error');
});

test('a failure of a buffered append is reported on the next write and on flush, and an O_APPEND handle then works again', async t => {
  const { store, operations } = setup();
  const { handle } = await operations.create(at('f'), O_WRONLY | O_APPEND, 0o644);
  await operations.write(handle, 0, Buffer.from('1'));
  store.appendFailures.push('NO_SPACE');
  await operations.write(handle, 1, Buffer.from('2'));
  await tick();

  t.is(await code(operations.write(handle, 2, Buffer.from('3'))), 'NO_SPACE');
  t.is(await code(operations.flush(handle)), 'NO_SPACE');
  await operations.write(handle, 2, Buffer.from('4'));
  t.is(await code(operations.flush(handle)), 'no error');
  t.is(store.text('f'), '14');
});

test('a stream that lost bytes takes no more', async t => {
  const { store, operations } = setup();
  const { handle } = await operations.create(at('f'), O_WRONLY, 0o644);
  await operations.write(handle, 0, Buffer.from('1'));
  store.appendFailures.push('NO_SPACE');
  await operations.write(handle, 1, Buffer.from('2'));
  t.is(await code(operations.flush(handle)), 'NO_SPACE');

  t.is(await code(operations.write(handle, 2, Buffer.from('3'))), 'NO_SPACE');
  t.is(store.text('f'), '1');
});

test('fsync reports what another handle of the file lost, and syncs otherwise', async t => {
  const { store, operations } = setup();
  const writer = await operations.create(at('f'), O_WRONLY | O_APPEND, 0o644);
  const { handle } = await operations.open(at('f'), O_RDWR);
  store.appendFailures.push('DISK_FAILED');
  await code(operations.write(writer.handle, 0, Buffer.from('x')));

  t.is(await code(operations.fsync(handle)), 'DISK_FAILED');
  t.is(await code(operations.fsync(handle)), 'no error');
  t.is(store.calls.get('sync'), 1);
});

test('with O_DSYNC every write is on the disks when it returns', async t => {
  const { store, operations } = setup();
  const { handle } = await operations.create(at('f'), O_WRONLY | O_APPEND | O_DSYNC, 0o644);
  await operations.write(handle, 0, Buffer.from('a'));
  await operations.write(handle, 1, Buffer.from('b'));

  t.is(store.calls.get('sync'), 2);
});

test('an operation ends with TIMED_OUT at its deadline', async t => {
  const { store, operations, clock } = setup();
  const { handle } = await operations.create(at('f'), O_WRONLY, 0o644);
  store.gate = new Promise(() => undefined);
  const write = code(operations.write(handle, 0, Buffer.from('x')));
  await clock.advance(30_000);

  t.is(await write, 'TIMED_OUT');
});

test('truncate waits for buffered appends, and O_APPEND goes on at the new end', async t => {
  const { store, operations } = setup();
  const { handle } = await operations.create(at('f'), O_WRONLY | O_APPEND, 0o644);
  await operations.write(handle, 0, Buffer.from('123'));
  await operations.write(handle, 3, Buffer.from('456'));
  const attributes = await operations.setAttributes(at('f'), { sizeBytes: 2 });
  await operations.write(handle, 6, Buffer.from('ab'));
  await operations.flush(handle);

  t.is(attributes.sizeBytes, 2);
  t.is(store.text('f'), '12ab');
});

test('a time that is set comes after the appends before it', async t => {
  const { store, operations } = setup();
  const { handle } = await operations.create(at('f'), O_WRONLY, 0o644);
  await operations.write(handle, 0, Buffer.from('a'));
  await operations.write(handle, 1, Buffer.from('b'));

  await operations.setAttributes(at('f'), { mtimeNs: 42n }, handle);
  await operations.flush(handle);

  t.is(store.find({ start: 1 as never, path: 'f' }).attributes.mtimeNs, 42n);
});

test('only the given attributes change; "now" is the master\'s now, and the year 1970 stays the year 1970', async t => {
  const { operations } = setup();
  await operations.makeNode(at('f'), 0o644);

  const changed = await operations.setAttributes(at('f'), { mode: 0o600, mtimeNs: 0n });
  t.is(changed.mode, 0o600);
  t.is(changed.uid, 1000);
  t.is(changed.mtimeNs, 1n);
  const now = await operations.setAttributes(at('f'), { mtimeNs: 'now' });
  t.true(now.mtimeNs > 1_000_000n);
});

test('new files belong to the caller, or to the mounter when it is unknown; a setgid directory gives its group', async t => {
  const { operations } = setup();
  const caller = { uid: 7, gid: 8, pid: 9 };
  t.like(await operations.makeNode(at('mine'), 0o644), { uid: 1000, gid: 100 });
  t.like(await operations.makeNode(at('theirs'), 0o644, caller), { uid: 7, gid: 8 });
  await operations.makeDirectory(at('d'), 0o2775);

  t.like(await operations.makeNode(at('d/f'), 0o644, caller), { uid: 7, gid: 100 });
  t.like(await operations.makeDirectory(at('d/e'), 0o755, caller), { gid: 100, mode: 0o2755 });
});

test('a file deleted while open is read and described by its handle', async t => {
  const { operations } = setup();
  const { handle } = await operations.create(at('f'), O_RDWR, 0o644);
  await operations.write(handle, 0, Buffer.from('content'));
  await operations.unlink(at('f'));

  t.is(await code(operations.getAttributes(at('f'))), 'NOT_FOUND');
  t.is((await operations.getAttributes(at('f'), handle)).sizeBytes, 7);
  t.is(Buffer.concat(await operations.read(handle, 0, 100)).toString(), 'content');
});

test('attributes are asked for once within the cache time, and anew after it', async t => {
  const { store, operations, clock } = setup();
  await operations.makeNode(at('f'), 0o644);
  store.calls.clear();
  for (let i = 0; i < 5; i++) await operations.getAttributes(at('f'));
  t.is(store.calls.get('lookup'), undefined);

  await clock.advance(1000);
  await operations.getAttributes(at('f'));

  t.is(store.calls.get('lookup'), 1);
});

test('opening for reading sees what another client closed a moment ago', async t => {
  const { store, operations } = setup();
  await operations.makeNode(at('f'), 0o644);
  t.is((await operations.getAttributes(at('f'))).sizeBytes, 0);
  store.append(store.find({ start: 1 as never, path: 'f' }), Buffer.from('new'));

  await operations.open(at('f'), 0);

  t.is((await operations.getAttributes(at('f'))).sizeBytes, 3);
});

test('a notice drops the caches and tells the kernel', async t => {
  const { store, client, operations } = setup();
  const told: string[] = [];
  const notifier: FuseNotifier = {
    invalidateInode: (inode, fromByte) => told.push(`inode ${inode} from ${fromByte}`),
    invalidateEntry: (parent, name) => told.push(`entry ${parent} ${name}`),
    forgetInode: inode => told.push(`forget inode ${inode}`),
    forgetEntry: (parent, name) => told.push(`forget entry ${parent} ${name}`),
    invalidateAll: () => told.push('all'),
  };
  operations.attachNotifier(notifier);
  const { inode } = await operations.makeNode(at('f'), 0o644);
  store.append(store.find({ start: 1 as never, path: 'f' }), Buffer.from('new'));

  client.onChange({ lost: false, inodes: [inode], entries: [{ parent: 1, name: 'f' }] });

  t.is((await operations.getAttributes(at('f'))).sizeBytes, 3);
  t.deepEqual(told, [`inode ${inode} from 0`, 'entry 1 f']);

  client.onChange({ lost: true, inodes: [], entries: [] });
  t.is(told.at(-1), 'all');

  client.onChange({ lost: false, forgotten: true, inodes: [inode], entries: [{ parent: 1, name: 'f' }] });
  t.deepEqual(told.slice(-2), [`forget inode ${inode}`, 'forget entry 1 f']);
  store.append(store.find({ start: 1 as never, path: 'f' }), Buffer.from('er'));
  t.is((await operations.getAttributes(at('f'))).sizeBytes, 5);
});

test('what the master forgets of one file does not keep what is being asked of another from being kept', async t => {
  const { store, client, operations } = setup();
  await operations.makeNode(at('f'), 0o644);
  await operations.makeNode(at('g'), 0o644);
  const [f, g] = ['f', 'g'].map(path => store.find({ start: 1 as never, path }));
  const inodes = [f!.attributes.inode, g!.attributes.inode];
  client.onChange({ lost: false, inodes, entries: [] });
  const asking = [operations.getAttributes(at('f')), operations.getAttributes(at('g'))];
  client.onChange({ lost: false, forgotten: true, inodes: [inodes[0]!], entries: [] });
  await Promise.all(asking);
  for (const node of [f!, g!]) store.append(node, Buffer.from('unnoticed'));

  t.is((await operations.getAttributes(at('g'))).sizeBytes, 0, 'it was kept');
  t.is((await operations.getAttributes(at('f'))).sizeBytes, 9);
});

test('the size of a file that others append to is asked for again after a moment, that of others is kept', async t => {
  const { store, client, clock, operations } = setup();
  for (const [name, growing] of [
    ['quiet', false],
    ['busy', true],
  ] as const) {
    await operations.makeNode(at(name), 0o644);
    const node = store.find({ start: 1 as never, path: name });
    node.attributes = { ...node.attributes, growing };
    client.onChange({ lost: false, inodes: [node.attributes.inode], entries: [] });
    await operations.getAttributes(at(name));
    store.append(node, Buffer.from('unnoticed'));
  }

  await clock.advance(50);

  t.is((await operations.getAttributes(at('quiet'))).sizeBytes, 0);
  t.is((await operations.getAttributes(at('busy'))).sizeBytes, 9);
});

test('a listing does not vouch for the size of a file that others append to', async t => {
  const { store, client, operations } = setup();
  await operations.makeNode(at('f'), 0o644);
  const node = store.find({ start: 1 as never, path: 'f' });
  node.attributes = { ...node.attributes, growing: true };
  client.onChange({ lost: false, inodes: [node.attributes.inode], entries: [] });
  const { handle } = await operations.openDirectory(at(''));
  await operations.readDirectory(handle, '');
  store.append(node, Buffer.from('more'));

  t.is((await operations.getAttributes(at('f'))).sizeBytes, 4);
});

test('a listing shows the sizes that this mount had acknowledged, also where the master lags behind', async t => {
  const { store, operations } = setup();
  const { handle } = await operations.create(at('f'), O_WRONLY, 0o644);
  await operations.write(handle, 0, Buffer.from('abc'));
  await operations.flush(handle);
  const node = store.find({ start: 1 as never, path: 'f' });
  node.attributes = { ...node.attributes, sizeBytes: 0 };

  const directory = await operations.openDirectory(at(''));
  const entries = await operations.readDirectory(directory.handle, '');

  t.deepEqual(
    entries.map(entry => [entry.name, entry.attributes.sizeBytes]),
    [['f', 3]],
  );
});

test('the kernel keeps its pages as long as nothing was cut off', async t => {
  const { store, operations } = setup();
  await operations.makeNode(at('f'), 0o644);
  t.false((await operations.open(at('f'), 0)).keepCache);
  store.append(store.find({ start: 1 as never, path: 'f' }), Buffer.from('abc'));
  t.true((await operations.open(at('f'), 0)).keepCache);

  store.truncate(store.find({ start: 1 as never, path: 'f' }), 0);

  t.false((await operations.open(at('f'), 0)).keepCache);
});

test('a file stays open a moment after its last handle, so that echo >> in a loop opens it once', async t => {
  const { store, operations, clock } = setup();
  await operations.makeNode(at('f'), 0o644);
  for (let i = 0; i < 3; i++) {
    const { handle } = await operations.open(at('f'), O_WRONLY | O_APPEND);
    await operations.write(handle, 0, Buffer.from('x'));
    await operations.flush(handle);
    await operations.release(handle);
  }
  t.is(store.calls.get('openInode'), undefined);
  t.is(store.calls.get('file.close'), undefined);

  await clock.advance(1000);
  await tick();

  t.is(store.calls.get('file.close'), 1);
});

test('access control lists are not kept; other attributes are', async t => {
  const { operations } = setup();
  await operations.makeNode(at('f'), 0o644);
  await operations.setExtendedAttribute(at('f'), 'user.a', Buffer.from('1'), { create: false, replace: false });

  t.is((await operations.getExtendedAttribute(at('f'), 'user.a')).toString(), '1');
  t.is(await code(operations.getExtendedAttribute(at('f'), 'system.posix_acl_access')), 'NOT_SUPPORTED');
});

test('the capability that the kernel asks for before every write costs no call, and none can be set', async t => {
  const { store, operations } = setup();
  await operations.makeNode(at('f'), 0o644);

  t.is(await code(operations.getExtendedAttribute(at('f'), 'security.capability')), 'NO_ATTRIBUTE');
  const set = operations.setExtendedAttribute(at('f'), 'security.capability', Buffer.from('x'), {
    create: false,
    replace: false,
  });
  t.is(await code(set), 'NOT_SUPPORTED');

  t.is(store.calls.get('getXattr'), undefined);
  t.is(store.calls.get('setXattr'), undefined);
});

test('a file that has no extended attributes is not asked for any, until it gets one', async t => {
  const { store, operations } = setup();
  const { inode } = await operations.makeNode(at('f'), 0o644);
  const node = store.find({ start: inode as never, path: '' });
  node.attributes = { ...node.attributes, noXattrs: true };
  await operations.setAttributes(at('f'), { mode: 0o600 });
  for (const name of ['security.selinux', 'user.a'])
    t.is(await code(operations.getExtendedAttribute(at('f'), name)), 'NO_ATTRIBUTE');
  t.deepEqual(await operations.listExtendedAttributes(at('f')), []);
  t.is(store.calls.get('getXattr'), undefined);

  node.attributes = { ...node.attributes, noXattrs: undefined };
  await operations.setExtendedAttribute(at('f'), 'user.a', Buffer.from('1'), { create: false, replace: false });

  t.is(String(await operations.getExtendedAttribute(at('f'), 'user.a')), '1');
  t.deepEqual(await operations.listExtendedAttributes(at('f')), ['user.a']);
});

test('flock waits until the holder releases, and an interrupted wait ends with INTERRUPTED', async t => {
  const store = new FakeStore();
  const one = setup({ store });
  const two = setup({ store });
  const lock = {
    owner: 1n,
    kind: 'exclusive',
    startByte: 0,
    endByte: Number.MAX_SAFE_INTEGER,
    pid: 1,
    flock: true,
  } as const;
  const first = await one.operations.create(at('f'), O_RDWR, 0o644);
  const second = await two.operations.open(at('f'), O_RDWR);
  await one.operations.setLock(first.handle, lock, { wait: false });
  const other = { ...lock, owner: 2n };

  t.is(await code(two.operations.setLock(second.handle, other, { wait: false })), 'LOCKED');
  t.is((await two.operations.testLock(second.handle, other))?.kind, 'exclusive');
  const controller = new AbortController();
  const interrupted = two.operations.setLock(second.handle, other, { wait: true, signal: controller.signal });
  controller.abort();
  t.is(await code(interrupted), 'INTERRUPTED');
  await one.operations.release(first.handle, 1n);
  await two.operations.setLock(second.handle, other, { wait: false });

  t.is(store.calls.get('unlock')! >= 1, true);
});

test('statfs counts in large blocks, and what servers that are down have room for as neither used nor available', async t => {
  const { operations } = setup();

  t.like(await operations.statfs(), {
    blockSizeBytes: 65_536,
    blocks: 163_840,
    blocksFree: 98_304,
    blocksAvailable: 81_920,
    nameMaxBytes: 255,
  });
});

test('close flushes what is buffered and closes every file', async t => {
  const { store, operations } = setup();
  const { handle } = await operations.create(at('f'), O_WRONLY | O_APPEND, 0o644);
  await operations.write(handle, 0, Buffer.from('1'));
  await operations.write(handle, 0, Buffer.from('2'));

  await operations.close(1_000);

  t.is(store.text('f'), '12');
  t.is(store.calls.get('file.close'), 1);
});

test('close names the files whose bytes are not acknowledged in time, and no others', async t => {
  const { store, clock, operations } = setup();
  const done = await operations.create(at('done'), O_WRONLY | O_APPEND, 0o644);
  await operations.write(done.handle, 0, Buffer.from('1'));
  await operations.flush(done.handle);
  const { handle } = await operations.create(at('waiting'), O_WRONLY | O_APPEND, 0o644);
  await operations.write(handle, 0, Buffer.from('1'));
  const gate = deferred<void>();
  store.gate = gate.promise;
  void operations.write(handle, 0, Buffer.from('2'));
  await tick();

  const closed = operations.close(1_000);
  closed.catch(() => undefined);
  await clock.advance(1_000);

  const error = await t.throwsAsync(closed);
  t.true(hasCode(error, 'UNAVAILABLE'));
  t.regex(error!.message, /written bytes were not acknowledged.*: waiting, inode \d+$/);
  gate.resolve();
});

test('close names files whose last bytes failed while it waited, and those whose writer was never told', async t => {
  const { store, operations } = setup();
  const { handle } = await operations.create(at('f'), O_WRONLY | O_APPEND, 0o644);
  await operations.write(handle, 0, Buffer.from('1'));
  store.appendFailures.push('UNAVAILABLE');
  await operations.write(handle, 0, Buffer.from('2'));

  const error = await t.throwsAsync(operations.close(1_000));

  t.regex(error!.message, /written bytes were not acknowledged.*: f, inode \d+$/);
});

test('a failure that the writer was told of is not told again at the end', async t => {
  const { store, operations } = setup();
  const { handle } = await operations.create(at('f'), O_WRONLY | O_APPEND, 0o644);
  store.appendFailures.push('UNAVAILABLE');
  t.is(await code(operations.write(handle, 0, Buffer.from('1'))), 'UNAVAILABLE');

  await t.notThrowsAsync(operations.close(1_000));
});

test('fallocate extends with zeros, lseek finds the hole behind the end, copy_file_range copies', async t => {
  const { store, operations } = setup();
  const { handle } = await operations.create(at('f'), O_RDWR, 0o644);
  await operations.write(handle, 0, Buffer.from('abc'));
  await operations.allocate(handle, 0, 0, 5);
  t.is(store.text('f'), 'abc\0\0');
  t.is(await operations.seek(handle, 1, 'data'), 1);
  t.is(await operations.seek(handle, 1, 'hole'), 5);
  t.is(await code(operations.seek(handle, 5, 'data')), 'NOT_FOUND');
  t.is(await code(operations.allocate(handle, 2, 0, 5)), 'NOT_SUPPORTED');

  const copy = await operations.create(at('g'), O_RDWR, 0o644);
  const copied = await operations.copyRange({ handle, offset: 0 }, { handle: copy.handle, offset: 0 }, 100);
  await operations.flush(copy.handle);

  t.is(copied, 5);
  t.is(store.text('g'), 'abc\0\0');
  t.true(hasCode(await operations.write(999, 0, Buffer.from('x')).catch(error => error), 'BAD_HANDLE'));
});
