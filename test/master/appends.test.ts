// Leases, seals and complaints at a real master with fake chunkservers (DESIGN 4; the model in shared/design/model).
import test from 'ava';
import { findChunk } from '../../src/master/chunks.js';
import type { ChunkHandle, InodeId } from '../../src/protocol/ids.js';
import { FakeCluster, throwsCode } from './fake-cluster.js';
import { quiet } from './manual-clock.js';

const APPEND = { writer: 'a'.repeat(16), sequence: 7 };

async function withOpenChunk(
  t: Parameters<typeof FakeCluster.start>[0],
  lengths: readonly (number | undefined)[],
  options: Parameters<typeof FakeCluster.start>[1] = {},
) {
  const cluster = await FakeCluster.start(t, options);
  const inode = await cluster.createFile('f');
  const target = await cluster.target(inode);
  const chain = cluster.chainOf(target);
  lengths.forEach((lengthBytes, index) => {
    if (lengthBytes !== undefined) chain[index]!.hold(target.handle, lengthBytes);
  });
  return { cluster, inode, target, chain };
}

function chunkOf(cluster: FakeCluster, handle: ChunkHandle) {
  return findChunk(cluster.master.rooms.context.store, handle);
}

function locate(cluster: FakeCluster, inode: InodeId) {
  return cluster.ask('locate', { inode, fromByte: 0, limit: 100 });
}

test('§3.1 allocation of a chunk asks no chunkserver, and its first lease is in the token', async t => {
  const { target, chain } = await withOpenChunk(t, []);

  t.is(target.version, 1);
  t.is(new Set(target.chain.map(({ server }) => server)).size, 3);
  t.is(target.base, 0);
  t.true(target.leaseMs > 50_000);
  for (const server of chain) t.is(server.orders.length, 0);
});

test('two clients that ask for the target of one file get the same chunk', async t => {
  const cluster = await FakeCluster.start(t);
  const inode = await cluster.createFile('f');

  const [first, second] = await cluster.clock.run(
    Promise.all([cluster.call('appendTarget', { inode }), cluster.call('appendTarget', { inode })]),
  );

  t.is(first.target.handle, second.target.handle);
});

test('§3.1 a lease that came back in peace is granted anew under a higher version when all replicas are equal', async t => {
  const { cluster, inode, target, chain } = await withOpenChunk(t, [100, 100, 100]);
  await cluster.ask('returnLease', {
    server: chain[0]!.id,
    epoch: 1,
    handle: target.handle,
    version: 1,
    lengthBytes: 100,
  });
  const view = await cluster.ask('lookup', { where: { start: inode, path: '' }, follow: true });
  t.is(view.attributes.sizeBytes, 100);
  t.false(view.tail!.leased);

  const again = await cluster.target(inode);

  t.is(again.handle, target.handle);
  t.is(again.version, 2);
  t.deepEqual(
    chain.map(server => server.countOf('grant')),
    [1, 1, 1],
  );
  t.deepEqual(
    chain.map(server => server.countOf('adopt')),
    [1, 0, 0],
  );
  t.is(chunkOf(cluster, target.handle)?.known, false);
});

test('DESIGN 4 a grant with unequal lengths seals at the longest and the file goes on in a new chunk', async t => {
  const { cluster, inode, target, chain } = await withOpenChunk(t, [300, 200, 100], { settings: { lease: 5_000 } });
  await cluster.clock.advance(6_000);

  const next = await cluster.target(inode);

  t.not(next.handle, target.handle);
  t.is(next.base, 300);
  t.is(chunkOf(cluster, target.handle)?.lengthBytes, 300);
  t.is(chunkOf(cluster, target.handle)?.state, 'sealed');
  await cluster.clock.advance(5_000);
  // Shorter replicas copied the missing tail.
  t.deepEqual(
    chain.map(server => server.chunks.get(target.handle)?.lengthBytes),
    [300, 300, 300],
  );
  t.deepEqual(
    chain.map(server => server.countOf('copyChunk')),
    [0, 1, 1],
  );
  const { extents } = await locate(cluster, inode);
  t.is(extents[0]!.replicas.length, 3);
});

