// The times that fuse-native loses, read from the memory of its thread, and nothing read that is not recognised. On a real mount: transport.test.ts.
import test from 'ava';
import { timesOf, UTIMENS } from '../../src/mount/native-times.js';

/** As fuse-native.c 2.2.6 lays it out, with the sizes that sizeof has on Linux with 64 bits. */
function locals(atimeMs: bigint, mtimeMs: bigint, opcode = UTIMENS): Buffer {
  const memory = Buffer.alloc(400, 0x5a);
  memory.writeUInt32LE(opcode, 8);
  memory.writeBigInt64LE(atimeMs, 104);
  memory.writeBigInt64LE(mtimeMs, 112);
  return memory;
}

function halves(timeMs: bigint): [number, number] {
  const unsigned = BigInt.asUintN(64, timeMs);
  return [Number(unsigned & 0xffff_ffffn), Number(unsigned >> 32n)];
}

test('both times are what utimens(2) was given, also before 1970', t => {
  for (const [atimeMs, mtimeMs] of [
    [1_700_000_000_123n, 981_173_106_500n],
    [0n, 1n],
    [-86_400_000n, -1n],
  ] as const)
    t.deepEqual(timesOf(locals(atimeMs, mtimeMs), ...halves(atimeMs)), {
      atimeMs: Number(atimeMs),
      mtimeMs: Number(mtimeMs),
      isExact: true,
    });
});

test('memory of another layout is not believed', t => {
  const inexact = { atimeMs: 5_000, mtimeMs: 5_000, isExact: false };

  t.deepEqual(timesOf(locals(5_000n, 7n, UTIMENS + 1), ...halves(5_000n)), inexact);
  t.deepEqual(timesOf(locals(6_000n, 7n), ...halves(5_000n)), inexact);
  t.deepEqual(timesOf(locals(5_000n, 7n).subarray(0, 119), ...halves(5_000n)), inexact);
});
