import test from 'ava';
import fc from 'fast-check';
import { ANSWERED_OPCODES } from '../../src/mount/kernel/opcodes.js';
import { Structure } from '../../src/mount/kernel/structure.js';
import * as wire from '../../src/mount/kernel/wire.js';
import { FakeKernel, OPCODES, type OpcodeName, request } from './kernel-session.js';
import { MemoryOperations } from './memory-operations.js';

test('every structure has the size that the kernel header gives it', t => {
  const sizes = Object.fromEntries(
    Object.values(wire)
      .filter(value => value instanceof Structure)
      .map(({ name, sizeBytes }) => [name, sizeBytes]),
  );

  // Compared once, by hand, with what gcc says of libfuse's include/fuse_kernel.h (commit e8d407c, protocol 7.45): all equal, but for fuse_init_in (64 there)
  // and fuse_setxattr_in (16 there), which stand here in the short forms that are sent without extensions.
  t.deepEqual(sizes, {
    fuse_in_header: 40,
    fuse_out_header: 16,
    fuse_init_in: 16,
    fuse_init_out: 64,
    fuse_attr: 88,
    fuse_entry_out: 128,
    fuse_attr_out: 104,
    fuse_getattr_in: 16,
    fuse_setattr_in: 88,
    fuse_statx_in: 24,
    fuse_statx_out: 288,
    fuse_forget_in: 8,
    fuse_batch_forget_in: 8,
    fuse_forget_one: 16,
    fuse_mknod_in: 16,
    fuse_mkdir_in: 8,
    fuse_rename_in: 8,
    fuse_rename2_in: 16,
    fuse_link_in: 8,
    fuse_open_in: 8,
    fuse_create_in: 16,
    fuse_open_out: 16,
    fuse_release_in: 24,
    fuse_flush_in: 24,
    fuse_read_in: 40,
    fuse_write_in: 40,
    fuse_write_out: 8,
    fuse_fsync_in: 16,
    fuse_fallocate_in: 32,
    fuse_lseek_in: 24,
    fuse_lseek_out: 8,
    fuse_copy_file_range_in: 56,
    fuse_copy_file_range_out: 8,
    fuse_dirent: 24,
    fuse_setxattr_in: 8,
    fuse_getxattr_in: 8,
    fuse_getxattr_out: 8,
    fuse_statfs_out: 80,
    fuse_lk_in: 48,
    fuse_lk_out: 24,
    fuse_interrupt_in: 8,
    fuse_notify_inval_inode_out: 24,
    fuse_notify_inval_entry_out: 16,
  });
});

test('what is encoded is decoded again, negative and large numbers included', t => {
  const integer = fc.maxSafeInteger();
  const property = fc.property(integer, fc.maxSafeNat(), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (i, n, id) => {
    const notify = wire.NOTIFY_INVAL_INODE_OUT.decode(
      wire.NOTIFY_INVAL_INODE_OUT.encode({ ino: n, off: i, len: -1 }),
      0,
    );
    const lock = wire.LK_IN.decode(wire.LK_IN.encode({ fh: n, owner: id, start: id }), 0);

    return notify.ino === n && notify.off === i && notify.len === -1 && lock.owner === id && lock.start === id;
  });
  t.notThrows(() => fc.assert(property));
});

test('a structure that is misaligned or of another size is a bug', t => {
  t.throws(() => new Structure('bad', 12, { small: 'u32', big: 'u64' }), { message: /aligned/ });
  t.throws(() => new Structure('bad', 12, { small: 'u32' }), { message: /12 bytes, not 4/ });
});

test('kernels older than 7.31 are refused with a message that says what to do', async t => {
  for (const minor of [0, 9, 30]) {
    const kernel = new FakeKernel(new MemoryOperations());
    const { errno } = await kernel.init(minor);

    t.is(errno, 71);
    t.regex((kernel.refusals[0] as Error).message, /needs 7\.31 .*--fuse native/);
    t.false(kernel.isReady);
    t.is((await kernel.ask('STATFS', 1)).errno, 5);
  }
});

test('a kernel of a later major version is answered with ours and asked again', async t => {
  const kernel = new FakeKernel(new MemoryOperations());

  const first = await kernel.init(3, 8);
  t.is(wire.INIT_OUT.decode(first.data, 0).major, 7);
  t.false(kernel.isReady);

  await kernel.init(60, 7);
  t.true(kernel.isReady);
});

test('INIT asks for requests of 1 MiB and for no more than the kernel offers', async t => {
  const kernel = new FakeKernel(new MemoryOperations());
  const { errno, data } = await kernel.init(31);

  const terms = wire.INIT_OUT.decode(data, 0);
  t.is(errno, 0);
  t.like(terms, { major: 7, minor: 31, maxWrite: 2 ** 20, maxPages: 256, maxReadahead: 131072, timeGran: 1 });
  t.is(terms.flags & wire.INIT_FLAG.FLOCK_LOCKS, wire.INIT_FLAG.FLOCK_LOCKS);
});

test('truncated requests of every operation end in an errno', async t => {
  for (const opcode of Object.keys(ANSWERED_OPCODES) as OpcodeName[]) {
    if (['READLINK', 'STATFS', 'FSYNCDIR', 'DESTROY'].includes(opcode)) continue;
    const kernel = new FakeKernel(new MemoryOperations());
    await kernel.init();

    const { errno } = await kernel.ask(opcode, 1);
    t.true(errno > 0, opcode);
  }
});