test('I7 only the replicas that are as recorded are named to readers', async t => {
  const { cluster, inode, target, chain } = await withOpenChunk(t, [300, 200, 300]);
  chain[1]!.before = kind => {
    if (kind === 'copyChunk') throw new Error('disk trouble');
  };

  await cluster.ask('complain', { handle: target.handle, version: 1 });
  const { extents } = await locate(cluster, inode);

  t.deepEqual(extents[0]!.replicas.map(({ server }) => server).sort(), [chain[0]!.id, chain[2]!.id].sort());
});

test('DESIGN 4 a suspect replica alone never decides a seal; another one that comes back does', async t => {
  const { cluster, inode, target, chain } = await withOpenChunk(t, [300, 300, 100]);
  chain[2]!.hold(target.handle, 100, { suspect: true });
  chain[0]!.isReachable = false;
  chain[1]!.isReachable = false;

  const complaint = cluster.call('complain', { handle: target.handle, version: 1, append: APPEND });
  await throwsCode(t, cluster.clock.run(complaint), 'UNAVAILABLE');
  t.is(chunkOf(cluster, target.handle)?.state, 'open');
  chain[1]!.isReachable = true;
  await cluster.clock.advance(15_000);

  t.is(chunkOf(cluster, target.handle)?.state, 'sealed');
  t.is(chunkOf(cluster, target.handle)?.lengthBytes, 300);
  await cluster.target(inode);
});

test('a damaged replica does not decide a seal while sound ones may come back, and does when they stay away as long as healing waits (I8)', async t => {
  for (const comesBack of [true, false]) {
    const { cluster, target, chain } = await withOpenChunk(t, [300, 200, 200]);
    chain[0]!.corrupt.add(target.handle);
    chain[1]!.isReachable = false;
    chain[2]!.isReachable = false;

    const complaint = cluster.call('complain', { handle: target.handle, version: 1, append: APPEND });
    await throwsCode(t, cluster.clock.run(complaint), 'UNAVAILABLE');
    t.is(chunkOf(cluster, target.handle)?.state, 'open');
    if (comesBack) chain[1]!.isReachable = true;
    await cluster.clock.advance(comesBack ? 15_000 : 75_000);

    t.like(chunkOf(cluster, target.handle), { state: 'sealed', lengthBytes: comesBack ? 200 : 300 });
  }
});

test('a member that is stopped and answers nothing holds a seal up only for the grace, and gets no new chunk', async t => {
  const { cluster, inode, target, chain } = await withOpenChunk(t, [300, 300, 300]);
  const silent = chain[1]!;
  silent.before = () => new Promise(() => undefined);

  await cluster.clock.run(cluster.call('complain', { handle: target.handle, version: 1 }), 1_000);

  t.is(chunkOf(cluster, target.handle)?.lengthBytes, 300);
  t.false(cluster.chainOf(await cluster.target(inode)).includes(silent));
});

test('a seal without any reachable member waits for one until its deadline', async t => {
  const { cluster, target, chain } = await withOpenChunk(t, [300, 300, 300]);
  for (const server of cluster.servers) server.isReachable = false;
  await cluster.clock.advance(15_000);

  const complaint = cluster.call('complain', { handle: target.handle, version: 1, append: APPEND });
  await cluster.clock.advance(2_000);
  chain[1]!.isReachable = true;

  t.deepEqual(await cluster.clock.run(complaint), { outcome: 'absent' });
});

test('a master that stood still takes nobody for dead because of it, and those who stay silent after all', async t => {
  const { cluster, inode, target } = await withOpenChunk(t, [300, 300, 300]);
  const { servers } = cluster.master.rooms.context;
  cluster.stopBeats();

  cluster.clock.standStill(30_000);
  await cluster.clock.advance(2_000);
  t.true(cluster.servers.every(({ id }) => servers.isLive(id)));
  t.is((await cluster.target(inode)).handle, target.handle);
  await cluster.clock.advance(15_000);

  t.false(cluster.servers.some(({ id }) => servers.isLive(id)));
});

