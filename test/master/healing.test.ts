// Healing, recovery, draining, balancing, hot chunks, space: what the master orders and in which order, with servers that only count orders.
import test, { type ExecutionContext } from 'ava';
import { findChunk } from '../../src/master/chunks.js';
import { CopyLimits } from '../../src/master/copy-limits.js';
import { inFile } from '../../src/master/mending.js';
import { GfsError } from '../../src/protocol/errors.js';
import type { ChunkHandle, ServerId } from '../../src/protocol/ids.js';
import { ROOT_INODE } from '../../src/protocol/ids.js';
import { LIMITS } from '../../src/protocol/limits.js';
import type { Request } from '../../src/protocol/messages.js';
import { KeyRing, TokenReader } from '../../src/protocol/token.js';
import { FakeCluster, fakeConnection } from './fake-cluster.js';
import type { FakeServer } from './fake-servers.js';
import { ManualClock } from './manual-clock.js';

const LENGTH = 50;

/** A file with one sealed chunk, of which the last `short` replicas lack bytes. */
async function sealed(
  cluster: FakeCluster,
  name: string,
  short = 0,
): Promise<{ handle: ChunkHandle; chain: FakeServer[] }> {
  const target = await cluster.target(await cluster.createFile(name));
  const chain = cluster.chainOf(target);
  for (const [i, server] of chain.entries()) server.hold(target.handle, i < chain.length - short ? LENGTH : LENGTH / 2);
  await cluster.ask('complain', { handle: target.handle, version: 1 });
  await cluster.clock.advance(100);
  return { handle: target.handle, chain };
}

async function sealedMany(cluster: FakeCluster, count: number): Promise<Array<Awaited<ReturnType<typeof sealed>>>> {
  const files = [];
  for (let i = 0; i < count; i++) files.push(await sealed(cluster, `f${i}`));
  return files;
}

async function stateOf(cluster: FakeCluster, server: FakeServer): Promise<{ state: string; reason: string }> {
  const { servers } = await cluster.ask('report', {});
  const { state, reason } = servers.find(({ id }) => id === server.id)!;
  return { state, reason };
}

const holders = (cluster: FakeCluster, handle: ChunkHandle): FakeServer[] =>
  cluster.servers.filter(server => server.chunks.has(handle));

/** Makes copies wait until released; notes the most at once, in all and at each target. */
function holdCopies(t: ExecutionContext, cluster: FakeCluster) {
  const held: Array<() => void> = [];
  const most = { all: 0, target: 0 };
  const order: ChunkHandle[] = [];
  const running = new Map<string, number>();
  for (const server of cluster.servers)
    server.before = (kind, body) => {
      if (kind !== 'copyChunk') return undefined;
      order.push(body.handle as ChunkHandle);
      running.set(server.id, (running.get(server.id) ?? 0) + 1);
      return new Promise<void>(resolve => {
        held.push(() => {
          running.set(server.id, running.get(server.id)! - 1);
          resolve();
        });
        most.all = Math.max(most.all, held.length);
        most.target = Math.max(most.target, running.get(server.id)!);
      });
    };
  const release = (): void => {
    for (const next of held.splice(0)) next();
  };
  t.teardown(release);
  return { most, order, release, held };
}

test('a server that is back recovers until its replicas are current, gets no new chunks before, and is up then (document 000)', async t => {
  const cluster = await FakeCluster.start(t, { servers: 4 });
  const { handle, chain } = await sealed(cluster, 'f');
  const late = chain[1]!;
  late.chunks.set(handle, { version: 1, lengthBytes: 20, state: 'open', suspect: false });
  late.epoch = 2;
  const copies = holdCopies(t, cluster);

  await cluster.register(late);
  await cluster.clock.advance(2_000);
  t.like(await stateOf(cluster, late), { state: 'recovering', reason: '1 of its replicas are behind' });
  for (let i = 0; i < 5; i++) {
    const target = await cluster.target(await cluster.createFile(`new${i}`));
    t.false(target.chain.some(({ server }) => server === late.id));
  }
  copies.release();
  await cluster.clock.advance(2_000);

  t.like(await stateOf(cluster, late), { state: 'up', reason: '' });
  t.is((await cluster.ask('report', {})).healing?.copiedBytes, LENGTH - 20);
});

