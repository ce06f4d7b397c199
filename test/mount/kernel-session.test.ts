import test from 'ava';
import * as wire from '../../src/mount/kernel/wire.js';
import { FakeKernel } from './kernel-session.js';
import { MemoryOperations } from './memory-operations.js';

const MKDIR = wire.MKDIR_IN.encode({ mode: 0o755 });
const CREATE = wire.CREATE_IN.encode({ flags: 2, mode: 0o640 });

async function begin() {
  const operations = new MemoryOperations();
  const kernel = new FakeKernel(operations);
  await kernel.init();
  return { operations, kernel };
}

test('an inode is forgotten when as many forgets came as answers named it', async t => {
  const { operations, kernel } = await begin();
  await kernel.ask('MKDIR', 1, MKDIR, 'd');
  await kernel.ask('LOOKUP', 1, 'd');
  await kernel.ask('LOOKUP', 1, 'd');

  kernel.send('FORGET', 2, wire.FORGET_IN.encode({ nlookup: 2 }));
  t.deepEqual(operations.forgotten, []);

  const batch = [wire.BATCH_FORGET_IN.encode({ count: 1 }), wire.FORGET_ONE.encode({ nodeid: 2, nlookup: 1 })];
  kernel.send('BATCH_FORGET', 0, ...batch);
  t.deepEqual(operations.forgotten, [2]);
});

test('an answer that the kernel did not take does not count as a lookup', async t => {
  const { operations, kernel } = await begin();
  const answer = await kernel.ask('MKDIR', 1, MKDIR, 'd');

  answer.undo?.();

  t.deepEqual(operations.forgotten, [2]);
});

test('a new file belongs to the caller and keeps the mode it was made with', async t => {
  const { kernel } = await begin();

  const { data } = await kernel.ask('CREATE', 1, CREATE, 'f');

  t.like(wire.ENTRY_OUT.decode(data, 0), {
    nodeid: 2,
    uid: 1000,
    gid: 1001,
    mode: 0o100640,
    attrValid: 1,
    attrValidNsec: 5e8,
  });
  t.is(wire.OPEN_OUT.decode(data, wire.ENTRY_OUT.sizeBytes).fh, 1);
});

test('each valid bit of SETATTR changes its attribute and no other', async t => {
  const { VALID } = { VALID: wire.SETATTR_VALID };
  const values = { mode: 0o600, uid: 5, gid: 6, size: 7, atime: -8, atimensec: 9, mtime: 10, mtimensec: 11 };
  const expected = {
    MODE: { mode: 0o100600 },
    UID: { uid: 5 },
    GID: { gid: 6 },
    SIZE: { size: 7 },
    ATIME: { atime: -8, atimensec: 9 },
    MTIME: { mtime: 10, mtimensec: 11 },
  };
  for (const [bit, changed] of Object.entries(expected)) {
    const { kernel } = await begin();
    const made = wire.ENTRY_OUT.decode((await kernel.ask('CREATE', 1, CREATE, 'f')).data, 0);

    const body = wire.SETATTR_IN.encode({ ...values, valid: VALID[bit as keyof typeof VALID] });
    const after = wire.ATTR_OUT.decode((await kernel.ask('SETATTR', 2, body)).data, 0);

    t.like(after, changed, bit);
    for (const key of ['mode', 'uid', 'gid', 'size', 'atime'] as const) {
      if (!(key in changed)) t.is(after[key], made[key], `${bit} leaves ${key}`);
    }
  }
});

test('listing with any buffer size shows each name once, with and without attributes', async t => {
  const { kernel } = await begin();
  const names = Array.from({ length: 1200 }, (_, index) => `name-${String(index).padStart(4, '0')}`);
  for (const name of names) await kernel.ask('MKNOD', 1, wire.MKNOD_IN.encode({ mode: 0o100644 }), name);

  for (const opcode of ['READDIR', 'READDIRPLUS'] as const) {
    for (const size of [300, 4096, 131072]) {
      const { fh } = wire.OPEN_OUT.decode((await kernel.ask('OPENDIR', 1, wire.OPEN_IN.encode({}))).data, 0);
      const seen: string[] = [];
      for (let offset = 0; ; ) {
        const { data } = await kernel.ask(opcode, 1, wire.READ_IN.encode({ fh, offset, size }));
        if (data.length === 0) break;
        for (const record of records(data, opcode === 'READDIRPLUS')) {
          seen.push(record.name);
          offset = record.off;
        }
      }
      t.deepEqual(seen, ['.', '..', ...names], `${opcode} ${size}`);
    }
  }
});

