// Fixing, copying, deleting, scrubbing: how a replica comes to be exactly what the master's record says (DESIGN 2, 4; I5, I7, I8).
import test from 'ava';
import { BOUNDS } from '../../src/chunkserver/settings.js';
import type { ChunkHandle } from '../../src/protocol/ids.js';
import { CHUNK, type Host, KiB, MiB, pattern, Rig, W1, W2 } from './rig.js';

const hello = Buffer.from('hello\n');

test('a sealed chunk has the same bytes everywhere and takes no more (I5)', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello, hello]);

  t.is(await rig.seal(2), 12);

  for (const host of rig.hosts) {
    t.like(await rig.do(() => rig.order(host, 'fence', { version: 9 })), {
      lengthBytes: 12,
      fixed: true,
      suspect: false,
    });
    t.is(await rig.refusal(() => rig.order(host, 'grant', { version: 9 })), 'SUPERSEDED');
    t.is(await rig.refusal(() => rig.order(host, 'fix', { version: 9, lengthBytes: 6 })), 'SUPERSEDED');
  }
});

test('fix cuts what is longer, in file, checksums and writers', async t => {
  const rig = await Rig.start(t);
  const bytes = pattern(150 * KiB);
  await rig.appendAll([hello, bytes, hello]);
  const host = rig.hosts[0]!;
  await rig.do(() => rig.order(host, 'fence', { version: 2 }));

  const fixed = await rig.do(() => rig.order(host, 'fix', { version: 2, lengthBytes: 6 + 150 * KiB }));

  t.deepEqual(fixed, { short: false, lengthBytes: 6 + 150 * KiB });
  t.is(host.file()!.length, 6 + 150 * KiB);
  t.true((await rig.do(() => rig.read(host, 6, 150 * KiB, rig.token({ right: 'read', version: 2 })))).equals(bytes));
  const find = (sequence: number) =>
    rig.do(() => rig.order(host, 'findAppend', { lengthBytes: 6 + 150 * KiB, writer: W1, sequence }));
  t.deepEqual(await find(2), { offset: 6 });
  t.deepEqual(await find(3), {});
  await host.crash();
  t.is(host.file()!.length, 6 + 150 * KiB);
});

test('whether an append stands is only said of a chunk sealed at the length asked for', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);
  const query = { writer: W1, sequence: 1 };

  t.is(await rig.refusal(() => rig.order(rig.hosts[0]!, 'findAppend', { ...query, lengthBytes: 6 })), 'NO_CHUNK');
  await rig.seal(2);
  t.is(await rig.refusal(() => rig.order(rig.hosts[0]!, 'findAppend', { ...query, lengthBytes: 5 })), 'NO_CHUNK');
  t.deepEqual(await rig.do(() => rig.order(rig.hosts[0]!, 'findAppend', { ...query, lengthBytes: 6 })), { offset: 0 });
});

test('a replica that is behind copies the missing tail and nothing more, and its writers (DESIGN 2)', async t => {
  const rig = await Rig.start(t);
  const first = pattern(2 * MiB + 777, 1);
  const second = pattern(300 * KiB, 2);
  await rig.appendAll([first]);
  const late = rig.hosts[2]!;
  await rig.do(() => rig.order(late, 'fence', { version: 2 }));
  // The others go on without it.
  for (const host of rig.hosts.slice(0, 2)) await rig.do(() => rig.order(host, 'grant', { version: 3 }));
  await rig.do(() => rig.order(rig.hosts[0]!, 'adopt', { version: 3, lengthBytes: first.length, leaseMs: 60_000 }));
  const token = rig.token({ version: 3, chain: rig.chain(rig.hosts.slice(0, 2)) });
  await rig.do(() => rig.append({ bytes: second, writer: W2, token }));
  const lengthBytes = await rig.seal(4, rig.hosts.slice(0, 2));
  t.like(await rig.do(() => rig.order(late, 'fix', { version: 4, lengthBytes })), {
    short: true,
    lengthBytes: first.length,
  });

  const answer = await rig.do(() => rig.copy(late, [rig.hosts[1]!], { version: 4, lengthBytes }));

  t.deepEqual(answer, { copiedBytes: second.length });
  t.true(late.file()!.equals(Buffer.concat([first, second])));
  const found = await rig.do(() => rig.order(late, 'findAppend', { lengthBytes, writer: W2, sequence: 1 }));
  t.deepEqual(found, { offset: first.length });
  await late.losePower();
  t.like(rig.report(late), { state: 'sealed', lengthBytes, suspect: false, corrupt: false });
  t.deepEqual(await rig.do(() => rig.copy(late, [rig.hosts[1]!], { version: 4, lengthBytes })), { copiedBytes: 0 });
});