test('a replica that is behind on a full server does not hold up its chunk: another server gets a copy', async t => {
  const cluster = await FakeCluster.start(t, { servers: 4 });
  const { handle, chain } = await sealed(cluster, 'f');
  const full = chain[1]!;
  full.chunks.set(handle, { version: 1, lengthBytes: 20, state: 'open', suspect: false });
  full.epoch = 2;
  full.freeBytes = LENGTH - 20 - 1;

  await cluster.register(full);
  await cluster.clock.advance(5_000);

  t.is(full.countOf('copyChunk'), 0);
  t.deepEqual(
    holders(cluster, handle),
    cluster.servers.filter(server => server !== full),
  );
});

test('where appends would be refused otherwise, a recovering server takes new chunks', async t => {
  const cluster = await FakeCluster.start(t);
  const { handle, chain } = await sealed(cluster, 'f');
  const late = chain[1]!;
  late.chunks.set(handle, { version: 1, lengthBytes: 20, state: 'open', suspect: false });
  late.epoch = 2;
  holdCopies(t, cluster);
  await cluster.register(late);
  chain[0]!.isReachable = false;
  await cluster.clock.advance(12_000);

  const target = await cluster.target(await cluster.createFile('new'));

  t.true(target.chain.some(({ server }) => server === late.id));
});

test('a server all of whose disks failed is down at once, says so, and its chunks are copied elsewhere', async t => {
  const cluster = await FakeCluster.start(t, { servers: 4 });
  const { handle, chain } = await sealed(cluster, 'f');
  const broken = chain[0]!;
  const space = { capacityBytes: 0, usedBytes: 0, freeBytes: 0, chunks: 1 };
  Object.defineProperty(broken, 'space', { value: space });
  cluster.stopBeats();

  await cluster.beat(broken, { failedDisks: [{ path: '/disk1', error: 'EIO' }] });

  const { state, reason } = await stateOf(cluster, broken);
  t.is(state, 'down');
  t.regex(reason, /all its disks failed; disk \/disk1 failed: EIO/);
  await cluster.clock.advance(2_000);
  t.is(holders(cluster, handle).length, 4);
});

test('a server of another cluster is shown as down with the reason', async t => {
  const cluster = await FakeCluster.start(t);
  const server = 'f'.repeat(16) as ServerId;
  const space = cluster.servers[0]!.space;
  const request = { server, epoch: 1, clusterId: 'another', address: 'x:1', location: '', space };

  await t.throwsAsync(cluster.ask('register', request));

  const { servers } = await cluster.ask('report', {});
  const shown = servers.find(({ id }) => id === server);
  t.is(shown?.state, 'down');
  t.regex(shown!.reason, /holds data of cluster another/);
});

test('§4.3 chunks with the fewest good copies come first, then those that block a client', async t => {
  const cluster = await FakeCluster.start(t, { servers: 5, settings: { copiesMax: 1 } });
  const files = await sealedMany(cluster, 4);
  const copies = holdCopies(t, cluster);
  // The slot is taken, so that the others wait and can be put in order.
  const corrupt = (file: (typeof files)[number], count: number): Promise<unknown> =>
    Promise.all(
      file.chain.slice(0, count).map(server => {
        const report = { handle: file.handle, version: 2, lengthBytes: LENGTH, state: 'sealed' as const };
        return cluster.beat(server, { changed: [{ ...report, suspect: false, corrupt: true }] });
      }),
    );
  await corrupt(files[0]!, 1);
  await cluster.clock.advance(1_000);
  t.deepEqual(copies.order, [files[0]!.handle]);
  await corrupt(files[1]!, 1);
  await corrupt(files[2]!, 1);
  await corrupt(files[3]!, 2);
  cluster.master.rooms.context.blocked.note(files[2]!.handle);
  for (let i = 0; i < 10; i++) {
    await cluster.clock.advance(1_000);
    copies.release();
  }

  const first = [...new Set(copies.order)];
  t.deepEqual(
    first,
    [0, 3, 2, 1].map(i => files[i]!.handle),
  );
});

test('§4.3 a replica that is shorter than its chunk was sealed at is no good copy in the order of healing', async t => {
  const cluster = await FakeCluster.start(t, { servers: 5, settings: { copiesMax: 1 } });
  const copies = holdCopies(t, cluster);
  // The first takes the slot, so that the others wait and can be put in order.
  const files = [await sealed(cluster, 'f', 1)];
  await cluster.clock.advance(1_000);
  files.push(await sealed(cluster, 'one is short', 1), await sealed(cluster, 'two are short', 2));
  for (let i = 0; i < 6; i++) {
    await cluster.clock.advance(1_000);
    copies.release();
  }

  t.deepEqual(
    [...new Set(copies.order)],
    [0, 2, 1].map(i => files[i]!.handle),
  );
});

