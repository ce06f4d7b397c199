// Appends through a chain of three real chunkservers: order, exactly once, refusals, pushes (DESIGN 4).
import test from 'ava';
import { CHUNK, KiB, MiB, pattern, Rig, W2 } from './rig.js';

const hello = Buffer.from('hello\n');

test('an append is acknowledged when every replica of the chain holds it (I2; paper, §3.3)', async t => {
  const rig = await Rig.start(t);

  const answer = await rig.do(() => rig.append({ bytes: hello }));

  t.like(answer, { offset: 0, committedBytes: 6 });
  for (const host of rig.hosts) t.deepEqual(host.file(), hello, host.name);
});

test('concurrent appends of many writers stand once each, in the same order on all replicas (I1)', async t => {
  const rig = await Rig.start(t);
  const writers = Array.from({ length: 8 }, (_, i) => `00000000000000b${i}`);
  const records = writers.flatMap((writer, w) =>
    Array.from({ length: 10 }, (_, i) => ({ writer, sequence: i + 1, bytes: pattern(100 + 997 * i, w * 100 + i) })),
  );

  const answers = await rig.do(() => Promise.all(records.map(record => rig.append(record))));

  const [first, ...others] = rig.hosts.map(host => host.file()!);
  for (const file of others) t.true(file.equals(first!));
  t.is(
    first!.length,
    records.reduce((sum, { bytes }) => sum + bytes.length, 0),
  );
  answers.forEach(({ offset }, i) => {
    const { bytes } = records[i]!;
    t.true(first!.subarray(offset, offset + bytes.length).equals(bytes));
  });
});

test('a repeated append answers with the recorded offset and is not written again (I3)', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello, hello]);

  const again = await rig.do(() => rig.append({ bytes: hello, sequence: 1 }));

  t.is(again.offset, 0);
  t.is(rig.hosts[2]!.file()!.length, 12);
});

test('two copies of an append in work at the same time are one append', async t => {
  const rig = await Rig.start(t);

  const answers = await rig.do(() => Promise.all([rig.append({ bytes: hello }), rig.append({ bytes: hello })]));

  t.deepEqual(
    answers.map(answer => answer.offset),
    [0, 0],
  );
  t.is(rig.hosts[0]!.file()!.length, 6);
});

test('an append whose predecessor has not arrived is out of order and leaves no trace', async t => {
  const rig = await Rig.start(t);

  t.is(await rig.refusal(() => rig.append({ bytes: hello, sequence: 2, after: 1 })), 'OUT_OF_ORDER');
  const offsets = await rig.appendAll([hello, hello]);

  t.deepEqual(offsets, [0, 6]);
});

test('an append older than the writer table remembers is refused, not doubled', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll(Array.from({ length: 40 }, () => hello));

  t.is(await rig.refusal(() => rig.append({ bytes: hello, sequence: 3, after: 0 })), 'ALREADY_PAST');
  t.is(rig.hosts[0]!.file()!.length, 240);
});

test('an append that must land elsewhere than at the end is refused', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);

  t.is(await rig.refusal(() => rig.append({ bytes: hello, sequence: 2, expectedOffset: 3 })), 'OFFSET_MISMATCH');
  const answer = await rig.do(() => rig.append({ bytes: hello, sequence: 2, expectedOffset: 6 }));

  t.is(answer.offset, 6);
});

test('after an append that does not fit, the chunk takes no smaller one either in this version', async t => {
  const rig = await Rig.start(t, { chunkSizeBytes: 8 * KiB });
  await rig.do(() => rig.append({ bytes: pattern(7 * KiB) }));

  t.is(await rig.refusal(() => rig.append({ bytes: pattern(2 * KiB), sequence: 2 })), 'FULL');
  t.is(await rig.refusal(() => rig.append({ bytes: hello, writer: W2 })), 'FULL');
  t.is(await rig.refusal(() => rig.append({ bytes: pattern(9 * KiB), sequence: 3 })), 'TOO_LARGE');
});

test('bytes that do not match their checksum are refused before they get an offset (I8)', async t => {
  const rig = await Rig.start(t);

  t.is(await rig.refusal(() => rig.append({ bytes: hello, crc: 1 })), 'BAD_MESSAGE');
  t.is(await rig.refusal(() => rig.append({ bytes: hello, lengthBytes: 7 })), 'BAD_MESSAGE');
  t.like(await rig.do(() => rig.append({ bytes: hello })), { offset: 0, committedBytes: 6 });
  const overBlocks = { bytes: pattern(200 * KiB), sequence: 2 };
  t.is(await rig.refusal(() => rig.append({ ...overBlocks, crc: 1 })), 'BAD_MESSAGE');
  t.is((await rig.do(() => rig.append(overBlocks))).offset, 6);
});

