// Versions, leases, fences, epochs and tokens (DESIGN 4, fine print): who may append, and until when.
import test from 'ava';
import type { ChunkHandle } from '../../src/protocol/ids.js';
import { KeyRing } from '../../src/protocol/token.js';
import { CHUNK, pattern, Rig, W2 } from './rig.js';

const hello = Buffer.from('hello\n');
const NEW = 8 as ChunkHandle;

test('a fence in the middle of appends stops them, and its answer holds all that was acknowledged (I4, I5)', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);
  const appends = Array.from({ length: 10 }, (_, i) => rig.append({ bytes: pattern(50_000, i), sequence: i + 2 }));
  const outcomes = Promise.allSettled(appends);
  await rig.pass(2);

  const fence = await rig.do(() => rig.order(rig.hosts[1]!, 'fence', { version: 2 }));
  const settled = await rig.do(() => outcomes);

  const acknowledged = settled.filter(outcome => outcome.status === 'fulfilled').map(outcome => outcome.value);
  for (const { offset } of acknowledged) t.true(offset + 50_000 <= fence.lengthBytes);
  t.true(acknowledged.length < 10);
  t.is(await rig.refusal(() => rig.append({ bytes: hello, writer: W2 })), 'BROKEN');
});

test('a fenced primary acknowledges nothing (I4)', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);

  const fence = await rig.do(() => rig.order(rig.hosts[0]!, 'fence', { version: 2 }));

  t.like(fence, { exists: true, lengthBytes: 6, suspect: false, fixed: false });
  t.is(await rig.refusal(() => rig.append({ bytes: hello, sequence: 2 })), 'FENCED');
  t.is(await rig.refusal(() => rig.append({ bytes: hello, sequence: 2, token: rig.token({ version: 2 }) })), 'FENCED');
});

test('a fence is answered again only for a higher version (rule 3)', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);
  await rig.do(() => rig.order(rig.hosts[0]!, 'fence', { version: 3 }));

  t.is(await rig.refusal(() => rig.order(rig.hosts[0]!, 'fence', { version: 3 })), 'SUPERSEDED');
  t.is(await rig.refusal(() => rig.order(rig.hosts[0]!, 'fence', { version: 2 })), 'SUPERSEDED');
  t.is((await rig.do(() => rig.order(rig.hosts[0]!, 'fence', { version: 4 }))).lengthBytes, 6);
});

test('a fence where there is no such chunk keeps a late first append from making it, also after a crash (rule 4)', async t => {
  const rig = await Rig.start(t);
  const { epoch } = rig.hosts[0]!;
  const early = rig.token();

  const fence = await rig.do(() => rig.order(rig.hosts[0]!, 'fence', { version: 2 }));

  t.like(fence, { exists: false, lengthBytes: 0, epoch });
  t.is(await rig.refusal(() => rig.append({ bytes: hello, token: early })), 'FENCED');
  await rig.hosts[0]!.crash();
  const again = await rig.do(() => rig.order(rig.hosts[0]!, 'fence', { version: 3 }));
  t.like(again, { exists: false, epoch }, 'it says in which epoch the chunk was first missed');
});

test('a tombstone survives the loss of power: it was synced before the fence was answered (rule 4)', async t => {
  const rig = await Rig.start(t);
  const { epoch } = rig.hosts[0]!;
  await rig.do(() => rig.order(rig.hosts[0]!, 'fence', { version: 2 }));

  await rig.hosts[0]!.losePower();

  t.like(await rig.do(() => rig.order(rig.hosts[0]!, 'fence', { version: 3 })), { exists: false, epoch });
});

test('a secondary that was fenced ends the chain, and the chunk stays broken in this version', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);
  await rig.do(() => rig.order(rig.hosts[2]!, 'fence', { version: 2 }));

  t.is(await rig.refusal(() => rig.append({ bytes: hello, sequence: 2 })), 'BROKEN');
  t.is(await rig.refusal(() => rig.append({ bytes: hello, writer: W2 })), 'BROKEN');
  t.is(rig.hosts[0]!.file()!.length, 12);
});