test('copies at once are bounded, in all and at each server, and copying goes on until all is well', async t => {
  const cluster = await FakeCluster.start(t, {
    servers: 5,
    settings: { rereplicateAfter: 1_000, copiesMax: 3, copiesPerServer: 2 },
  });
  const files = await sealedMany(cluster, 20);
  const copies = holdCopies(t, cluster);
  cluster.servers[0]!.isReachable = false;
  for (let i = 0; i < 40; i++) {
    await cluster.clock.advance(1_000);
    copies.release();
  }

  t.is(copies.most.all, 3);
  t.true(copies.most.target <= 2);
  const live = cluster.servers.slice(1);
  for (const { handle } of files) t.is(live.filter(server => server.chunks.has(handle)).length, 3);
});

test('copies of the whole cluster keep to the rate in bytes per second', async t => {
  const cluster = await FakeCluster.start(t, {
    servers: 4,
    settings: { rereplicateAfter: 500, copyRate: 100, balanceThreshold: 0 },
  });
  await sealedMany(cluster, 20);
  cluster.servers[0]!.isReachable = false;
  await cluster.clock.advance(12_000);
  const before = cluster.master.rooms.healing.copiedBytes;

  await cluster.clock.advance(4_000);

  const copied = cluster.master.rooms.healing.copiedBytes - before;
  t.true(copied <= 5 * 100 + LENGTH, `${copied} bytes in 4 s`);
});

test('while there is enough to copy the rate is used up, in few rounds and many', async t => {
  for (const rereplicateAfter of [200, 60_000]) {
    const settings = { rereplicateAfter, copyRate: 1_000, balanceThreshold: 0 };
    const cluster = await FakeCluster.start(t, { servers: 4, settings });
    await sealedMany(cluster, 400);
    cluster.servers[0]!.isReachable = false;
    const { healing } = cluster.master.rooms;
    while (healing.copiedBytes === 0) await cluster.clock.advance(1_000);
    t.true(healing.dueCount > 200);
    const before = healing.copiedBytes;

    await cluster.clock.advance(8_000);

    const copied = healing.copiedBytes - before;
    t.true(copied >= 8 * 1_000 * 0.95, `${copied} bytes in 8 s`);
    t.true(healing.dueCount > 0);
  }
});

test('the limits of copying: places are given back, and a copy begins when those before it are paid for', async t => {
  const clock = new ManualClock();
  const limits = new CopyLimits(clock, { copiesMax: 2, copiesPerServer: 1, bytesPerSecond: 1000 });
  const [a, b, c] = ['a', 'b', 'c'] as ServerId[];
  const leave = limits.enter([a!, b!], 1_500);
  t.truthy(leave);
  t.true(limits.isFull);
  await clock.advance(500);
  t.is(limits.enter([a!, c!], 1), undefined);
  t.truthy(limits.enter([c!], 0));
  t.true(limits.isFull);

  leave!();

  t.false(limits.isFull);
  t.is(limits.copiesAt(a!), 0);
});

test('what a copy had paid for and did not move is given back', async t => {
  const clock = new ManualClock();
  const limits = new CopyLimits(clock, { copiesMax: 8, copiesPerServer: 8, bytesPerSecond: 1_000 });
  const [a] = ['a'] as ServerId[];
  const leave = limits.enter([a!], 10_000);
  await clock.advance(1_000);
  t.is(limits.enter([a!], 1), undefined);

  leave!(2_500);

  t.true(limits.enter([a!], 1) === undefined, 'what it moved stays paid for: 1.5 s of it are left');
  await clock.advance(500);
  t.truthy(limits.enter([a!], 1));
});

test('a copy that moved nothing gives back only the time that is still to come for it, and one that moved more takes it', async t => {
  const clock = new ManualClock();
  const limits = new CopyLimits(clock, { copiesMax: 8, copiesPerServer: 8, bytesPerSecond: 1_000 });
  const servers = ['1'.repeat(16) as ServerId];
  const first = limits.enter(servers, 1_500)!;
  await clock.advance(1_500);
  const second = limits.enter(servers, 1_500)!;
  t.true(limits.isFull);

  // Its time has passed, unused: the second one's is not the shorter for it (simulator, seed 1730756463).
  first(0);
  t.true(limits.isFull);
  second(400);
  t.false(limits.isFull);
  const third = limits.enter(servers, 500)!;
  t.false(limits.isFull);
  third(2_000);
  t.true(limits.isFull);
});

