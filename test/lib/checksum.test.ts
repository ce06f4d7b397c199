import { crc32 as zlibCrc32 } from 'node:zlib';
import test from 'ava';
import fc from 'fast-check';
import { crc32, crc32Combine, crc32OfAll } from '../../src/lib/checksum.js';

test('the checksum is the CRC-32 that everybody knows', t => {
  t.is(crc32(Buffer.from('123456789')), 0xcbf43926);
  t.is(crc32(Buffer.alloc(0)), 0);
});

test('a list of buffers has the checksum of its concatenation', t => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 50 })), parts => {
      const buffers = parts.map(part => Buffer.from(part));
      return crc32OfAll(buffers) === zlibCrc32(Buffer.concat(buffers));
    }),
  );
  t.pass();
});

test('the checksum of a concatenation follows from those of its parts', t => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.uint8Array({ maxLength: 300 }), (a, b) => {
      const whole = zlibCrc32(Buffer.concat([a, b]));
      return crc32Combine(zlibCrc32(a), zlibCrc32(b), b.length) === whole;
    }),
  );
  const zeros = Buffer.alloc(3 * 1024 * 1024 + 5);
  t.is(crc32Combine(zlibCrc32('a'), zlibCrc32(zeros), zeros.length), zlibCrc32(zeros, zlibCrc32('a')));
});