test('a token from before the last start of a server is refused, by primary and secondary (rule 2)', async t => {
  const rig = await Rig.start(t);
  const old = rig.token({ handle: NEW });
  await rig.hosts[1]!.crash();

  t.is(await rig.refusal(() => rig.append({ bytes: hello, token: old })), 'BROKEN');
  t.falsy(rig.hosts[1]!.file(NEW));
  await rig.hosts[0]!.crash();
  t.is(await rig.refusal(() => rig.append({ bytes: hello, token: old })), 'FENCED');
});

test('a grant takes a new version everywhere; appends of the old one are refused (§3.1, §4.5)', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello, hello]);

  for (const host of rig.hosts) {
    const grant = await rig.do(() => rig.order(host, 'grant', { version: 2 }));
    t.deepEqual(grant, { exists: true, lengthBytes: 12, suspect: false, epoch: host.epoch });
    t.is(await rig.refusal(() => rig.order(host, 'grant', { version: 2 })), 'SUPERSEDED');
  }
  t.is(await rig.refusal(() => rig.append({ bytes: hello, sequence: 3 })), 'FENCED');
  const token = rig.token({ version: 2 });
  t.is(await rig.refusal(() => rig.append({ bytes: hello, sequence: 3, token })), 'FENCED', 'no lease before adopt');
  await rig.do(() => rig.order(rig.hosts[0]!, 'adopt', { version: 2, lengthBytes: 12, leaseMs: 60_000 }));
  t.is((await rig.do(() => rig.append({ bytes: hello, sequence: 3, token }))).offset, 12);
  t.is((await rig.do(() => rig.append({ bytes: hello, sequence: 2, token }))).offset, 6, 'the writer table lives on');
});

test('a new version after a restart finds writers and bytes again (I3)', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello, hello]);
  for (const host of rig.hosts) await host.crash();

  for (const host of rig.hosts) await rig.do(() => rig.order(host, 'grant', { version: 2 }));
  await rig.do(() => rig.order(rig.hosts[0]!, 'adopt', { version: 2, lengthBytes: 12, leaseMs: 60_000 }));
  const token = rig.token({ version: 2 });

  t.is((await rig.do(() => rig.append({ bytes: hello, sequence: 1, token }))).offset, 0);
  t.is((await rig.do(() => rig.append({ bytes: hello, sequence: 3, token }))).offset, 12);
});

test('adopt is refused when the replica is not as long as the master thinks', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);
  await rig.do(() => rig.order(rig.hosts[0]!, 'grant', { version: 2 }));

  t.is(
    await rig.refusal(() => rig.order(rig.hosts[0]!, 'adopt', { version: 2, lengthBytes: 5, leaseMs: 1_000 })),
    'SUPERSEDED',
  );
});

test('a primary acknowledges nothing after its lease ran out by its own clock (§3.1)', async t => {
  const rig = await Rig.start(t, { leaseMs: 2_000 });
  const token = rig.token({ leaseMs: 2_000 });
  await rig.do(() => rig.append({ bytes: hello, token }));
  rig.network.cut('s1', 'master');

  await rig.pass(2_500);

  t.is(await rig.refusal(() => rig.append({ bytes: hello, sequence: 2, token })), 'FENCED');
  t.is(await rig.refusal(() => rig.call(rig.hosts[0]!, 'tailLength', { token })), 'FENCED');
});

/** What a primary says in reply to appends, one after another, until `untilMs` of virtual time: when the last one was acknowledged. */
async function lastAcknowledgedMs(rig: Rig, token: Buffer, from: number, untilMs: number): Promise<number> {
  let lastMs = 0;
  for (let sequence = from; rig.simulator.nowMs < untilMs; sequence++) {
    try {
      await rig.do(() => rig.append({ bytes: hello, sequence, token }));
      lastMs = rig.simulator.nowMs;
    } catch {
      await rig.pass(5);
    }
  }
  return lastMs;
}

test('a primary stops before the end of its first lease by the clock of the master, which may be 2 % fast where its own is 2 % slow', async t => {
  const rig = await Rig.start(t, { leaseMs: 2_000 });
  rig.hosts[0]!.node.clock.setRate(0.98);
  rig.setMasterRate(1.02);
  // What it knows of the master's time is old, and the answer that told it was slow.
  await rig.pass(500);
  const token = rig.token({ leaseMs: 2_000 });
  const endMs = rig.simulator.nowMs + 2_000 / 1.02;
  rig.network.cut('s1', 'master');

  const lastMs = await lastAcknowledgedMs(rig, token, 1, endMs + 500);

  t.true(lastMs < endMs, `${lastMs - endMs} ms after it`);
  t.true(lastMs > endMs - 400, 'it does not stop long before');
});