test('a copy that is cut short at any moment never leaves all bytes without their writers: what stands would be said not to (I3)', async t => {
  const endings = { kill: (late: Host) => late.crash(), 'power loss': (late: Host) => late.losePower() };
  for (const [ending, end] of Object.entries(endings)) {
    let wasWhole = false;
    for (let afterMs = 0.5; !wasWhole; afterMs += 0.5) {
      const rig = await Rig.start(t, { servers: 4 });
      const chain = rig.hosts.slice(0, 3);
      await rig.do(() =>
        rig.append({ bytes: pattern(300 * KiB), writer: W2, token: rig.token({ chain: rig.chain(chain) }) }),
      );
      const lengthBytes = await rig.seal(2, chain);
      const late = rig.hosts[3]!;
      rig.copy(late, [chain[0]!], { version: 2, lengthBytes }).then(
        () => {
          wasWhole = true;
        },
        () => undefined,
      );
      await rig.pass(afterMs);

      await end(late);

      const { short } = await rig.do(() => rig.order(late, 'fix', { version: 2, lengthBytes }));
      if (short) continue;
      const found = await rig.do(() => rig.order(late, 'findAppend', { lengthBytes, writer: W2, sequence: 1 }));
      t.deepEqual(found, { offset: 0 }, `${ending} after ${afterMs} ms`);
    }
  }
});

test('a server without the chunk copies all of it; a source that fails is passed over', async t => {
  const rig = await Rig.start(t, { servers: 4 });
  const chain = rig.chain(rig.hosts.slice(0, 3));
  const bytes = pattern(3 * MiB);
  await rig.do(() => rig.append({ bytes, token: rig.token({ chain }) }));
  const lengthBytes = await rig.seal(2, rig.hosts.slice(0, 3));
  rig.hosts[0]!.node.disk.flipBit(rig.hosts[0]!.path());
  const target = rig.hosts[3]!;

  const answer = await rig.do(() => rig.copy(target, rig.hosts.slice(0, 2), { version: 2, lengthBytes }));

  await rig.pass(500);

  t.is(answer.copiedBytes, lengthBytes);
  t.true(target.file()!.equals(bytes));
  t.like(rig.report(rig.hosts[0]!), { corrupt: true });
});

test('a copy never overwrites a newer version', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);
  await rig.seal(5);

  t.is(await rig.refusal(() => rig.copy(rig.hosts[0]!, [rig.hosts[1]!], { version: 4, lengthBytes: 6 })), 'SUPERSEDED');
  t.is(await rig.refusal(() => rig.copy(rig.hosts[0]!, [rig.hosts[1]!], { version: 6, lengthBytes: 7 })), 'SUPERSEDED');
});

test('a copy that finds no room leaves no replica that the master does not know of', async t => {
  const rig = await Rig.start(t, { servers: 4, settings: { copyRate: 1 * MiB } });
  const members = rig.hosts.slice(0, 3);
  const bytes = pattern(3 * MiB);
  await rig.do(() => rig.append({ bytes, token: rig.token({ chain: rig.chain(members) }) }));
  const lengthBytes = await rig.seal(2, members);
  const full = rig.hosts[3]!;
  const copy = () => rig.copy(full, members, { version: 2, lengthBytes });
  const fill = (): void => {
    full.node.disk.setFaults({ isFull: true });
    // The index fits into what its files have.
    full.node.disk.setFaults({}, '/data/index');
  };

  fill();
  t.is(await rig.refusal(copy), 'NO_SPACE', 'full before the first byte');
  await rig.pass(500);
  t.like(rig.report(full), { gone: true });
  t.deepEqual(await rig.do(() => rig.order(full, 'inspectChunk', {})), { exists: false, path: '' });

  full.node.disk.clearFaults();
  await rig.pass(500);
  const begun = copy().catch(({ code }) => code);
  t.true(await rig.simulator.runUntil(() => (full.file()?.length ?? 0) > 0, 10_000));
  fill();
  t.is((await rig.do(() => begun)) as unknown, 'NO_SPACE', 'full in the middle');
  await rig.pass(500);
  t.is(full.file(), undefined);
  t.like(rig.report(full), { gone: true });

  full.node.disk.clearFaults();
  await rig.pass(500);
  t.is((await rig.do(copy)).copiedBytes, lengthBytes);
  t.true(full.file()!.equals(bytes));
});

