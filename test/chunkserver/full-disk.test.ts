// Disks that take nothing more, or that fail at the start: what is still served, what is refused, and when there is an end to it (FAULTS 11).
import test from 'ava';
import { Carried } from '../../src/chunkserver/carried.js';
import { GfsError } from '../../src/protocol/errors.js';
import type { ChunkHandle } from '../../src/protocol/ids.js';
import { KiB, pattern, Rig } from './rig.js';

const hello = Buffer.from('hello\n');
const TWO = { data: ['/data', '/disk2'] };

/** Orders that have to be recorded until one finds no room. */
async function fillIndex(rig: Rig): Promise<void> {
  const [host] = rig.hosts;
  host!.node.disk.setFaults({ isFull: true });
  for (let version = 2; ; version++) {
    const refusal = await rig.refusal(() => rig.order(host!, 'fence', { version, handle: 99 as ChunkHandle }));
    if (refusal === 'NO_SPACE') return;
  }
}

test('an index without room: reads go on, appends are refused with NO_SPACE, and the server is full and not failed', async t => {
  const rig = await Rig.start(t, { servers: 1, settings: { leaseIdle: 200 } });
  const [host] = rig.hosts;
  const bytes = pattern(200 * KiB);
  await rig.appendAll([bytes]);
  await fillIndex(rig);
  await rig.pass(1_000);

  t.true((await rig.do(() => rig.read(host!, 0, bytes.length))).equals(bytes));
  t.is(await rig.refusal(() => rig.append({ bytes: hello, sequence: 2 })), 'NO_SPACE');
  const { committedBytes } = await rig.do(() => rig.call(host!, 'tailLength', { token: rig.token() }));
  t.is(committedBytes, bytes.length, 'readers learn the length');
  t.true(rig.leases[0]?.active, 'and the lease goes on');
  const young = rig.token({ handle: 8 as ChunkHandle });
  t.is(await rig.refusal(() => rig.append({ bytes: hello, token: young })), 'NO_SPACE');
  t.is(await rig.refusal(() => rig.order(host!, 'fence', { version: 50 })), 'NO_SPACE');
  t.deepEqual(rig.failedDisks, []);
  t.like(rig.report(host!), { corrupt: false, suspect: false, lengthBytes: bytes.length });
  t.is(rig.space.get(host!.id)!.freeBytes, 0);
  t.true(rig.space.get(host!.id)!.capacityBytes > 0);
  t.is(host!.failure, undefined);
});

test('an append that the index has no room for is refused and not there; what was acknowledged is read, with its length', async t => {
  const rig = await Rig.start(t, { servers: 1 });
  const [host] = rig.hosts;
  await rig.appendAll([hello]);
  host!.node.disk.setFaults({ isFull: true }, '/data/index');
  let sequence = 2;
  let ends = 6;
  let refusal = '';
  // Some fit into what the files of the index have.
  while (refusal === '') {
    const answer = await rig.do(() =>
      rig.append({ bytes: hello, sequence: sequence++ }).catch(({ code }) => code as string),
    );
    if (typeof answer === 'string') refusal = answer;
    else ends = answer.offset + 6;
  }

  t.is(refusal, 'BROKEN');
  const { committedBytes } = await rig.do(() => rig.call(host!, 'tailLength', { token: rig.token() }));
  t.is(committedBytes, ends);
  t.is((await rig.do(() => rig.read(host!, 0, ends))).length, ends);
  host!.node.disk.clearFaults();
  await host!.crash();
  t.like(rig.report(host!), { lengthBytes: ends, corrupt: false, suspect: false });
});

