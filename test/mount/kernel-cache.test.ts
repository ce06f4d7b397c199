import test from 'ava';
import { type Deferred, deferred } from '../../src/lib/deferred.js';
import type { Attributes, Where } from '../../src/mount/fuse-operations.js';
import * as wire from '../../src/mount/kernel/wire.js';
import { FakeKernel } from './kernel-session.js';
import { MemoryOperations } from './memory-operations.js';

const MKNOD = wire.MKNOD_IN.encode({ mode: 0o100644 });
const KEPT = { entryValid: 1, attrValid: 1, attrValidNsec: 5e8 };
const NOT_KEPT = { entryValid: 0, entryValidNsec: 0, attrValid: 0, attrValidNsec: 0 };

/** Questions for attributes can be held back, and files can be growing. */
class Operations extends MemoryOperations {
  gate: Deferred<void> | undefined;
  growing = false;

  override async getAttributes(where: Where): Promise<Attributes> {
    const attributes = { ...(await super.getAttributes(where)), growing: this.growing };
    await this.gate?.promise;
    return attributes;
  }
}

async function begin() {
  const operations = new Operations();
  const kernel = new FakeKernel(operations);
  await kernel.init();
  await kernel.ask('MKNOD', 1, MKNOD, 'f');
  return { operations, kernel, notifier: operations.notifier! };
}

function entry(data: Buffer) {
  return wire.ENTRY_OUT.decode(data, 0);
}

/** What was sent since the last call, as text. */
function sent(kernel: FakeKernel): string[] {
  return kernel.notifications.splice(0).map(({ code, data }) => {
    if (code === wire.NOTIFY.INVAL_INODE) {
      const { ino, off } = wire.NOTIFY_INVAL_INODE_OUT.decode(data, 0);
      return `inode ${ino} ${off}`;
    }
    const { parent, flags } = wire.NOTIFY_INVAL_ENTRY_OUT.decode(data, 0);
    return `entry ${parent} ${data.toString('utf8', 16, data.length - 1)} ${flags}`;
  });
}

test('what was asked for before a change was told is not to be kept', async t => {
  const { operations, kernel, notifier } = await begin();
  operations.gate = deferred();
  const looking = kernel.ask('LOOKUP', 1, 'f');
  const stat = kernel.ask('GETATTR', 2, wire.GETATTR_IN.encode({}));
  notifier.invalidateInode(99);
  operations.gate.resolve();

  t.like(entry((await looking).data), NOT_KEPT);
  t.like(wire.ATTR_OUT.decode((await stat).data, 0), { attrValid: 0, attrValidNsec: 0 });
  t.like(entry((await kernel.ask('LOOKUP', 1, 'f')).data), KEPT);
});

test('a page of a directory that was read before a change was told is not to be kept', async t => {
  const { kernel, notifier } = await begin();
  await kernel.ask('MKNOD', 1, MKNOD, 'g');
  const { fh } = wire.OPEN_OUT.decode((await kernel.ask('OPENDIR', 1, wire.OPEN_IN.encode({}))).data, 0);
  const readAt = async (offset: number) =>
    (await kernel.ask('READDIRPLUS', 1, wire.READ_IN.encode({ fh, offset, size: 200 }))).data;
  await readAt(2);
  t.like(entry(await readAt(3)), KEPT);

  notifier.invalidateInode(99);

  t.like(entry(await readAt(3)), NOT_KEPT);
});

test('what is forgotten is taken back from the kernel, and what was asked for of others meanwhile is kept', async t => {
  const { operations, kernel, notifier } = await begin();
  await kernel.ask('MKNOD', 1, MKNOD, 'g');
  await kernel.ask('LOOKUP', 1, 'f');
  operations.gate = deferred();
  const looking = [kernel.ask('LOOKUP', 1, 'f'), kernel.ask('LOOKUP', 1, 'g')];
  notifier.forgetInode(2);
  notifier.forgetEntry(1, 'f');
  operations.gate.resolve();

  const [f, g] = await Promise.all(looking);
  t.like(entry(f!.data), NOT_KEPT);
  t.like(entry(g!.data), KEPT);
  t.deepEqual(sent(kernel), ['inode 2 0', `entry 1 f ${wire.INVAL_ENTRY_EXPIRE_ONLY}`]);
  t.like(entry((await kernel.ask('LOOKUP', 1, 'f')).data), KEPT);
});

test('the attributes of a growing file are not to be kept, its name is', async t => {
  const { operations, kernel } = await begin();
  operations.growing = true;

  t.like(entry((await kernel.ask('LOOKUP', 1, 'f')).data), { entryValid: 1, attrValid: 0, attrValidNsec: 0 });
});

test('an invalidation is sent at once and again a little later, and names expire rather than vanish', async t => {
  const { kernel, notifier } = await begin();

  notifier.invalidateInode(2, 0);
  notifier.invalidateEntry(1, 'f');
  const expected = ['inode 2 0', `entry 1 f ${wire.INVAL_ENTRY_EXPIRE_ONLY}`];
  t.deepEqual(sent(kernel), expected);

  kernel.clock.advance(29);
  t.deepEqual(sent(kernel), []);
  kernel.clock.advance(31);
  kernel.clock.advance(31);
  t.deepEqual(sent(kernel), expected);
  kernel.clock.advance(1000);
  t.deepEqual(sent(kernel), []);
});

test('names that the kernel was not given, or may not hold any more, are not invalidated', async t => {
  const { kernel, notifier } = await begin();

  notifier.invalidateEntry(1, 'other');
  kernel.clock.advance(10_000);
  notifier.invalidateEntry(1, 'f');

  t.deepEqual(sent(kernel), []);
});

test('after missed changes everything that the kernel may hold is invalidated', async t => {
  const { kernel, notifier } = await begin();
  kernel.clock.advance(10_000);
  await kernel.ask('MKNOD', 1, MKNOD, 'g');
  await kernel.ask('GETATTR', 1, wire.GETATTR_IN.encode({}));

  notifier.invalidateAll();

  t.deepEqual(sent(kernel), ['inode 3 0', 'inode 1 0', 'entry 1 g 1']);
});

test('a name that the kernel moved by itself is known under its new place', async t => {
  const { kernel, notifier } = await begin();
  await kernel.ask('RENAME', 1, wire.RENAME_IN.encode({ newdir: 1 }), 'f', 'new');

  notifier.invalidateEntry(1, 'new');

  t.deepEqual(sent(kernel), ['entry 1 new 1']);
});

test('what does not fit the tables is not to be kept', async t => {
  const { kernel } = await begin();
  let kept = 0;
  for (let i = 0; i < 17_000; i++) {
    const { entryValid, attrValid } = entry((await kernel.ask('MKNOD', 1, MKNOD, `n${i}`)).data);
    if (entryValid > 0 && attrValid > 0) kept++;
  }

  t.is(kept, 16_384 - 1);
});