test('a copy that lost its source keeps what it has, tells the master, and goes on from there', async t => {
  const rig = await Rig.start(t, { servers: 4, settings: { copyRate: 1 * MiB } });
  const members = rig.hosts.slice(0, 3);
  const bytes = pattern(3 * MiB);
  await rig.do(() => rig.append({ bytes, token: rig.token({ chain: rig.chain(members) }) }));
  const lengthBytes = await rig.seal(2, members);
  const target = rig.hosts[3]!;

  const begun = rig.copy(target, members.slice(0, 1), { version: 2, lengthBytes }).catch(({ code }) => code);
  t.true(await rig.simulator.runUntil(() => (target.file()?.length ?? 0) > 0, 10_000));
  members[0]!.node.kill();
  t.is((await rig.do(() => begun)) as unknown, 'CONNECTION_LOST');
  await rig.pass(500);

  const { lengthBytes: there } = rig.report(target)!;
  t.like(rig.report(target), { state: 'fenced', version: 2 });
  t.true(there > 0 && there < lengthBytes);
  t.is(
    (await rig.do(() => rig.copy(target, members.slice(1), { version: 2, lengthBytes }))).copiedBytes,
    lengthBytes - there,
  );
  t.true(target.file()!.equals(bytes));
});

test('a flipped bit is never served: the replica is reported, and a whole copy heals it (I8; §5.2)', async t => {
  const rig = await Rig.start(t);
  const bytes = pattern(500 * KiB);
  await rig.appendAll([bytes]);
  const lengthBytes = await rig.seal(2);
  const host = rig.hosts[1]!;
  host.node.disk.flipBit(host.path());
  const token = rig.token({ right: 'read', version: 2 });

  t.is(await rig.refusal(() => rig.read(host, 0, lengthBytes, token)), 'CORRUPT');
  await rig.pass(500);
  t.like(rig.report(host), { corrupt: true });
  await host.crash();
  t.like(rig.report(host), { corrupt: true }, 'it is remembered');
  const answer = await rig.do(() => rig.copy(host, [rig.hosts[0]!], { version: 2, lengthBytes, whole: true }));

  t.is(answer.copiedBytes, lengthBytes);
  t.true((await rig.do(() => rig.read(host, 0, lengthBytes, token))).equals(bytes));
  await rig.pass(500);
  t.like(rig.report(host), { corrupt: false, state: 'sealed' });
});

test('a whole copy that finds no good source drops nothing', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);
  await rig.seal(2);
  rig.hosts[1]!.node.disk.flipBit(rig.hosts[1]!.path());

  const order = { version: 2, lengthBytes: 6, whole: true };
  t.is(await rig.refusal(() => rig.copy(rig.hosts[0]!, [rig.hosts[1]!], order)), 'CORRUPT');

  t.deepEqual(rig.hosts[0]!.file(), hello);
});

test('a damaged replica gives nothing up for a source that is damaged elsewhere, however far behind that is', async t => {
  const rig = await Rig.start(t);
  const bytes = pattern(2 * MiB + 300 * KiB);
  await rig.appendAll([bytes]);
  const lengthBytes = await rig.seal(2);
  const [target, source] = rig.hosts as [Host, Host];
  target.node.disk.flipBit(target.path(), 100);
  source.node.disk.flipBit(source.path(), 2 * MiB + 200 * KiB);
  const before = target.file()!;
  t.is(await rig.refusal(() => rig.read(target, 0, 200, rig.token({ right: 'read', version: 2 }))), 'CORRUPT');

  t.is(await rig.refusal(() => rig.copy(target, [source], { version: 2, lengthBytes, whole: true })), 'CORRUPT');

  t.true(target.file()!.equals(before));
  await rig.pass(500);
  t.like(rig.report(target), { corrupt: true, lengthBytes });
  t.deepEqual(await rig.do(() => rig.mend(source, [target], { version: 2, lengthBytes })), {
    copiedBytes: 64 * KiB,
    bad: [],
  });
});