test('a full disk with room again is told once, and the server in its place takes appends and has lost nothing', async t => {
  const rig = await Rig.start(t, { servers: 1 });
  const [host] = rig.hosts;
  await rig.appendAll([hello, pattern(100 * KiB)]);
  await fillIndex(rig);
  await rig.pass(5_000);
  t.false(host!.hasRoom);

  host!.node.disk.clearFaults();
  await rig.pass(2_500);
  t.true(host!.hasRoom);
  await host!.stop();
  await host!.start();

  t.is(host!.epoch, 2);
  t.like(rig.report(host!), { corrupt: false, suspect: false, lengthBytes: 6 + 100 * KiB, version: 1 });
  const grant = await rig.do(() => rig.order(host!, 'grant', { version: 2 }));
  t.like(grant, { exists: true, lengthBytes: 6 + 100 * KiB });
  const token = rig.token({ handle: 8 as ChunkHandle });
  t.is((await rig.do(() => rig.append({ bytes: hello, token }))).offset, 0);
});

test('an index that fails with EIO stays failed', async t => {
  const rig = await Rig.start(t, { servers: 1 });
  const [host] = rig.hosts;
  await rig.appendAll([hello]);
  host!.node.kv.faults = { ...host!.node.kv.faults, batchErrorRate: 1 };
  t.is(await rig.refusal(() => rig.order(host!, 'fence', { version: 2 })), 'STORE_FAILED');
  host!.node.kv.faults = { ...host!.node.kv.faults, batchErrorRate: 0 };
  await rig.pass(5_000);

  t.false(host!.hasRoom);
  t.is(rig.failedDisks[0]?.path, '/data');
  t.like(rig.report(host!), { corrupt: true });
});

test('what a failed sync may have lost and nobody could record is worthless to the server that takes the place, too', async t => {
  const carried = new Carried();
  const rig = await Rig.start(t, { servers: 1, settings: { carried } });
  const [host] = rig.hosts;
  await rig.appendAll([hello]);
  carried.distrusted.add(7 as ChunkHandle);
  await host!.stop();

  await host!.start();

  t.like(rig.report(host!), { corrupt: true, lengthBytes: 6 });
  t.is(carried.distrusted.size, 0);
});

test('a disk that failed is not opened again by the server that takes the place; in a new process it is', async t => {
  const carried = new Carried();
  const rig = await Rig.start(t, { servers: 1, settings: { ...TWO, carried } });
  const [host] = rig.hosts;
  await rig.appendAll([hello]);
  host!.node.disk.setFaults({ syncErrorRate: 1 }, '/data/chunks');
  t.is(await rig.refusal(() => rig.call(host!, 'syncChunk', { token: rig.token(), lengthBytes: 6 })), 'DISK_FAILED');
  host!.node.disk.clearFaults();
  const { id } = host!;
  await host!.stop();

  await host!.start();
  await rig.pass(500);
  t.is(host!.id, id);
  t.is(rig.failedDisks[0]?.path, '/data');
  t.is(rig.report(host!), undefined);

  await host!.stop();
  await host!.start({ carried: new Carried() });
  await rig.pass(500);
  t.deepEqual(rig.failedDisks, []);
  t.like(rig.report(host!), { lengthBytes: 6 });
});

for (const [broken, other] of [
  ['/data', '/disk2'],
  ['/disk2', '/data'],
] as const)
  test(`the index in ${broken} is damaged: the server goes on as itself with what is in ${other}, and says which disk failed (DESIGN 6)`, async t => {
    const rig = await Rig.start(t, { servers: 1, settings: TWO });
    const [host] = rig.hosts;
    const handles = [21, 22, 23, 24, 25, 26] as ChunkHandle[];
    for (const handle of handles)
      await rig.do(() => rig.append({ bytes: pattern(300 * KiB), token: rig.token({ handle }) }));
    const { id } = host!;
    await host!.stop();
    host!.node.kv.damage(`${broken}/index`);

    await host!.start();
    await rig.pass(500);

    t.is(host!.id, id);
    t.deepEqual(
      rig.failedDisks.map(({ path }) => path),
      [broken],
    );
    const held = handles.filter(handle => rig.report(host!, handle));
    t.true(held.length > 0 && held.length < handles.length);
    for (const handle of held) t.like(rig.report(host!, handle), { corrupt: false, lengthBytes: 300 * KiB });
    t.true(host!.epoch > 2, 'the next epochs may have been given out without this disk');
  });