test('a name is not read past the end of the request, whatever lies behind it', async t => {
  const kernel = new FakeKernel(new MemoryOperations());
  await kernel.init();
  const whole = request('MKDIR', 4, 1, wire.MKDIR_IN.encode({ mode: 0o755 }), 'secret');

  const cut = whole.subarray(0, whole.length - 1);
  cut.writeUInt32LE(cut.length, 0);
  kernel.session.onRequest(cut);
  await new Promise(setImmediate);

  t.is(kernel.answers.get(4)?.[0]?.errno, 22);
  t.is((await kernel.ask('LOOKUP', 1, 'secret')).errno, 2);
});

test('names that are no names are refused with EILSEQ', async t => {
  const kernel = new FakeKernel(new MemoryOperations());
  await kernel.init();

  for (const name of [Buffer.from([0xff, 0xfe, 0]), Buffer.from([0xc3, 0]), '', 'a/b']) {
    t.is((await kernel.ask('LOOKUP', 1, name)).errno, 84);
    t.is((await kernel.ask('UNLINK', 1, name)).errno, 84);
  }
});

test('unknown operations are answered ENOSYS', async t => {
  const kernel = new FakeKernel(new MemoryOperations());
  await kernel.init();

  for (const opcode of [7, 19, 48, 49, 50, 51, 54, 4096]) t.is((await kernel.ask(opcode, 1)).errno, 38);
});

test('a request that is not as long as it says ends in EIO', async t => {
  const kernel = new FakeKernel(new MemoryOperations());
  await kernel.init();
  const bytes = request('LOOKUP', 4, 1, 'name');
  bytes.writeUInt32LE(bytes.length + 1000, 0);

  kernel.session.onRequest(bytes);

  t.is(kernel.answers.get(4)?.[0]?.errno, 5);
});

test('random requests never throw and get one answer each, none longer than a buffer', async t => {
  const known = fc.constantFrom(...Object.values(OPCODES).filter(number => number !== OPCODES.INIT));
  const opcode = fc.oneof({ weight: 9, arbitrary: known }, { weight: 1, arbitrary: fc.nat(0xffff_ffff) });
  const word = fc.oneof(fc.nat(20), fc.integer({ min: 0, max: 0xffff_ffff }));
  const words = fc.array(word, { maxLength: 24 }).map(list => Buffer.from(Uint32Array.from(list).buffer));
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 200 }).map(bytes => Buffer.from(bytes)),
    fc
      .tuple(words, fc.uint8Array({ maxLength: 40 }))
      .map(([head, tail]) => Buffer.concat([head, tail, Buffer.alloc(1)])),
  );
  const requests = fc.array(fc.tuple(opcode, fc.nat(5), body), { minLength: 1, maxLength: 20 });

  const property = fc.asyncProperty(requests, async list => {
    const kernel = new FakeKernel(new SmallOperations());
    await kernel.init();
    await kernel.ask('CREATE', 1, wire.CREATE_IN.encode({ flags: 2, mode: 0o644 }), 'file');
    const sent = list.map(([number, node, bytes]) => ({ number, unique: kernel.send(number, node, bytes) }));
    kernel.clock.advance(20_000);
    kernel.session.abort();
    await new Promise(setImmediate);

    const silent = [OPCODES.FORGET, OPCODES.BATCH_FORGET, OPCODES.INTERRUPT] as number[];
    return sent.every(({ number, unique }) => {
      const answers = kernel.answers.get(unique) ?? [];
      const isShort = answers.every(({ errno, data }) => errno >= 0 && errno < 1000 && data.length <= 2 ** 20);
      return isShort && (silent.includes(number) ? answers.length <= 1 : answers.length === 1);
    });
  });
  await t.notThrowsAsync(() => fc.assert(property, { numRuns: 400 }));
});

test('random bytes in place of requests never throw', t => {
  const bytes = fc.uint8Array({ maxLength: 120 });
  const property = fc.property(bytes, data => {
    const kernel = new FakeKernel(new MemoryOperations());
    kernel.session.onRequest(Buffer.from(data));
  });
  t.notThrows(() => fc.assert(property, { numRuns: 300 }));
});

/** Refuses the sizes that random requests ask for, as memory for them would be real. */
class SmallOperations extends MemoryOperations {
  override async setAttributes(...args: Parameters<MemoryOperations['setAttributes']>) {
    if ((args[1].sizeBytes ?? 0) > 1e6) args[1].sizeBytes = 1000;
    return super.setAttributes(...args);
  }

  override async write(handle: number, offset: number, data: Buffer) {
    return super.write(handle, Math.min(offset, 1000), data);
  }

  override async allocate(handle: number, mode: number, offset: number, length: number) {
    return super.allocate(handle, mode, Math.min(offset, 1000), Math.min(length, 1000));
  }

  override async copyRange(
    from: { handle: number; offset: number },
    to: { handle: number; offset: number },
    length: number,
  ) {
    return super.copyRange(from, { ...to, offset: Math.min(to.offset, 1000) }, length);
  }
}