test('a lease that came by grant counts from the answer to the grant, and one that is extended from the question', async t => {
  const rig = await Rig.start(t, { leaseMs: 2_000 });
  await rig.appendAll([hello]);
  for (const host of rig.hosts) await rig.do(() => rig.order(host, 'grant', { version: 2 }));
  rig.network.cut('s1', 'master');
  const grantedMs = rig.simulator.nowMs;
  await rig.pass(1_000);
  await rig.do(() => rig.order(rig.hosts[0]!, 'adopt', { version: 2, lengthBytes: 6, leaseMs: 2_000 }));
  const token = rig.token({ version: 2 });

  const lastMs = await lastAcknowledgedMs(rig, token, 2, grantedMs + 3_500);

  t.true(lastMs < grantedMs + 2_000 && lastMs > grantedMs + 1_500, `${lastMs - grantedMs} ms after the grant`);
});

test('adopt without a grant that this process answered is refused', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);
  await rig.do(() => rig.order(rig.hosts[0]!, 'grant', { version: 2 }));
  await rig.hosts[0]!.crash();

  t.is(
    await rig.refusal(() => rig.order(rig.hosts[0]!, 'adopt', { version: 2, lengthBytes: 6, leaseMs: 1_000 })),
    'SUPERSEDED',
  );
});

test('an append that was taken in time and is on every replica too late is not acknowledged', async t => {
  const rig = await Rig.start(t, { leaseMs: 2_000, settings: { chainTimeout: 8_000 } });
  const token = rig.token({ leaseMs: 2_000 });
  rig.network.cut('s1', 'master');
  // Often enough that the lease is not given back as idle.
  for (let sequence = 1; sequence <= 3; sequence++) {
    await rig.do(() => rig.append({ bytes: hello, sequence, token }));
    await rig.pass(500);
  }
  rig.hosts[2]!.node.disk.setFaults({ slowFactor: 20_000 });

  t.is(await rig.refusal(() => rig.append({ bytes: hello, sequence: 4, token })), 'FENCED');
  t.is(rig.hosts[2]!.file()!.length, 24);
});

test('heartbeats extend a lease while appends arrive (§3.1)', async t => {
  const rig = await Rig.start(t, { leaseMs: 1_000 });
  const token = rig.token({ leaseMs: 1_000 });
  for (let sequence = 1; sequence <= 20; sequence++) {
    await rig.do(() => rig.append({ bytes: hello, sequence, token }));
    await rig.pass(200);
  }
  t.is(rig.hosts[2]!.file()!.length, 120);
});

test('an idle lease is given back after the chain has synced; then the client is sent for a new one', async t => {
  const rig = await Rig.start(t, { settings: { leaseIdle: 500 } });
  await rig.appendAll([hello, hello]);

  await rig.pass(3_000);

  t.deepEqual(rig.returned, [{ handle: CHUNK, version: 1, lengthBytes: 12 }]);
  t.is(await rig.refusal(() => rig.append({ bytes: hello, sequence: 3 })), 'BAD_TOKEN');
  for (const host of rig.hosts) {
    await host.losePower();
    t.is(host.file()!.length, 12);
  }
});

test('a lease that the master asks back ends with everything synced and its length told', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello, hello]);

  const answer = await rig.do(() => rig.order(rig.hosts[0]!, 'revokeLease', { version: 1 }));

  t.deepEqual(answer, { lengthBytes: 12 });
  t.is(await rig.refusal(() => rig.append({ bytes: hello, sequence: 3 })), 'BAD_TOKEN');
  t.deepEqual(await rig.do(() => rig.order(rig.hosts[0]!, 'revokeLease', { version: 1 })), { lengthBytes: 12 });
  t.is(await rig.refusal(() => rig.order(rig.hosts[1]!, 'revokeLease', { version: 1 })), 'FENCED');
});

test('a chain whose next replica is unreachable breaks, and every append in work with it', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);
  rig.network.cut('s2', 's3');

  const codes = await Promise.all([rig.refusal(() => rig.append({ bytes: hello, sequence: 2 }))]);

  t.deepEqual(codes, ['BROKEN']);
  t.is(await rig.refusal(() => rig.append({ bytes: hello, sequence: 2 })), 'BROKEN', 'the retry does not pass either');
});

