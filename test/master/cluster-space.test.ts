// What df says: every file system counts once, only what can be placed is free, and a server that is down for a moment changes no size.
import test, { type ExecutionContext } from 'ava';
import { roomFor, sharersOf } from '../../src/master/cluster-space.js';
import type { ServerId } from '../../src/protocol/ids.js';
import type { Reply, WireSpace } from '../../src/protocol/messages.js';
import { FakeCluster, seeded } from './fake-cluster.js';

type Shape = Parameters<typeof roomFor>[0][number];
/** A server with this much free on each of these file systems. */
function server(id: string, free: Record<string, number>): Shape {
  const disks = Object.entries(free).map(([fileSystem, freeBytes]) => ({
    fileSystem,
    freeBytes,
    capacityBytes: 1_000,
  }));
  const freeBytes = disks.reduce((sum, disk) => sum + disk.freeBytes, 0);
  return { id: id as ServerId, space: { capacityBytes: 1_000, usedBytes: 0, freeBytes, chunks: 0, disks } };
}
const alone = (id: string, freeBytes: number): Shape => server(id, { [id]: freeBytes });

async function df(cluster: FakeCluster): Promise<Omit<Reply<'statfs'>, 'files'>> {
  const { files, ...space } = await cluster.ask('statfs', {});
  return space;
}

async function withServers(t: ExecutionContext, spaces: Array<Partial<WireSpace> & { fileSystem?: string }>) {
  const cluster = await FakeCluster.start(t, { servers: spaces.length, silent: true });
  for (const [i, space] of spaces.entries()) Object.assign(cluster.servers[i]!, space);
  await cluster.registerAll();
  return cluster;
}

test('room is what fits with every copy on another server', t => {
  t.is(roomFor([alone('a', 50), alone('b', 50), alone('c', 50)], 3), 50);
  t.is(roomFor([alone('a', 900), alone('b', 10), alone('c', 10)], 3), 10);
  t.is(roomFor([alone('a', 900), alone('b', 0), alone('c', 0)], 3), 0);
  t.is(roomFor([alone('a', 100), alone('b', 60), alone('c', 40), alone('d', 40)], 3), 70);
  t.is(roomFor([alone('a', 50), alone('b', 80)], 3), 50, 'with two servers there are two copies');
  t.is(roomFor([], 3), 0);
});

test('servers on one file system share its room', t => {
  const shared = ['a', 'b', 'c'].map(id => server(id, { disk: 300 }));
  t.is(roomFor(shared, 3), 100);
  t.is(roomFor([...shared, alone('d', 40), alone('e', 500)], 3), 170, 'd: 40, e: 170 of 500, a to c: 300');
  const two = ['a', 'b', 'c'].map(id => server(id, { one: 200, other: 100 }));
  t.is(roomFor(two, 3), 100);
  t.is(roomFor([server('a', { one: 60, other: 60 }), alone('b', 120), alone('c', 120)], 3), 120);
  t.deepEqual(sharersOf([...shared, alone('d', 1)]).get('b' as ServerId), ['a', 'b', 'c'] as ServerId[]);
  const bridged = [server('a', { one: 1 }), server('b', { other: 1 }), server('c', { one: 1, other: 1 })];
  t.deepEqual([...sharersOf(bridged).get('a' as ServerId)!].sort(), ['a', 'b', 'c'] as ServerId[]);
});

test('room is as much as placing copies one by one on the emptiest servers finds', t => {
  const random = seeded(7);
  for (let round = 0; round < 200; round++) {
    const copies = 1 + Math.floor(random.float() * 4);
    const free = Array.from({ length: copies + Math.floor(random.float() * 4) }, () => Math.floor(random.float() * 40));
    const left = [...free];
    let placed = -1;
    do {
      placed++;
      left.sort((a, b) => b - a);
      for (let i = 0; i < copies; i++) left[i]!--;
    } while (left.every(bytes => bytes >= 0));

    t.is(
      roomFor(
        free.map((bytes, i) => alone(String(i), bytes)),
        copies,
      ),
      placed,
      `${free} for ${copies}`,
    );
  }
});

test('df: three servers on one file system have it once, not three times', async t => {
  const space = { capacityBytes: 10 ** 9, usedBytes: 60_000, freeBytes: 9 * 10 ** 8, fileSystem: 'here' };
  const cluster = await withServers(t, [space, space, space]);

  t.deepEqual(await df(cluster), { capacityBytes: 3 * 10 ** 8 + 60_000, freeBytes: 3 * 10 ** 8, usedBytes: 60_000 });
});

test('df: one roomy server among full ones is no room', async t => {
  const cluster = await withServers(t, [
    { freeBytes: 10 ** 9 },
    { freeBytes: 500 },
    { freeBytes: 0 },
    { freeBytes: 700 },
  ]);

  t.is((await df(cluster)).freeBytes, 500, 'three copies need both of those that have a little');
});

test('df: a server that is down still counts in the size, not in what is free, until its chunks are copied elsewhere', async t => {
  const space = { usedBytes: 3_000, freeBytes: 10_000 };
  const cluster = await withServers(t, [space, space, space, space]);
  const all = { capacityBytes: 4_000 + 13_333, freeBytes: 13_333, usedBytes: 4_000 };
  t.deepEqual(await df(cluster), all);

  cluster.servers[3]!.isReachable = false;
  await cluster.clock.advance(15_000);
  t.deepEqual(await df(cluster), { ...all, freeBytes: 10_000 });

  await cluster.clock.advance(60_000);
  t.deepEqual(await df(cluster), { capacityBytes: 13_000, freeBytes: 10_000, usedBytes: 3_000 });
});

test('df: nothing is free while fewer servers are up than a chunk needs, and less than before never gives more', async t => {
  const space = { freeBytes: 9_000, fileSystem: 'here' };
  const cluster = await withServers(t, [space, space, space]);
  t.is((await df(cluster)).freeBytes, 3_000);

  cluster.servers[2]!.isReachable = false;
  await cluster.clock.advance(15_000);
  t.is((await df(cluster)).freeBytes, 3_000, 'two copies now, and the third when the server is back');

  cluster.servers[1]!.isReachable = false;
  await cluster.clock.advance(15_000);
  t.deepEqual(await df(cluster), { capacityBytes: 3_000, freeBytes: 0, usedBytes: 0 });
});

test('df: a server that is drained is no room, but its bytes are used until they are gone', async t => {
  const space = { usedBytes: 3_000, freeBytes: 10_000 };
  const cluster = await withServers(t, [space, space, space, space]);
  const [server] = cluster.master.rooms.context.servers.all();

  cluster.master.rooms.context.servers.setDraining(server!, true);

  t.deepEqual(await df(cluster), { capacityBytes: 14_000, freeBytes: 10_000, usedBytes: 4_000 });
});