test('a server that is back in time cancels the copies that have not begun', async t => {
  const cluster = await FakeCluster.start(t, { servers: 4, settings: { rereplicateAfter: 2_000, copiesMax: 1 } });
  const files = await sealedMany(cluster, 12);
  const copies = holdCopies(t, cluster);
  const away = cluster.servers[0]!;
  away.isReachable = false;
  await cluster.clock.advance(15_000);
  t.is(copies.order.length, 1);

  away.isReachable = true;
  await cluster.clock.advance(2_000);
  copies.release();
  await cluster.clock.advance(10_000);

  t.is(copies.order.length, 1);
  for (const { handle } of files) t.is(holders(cluster, handle).length, 3);
});

test('a server that is back in time ends the copy that runs; what it brought goes, its place and its bytes are given back', async t => {
  const settings = { rereplicateAfter: 2_000, copiesMax: 1, copyRate: LENGTH / 10 };
  const cluster = await FakeCluster.start(t, { servers: 4, settings });
  const { handle, chain } = await sealed(cluster, 'f');
  const copies = holdCopies(t, cluster);
  const [away] = chain;
  away!.isReachable = false;
  await cluster.clock.advance(15_000);
  t.is(copies.held.length, 1);
  const target = cluster.servers.find(server => !chain.includes(server))!;
  t.is(target.countOf('stopCopy'), 0);
  const { healing } = cluster.master.rooms;

  away!.isReachable = true;
  await cluster.clock.advance(2_000);

  t.is(target.countOf('stopCopy'), 1);
  // As if the piece that was on its way had come.
  copies.release();
  await cluster.clock.advance(1);
  t.is(healing.limits.running, 0);
  t.is(healing.copiedBytes, LENGTH / 2);
  t.true(target.chunks.has(handle));
  await cluster.clock.advance(2_000);

  t.false(target.chunks.has(handle));
  t.deepEqual(
    holders(cluster, handle)
      .map(({ id }) => id)
      .sort(),
    chain.map(({ id }) => id).sort(),
  );
  t.is(target.countOf('stopCopy'), 1);
  t.is(healing.copies.copiesDone, 0);
});

test('a replica that comes back behind is brought up to date in place of the copy that runs, where it is the last that is missing', async t => {
  for (const goal of [3, 4]) {
    const cluster = await FakeCluster.start(t, { servers: 6, settings: { rereplicateAfter: 2_000 } });
    const { handle, chain } = await sealed(cluster, 'f');
    const copies = holdCopies(t, cluster);
    const [away] = chain;
    away!.isReachable = false;
    await cluster.clock.advance(15_000);
    t.is(copies.held.length, 1);

    const operator = { ...fakeConnection(), role: 'admin' as const };
    await cluster.ask('setReplication', { where: { start: ROOT_INODE, path: 'f' }, goal }, operator);
    away!.chunks.set(handle, { version: 1, lengthBytes: LENGTH, state: 'open', suspect: false });
    away!.epoch = 2;
    away!.isReachable = true;
    await cluster.register(away!);
    await cluster.clock.advance(2_000);

    const stops = cluster.servers.reduce((sum, server) => sum + server.countOf('stopCopy'), 0);
    t.is(stops, goal === 3 ? 1 : 0);
    copies.release();
    await cluster.clock.advance(5_000);
    copies.release();
    await cluster.clock.advance(5_000);
    t.is(holders(cluster, handle).length, goal);
    t.true(holders(cluster, handle).includes(away!));
    t.is(cluster.master.rooms.healing.copies.copiesDone, goal - 3);
  }
});

test('a copy that is still needed is not stopped when another server comes back', async t => {
  const cluster = await FakeCluster.start(t, { servers: 6, settings: { rereplicateAfter: 2_000 } });
  const { chain } = await sealed(cluster, 'f');
  const copies = holdCopies(t, cluster);
  const other = cluster.servers.find(server => !chain.includes(server))!;
  other.isReachable = false;
  chain[0]!.isReachable = false;
  await cluster.clock.advance(15_000);
  t.is(copies.held.length, 1);

  other.isReachable = true;
  await cluster.clock.advance(5_000);

  for (const server of cluster.servers) t.is(server.countOf('stopCopy'), 0);
});

test('a draining server is emptied, its chunks stay readable throughout, and it gets no new ones', async t => {
  const cluster = await FakeCluster.start(t, { servers: 5 });
  const files = await sealedMany(cluster, 10);
  const open = await cluster.target(await cluster.createFile('open'));
  for (const server of cluster.chainOf(open)) server.hold(open.handle, LENGTH);
  const leaving = cluster.chainOf(open)[0]!;
  let fewest = 3;
  for (const server of cluster.servers)
    server.before = kind => {
      if (kind === 'deleteChunk')
        for (const { handle } of files) fewest = Math.min(fewest, holders(cluster, handle).length);
    };

  cluster.master.rooms.context.servers.get(leaving.id)!.draining = true;
  await cluster.clock.advance(20_000);

  t.deepEqual([...leaving.chunks], []);
  t.is(fewest, 3);
  for (const { handle } of files) t.is(holders(cluster, handle).length, 3);
  t.is(findChunk(cluster.master.rooms.context.store, open.handle)?.state, 'sealed');
  t.is(holders(cluster, open.handle).length, 3);
});

