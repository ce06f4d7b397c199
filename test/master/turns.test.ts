// The master answers others while a server with many replicas comes back: whatever it does for all of them it does a bounded number at a time.
import test, { type ExecutionContext } from 'ava';
import { putChunk } from '../../src/master/chunks.js';
import { count, readCounters, writeCounters } from '../../src/master/counters.js';
import type { ChunkHandle, InodeId } from '../../src/protocol/ids.js';
import { LIMITS } from '../../src/protocol/limits.js';
import { FakeCluster } from './fake-cluster.js';
import type { FakeServer } from './fake-servers.js';

const CHUNKS = 3_000;
const PAGE = 512;
/** A page of a report, and the first look at as many replicas. */
const LOOKS_MAX = 2 * PAGE;

/** A restarted master, servers of which each holds all chunks, `behind` of them too short on the first, and how many records were read in the longest turn. */
async function scene(t: ExecutionContext, behind: number) {
  const cluster = await FakeCluster.start(t, { settings: { safeModeMax: 1_000, rereplicateAfter: 5_000 } });
  const { store } = cluster.master.rooms.context;
  const chain = cluster.servers.map(({ id }) => ({ server: id, epoch: 1 }));
  const handles = Array.from({ length: CHUNKS }, (_, i) => (i + 1) as ChunkHandle);
  store.change(change => {
    for (const handle of handles) {
      const times = { createdMs: cluster.clock.wallMs(), modifiedMs: cluster.clock.wallMs() };
      const facts = { state: 'sealed' as const, version: 2, lengthBytes: 100, known: true, goal: 3, references: 1 };
      putChunk(change, { handle, ...facts, inode: 2 as InodeId, chain, ...times });
    }
    writeCounters(change, { ...readCounters(change), nextHandle: CHUNKS + 1 });
    count(change, { chunks: CHUNKS });
  });
  for (const [i, server] of cluster.servers.entries())
    for (const handle of handles) {
      server.hold(handle, i === 0 && handle <= behind ? 50 : 100, { version: 2 });
      server.chunks.get(handle)!.state = 'sealed';
    }
  await cluster.restartMaster({ register: false });
  const turns = { longest: 0, now: 0 };
  const { context } = cluster.master.rooms;
  const get = context.store.get.bind(context.store);
  context.store.get = key => {
    if (key[0] === 'c'.charCodeAt(0)) turns.now++;
    return get(key);
  };
  const endTurn = (): void => {
    turns.longest = Math.max(turns.longest, turns.now);
    turns.now = 0;
  };
  const setTimer = cluster.clock.setTimer.bind(cluster.clock);
  cluster.clock.setTimer = (delayMs, fire) =>
    setTimer(delayMs, () => {
      endTurn();
      fire();
    });
  return { cluster, turns, endTurn };
}

/** As a chunkserver does it: page by page. */
async function comeBack(cluster: FakeCluster, server: FakeServer, endTurn: () => void): Promise<void> {
  const { id, address, location, space } = server;
  const me = { server: id, epoch: ++server.epoch };
  server.sequence = 0;
  await cluster.ask('register', { ...me, clusterId: '', address, location, space });
  const all = server.reports();
  for (let at = 0; at < all.length; at += PAGE) {
    const chunks = all.slice(at, at + PAGE);
    endTurn();
    const last = at + PAGE >= all.length;
    await cluster.call('reportChunks', { ...me, sequence: ++server.sequence, chunks, last });
  }
  endTurn();
  await cluster.beat(server);
}

const stateOf = (cluster: FakeCluster, server: FakeServer) => cluster.master.rooms.context.servers.get(server.id)!;

test('servers that come back with many replicas are recovering until all were looked at, and no turn looks at more than a bounded number', async t => {
  const { cluster, turns, endTurn } = await scene(t, 0);
  t.true(CHUNKS > LOOKS_MAX && PAGE <= LIMITS.chunkReportPageMax);

  for (const server of cluster.servers) {
    await comeBack(cluster, server, endTurn);
    t.is(stateOf(cluster, server).state, 'recovering');
    t.regex(stateOf(cluster, server).reason, /\d+ of its replicas have not been looked at yet/);
  }
  for (let i = 0; i < 10; i++) {
    await cluster.clock.advance(500);
    for (const server of cluster.servers) await cluster.beat(server);
  }

  for (const server of cluster.servers)
    t.like(stateOf(cluster, server), { state: 'up', behindCount: 0, unseenCount: 0 });
  endTurn();
  t.true(turns.longest <= LOOKS_MAX, `${turns.longest} records in one turn`);
});

test('of many replicas those that are behind are found in whatever turn, are not current before they are repaired, and the server recovers with them', async t => {
  const { cluster, endTurn } = await scene(t, 700);
  for (const server of cluster.servers) await comeBack(cluster, server, endTurn);
  const [first] = cluster.servers;
  await cluster.clock.advance(10);
  t.true(stateOf(cluster, first!).behindCount + stateOf(cluster, first!).unseenCount >= 700);

  for (let i = 0; i < 200 && stateOf(cluster, first!).state !== 'up'; i++) {
    await cluster.clock.advance(500);
    for (const server of cluster.servers) await cluster.beat(server);
    const { locations } = cluster.master.rooms.context;
    for (const [handle, { lengthBytes }] of first!.chunks)
      if (lengthBytes < 100 && handle % 100 === 0) t.is(locations.find(handle, first!.id)!.lengthBytes, 50);
  }

  t.is(stateOf(cluster, first!).state, 'up');
  t.true([...first!.chunks.values()].every(({ lengthBytes }) => lengthBytes === 100));
});