test('the scrubber finds a flipped bit that nobody reads (§5.2)', async t => {
  const rig = await Rig.start(t, { settings: { scrubPeriod: 2_000 } });
  await rig.appendAll([pattern(3 * MiB)]);
  await rig.seal(2);
  const host = rig.hosts[2]!;
  host.node.disk.flipBit(host.path());

  await rig.pass(10_000);

  t.like(rig.report(host), { corrupt: true });
  t.like(rig.report(rig.hosts[0]!), { corrupt: false });
});

test('the scrubber finds that a chunk file was deleted although the server has it open', async t => {
  const rig = await Rig.start(t, { settings: { scrubPeriod: 2_000 } });
  await rig.appendAll([pattern(3 * MiB)]);
  await rig.seal(2);
  const host = rig.hosts[2]!;
  await rig.do(() => rig.read(host, 0, 100, rig.token({ right: 'read', version: 2 })));
  host.node.disk.loseFile(host.path());

  await rig.pass(10_000);

  t.like(rig.report(host), { corrupt: true });
  t.like(rig.report(rig.hosts[0]!), { corrupt: false });
});

test('a server that is asked to verify a replica reads all of it before it says what it has', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([pattern(3 * MiB)]);
  const lengthBytes = await rig.seal(2);
  const [whole, flipped, lost] = rig.hosts as [Host, Host, Host];
  await rig.do(() => rig.read(lost, 0, 100, rig.token({ right: 'read', version: 2 })));
  flipped.node.disk.flipBit(flipped.path());
  lost.node.disk.loseFile(lost.path());

  for (const host of rig.hosts)
    t.like(await rig.do(() => rig.order(host, 'inspectChunk', {})), { report: { corrupt: false, lengthBytes } });
  const verify = (host: Host) => rig.do(() => rig.order(host, 'inspectChunk', { verify: true }));
  t.like(await verify(whole), { exists: true, report: { corrupt: false, lengthBytes } });
  t.like(await verify(flipped), { exists: true, report: { corrupt: true } });
  t.like(await verify(lost), { exists: true, report: { corrupt: true } });
});

test('a replica that is cut while its server reads it through for the master: the answer says what it is then', async t => {
  const rig = await Rig.start(t, { servers: 1, settings: { copyRate: 256 * KiB } });
  const [host] = rig.hosts;
  await rig.appendAll([pattern(100 * KiB), pattern(400 * KiB)]);
  // The rate is used up for a moment.
  const verified = rig.order(host!, 'inspectChunk', { verify: true });
  await rig.pass(100);
  await rig.do(() => rig.order(host!, 'fence', { version: 2 }));
  await rig.do(() => rig.order(host!, 'fix', { version: 2, lengthBytes: 100 * KiB }));

  const { report } = await rig.do(() => verified);

  t.like(report, { lengthBytes: 100 * KiB, state: 'sealed', corrupt: false });
});

test('heartbeats carry how far and how fast the scrubber is, which reads no faster than its period asks for', async t => {
  const rig = await Rig.start(t, { servers: 1, settings: { scrubPeriod: 20_000 } });
  const [host] = rig.hosts;
  const chain = rig.chain();
  await rig.do(() => rig.append({ bytes: pattern(4 * MiB - 100), token: rig.token({ chain }) }));
  await rig.seal(2);
  // The round that found nothing ends.
  await rig.pass(20_500);

  const seen: Array<{ roundsDone: number; checkedBytes: number }> = [];
  for (let second = 0; second < 60; second++) {
    await rig.pass(1_000);
    seen.push(rig.scrubs.get(host!.id)!);
  }

  const rate = (4 * MiB) / 20;
  const total = ({ roundsDone, checkedBytes }: (typeof seen)[number]): number => roundsDone * 4 * MiB + checkedBytes;
  for (let i = 0; i + 10 < seen.length; i++) {
    const bytes = total(seen[i + 10]!) - total(seen[i]!);
    // A heartbeat is up to 200 ms old, and a piece is read at once.
    t.true(bytes <= 10.4 * rate + BOUNDS.pieceBytes, `${bytes} bytes in 10 s`);
  }
  t.true(seen[59]!.roundsDone - seen[0]!.roundsDone >= 2);
  const last = rig.scrubs.get(host!.id)!;
  t.is(last.totalBytes, 4 * MiB - 100);
  t.true(Math.abs(last.bytesPerSecond - rate) <= BOUNDS.pieceBytes / 30 + 0.1 * rate, `${last.bytesPerSecond}`);
});

