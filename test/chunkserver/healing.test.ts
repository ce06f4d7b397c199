// Fixing, copying, deleting, scrubbing: how a replica comes to be exactly what the master's record says (DESIGN 2, 4; I5, I7, I8).
import test from 'ava';
import { CHUNK, KiB, MiB, pattern, Rig, W1, W2 } from './rig.js';

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

  full.node.disk.setFaults({ isFull: true });
  t.is(await rig.refusal(copy), 'NO_SPACE', 'full before the first byte');
  await rig.pass(500);
  t.like(rig.report(full), { gone: true });
  t.deepEqual(await rig.do(() => rig.order(full, 'inspectChunk', {})), { exists: false, path: '' });

  full.node.disk.clearFaults();
  await rig.pass(500);
  const begun = copy().catch(({ code }) => code);
  t.true(await rig.simulator.runUntil(() => (full.file()?.length ?? 0) > 0, 10_000));
  full.node.disk.setFaults({ isFull: true });
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