test('DESIGN 4 when all replicas are suspect, all of them together decide', async t => {
  const { cluster, target, chain } = await withOpenChunk(t, [300, 200, 100]);
  for (const [index, server] of chain.entries()) server.hold(target.handle, 300 - 100 * index, { suspect: true });

  await cluster.ask('complain', { handle: target.handle, version: 1 });

  t.is(chunkOf(cluster, target.handle)?.lengthBytes, 300);
});

test('DESIGN 4 rule 4: "no such chunk" counts from a server that has not restarted since the allocation', async t => {
  const { cluster, inode, target, chain } = await withOpenChunk(t, []);
  chain[0]!.isReachable = false;
  chain[1]!.isReachable = false;

  await cluster.ask('complain', { handle: target.handle, version: 1 });

  t.is(chunkOf(cluster, target.handle)?.state, 'sealed');
  t.is(chunkOf(cluster, target.handle)?.lengthBytes, 0);
  t.is((await locate(cluster, inode)).extents.length, 0);
});

test('DESIGN 4 rule 4: "no such chunk" from a restarted server does not decide alone', async t => {
  const { cluster, target, chain } = await withOpenChunk(t, [50, 50, undefined]);
  chain[2]!.epoch = 2;
  await cluster.register(chain[2]!);
  chain[0]!.isReachable = false;
  chain[1]!.isReachable = false;

  await throwsCode(t, cluster.ask('complain', { handle: target.handle, version: 1 }), 'UNAVAILABLE');

  t.is(chunkOf(cluster, target.handle)?.state, 'open');
});

test('DESIGN 4 rule 5: concurrent complaints share one seal, and a complaint about an older version seals nothing', async t => {
  const { cluster, inode, target, chain } = await withOpenChunk(t, [10, 10, 10]);

  const complaint = { handle: target.handle, version: 1 };
  await cluster.clock.run(Promise.all([1, 2, 3].map(() => cluster.call('complain', complaint))));
  t.deepEqual(
    chain.map(server => server.countOf('fence')),
    [1, 1, 1],
  );

  const next = await cluster.target(inode);
  for (const server of chain) server.hold(next.handle, 5);
  await cluster.ask('returnLease', {
    server: cluster.chainOf(next)[0]!.id,
    epoch: 1,
    handle: next.handle,
    version: 1,
    lengthBytes: 5,
  });
  const granted = await cluster.target(inode);
  t.is(granted.version, 2);
  const { outcome } = await cluster.ask('complain', { handle: next.handle, version: 1, append: APPEND });
  t.is(outcome, 'again');
  t.is(chunkOf(cluster, next.handle)?.state, 'open');
});

test('I3 a complaint tells whether the append in doubt stands in the sealed chunk', async t => {
  const { cluster, target, chain } = await withOpenChunk(t, [64, 64, 64]);
  for (const server of chain) server.appends.set(`${APPEND.writer}:${APPEND.sequence}`, 32);

  const stands = await cluster.ask('complain', { handle: target.handle, version: 1, append: APPEND });
  const absent = await cluster.ask('complain', {
    handle: target.handle,
    version: 1,
    append: { ...APPEND, sequence: 8 },
  });

  t.deepEqual(stands, { outcome: 'stands', offset: 32 });
  t.deepEqual(absent, { outcome: 'absent' });
});

test('DESIGN 4 a master that crashes between raising the version and recording the length starts the seal again', async t => {
  const { cluster, inode, target, chain } = await withOpenChunk(t, [70, 70, 70]);
  let hold = true;
  for (const server of chain) server.before = () => (hold ? new Promise(() => undefined) : undefined);
  const complaint = cluster.call('complain', { handle: target.handle, version: 1 });
  complaint.catch(() => undefined);
  await quiet();
  t.is(chunkOf(cluster, target.handle)?.version, 2);
  hold = false;
  await cluster.restartMaster();

  const next = await cluster.target(inode);

  t.is(chunkOf(cluster, target.handle)?.version, 3);
  if (next.handle !== target.handle) t.is(next.base, 70);
  t.is((await cluster.ask('lookup', { where: { start: inode, path: '' }, follow: true })).attributes.sizeBytes, 70);
});