test('chunks move from a full server to an empty one, gently, until they are about as full', async t => {
  const cluster = await FakeCluster.start(t, { servers: 4, settings: { balanceCopiesMax: 1, balanceRate: 1_024 } });
  const empty = cluster.servers[3]!;
  empty.isReachable = false;
  await cluster.clock.advance(12_000);
  const files = await sealedMany(cluster, 30);
  // What is moved counts for more in the heartbeats, so that few chunks make a server full.
  for (const server of cluster.servers)
    Object.defineProperty(server, 'space', {
      get: () => {
        const usedBytes = server.chunks.size * LENGTH * 10_000;
        return { capacityBytes: 2e7, usedBytes, freeBytes: 2e7 - usedBytes, chunks: server.chunks.size };
      },
    });
  const copies = holdCopies(t, cluster);
  empty.isReachable = true;
  for (let i = 0; i < 150; i++) {
    await cluster.clock.advance(1_000);
    copies.release();
  }

  t.is(copies.most.all, 1);
  const counts = cluster.servers.map(server => files.filter(({ handle }) => server.chunks.has(handle)).length);
  t.true(Math.max(...counts) - Math.min(...counts) <= 6, counts.join(' '));
  for (const { handle } of files) t.is(holders(cluster, handle).length, 3);
  t.true(copies.order.length < 40, 'no chunk goes back and forth');
});

test('a chunk does not go to and fro where moving it would only make another server as full', async t => {
  const cluster = await FakeCluster.start(t, { servers: 4 });
  const { handle } = await sealed(cluster, 'f');
  for (const server of cluster.servers)
    Object.defineProperty(server, 'space', {
      get: () => {
        const usedBytes = server.chunks.size * LENGTH;
        return { capacityBytes: 5 * LENGTH, usedBytes, freeBytes: 5 * LENGTH - usedBytes, chunks: server.chunks.size };
      },
    });
  await cluster.clock.advance(60_000);

  t.is(
    cluster.servers.reduce((sum, server) => sum + server.countOf('copyChunk'), 0),
    0,
  );
  t.is(holders(cluster, handle).length, 3);
});

test('a chunk that is read much gets more replicas, bounded, and gives them up when it cools (document 001)', async t => {
  const cluster = await FakeCluster.start(t, { servers: 6, settings: { hotReads: 100, hotReplicas: 5 } });
  const { handle, chain } = await sealed(cluster, 'f');
  for (let i = 0; i < 15; i++) {
    for (const server of chain) await cluster.beat(server, { reads: [{ handle, reads: 400 }] });
    await cluster.clock.advance(1_000);
  }

  t.is(holders(cluster, handle).length, 5);
  t.is((await cluster.ask('report', {})).healing?.hotChunks, 1);
  await cluster.clock.advance(120_000);

  t.is(holders(cluster, handle).length, 3);
});

async function corruptAll(cluster: FakeCluster, handle: ChunkHandle, chain: readonly FakeServer[]): Promise<void> {
  for (const server of chain) {
    const report = { handle, version: 2, lengthBytes: LENGTH, state: 'sealed' as const, suspect: false, corrupt: true };
    await cluster.beat(server, { changed: [report] });
  }
}