test('an append of 1 MiB travels as pushes that each hop passes on', async t => {
  const rig = await Rig.start(t);
  const bytes = pattern(MiB);
  await rig.appendAll([hello]);

  rig.push(1, bytes);
  const answer = await rig.do(() => rig.append({ bytes, sequence: 2, push: 1 }));

  t.is(answer.offset, 6);
  for (const host of rig.hosts) t.true(host.file()!.equals(Buffer.concat([hello, bytes])), host.name);
  t.true((await rig.do(() => rig.read(rig.hosts[2]!, 0, MiB + 6))).subarray(6).equals(bytes));
});

test('an append whose pushed bytes are not all here is told so, and goes through when they are sent again', async t => {
  const rig = await Rig.start(t);
  const bytes = pattern(MiB);

  rig.push(1, bytes, { skip: 2 });
  t.is(await rig.refusal(() => rig.append({ bytes, push: 1 })), 'PUSH_LOST');
  rig.push(2, bytes);
  t.is((await rig.do(() => rig.append({ bytes, push: 2 }))).offset, 0);
});

test('pushed bytes outlive the connection between replicas: they are sent again with the append', async t => {
  const rig = await Rig.start(t);
  const bytes = pattern(MiB);
  await rig.appendAll([hello]);

  rig.push(1, bytes);
  await rig.pass(50);
  rig.network.reset('s1', 's2');
  await rig.pass(50);
  await rig.do(() => rig.append({ bytes, sequence: 2, push: 1 }));

  t.is(rig.hosts[2]!.file()!.length, MiB + 6);
});

test('one writer may have no more appends in work than the writer table remembers', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);
  rig.network.cut('s1', 's2');
  const results = Array.from({ length: 17 }, (_, i) => rig.append({ bytes: hello, sequence: i + 2 }));
  for (const result of results) result.catch(() => undefined);

  const last = await rig.refusal(() => results[16]!);

  t.is(last, 'OVERLOADED');
});

test('the length of the tail is what is committed, and only the holder of the lease tells it (§3.1), with one time for all who hear of it', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);
  const last = await rig.do(() => rig.append({ bytes: hello, sequence: 2 }));
  const token = rig.token({ right: 'read' });
  await rig.pass(500);

  const tail = await rig.do(() => rig.call(rig.hosts[0]!, 'tailLength', { token }));
  t.deepEqual(tail, { committedBytes: 12, changedMs: last.changedMs! });
  t.is(rig.leases[0]!.changedMs, last.changedMs);
  t.is(await rig.refusal(() => rig.call(rig.hosts[1]!, 'tailLength', { token })), 'FENCED');
});

test('fsync reaches the disk of every replica: nothing of it is lost with the power of all of them', async t => {
  const rig = await Rig.start(t);
  const records = Array.from({ length: 20 }, (_, i) => pattern(5_000, i));
  await rig.appendAll(records);
  const token = rig.token();
  await rig.do(() => rig.call(rig.hosts[0]!, 'syncChunk', { token, lengthBytes: 100_000 }));

  for (const host of rig.hosts) {
    await host.losePower();
    t.true(host.file()!.equals(Buffer.concat(records)), host.name);
    const answer = await rig.do(() => rig.order(host, 'fence', { version: 2 }));
    t.is(answer.lengthBytes, 100_000);
    t.true(answer.suspect);
  }
});

test('a read gives exactly the recorded bytes, from any replica, and none beyond', async t => {
  const rig = await Rig.start(t);
  const bytes = pattern(200 * KiB);
  await rig.do(() => rig.append({ bytes }));

  for (const host of rig.hosts) {
    for (const [offset, length] of [
      [0, 1],
      [65_535, 2],
      [65_536, 65_536],
      [100_000, 100_000],
      [204_799, 1],
    ] as const) {
      const read = await rig.do(() => rig.read(host, offset, length));
      t.true(read.equals(bytes.subarray(offset, offset + length)));
    }
    t.is(await rig.refusal(() => rig.read(host, 204_799, 2)), 'NO_CHUNK');
  }
});

test('reads are counted for the heartbeat', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);
  for (let i = 0; i < 3; i++) await rig.do(() => rig.read(rig.hosts[1]!, 0, 6));
  await rig.pass(500);

  t.true(rig.reads.some(({ handle, reads }) => handle === CHUNK && reads > 0));
});
