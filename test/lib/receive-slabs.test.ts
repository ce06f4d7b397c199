// The memory that connections receive into, and the pace of garbage collection that goes with it.
import test from 'ava';
import { ReceiveSlabs } from '../../src/lib/receive-slabs.js';
import { growingPercent } from '../../src/lib/system-memory.js';

const KiB = 1024;
const MiB = 1024 * KiB;

/** Receives as net.Socket does: fills what it is given, tells how much, takes the next buffer. */
function receiver() {
  const slabs = new ReceiveSlabs();
  const received: Buffer[] = [];
  slabs.onData = data => received.push(data);
  let target = slabs.onread.buffer();
  return {
    received,
    get room() {
      return target.length;
    },
    read(bytes: Buffer) {
      const count = bytes.copy(target);
      slabs.onread.callback(count);
      target = slabs.onread.buffer();
    },
  };
}

test('what was received is never written to again, and neighbours in the stream are neighbours in memory', t => {
  const { received, read } = receiver();

  for (let i = 0; i < 500; i++) read(Buffer.alloc(1000, i));

  t.true(received.every((data, i) => data.equals(Buffer.alloc(1000, i))));
  const following = received.filter((data, i) => i > 0 && data.buffer === received[i - 1]!.buffer);
  t.true(following.length > 480);
  for (const [i, data] of received.entries()) {
    const before = received[i - 1];
    if (before?.buffer === data.buffer) t.is(data.byteOffset, before.byteOffset + before.length);
  }
});

test('slabs are small for small messages and grow with the reads of a stream', t => {
  const small = receiver();
  for (let i = 0; i < 1000; i++) small.read(Buffer.alloc(200));
  t.true(small.received.every(data => data.buffer.byteLength === 64 * KiB));

  const stream = receiver();
  for (let i = 0; i < 50; i++) stream.read(Buffer.alloc(stream.room));
  t.is(stream.received.at(-1)!.buffer.byteLength, MiB);
});

test('garbage may gather up to 96 MiB beside a small heap; a large one is left to V8', t => {
  t.is(growingPercent(12 * MiB), 800);
  t.is(growingPercent(1 * MiB), 1500);
  t.is(growingPercent(96 * MiB), 100);
  t.is(growingPercent(400 * MiB), 0);
});