test('a listing goes on at any earlier position', async t => {
  const { kernel } = await begin();
  const names = Array.from({ length: 1200 }, (_, index) => `name-${String(index).padStart(4, '0')}`);
  for (const name of names) await kernel.ask('MKNOD', 1, wire.MKNOD_IN.encode({ mode: 0o100644 }), name);
  const { fh } = wire.OPEN_OUT.decode((await kernel.ask('OPENDIR', 1, wire.OPEN_IN.encode({}))).data, 0);
  await kernel.ask('READDIR', 1, wire.READ_IN.encode({ fh, offset: 1100, size: 4096 }));

  for (const offset of [2, 501, 502, 700, 1201, 3]) {
    const { data } = await kernel.ask('READDIR', 1, wire.READ_IN.encode({ fh, offset, size: 64 }));
    t.is(records(data, false)[0]?.name, names[offset - 2], String(offset));
  }
});

test('an operation that takes too long is answered ETIMEDOUT once, and a handle that comes late is given back', async t => {
  let finish: (() => void) | undefined;
  const released: number[] = [];
  class Slow extends MemoryOperations {
    override async open() {
      await new Promise<void>(resolve => {
        finish = resolve;
      });
      return { handle: 77, keepCache: false };
    }
    override async release(handle: number) {
      released.push(handle);
    }
  }
  const kernel = new FakeKernel(new Slow());
  await kernel.init();
  const unique = kernel.send('OPEN', 1, wire.OPEN_IN.encode({}));

  kernel.clock.advance(10_000);
  t.deepEqual(kernel.answers.get(unique), [{ errno: 110, data: Buffer.alloc(0) }]);

  finish?.();
  await new Promise(setImmediate);
  t.is(kernel.answers.get(unique)?.length, 1);
  t.deepEqual(released, [77]);
});

test('a lock that is held is answered EAGAIN, waiting for it lasts until it is free or interrupted', async t => {
  const { kernel } = await begin();
  await kernel.ask('CREATE', 1, CREATE, 'f');
  const lock = (owner: bigint, type: number) =>
    wire.LK_IN.encode({ fh: 1, owner, start: 0n, end: 2n ** 63n - 1n, type, pid: 7, lkFlags: wire.LK_FLOCK });
  t.is((await kernel.ask('SETLK', 2, lock(1n, 1))).errno, 0);

  t.is((await kernel.ask('SETLK', 2, lock(2n, 0))).errno, 11);
  const { data } = await kernel.ask('GETLK', 2, lock(2n, 0));
  t.like(wire.LK_OUT.decode(data, 0), { type: 1, start: 0n, end: 2n ** 63n - 1n });

  const first = kernel.send('SETLKW', 2, lock(2n, 1));
  kernel.clock.advance(60_000);
  t.false(kernel.answers.has(first));
  kernel.send('INTERRUPT', 0, wire.INTERRUPT_IN.encode({ unique: first }));
  await new Promise(setImmediate);
  t.is(kernel.answers.get(first)?.[0]?.errno, 4);

  const second = kernel.ask('SETLKW', 2, lock(3n, 1));
  await kernel.ask('SETLK', 2, lock(1n, 2));
  t.is((await second).errno, 0);
});

test('an interrupt that overtook its request is sent back with EAGAIN', async t => {
  const { kernel } = await begin();

  t.is((await kernel.ask('INTERRUPT', 0, wire.INTERRUPT_IN.encode({ unique: 9999 }))).errno, 11);
});

test('only what the kernel knows is invalidated', async t => {
  const { operations, kernel } = await begin();
  await kernel.ask('MKDIR', 1, MKDIR, 'd');

  operations.notifier?.invalidateInode(2, 4096);
  operations.notifier?.invalidateInode(2);
  operations.notifier?.invalidateInode(99, 0);
  operations.notifier?.invalidateEntry(1, 'd');
  operations.notifier?.invalidateEntry(99, 'd');

  t.is(kernel.notifications.length, 3);
  t.like(wire.NOTIFY_INVAL_INODE_OUT.decode(kernel.notifications[0]?.data as Buffer, 0), { ino: 2, off: 4096, len: 0 });
  t.like(wire.NOTIFY_INVAL_INODE_OUT.decode(kernel.notifications[1]?.data as Buffer, 0), { ino: 2, off: -1 });
  t.is(kernel.notifications[2]?.data.toString('latin1', 16), 'd\0');
});