test('§3.1 a restarted master takes up the lease of a primary that goes on, without a new version', async t => {
  const { cluster, inode, target, chain } = await withOpenChunk(t, [40, 40, 40]);
  const lease = { handle: target.handle, version: 1, committedBytes: 40, active: true };

  await cluster.restartMaster({ register: false });
  const asked = cluster.call('appendTarget', { inode });
  for (const server of cluster.servers) {
    await cluster.clock.run(
      cluster.call('register', {
        server: server.id,
        epoch: server.epoch,
        clusterId: '',
        address: server.address,
        location: server.location,
        space: server.space,
      }),
    );
    await cluster.report(server);
    const leases = server === chain[0] ? [lease] : [];
    const { extended } = await cluster.beat(server, { leases });
    t.is(extended.length, leases.length);
  }
  const again = (await cluster.clock.run(asked)).target;

  t.is(again.handle, target.handle);
  t.is(again.version, 1);
});

test('DESIGN 4 a lease is extended on heartbeats while appends arrive, and sizes in listings follow', async t => {
  const { cluster, inode, target, chain } = await withOpenChunk(t, [10, 10, 10], { settings: { lease: 5_000 } });
  const lease = { handle: target.handle, version: 1, committedBytes: 10, active: true };
  for (let passed = 0; passed < 20; passed++) {
    await cluster.clock.advance(1_000);
    lease.committedBytes += 5;
    await cluster.beat(chain[0]!, { leases: [lease] });
  }

  const again = await cluster.target(inode);
  const { entries } = await cluster.ask('readDirectory', { inode: 1 as InodeId, after: '', limit: 10 });

  t.is(again.version, 1);
  t.is(entries[0]!.attributes.sizeBytes, 110);
});

test('too few servers: appends are refused clearly, reading goes on', async t => {
  const { cluster, inode, target, chain } = await withOpenChunk(t, [10, 10, 10]);
  await cluster.ask('complain', { handle: target.handle, version: 1 });
  chain[1]!.isReachable = false;
  chain[2]!.isReachable = false;
  await cluster.clock.advance(12_000);

  await throwsCode(t, cluster.ask('appendTarget', { inode }), 'TOO_FEW_SERVERS');

  t.is((await locate(cluster, inode)).extents[0]!.replicas.length, 1);
});

test('with two of three servers up a chunk is made with two, and healed when a third is there', async t => {
  const cluster = await FakeCluster.start(t, { settings: { rereplicateAfter: 1_000 } });
  cluster.servers[2]!.isReachable = false;
  await cluster.clock.advance(12_000);
  const inode = await cluster.createFile('f');
  const target = await cluster.target(inode);
  t.is(target.chain.length, 2);
  for (const server of cluster.chainOf(target)) server.hold(target.handle, 10);
  await cluster.ask('complain', { handle: target.handle, version: 1 });
  cluster.servers[2]!.isReachable = true;

  await cluster.clock.advance(40_000);

  t.is(cluster.servers[2]!.chunks.get(target.handle)?.lengthBytes, 10);
});

for (const setBackMs of [0, 3_600_000])
  test(`DESIGN 4 an idle chunk that was made with two servers does not stay degraded once a third is up, the wall clock set back by ${setBackMs} ms`, async t => {
    const cluster = await FakeCluster.start(t, { settings: { rereplicateAfter: 2_000 } });
    cluster.servers[2]!.isReachable = false;
    await cluster.clock.advance(12_000);
    const inode = await cluster.createFile('f');
    const target = await cluster.target(inode);
    const [primary, secondary] = cluster.chainOf(target);
    for (const server of [primary!, secondary!]) server.hold(target.handle, 10);
    const returned = { server: primary!.id, epoch: 1, handle: target.handle, version: 1, lengthBytes: 10 };
    await cluster.ask('returnLease', returned);

    cluster.clock.wallOffsetMs -= setBackMs;
    cluster.servers[2]!.isReachable = true;
    await cluster.clock.advance(10_000);

    t.is(cluster.servers[2]!.chunks.get(target.handle)?.lengthBytes, 10);
    t.is((await cluster.ask('report', {})).chunks.degraded, 0);
  });