test('the last block is mended with its beginning from a replica that is behind, where the rest is good: that is what its checksum says (I1, I8)', async t => {
  for (const isRestGood of [true, false]) {
    const rig = await Rig.start(t);
    const [a, b, c] = rig.hosts as [Host, Host, Host];
    const bytes = pattern(100 * KiB);
    await rig.appendAll([bytes.subarray(0, 80 * KiB)]);
    c.node.kill();
    t.is(await rig.refusal(() => rig.append({ bytes: bytes.subarray(80 * KiB), sequence: 2 })), 'BROKEN');
    const lengthBytes = await rig.seal(2, [a, b]);
    t.is(lengthBytes, 100 * KiB);
    await c.start();
    t.like(rig.report(c), { lengthBytes: 80 * KiB, version: 1 });
    for (const host of [a, b]) host.node.disk.flipBit(host.path(), 64 * KiB + 5);
    if (!isRestGood) a.node.disk.flipBit(a.path(), 90 * KiB);
    const token = rig.token({ right: 'read', version: 2 });
    t.is(await rig.refusal(() => rig.read(a, 64 * KiB, 100, token)), 'CORRUPT');

    const order = { version: 2, lengthBytes };
    const mended = await rig.do(() => rig.mend(a, [b, c], order, { host: c, version: 1, lengthBytes: 80 * KiB }));

    if (isRestGood) {
      t.deepEqual(mended, { copiedBytes: 16 * KiB, bad: [] });
      t.true((await rig.do(() => rig.read(a, 0, lengthBytes, token))).equals(bytes));
    } else {
      t.deepEqual(mended, { copiedBytes: 0, bad: [{ fromByte: 64 * KiB, lengthBytes: 36 * KiB }] });
      t.is(await rig.refusal(() => rig.read(a, 64 * KiB, 100, token)), 'CORRUPT');
    }
    t.deepEqual(c.file(), bytes.subarray(0, 80 * KiB));
  }
});

test('damaged replicas are mended from one another block by block, and what was bad everywhere stays, with all else (I8)', async t => {
  const rig = await Rig.start(t);
  const bytes = pattern(2 * MiB + 300 * KiB);
  await rig.appendAll([bytes]);
  const lengthBytes = await rig.seal(2);
  const [a, b, c] = rig.hosts as [Host, Host, Host];
  // Block 1 is bad on a, blocks 2 and 35 on b, 3 on c; the last one, 36, on all of them.
  const flip = (host: Host, block: number): void => void host.node.disk.flipBit(host.path(), block * 64 * KiB + 5);
  for (const [host, block] of [
    [a, 1],
    [b, 2],
    [b, 35],
    [c, 3],
  ] as const)
    flip(host, block);
  for (const host of rig.hosts) flip(host, 36);
  const token = rig.token({ right: 'read', version: 2 });
  for (const host of rig.hosts) t.is(await rig.refusal(() => rig.read(host, 0, lengthBytes, token)), 'CORRUPT');
  // Blocks that are good are read from it all the same.
  t.true(
    (await rig.do(() => rig.read(a, 2 * 64 * KiB, 100, token))).equals(bytes.subarray(128 * KiB, 128 * KiB + 100)),
  );
  t.is(await rig.refusal(() => rig.read(a, 2 * 64 * KiB - 1, 2, token)), 'CORRUPT');
  const lastBytes = lengthBytes - 36 * 64 * KiB;

  const first = await rig.do(() => rig.mend(a, [b, c], { version: 2, lengthBytes }));

  t.deepEqual(first, { copiedBytes: 64 * KiB, bad: [{ fromByte: 36 * 64 * KiB, lengthBytes: lastBytes }] });
  t.true(
    a
      .file()!
      .subarray(0, 36 * 64 * KiB)
      .equals(bytes.subarray(0, 36 * 64 * KiB)),
  );
  await rig.pass(500);
  t.like(rig.report(a), { corrupt: true, lengthBytes });
  // With the last block back on one of them all is mended.
  flip(c, 36);
  t.deepEqual(await rig.do(() => rig.mend(b, [a, c], { version: 2, lengthBytes })), {
    copiedBytes: 2 * 64 * KiB + lastBytes,
    bad: [],
  });
  await rig.pass(500);
  t.like(rig.report(b), { corrupt: false, state: 'sealed', lengthBytes });
  await b.losePower();
  t.true(b.file()!.equals(bytes));
  t.like(rig.report(b), { corrupt: false, suspect: false });
  const find = { lengthBytes, writer: W1, sequence: 1 };
  t.deepEqual(await rig.do(() => rig.order(b, 'findAppend', find)), { offset: 0 });
});

