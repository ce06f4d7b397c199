import test from 'ava';
import fc from 'fast-check';
import { ANSWERED_OPCODES } from '../../src/mount/kernel/opcodes.js';
import { Structure } from '../../src/mount/kernel/structure.js';
import * as wire from '../../src/mount/kernel/wire.js';
import { FakeKernel, OPCODES, type OpcodeName, request } from './kernel-session.js';
import { MemoryOperations } from './memory-operations.js';

test('every structure lies in memory as the kernel header has it', t => {
  const layouts = Object.fromEntries(
    Object.values(wire)
      .filter(value => value instanceof Structure)
      .map(({ name, offsets, sizeBytes }) => {
        const places = Object.entries(offsets).map(([field, offset]) => `${field} ${offset}`);
        return [name, `${places.join(', ')}; ${sizeBytes}`];
      }),
  );

  // Compared once, by hand, with what gcc says (offsetof and sizeof of each of the 282 fields) of libfuse's include/fuse_kernel.h, commit e8d407c, protocol
  // 7.45: all equal. fuse_init_in (64 bytes there) and fuse_setxattr_in (16 there) stand here in the short forms that are sent without extensions.
  t.deepEqual(layouts, {
    fuse_attr:
      'ino 0, size 8, blocks 16, atime 24, mtime 32, ctime 40, atimensec 48, mtimensec 52, ctimensec 56, mode 60, nlink 64, uid 68, gid 72, rdev 76, blksize 80, attrFlags 84; 88',
    fuse_attr_out:
      'attrValid 0, attrValidNsec 8, dummy 12, ino 16, size 24, blocks 32, atime 40, mtime 48, ctime 56, atimensec 64, mtimensec 68, ctimensec 72, mode 76, nlink 80, uid 84, gid 88, rdev 92, blksize 96, attrFlags 100; 104',
    fuse_batch_forget_in: 'count 0, dummy 4; 8',
    fuse_copy_file_range_in: 'fhIn 0, offsetIn 8, nodeidOut 16, fhOut 24, offsetOut 32, len 40, flags 48; 56',
    fuse_copy_file_range_out: 'bytesCopied 0; 8',
    fuse_create_in: 'flags 0, mode 4, umask 8, openFlags 12; 16',
    fuse_dirent: 'ino 0, off 8, namelen 16, type 20; 24',
    fuse_entry_out:
      'nodeid 0, generation 8, entryValid 16, attrValid 24, entryValidNsec 32, attrValidNsec 36, ino 40, size 48, blocks 56, atime 64, mtime 72, ctime 80, atimensec 88, mtimensec 92, ctimensec 96, mode 100, nlink 104, uid 108, gid 112, rdev 116, blksize 120, attrFlags 124; 128',
    fuse_fallocate_in: 'fh 0, offset 8, length 16, mode 24, padding 28; 32',
    fuse_flush_in: 'fh 0, unused 8, padding 12, lockOwner 16; 24',
    fuse_forget_in: 'nlookup 0; 8',
    fuse_forget_one: 'nodeid 0, nlookup 8; 16',
    fuse_fsync_in: 'fh 0, flags 8, padding 12; 16',
    fuse_getattr_in: 'flags 0, dummy 4, fh 8; 16',
    fuse_getxattr_in: 'size 0, padding 4; 8',
    fuse_getxattr_out: 'size 0, padding 4; 8',
    fuse_init_in: 'major 0, minor 4, maxReadahead 8, flags 12; 16',
    fuse_init_out:
      'major 0, minor 4, maxReadahead 8, flags 12, maxBackground 16, congestionThreshold 18, maxWrite 20, timeGran 24, maxPages 28, mapAlignment 30, flags2 32, maxStackDepth 36, requestTimeout 40, unused0 42, unused1 44, unused2 46, unused3 48, unused4 50, unused5 52, unused6 54, unused7 56, unused8 58, unused9 60, unused10 62; 64',
    fuse_interrupt_in: 'unique 0; 8',
    fuse_in_header: 'len 0, opcode 4, unique 8, nodeid 16, uid 24, gid 28, pid 32, totalExtlen 36, padding 38; 40',
    fuse_link_in: 'oldnodeid 0; 8',
    fuse_lk_in: 'fh 0, owner 8, start 16, end 24, type 32, pid 36, lkFlags 40, padding 44; 48',
    fuse_lk_out: 'start 0, end 8, type 16, pid 20; 24',
    fuse_lseek_in: 'fh 0, offset 8, whence 16, padding 20; 24',
    fuse_lseek_out: 'offset 0; 8',
    fuse_mkdir_in: 'mode 0, umask 4; 8',
    fuse_mknod_in: 'mode 0, rdev 4, umask 8, padding 12; 16',
    fuse_notify_inval_entry_out: 'parent 0, namelen 8, flags 12; 16',
    fuse_notify_inval_inode_out: 'ino 0, off 8, len 16; 24',
    fuse_open_in: 'flags 0, openFlags 4; 8',
    fuse_open_out: 'fh 0, openFlags 8, backingId 12; 16',
    fuse_out_header: 'len 0, error 4, unique 8; 16',
    fuse_read_in: 'fh 0, offset 8, size 16, readFlags 20, lockOwner 24, flags 32, padding 36; 40',
    fuse_release_in: 'fh 0, flags 8, releaseFlags 12, lockOwner 16; 24',
    fuse_rename2_in: 'newdir 0, flags 8, padding 12; 16',
    fuse_rename_in: 'newdir 0; 8',
    fuse_setattr_in:
      'valid 0, padding 4, fh 8, size 16, lockOwner 24, atime 32, mtime 40, ctime 48, atimensec 56, mtimensec 60, ctimensec 64, mode 68, unused4 72, uid 76, gid 80, unused5 84; 88',
    fuse_setxattr_in: 'size 0, flags 4; 8',
    fuse_statfs_out:
      'blocks 0, bfree 8, bavail 16, files 24, ffree 32, bsize 40, namelen 44, frsize 48, padding 52, spare0 56, spare1 60, spare2 64, spare3 68, spare4 72, spare5 76; 80',
    fuse_statx_in: 'flags 0, reserved 4, fh 8, sxFlags 16, sxMask 20; 24',
    fuse_statx_out:
      'attrValid 0, attrValidNsec 8, flags 12, spare0 16, spare1 24, mask 32, blksize 36, attributes 40, nlink 48, uid 52, gid 56, mode 60, spare2 62, ino 64, size 72, blocks 80, attributesMask 88, atime 96, atimensec 104, atimeReserved 108, btime 112, btimensec 120, btimeReserved 124, ctime 128, ctimensec 136, ctimeReserved 140, mtime 144, mtimensec 152, mtimeReserved 156, rdevMajor 160, rdevMinor 164, devMajor 168, devMinor 172, tail0 176, tail1 184, tail2 192, tail3 200, tail4 208, tail5 216, tail6 224, tail7 232, tail8 240, tail9 248, tail10 256, tail11 264, tail12 272, tail13 280; 288',
    fuse_write_in: 'fh 0, offset 8, size 16, writeFlags 20, lockOwner 24, flags 32, padding 36; 40',
    fuse_write_out: 'size 0, padding 4; 8',
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