test('a server that does not answer gets no new chunk, before its silence shows that it is down', async t => {
  const { cluster, inode, target, chain } = await withOpenChunk(t, [10, 10, 10]);
  chain[1]!.isReachable = false;

  await cluster.ask('complain', { handle: target.handle, version: 1 });
  const next = await cluster.target(inode);

  t.is((await cluster.ask('report', {})).servers.filter(({ state }) => state === 'up').length, 3);
  t.false(next.chain.some(({ server }) => server === chain[1]!.id));
});

test('full disks: NO_SPACE when fewer than the least number of servers have room', async t => {
  const cluster = await FakeCluster.start(t);
  const inode = await cluster.createFile('f');
  for (const server of cluster.servers.slice(0, 2)) server.freeBytes = 1_000;
  await cluster.clock.advance(1_000);

  await throwsCode(t, cluster.ask('appendTarget', { inode }), 'NO_SPACE');
});

test('I6 a target is not answered before its allocation is on disk', async t => {
  const cluster = await FakeCluster.start(t);
  const inode = await cluster.createFile('f');
  let open!: () => void;
  cluster.kv.only.gate = new Promise(resolve => {
    open = resolve;
  });
  let isAnswered = false;
  const asked = cluster.call('appendTarget', { inode }).then(() => {
    isAnswered = true;
  });

  await quiet();
  t.false(isAnswered);
  open();

  await cluster.clock.run(asked);
  t.true(isAnswered);
});

test('rule 6: truncation seals the open chunk first', async t => {
  const { cluster, inode, target } = await withOpenChunk(t, [100, 100, 100]);

  const { attributes } = await cluster.ask('truncate', { once: cluster.once(), inode, sizeBytes: 30 });

  t.is(attributes.sizeBytes, 30);
  t.is(attributes.generation, 1);
  t.is(chunkOf(cluster, target.handle)?.state, 'sealed');
  const { extents, tail } = await locate(cluster, inode);
  t.is(extents[0]!.lengthBytes, 30);
  t.is(tail, undefined);
});

test('§3.4 a snapshot seals the open chunk and shares it', async t => {
  const { cluster, inode } = await withOpenChunk(t, [100, 100, 100]);

  const { attributes } = await cluster.ask('snapshot', {
    once: cluster.once(),
    from: { start: inode, path: '' },
    to: { start: 1 as InodeId, path: 'copy' },
    uid: 0,
    gid: 0,
  });

  t.is(attributes.sizeBytes, 100);
  const [a, b] = [await locate(cluster, inode), await locate(cluster, attributes.inode)];
  t.is(a.extents[0]!.handle, b.extents[0]!.handle);
});

test('no reader sees a byte vanish: without any replica the end of a file is UNAVAILABLE, its sealed part is not', async t => {
  const { cluster, inode, target } = await withOpenChunk(t, [100, 100, 100]);
  await cluster.ask('complain', { handle: target.handle, version: 1 });
  const next = await cluster.target(inode);
  for (const server of cluster.chainOf(next)) server.hold(next.handle, 5);
  const [survivor] = cluster.servers.filter(server => server !== cluster.chainOf(next)[0]);
  for (const server of cluster.servers) if (server !== survivor) server.isReachable = false;
  survivor!.hold(next.handle, 2, { suspect: true });
  await cluster.clock.advance(70_000);

  await throwsCode(t, cluster.ask('lookup', { where: { start: inode, path: '' }, follow: true }), 'UNAVAILABLE');
  const part = await locate(cluster, inode);

  t.is(part.extents[0]!.lengthBytes, 100);
  t.true(part.more);
  t.is(part.tail, undefined);
});