test('a replica whose file is gone is mended whole, and a chunk of another length or version is left alone', async t => {
  const rig = await Rig.start(t);
  const bytes = pattern(300 * KiB);
  await rig.appendAll([bytes]);
  const lengthBytes = await rig.seal(2);
  const [a, b] = rig.hosts as [Host, Host];
  await a.stop();
  a.node.disk.remove(a.path());
  await a.start();

  t.is(await rig.refusal(() => rig.mend(a, [b], { version: 1, lengthBytes })), 'SUPERSEDED');
  t.is(await rig.refusal(() => rig.mend(a, [b], { version: 2, lengthBytes: lengthBytes + 1 })), 'SUPERSEDED');
  t.is(await rig.refusal(() => rig.mend(a, [b], { version: 2, lengthBytes, handle: 9 as ChunkHandle })), 'NO_CHUNK');
  t.deepEqual(await rig.do(() => rig.mend(b, [a], { version: 2, lengthBytes })), { copiedBytes: 0, bad: [] });
  t.deepEqual(await rig.do(() => rig.mend(a, [b], { version: 2, lengthBytes })), { copiedBytes: lengthBytes, bad: [] });

  t.true(a.file()!.equals(bytes));
});

test('without any source that has a block nothing is changed, and the range is told', async t => {
  const rig = await Rig.start(t);
  const bytes = pattern(300 * KiB);
  await rig.appendAll([bytes]);
  const lengthBytes = await rig.seal(2);
  const [a, b] = rig.hosts as [Host, Host];
  for (const host of [a, b]) host.node.disk.flipBit(host.path(), 70 * KiB);
  t.is(await rig.refusal(() => rig.read(a, 0, lengthBytes, rig.token({ right: 'read', version: 2 }))), 'CORRUPT');
  const before = a.file()!;

  const answer = await rig.do(() => rig.mend(a, [b], { version: 2, lengthBytes }));

  t.deepEqual(answer, { copiedBytes: 0, bad: [{ fromByte: 64 * KiB, lengthBytes: 64 * KiB }] });
  t.true(a.file()!.equals(before));
});

test('a copy that is told to stop ends at its next piece and moves no more; the replica that it made is gone', async t => {
  const rig = await Rig.start(t, { servers: 4, chunkSizeBytes: 64 * MiB, settings: { copyRate: MiB } });
  const hosts = rig.hosts.slice(0, 3);
  const token = rig.token({ chain: rig.chain(hosts) });
  const record = pattern(4 * MiB);
  for (let i = 0; i < 2; i++) await rig.do(() => rig.append({ bytes: record, sequence: i + 1, token }));
  const lengthBytes = await rig.seal(2, hosts);
  const target = rig.hosts[3]!;
  const copying = rig.copy(target, [rig.hosts[0]!], { version: 2, lengthBytes });
  await rig.pass(2_500);
  const before = target.process!.copiedBytes;
  t.true(before > 0 && before < lengthBytes / 2, `${before} bytes`);

  await rig.do(() => rig.order(target, 'stopCopy', { version: 1 }));
  await rig.pass(1_500);
  t.true(target.process!.copiedBytes > before, 'it was about an older version');
  const running = target.process!.copiedBytes;
  await rig.do(() => rig.order(target, 'stopCopy', { version: 2 }));
  const answer = await rig.do(() => copying);

  t.true(answer.stopped);
  t.true(answer.copiedBytes <= running + 1 * MiB, 'at most the piece that was on its way');
  t.is(target.process!.copiedBytes, answer.copiedBytes);
  await rig.pass(10_000);
  t.is(target.process!.copiedBytes, answer.copiedBytes);
  t.like(rig.report(target), { gone: true });
  t.is(target.file(), undefined);
  // One that has ended has nothing to stop, and when it is wanted again it comes as a whole.
  await rig.do(() => rig.order(target, 'stopCopy', { version: 2 }));
  const again = await rig.do(() => rig.copy(target, [rig.hosts[0]!], { version: 2, lengthBytes }));
  t.deepEqual(again, { copiedBytes: lengthBytes });
  t.true(target.file()!.equals(Buffer.concat([record, record])));
});