test('forged, expired and foreign tokens open nothing', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);
  const forger = new KeyRing([{ id: 1, secret: Buffer.alloc(32, 2) }]);
  const unknown = new KeyRing([{ id: 9, secret: Buffer.alloc(32, 1) }]);
  const [first, second] = rig.hosts;

  for (const keys of [forger, unknown]) {
    t.is(await rig.refusal(() => rig.append({ bytes: hello, sequence: 2, token: rig.token({ keys }) })), 'BAD_TOKEN');
    t.is(await rig.refusal(() => rig.read(first!, 0, 6, rig.token({ right: 'read', keys }))), 'BAD_TOKEN');
  }
  const expired = rig.token({ expiresMs: rig.masterNowMs - 1 });
  t.is(await rig.refusal(() => rig.append({ bytes: hello, sequence: 2, token: expired })), 'BAD_TOKEN');
  const reading = rig.token({ right: 'read' });
  t.is(await rig.refusal(() => rig.append({ bytes: hello, sequence: 2, token: reading })), 'BAD_TOKEN');
  t.is(await rig.refusal(() => rig.call(first!, 'fence', { token: reading, handle: CHUNK, version: 2 })), 'BAD_TOKEN');
  const forAnother = rig.token({ right: 'order', chain: rig.chain([second!]) });
  t.is(
    await rig.refusal(() => rig.call(first!, 'fence', { token: forAnother, handle: CHUNK, version: 2 })),
    'BAD_TOKEN',
  );
  t.is(await rig.refusal(() => rig.append({ bytes: hello, token: Buffer.alloc(3) })), 'BAD_TOKEN');
});

test('tokens of keys that were rolled away are refused', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);
  const old = rig.token({ right: 'read' });
  rig.keys.replace([{ id: 2, secret: Buffer.alloc(32, 2) }]);
  await rig.pass(1_000);

  t.is(await rig.refusal(() => rig.read(rig.hosts[0]!, 0, 6, old)), 'BAD_TOKEN');
  t.true((await rig.do(() => rig.read(rig.hosts[0]!, 0, 6))).equals(hello));
});

test('a server that the master does not know any more registers again, under the same epoch', async t => {
  const rig = await Rig.start(t, { servers: 1 });
  await rig.appendAll([hello]);
  rig.knows = false;

  await rig.pass(1_000);

  t.is(rig.registrations, 2);
  t.like(rig.report(rig.hosts[0]!), { lengthBytes: 6, state: 'open' });
  t.is((await rig.do(() => rig.append({ bytes: hello, sequence: 2 }))).offset, 6);
});

test('a master that forgot the server is told at once what it holds and which leases it has, not heartbeats later', async t => {
  const rig = await Rig.start(t, { servers: 1, settings: { heartbeat: 10_000 } });
  await rig.appendAll([hello]);
  rig.knows = false;
  rig.leases = [];

  await rig.pass(10_100);

  t.is(rig.registrations, 2);
  t.like(rig.leases[0], { handle: CHUNK, committedBytes: 6, active: true });
  t.true(rig.leases[0]!.changedMs! > 0);
});

test('a replica that missed a version is not read under a token of the new one (I7; §4.5)', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);
  for (const host of rig.hosts.slice(0, 2)) await rig.do(() => rig.order(host, 'grant', { version: 2 }));
  const token = rig.token({ right: 'read', version: 2 });

  t.true((await rig.do(() => rig.read(rig.hosts[1]!, 0, 6, token))).equals(hello));
  t.is(await rig.refusal(() => rig.read(rig.hosts[2]!, 0, 6, token)), 'NO_CHUNK');
});

test('a fence tells that the replica is damaged, so that its length need not count', async t => {
  const rig = await Rig.start(t, { servers: 1 });
  const host = rig.hosts[0]!;
  await rig.appendAll([Buffer.from('hello')]);
  host.node.disk.flipBit(host.path());
  t.is(await rig.refusal(() => rig.read(host, 0, 5)), 'CORRUPT');

  t.like(await rig.do(() => rig.order(host, 'fence', { version: 2 })), { exists: true, lengthBytes: 5, corrupt: true });
});