test('a server none of whose disks says who it is does not start as a new one', async t => {
  const rig = await Rig.start(t, { servers: 1, settings: TWO });
  const [host] = rig.hosts;
  await host!.stop();
  host!.node.kv.damage('/data/index');

  const refused = await t.throwsAsync(host!.start({ data: ['/data', '/new'] }));

  t.true(refused instanceof GfsError && refused.code === 'WRONG_DATA' && refused.message.includes('/data/index'));
});

test('a start on a full disk is refused with NO_SPACE and names it; beside another one it is opened when it has room', async t => {
  const rig = await Rig.start(t, { servers: 1, settings: TWO });
  const [host] = rig.hosts;
  const { id } = host!;
  await host!.stop();
  host!.node.disk.setFaults({ isFull: true });
  const refused = await t.throwsAsync(host!.start());
  t.true(refused instanceof GfsError && refused.code === 'NO_SPACE' && refused.message.includes('/data'));
  host!.node.exit();

  host!.node.disk.clearFaults();
  host!.node.disk.setFaults({ isFull: true }, '/data');
  await host!.start();
  await rig.pass(3_000);
  t.is(host!.id, id);
  t.is(rig.failedDisks[0]?.path, '/data');
  t.false(host!.hasRoom);

  host!.node.disk.clearFaults();
  await rig.pass(2_500);
  t.true(host!.hasRoom);
});

test('a new server whose first disk runs full before it has its id does not go on with the second one: it would be refused at the next start', async t => {
  let refused = 0;
  for (let ms = 1; ms < 40; ms++) {
    const rig = await Rig.start(t, { seed: ms, servers: 1 });
    const [host] = rig.hosts;
    await host!.stop();
    const server = host!.create({ data: ['/one', '/two'] });
    let isRefused = false;
    server.start().catch(() => {
      isRefused = true;
    });
    await rig.pass(ms);
    host!.node.disk.setFaults({ isFull: true }, '/one');
    await rig.pass(3_000);
    host!.node.disk.clearFaults();
    if (isRefused) refused++;
    else await rig.do(() => server.stop());
    host!.node.exit();

    await t.notThrowsAsync(host!.start({ data: ['/one', '/two'] }), `full after ${ms} ms`);
  }
  t.true(refused > 0);
});

test('a disk that runs full while a start checks it is not given up for good: it is opened anew when it has room', async t => {
  let unchecked = 0;
  for (let ms = 1; ms < 40; ms += 2) {
    const rig = await Rig.start(t, { seed: ms, servers: 1, settings: { ...TWO, carried: new Carried() } });
    const [host] = rig.hosts;
    const handles = [11, 12, 13, 14, 15, 16, 17, 18] as ChunkHandle[];
    for (const handle of handles)
      await rig.do(() => rig.append({ bytes: pattern(70 * KiB), token: rig.token({ handle }) }));
    host!.node.powerLoss();
    const server = host!.create();
    const starting = server.start();
    starting.catch(() => undefined);
    await rig.pass(ms);
    host!.node.disk.setFaults({ isFull: true }, '/disk2');
    await rig.pass(3_000);
    const failed = rig.failedDisks.map(({ path }) => path);
    host!.node.disk.clearFaults();
    await rig.pass(2_500);
    if (failed.includes('/disk2')) {
      unchecked++;
      t.true(host!.hasRoom, `full after ${ms} ms`);
    }
    await rig.do(() => server.stop());
    host!.node.exit();
    await host!.start();
    await rig.pass(500);
    t.deepEqual(rig.failedDisks, [], `full after ${ms} ms`);
  }
  t.true(unchecked > 0);
});