test('when all copies of a chunk are bad in the same place nothing is deleted, and fsck and info name the bytes', async t => {
  const cluster = await FakeCluster.start(t, { servers: 4, settings: { copyRate: 1 } });
  const { handle, chain } = await sealed(cluster, 'f');
  // Only what none has is lost.
  chain[0]!.bad.set(handle, [{ fromByte: 0, lengthBytes: 20 }]);
  chain[1]!.bad.set(handle, [{ fromByte: 10, lengthBytes: 40 }]);
  chain[2]!.bad.set(handle, [
    { fromByte: 0, lengthBytes: 12 },
    { fromByte: 15, lengthBytes: 1 },
  ]);
  await corruptAll(cluster, handle, chain);

  await cluster.clock.advance(3_000);
  t.false(cluster.master.rooms.healing.limits.isFull, 'nothing moved, and others are not kept waiting');
  await cluster.clock.advance(57_000);

  for (const server of chain) {
    t.is(server.countOf('deleteChunk'), 0);
    t.is(server.countOf('mendChunk'), 1, 'they are not asked over and over');
  }
  t.is((await cluster.ask('report', {})).chunks.lost, 1);
  const lost = [
    { fromByte: 10, lengthBytes: 2 },
    { fromByte: 15, lengthBytes: 1 },
  ];
  const request = { under: ROOT_INODE, limit: 10, repair: false };
  const [finding] = (await cluster.ask('checkFiles', request)).findings;
  t.deepEqual(finding?.lost, lost);
  t.deepEqual(finding?.finding.problems, ['unreadable', 'missing', 'corrupt']);
  const info = await cluster.ask('fileInfo', { where: { start: ROOT_INODE, path: 'f' }, fromChunk: 0, limit: 10 });
  t.deepEqual(info.chunks[0]?.lost, lost);
  // Readers are sent to the damaged ones, whose servers hand out the blocks that are good.
  const { extents } = await cluster.ask('locate', { inode: info.attributes.inode, fromByte: 0, limit: 1 });
  t.is(extents[0]?.replicas.length, 3);
  t.truthy(extents[0]?.token);
});

test('when all copies of a chunk are bad in different places they are mended from one another, and copied again', async t => {
  const cluster = await FakeCluster.start(t, { servers: 4 });
  const { handle, chain } = await sealed(cluster, 'f');
  chain[0]!.before = kind => {
    if (kind === 'mendChunk') throw new GfsError('DISK_FAILED', 'no more');
  };
  await corruptAll(cluster, handle, chain);

  await cluster.clock.advance(30_000);

  t.deepEqual(
    (chain[1]!.orders.find(({ kind }) => kind === 'mendChunk')!.body.sources as Array<{ server: string }>)
      .map(({ server }) => server)
      .sort(),
    [chain[0]!.id, chain[2]!.id].sort(),
  );
  t.is((await cluster.ask('report', {})).chunks.degraded, 0);
  t.deepEqual((await cluster.ask('checkFiles', { under: ROOT_INODE, limit: 10, repair: false })).findings, []);
});

test('a damaged replica is mended with one that is behind, too: behind the whole ones, with its length, under a token of its version', async t => {
  const cluster = await FakeCluster.start(t, { servers: 3 });
  const { handle, chain } = await sealed(cluster, 'f');
  const [first, late, last] = chain;
  late!.chunks.set(handle, { version: 1, lengthBytes: 20, state: 'open', suspect: false });
  late!.epoch = 2;
  for (const server of chain) server.bad.set(handle, [{ fromByte: 0, lengthBytes: 1 }]);
  const { limits } = cluster.master.rooms.healing;
  let places: number[] = [];
  for (const server of [first!, last!])
    server.before = kind => {
      if (kind === 'mendChunk') places = [first!, last!, late!].map(({ id }) => limits.copiesAt(id));
    };
  await corruptAll(cluster, handle, [first!, last!]);
  await cluster.register(late!);

  await cluster.clock.advance(10_000);

  const { sources } = first!.orders.findLast(({ kind }) => kind === 'mendChunk')!
    .body as unknown as Request<'mendChunk'>;
  t.deepEqual(
    sources.map(({ server, lengthBytes }) => [server, lengthBytes]),
    [
      [last!.id, undefined],
      [late!.id, 20],
    ],
  );
  t.deepEqual(places, [1, 1, 1], 'each has a place within the limits');
  const keys = new KeyRing(cluster.master.rooms.context.tokens.list());
  const opened = new TokenReader(keys).open(sources[1]!.token, ['copy'], 0);
  t.is(opened.version, 1);
});

test('a replica that is behind is asked what it has before bytes are given up: it may have taken appends since it reported', async t => {
  const cluster = await FakeCluster.start(t, { servers: 3 });
  const { handle, chain } = await sealed(cluster, 'f');
  const [first, late, last] = chain;
  late!.chunks.set(handle, { version: 1, lengthBytes: 20, state: 'open', suspect: false });
  late!.epoch = 2;
  late!.before = kind => {
    if (kind === 'inspectChunk')
      late!.chunks.set(handle, { version: 1, lengthBytes: 40, state: 'open', suspect: false });
  };
  for (const server of chain) server.bad.set(handle, [{ fromByte: 0, lengthBytes: 1 }]);
  await corruptAll(cluster, handle, [first!, last!]);
  await cluster.register(late!);

  await cluster.clock.advance(10_000);

  const { sources } = first!.orders.findLast(({ kind }) => kind === 'mendChunk')!
    .body as unknown as Request<'mendChunk'>;
  t.like(
    sources.find(({ server }) => server === late!.id),
    { lengthBytes: 40 },
  );
});