test('a stopped copy leaves what was there before, and is gone on with from where it came', async t => {
  const rig = await Rig.start(t, { chunkSizeBytes: 64 * MiB, settings: { copyRate: MiB } });
  const [first, second] = [pattern(MiB, 1), pattern(6 * MiB, 2)];
  await rig.appendAll([first]);
  const late = rig.hosts[2]!;
  await rig.do(() => rig.order(late, 'fence', { version: 2 }));
  for (const host of rig.hosts.slice(0, 2)) await rig.do(() => rig.order(host, 'grant', { version: 3 }));
  await rig.do(() => rig.order(rig.hosts[0]!, 'adopt', { version: 3, lengthBytes: first.length, leaseMs: 60_000 }));
  const token = rig.token({ version: 3, chain: rig.chain(rig.hosts.slice(0, 2)) });
  await rig.do(() => rig.append({ bytes: second, writer: W2, token }));
  const lengthBytes = await rig.seal(4, rig.hosts.slice(0, 2));
  const copying = rig.copy(late, [rig.hosts[1]!], { version: 4, lengthBytes });
  await rig.pass(2_500);

  await rig.do(() => rig.order(late, 'stopCopy', { version: 4 }));
  const { copiedBytes, stopped } = await rig.do(() => copying);

  t.true(stopped);
  await rig.pass(500);
  t.like(rig.report(late), { state: 'fenced', corrupt: false, lengthBytes: first.length + copiedBytes });
  const again = await rig.do(() => rig.copy(late, [rig.hosts[1]!], { version: 4, lengthBytes }));
  t.deepEqual(again, { copiedBytes: second.length - copiedBytes });
  t.true(late.file()!.equals(Buffer.concat([first, second])));
});

test('a deleted replica is gone with its file, is reported, and does not come back by a late append', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);
  await rig.seal(2);
  const host = rig.hosts[0]!;

  t.is(await rig.refusal(() => rig.order(host, 'deleteChunk', { version: 1 })), 'SUPERSEDED');
  await rig.do(() => rig.order(host, 'deleteChunk', { version: 2 }));
  await rig.do(() => rig.order(host, 'deleteChunk', { version: 2 }));
  await rig.pass(500);

  t.is(host.file(), undefined);
  t.like(rig.report(host), { gone: true });
  t.is(await rig.refusal(() => rig.append({ bytes: hello })), 'FENCED');
  t.is(await rig.refusal(() => rig.read(host, 0, 6)), 'NO_CHUNK');
  await host.crash();
  t.is(rig.report(host), undefined);
});

test('tombstones go once no token from before them can be valid', async t => {
  const rig = await Rig.start(t, { servers: 1, settings: { heartbeat: 60_000 } });
  const host = rig.hosts[0]!;
  await rig.do(() => rig.order(host, 'fence', { version: 2 }));
  await rig.pass(25 * 3_600_000);
  t.is(await rig.refusal(() => rig.order(host, 'fence', { version: 2 })), 'SUPERSEDED');

  rig.keys.replace([{ id: 2, secret: Buffer.alloc(32, 2) }]);
  await rig.pass(130_000);

  t.like(await rig.do(() => rig.order(host, 'fence', { version: 2 })), { exists: false });
});

test('a full disk ends a chunk, not the server; what was acknowledged stays', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);
  const full = rig.hosts[1]!;
  full.node.disk.capacityBytes = 0;

  t.is(await rig.refusal(() => rig.append({ bytes: pattern(64 * KiB), sequence: 2 })), 'BROKEN');
  full.node.disk.capacityBytes = 1024 * MiB;
  const fence = await rig.do(() => rig.order(full, 'fence', { version: 2 }));

  t.like(fence, { lengthBytes: 6, suspect: false });
  t.deepEqual(full.file(), hello);
});

test('inspection shows the replica and the path of its flat file', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);

  const seen = await rig.do(() => rig.order(rig.hosts[0]!, 'inspectChunk', {}));

  t.like(seen, { exists: true, path: rig.hosts[0]!.path() });
  t.like(seen.report, { handle: CHUNK, version: 1, lengthBytes: 6, state: 'open' });
});