test('the calls on descriptors and names that come seldom do what they say', async t => {
  const { kernel } = await begin();
  await kernel.ask('CREATE', 1, CREATE, 'a');
  await kernel.ask('CREATE', 1, CREATE, 'b');
  const write = wire.WRITE_IN.encode({ fh: 1, offset: 0, size: 5 });
  await kernel.ask('WRITE', 2, write, Buffer.from('hello'));
  const sizeOf = async (node: number): Promise<number> =>
    wire.ATTR_OUT.decode((await kernel.ask('GETATTR', node, wire.GETATTR_IN.encode({}))).data, 0).size;

  const allocated = await kernel.ask('FALLOCATE', 2, wire.FALLOCATE_IN.encode({ fh: 1, offset: 4, length: 4 }));
  t.deepEqual([allocated.errno, await sizeOf(2)], [0, 8]);

  const seek = async (offset: number, whence: number) => {
    const { errno, data } = await kernel.ask('LSEEK', 2, wire.LSEEK_IN.encode({ fh: 1, offset, whence }));
    return errno === 0 ? wire.LSEEK_OUT.decode(data, 0).offset : -errno;
  };
  t.deepEqual([await seek(3, 3), await seek(3, 4), await seek(8, 3), await seek(0, 9)], [3, 8, -6, -22]);

  const range = { fhIn: 1, offsetIn: 1, nodeidOut: 3, fhOut: 2, offsetOut: 0, len: 3 };
  const copied = await kernel.ask('COPY_FILE_RANGE', 2, wire.COPY_FILE_RANGE_IN.encode(range));
  t.is(wire.WRITE_OUT.decode(copied.data, 0).size, 3);
  const more = { ...range, offsetOut: 3 };
  const copied64 = await kernel.ask('COPY_FILE_RANGE_64', 2, wire.COPY_FILE_RANGE_IN.encode(more));
  t.is(wire.COPY_FILE_RANGE_OUT.decode(copied64.data, 0).bytesCopied, 3);
  const read = await kernel.ask('READ', 3, wire.READ_IN.encode({ fh: 2, offset: 0, size: 100 }));
  t.is(read.data.toString(), 'ellell');

  const { data } = await kernel.ask('STATX', 2, wire.STATX_IN.encode({ sxMask: 0xfff }));
  t.like(wire.STATX_OUT.decode(data, 0), { ino: 2, size: 8, mode: 0o100640, uid: 1000, mask: 0x7ff, nlink: 1 });
});

test('renames that keep what is there, or exchange it', async t => {
  const { kernel } = await begin();
  await kernel.ask('CREATE', 1, CREATE, 'a');
  await kernel.ask('CREATE', 1, CREATE, 'b');
  const rename = (flags: number) => kernel.ask('RENAME2', 1, wire.RENAME2_IN.encode({ newdir: 1, flags }), 'a', 'b');
  const inodeOf = async (name: string): Promise<number> =>
    wire.ENTRY_OUT.decode((await kernel.ask('LOOKUP', 1, name)).data, 0).nodeid;

  t.is((await rename(1)).errno, 17);
  t.deepEqual([await inodeOf('a'), await inodeOf('b')], [2, 3]);
  t.is((await rename(2)).errno, 0);
  t.deepEqual([await inodeOf('a'), await inodeOf('b')], [3, 2]);
  t.is((await rename(4)).errno, 22);
  t.is((await rename(0)).errno, 0);
  t.is(await inodeOf('b'), 3);
});

test('a large write gives its memory away, a small one is copied', async t => {
  const { kernel } = await begin();
  await kernel.ask('CREATE', 1, CREATE, 'f');
  const write = (size: number) => {
    const buffer = Buffer.allocUnsafeSlow(2 ** 20);
    const len = 80 + size;
    wire.IN_HEADER.encodeInto(buffer, 0, { len, opcode: 16, unique: 1000 + size, nodeid: 2 });
    wire.WRITE_IN.encodeInto(buffer, 40, { fh: 1, offset: 0, size });
    return kernel.session.onRequest(buffer.subarray(0, len));
  };

  t.true(write(600_000));
  t.false(write(5));
});

function records(data: Buffer, plus: boolean): Array<{ name: string; off: number }> {
  const list: Array<{ name: string; off: number }> = [];
  const head = plus ? wire.ENTRY_OUT.sizeBytes : 0;
  for (let at = 0; at < data.length; ) {
    const { off, namelen } = wire.DIRENT.decode(data, at + head);
    const start = at + head + wire.DIRENT.sizeBytes;
    list.push({ name: data.toString('utf8', start, start + namelen), off });
    at += wire.alignRecord(head + wire.DIRENT.sizeBytes + namelen);
  }
  return list;
}