test('every server whose damaged replica is mended has a place within the limits, not the first one only (§4.3)', async t => {
  const cluster = await FakeCluster.start(t, { servers: 3 });
  const { limits } = cluster.master.rooms.healing;
  const { handle, chain } = await sealed(cluster, 'f');
  const places: Array<{ server: string; count: number }> = [];
  for (const server of chain)
    server.before = kind => {
      if (kind === 'mendChunk') places.push({ server: server.id, count: limits.copiesAt(server.id) });
    };
  await corruptAll(cluster, handle, chain);

  await cluster.clock.advance(30_000);

  t.is(new Set(places.map(({ server }) => server)).size, 3);
  for (const { count } of places) t.is(count, 1);
});

test('lost bytes are asked about again when another copy turns up', async t => {
  const cluster = await FakeCluster.start(t);
  const { handle, chain } = await sealed(cluster, 'f');
  for (const server of chain) server.bad.set(handle, [{ fromByte: 0, lengthBytes: 20 }]);
  await corruptAll(cluster, handle, chain.slice(0, 2));
  chain[2]!.isReachable = false;
  await cluster.clock.advance(60_000);
  const request = { under: ROOT_INODE, limit: 10, repair: false };
  t.is((await cluster.ask('checkFiles', request)).findings[0]?.lost?.length, 1);
  const before = chain[0]!.countOf('mendChunk');

  for (const server of chain) server.bad.clear();
  chain[2]!.isReachable = true;
  await corruptAll(cluster, handle, chain.slice(2));
  await cluster.clock.advance(60_000);

  t.true(chain[0]!.countOf('mendChunk') > before);
  t.deepEqual((await cluster.ask('checkFiles', request)).findings, []);
});

test('of many damaged ranges the last one told stands for the rest', t => {
  const ranges = Array.from({ length: 40 }, (_, i) => ({ fromByte: i * 10, lengthBytes: 5 }));
  const told = inFile(ranges, { fileOffset: 1_000, chunkOffset: 20, lengthBytes: 330 });
  t.is(told.length, LIMITS.lostRangesMax);
  t.deepEqual(told[0], { fromByte: 1_000, lengthBytes: 5 });
  t.deepEqual(told[15], { fromByte: 1_150, lengthBytes: 175 });
  t.deepEqual(inFile([{ fromByte: 0, lengthBytes: 25 }], { fileOffset: 0, chunkOffset: 20, lengthBytes: 10 }), [
    { fromByte: 0, lengthBytes: 5 },
  ]);
});

test('a bad replica is deleted only after a good one has taken its place', async t => {
  const cluster = await FakeCluster.start(t, { servers: 4 });
  const { handle, chain } = await sealed(cluster, 'f');
  const copies = holdCopies(t, cluster);
  const report = { handle, version: 2, lengthBytes: LENGTH, state: 'sealed' as const, suspect: false, corrupt: true };
  await cluster.beat(chain[0]!, { changed: [report] });
  await cluster.clock.advance(3_000);
  t.is(chain[0]!.countOf('deleteChunk'), 0);

  copies.release();
  await cluster.clock.advance(3_000);

  t.is(chain[0]!.countOf('deleteChunk'), 1);
  t.is(holders(cluster, handle).length, 3);
});

test('a replica is deleted only after those that stay have said that they are there: a report may be older than they are', async t => {
  const cluster = await FakeCluster.start(t, { servers: 4 });
  const { handle, chain } = await sealed(cluster, 'f');
  const phantom = cluster.servers.find(server => !chain.includes(server))!;
  const copies = holdCopies(t, cluster);
  const report = { handle, version: 2, lengthBytes: LENGTH, state: 'sealed' as const, suspect: false, corrupt: false };
  await cluster.beat(phantom, { changed: [report] });
  await cluster.beat(chain[0]!, { changed: [{ ...report, corrupt: true }] });
  await cluster.clock.advance(5_000);
  t.is(chain[0]!.countOf('deleteChunk'), 0);

  copies.release();
  await cluster.clock.advance(5_000);

  t.is(chain[0]!.countOf('deleteChunk'), 1);
  t.deepEqual(
    holders(cluster, handle),
    cluster.servers.filter(server => server !== chain[0]),
  );
});