test('DESIGN 4 the version is on disk before any server hears of it, and the length before any replica is fixed', async t => {
  const { cluster, target, chain } = await withOpenChunk(t, [100, 100, 100]);
  const gates: Array<() => void> = [];
  const close = () => {
    cluster.kv.only.gate = new Promise(resolve => gates.push(resolve));
  };
  close();
  const complaint = cluster.call('complain', { handle: target.handle, version: 1 });
  await quiet();
  t.is(chunkOf(cluster, target.handle)?.version, 2);
  t.deepEqual(
    chain.map(server => server.countOf('fence')),
    [0, 0, 0],
  );

  const release = gates[0]!;
  close();
  release();
  await quiet();
  t.deepEqual(
    chain.map(server => [server.countOf('fence'), server.countOf('fix')]),
    [
      [1, 0],
      [1, 0],
      [1, 0],
    ],
  );

  gates[1]!();
  cluster.kv.only.gate = Promise.resolve();
  await cluster.clock.run(complaint);
  t.deepEqual(
    chain.map(server => server.countOf('fix')),
    [1, 1, 1],
  );
});

test('§3.1 the version of a grant is on disk before any server hears of it', async t => {
  const { cluster, inode, target, chain } = await withOpenChunk(t, [100, 100, 100]);
  const returned = { server: chain[0]!.id, epoch: 1, handle: target.handle, version: 1, lengthBytes: 100 };
  await cluster.ask('returnLease', returned);
  let open!: () => void;
  cluster.kv.only.gate = new Promise(resolve => {
    open = resolve;
  });

  const asked = cluster.call('appendTarget', { inode });
  await quiet();
  t.is(chunkOf(cluster, target.handle)?.version, 2);
  t.is(chain[0]!.orders.length, 0);
  open();

  t.is((await cluster.clock.run(asked)).target.version, 2);
});

test('a heartbeat that was under way when its lease came back brings no lease to life', async t => {
  const { cluster, target, chain } = await withOpenChunk(t, [100, 100, 100]);
  const returned = { server: chain[0]!.id, epoch: 1, handle: target.handle, version: 1, lengthBytes: 100 };
  await cluster.ask('returnLease', returned);

  const lease = { handle: target.handle, version: 1, committedBytes: 100, active: true };
  const { extended } = await cluster.beat(chain[0]!, { leases: [lease] });

  t.deepEqual(extended, []);
  t.is(cluster.master.rooms.context.leases.size, 0);
});

test('a file changed when its last append came, not when the heartbeat told of it; a later change of its mode keeps its time', async t => {
  const { cluster, inode, target, chain } = await withOpenChunk(t, [100, 100, 100]);
  const where = { start: inode, path: '' };
  await cluster.clock.advance(5_000);
  const { attributes: changed } = await cluster.ask('setAttributes', {
    once: cluster.once(),
    where,
    follow: false,
    mode: 0o600,
  });

  const lease = {
    handle: target.handle,
    version: 1,
    committedBytes: 100,
    active: true,
    changedMs: Number(changed.ctimeNs / 1_000_000n) - 700,
  };
  await cluster.beat(chain[0]!, { leases: [lease] });

  const { attributes } = await cluster.ask('lookup', { where, follow: false });
  t.is(changed.ctimeNs - attributes.mtimeNs, 700_000_000n);
  t.is(attributes.ctimeNs, changed.ctimeNs);
});

test('a file keeps the time that was set although the bytes before it are heard of later', async t => {
  const { cluster, inode, target, chain } = await withOpenChunk(t, [100, 100, 100]);
  chain[0]!.committed.set(target.handle, 100);
  const where = { start: inode, path: '' };

  await cluster.ask('setAttributes', { once: cluster.once(), where, follow: false, mtimeNs: 5n });
  const lease = { handle: target.handle, version: 1, committedBytes: 100, active: true };
  await cluster.beat(chain[0]!, { leases: [lease] });
  t.is((await cluster.ask('lookup', { where, follow: false })).attributes.mtimeNs, 5n);
  lease.committedBytes = 101;
  await cluster.beat(chain[0]!, { leases: [lease] });

  t.true((await cluster.ask('lookup', { where, follow: false })).attributes.mtimeNs > 5n);
});