test('a replica is deleted only after one of those that stay was read through: what nobody read lately may be bad', async t => {
  const cluster = await FakeCluster.start(t, { servers: 4 });
  const { handle, chain } = await sealed(cluster, 'f');
  const deletions = (): number => cluster.servers.reduce((sum, server) => sum + server.countOf('deleteChunk'), 0);
  let isBad = true;
  for (const server of cluster.servers)
    server.before = (kind, body) => {
      if (isBad && kind === 'inspectChunk' && body.verify) server.corrupt.add(handle);
    };

  const operator = { ...fakeConnection(), role: 'admin' as const };
  await cluster.ask('setReplication', { where: { start: ROOT_INODE, path: 'f' }, goal: 2 }, operator);
  await cluster.clock.advance(1_000);

  t.is(deletions(), 0, 'the one that was read is bad: the others are not deleted on its account');
  isBad = false;
  await cluster.clock.advance(60_000);
  const [bad] = chain.filter(server => server.corrupt.has(handle));
  t.truthy(bad);
  t.false(bad!.chunks.has(handle));
  t.is(holders(cluster, handle).length, 2);
});

test('a report that was overtaken by a later one says nothing any more: it does not bring a deleted replica back', async t => {
  const cluster = await FakeCluster.start(t, { servers: 4 });
  const { handle, chain } = await sealed(cluster, 'f');
  const [server] = chain;
  const { locations, servers } = cluster.master.rooms.context;
  const there = { handle, version: 2, lengthBytes: LENGTH, state: 'sealed' as const, suspect: false, corrupt: false };
  const gone = { ...there, lengthBytes: 0, gone: true };
  const overtaken = ++server!.sequence;
  await cluster.beat(server!, { changed: [gone] });
  t.is(locations.find(handle, server!.id), undefined);

  const answer = await cluster.beat(server!, { sequence: overtaken, changed: [there] });
  t.is(locations.find(handle, server!.id), undefined);
  t.deepEqual([answer.registered, answer.extended], [true, []]);

  await cluster.beat(server!, { changed: [there] });
  t.truthy(locations.find(handle, server!.id));
  const { id, epoch } = server!;
  await cluster.ask('register', {
    ...{ server: id, epoch, clusterId: '', address: server!.address, location: '', space: server!.space },
  });
  const late = cluster.ask('reportChunks', { server: id, epoch, sequence: overtaken, chunks: [], last: true });
  await t.throwsAsync(late, { message: /later report/ });
  t.false(servers.get(id)!.reported);
  await cluster.report(server!);
  t.true(servers.get(id)!.reported, 'the numbers go on after a registration of the same process');
});

test('the slow comparison finds a replica that is gone without a report, and only after the server has confirmed it', async t => {
  const cluster = await FakeCluster.start(t, { servers: 4 });
  const { handle, chain } = await sealed(cluster, 'f');
  const [server] = chain;
  const piece = { from: 0, through: Number.MAX_SAFE_INTEGER, chunks: [] };

  await cluster.beat(server!, { compared: piece });
  await cluster.clock.advance(500);
  t.truthy(cluster.master.rooms.context.locations.find(handle, server!.id), 'the piece was older than the replica');
  server!.chunks.delete(handle);
  await cluster.beat(server!, { compared: piece });
  await cluster.clock.advance(5_000);

  t.is(holders(cluster, handle).length, 3);
});

test('files leave the trash early when too few servers have room, the oldest first, and not otherwise', async t => {
  const cluster = await FakeCluster.start(t, { settings: { trash: 86_400_000, gcGrace: 1_000 } });
  const { handle, chain } = await sealed(cluster, 'f');
  await cluster.ask('unlink', { once: cluster.once(), where: { start: ROOT_INODE, path: 'f' } });
  await cluster.clock.advance(30_000);
  t.is(holders(cluster, handle).length, 3);

  chain[0]!.freeBytes = 1_000;
  await cluster.clock.advance(30_000);

  t.is(holders(cluster, handle).length, 0);
  t.is((await cluster.ask('report', {})).trash, 0);
});

test('an open chunk that nobody has reported yet is sealed when a server of its chain goes, without waiting for a sweep', async t => {
  const settings = { deadAfter: 2_000, rereplicateAfter: 1_000 };
  const cluster = await FakeCluster.start(t, { servers: 4, settings });
  await cluster.clock.advance(5_000);
  const target = await cluster.target(await cluster.createFile('f'));
  const chain = cluster.chainOf(target);
  for (const server of chain) server.hold(target.handle, LENGTH);

  chain[1]!.isReachable = false;
  await cluster.clock.advance(settings.deadAfter + settings.rereplicateAfter + 3_000);

  t.like(findChunk(cluster.master.rooms.context.store, target.handle), { state: 'sealed', lengthBytes: LENGTH });
});
