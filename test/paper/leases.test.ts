// The paper's leases, mutation order and data flow (§3.1, §3.2), as far as this system keeps them; docs/divergence.md has the rest.
import test from 'ava';
import type { OpenFile } from '../../src/client/types.js';
import { crc32 } from '../../src/lib/checksum.js';
import { settingValues } from '../../src/lib/settings.js';
import { distance } from '../../src/master/distance.js';
import { chainOrder } from '../../src/master/placement.js';
import { MASTER_SETTINGS } from '../../src/master/settings.js';
import type { ServerId } from '../../src/protocol/ids.js';
import type { WireTarget } from '../../src/protocol/messages.js';
import { LEASE_MS } from '../sim/cluster.js';
import { Simulator } from '../sim/platform/simulator.js';
import { at, OWNER } from '../sim/workloads/workload.js';
import { PaperCluster, recordOf } from './paper-cluster.js';

const STRANGER = 'ab'.repeat(8);

/** Appends for nobody in particular to the primary of `target`, as somebody would that has not heard of anything since. Returns the error's code. */
async function appendLate(
  paper: PaperCluster,
  { chain, token }: WireTarget,
  sequence = 1,
): Promise<string | undefined> {
  const bytes = Buffer.from('late');
  const { writer } = paper.calls('append')[0]!.request;
  const request = {
    token,
    writer: STRANGER as typeof writer,
    sequence,
    after: 0,
    lengthBytes: 4,
    crc: crc32(bytes),
  };
  return await paper.codeOf(paper.call(chain[0]!.address, 'append', request, { payload: [bytes] }));
}

/** Versions of a chunk that the master gave. */
function versionOf(paper: PaperCluster, file: OpenFile): number {
  return paper.targetOf(file).version;
}

test.serial(
  '§3.1 the primary picks a serial order for all mutations to the chunk, and all replicas follow this order',
  async t => {
    const paper = await PaperCluster.start({ clients: 3 });
    const files = [await paper.open('f', 'c1'), await paper.open('f', 'c2'), await paper.open('f', 'c3')];
    const work = files.flatMap((file, writer) =>
      Array.from({ length: 10 }, (_, i) => file.append([recordOf(`w${writer}`, i)], { split: false })),
    );
    await paper.drive(Promise.all(work));

    const { handle } = paper.targetOf(files[0]!);
    const [primary, ...others] = paper.chainOf(files[0]!);
    t.deepEqual([...new Set(paper.calls('append').map(({ to }) => to))], [primary]);
    const orders = others.map(server =>
      paper
        .calls('replicate')
        .filter(({ to }) => to === server)
        .map(({ request: { offset, writer, sequence } }) => `${offset} ${writer}/${sequence}`),
    );
    t.is(orders[0]!.length, work.length);
    t.is(new Set(paper.calls('replicate').map(({ request }) => request.writer)).size, 3);
    t.deepEqual(orders[1], orders[0]);
    const replicas = paper.replicasOf(handle);
    t.is(replicas.length, 3);
    for (const { bytes } of replicas) t.deepEqual(bytes, replicas[0]!.bytes);
  },
);

test.serial(
  '§3.1 a lease has an initial timeout of 60 seconds, after which the primary acknowledges nothing unless it was extended',
  async t => {
    t.is(settingValues(MASTER_SETTINGS).lease, 60_000);

    // Simulated clusters have shorter ones.
    const paper = await PaperCluster.start({ seed: 2 });
    const file = await paper.open('f');
    await paper.append(file, 'one');
    const target = paper.targetOf(file);
    t.true(target.leaseMs <= LEASE_MS);
    paper.cluster.network.cut(paper.chainOf(file)[0]!, 'master');
    await paper.append(file, 'two');
    t.is(versionOf(paper, file), target.version);
    // It never falls idle, so nothing but time ends the lease.
    const cutMs = paper.simulator.nowMs;
    let code: string | undefined;
    for (let i = 1; code === undefined && paper.simulator.nowMs < cutMs + 2 * LEASE_MS; i++) {
      await paper.pass(100);
      code = await appendLate(paper, target, i);
    }
    t.is(code, 'FENCED');
    t.true(paper.simulator.nowMs < cutMs + LEASE_MS + 200);
  },
);

test.serial(
  '§3.1 as long as the chunk is being mutated the primary gets extensions, piggybacked on the heartbeats',
  async t => {
    const paper = await PaperCluster.start({ seed: 3, chunkSizeBytes: 64 * 1024 });
    const file = await paper.open('f');
    await paper.append(file, 'one');
    const { handle, version } = paper.targetOf(file);
    const [primary] = paper.chainOf(file);
    const before = paper.seen.length;
    const startMs = paper.simulator.nowMs;
    while (paper.simulator.nowMs < startMs + 4 * LEASE_MS) {
      await paper.append(file, 'more');
      await paper.pass(100);
    }
    const since = paper.seen.slice(before);
    t.deepEqual(
      since.filter(({ kind }) => ['grant', 'adopt', 'fence'].includes(kind)),
      [],
    );
    t.true(
      paper
        .calls('heartbeat')
        .some(({ from, body }) => from === primary && body!.extended.some(one => one.handle === handle)),
    );
    t.is(versionOf(paper, file), version);
  },
);

test.serial(
  '§3.1 the client keeps where the primary is, and asks the master again only when that holds no lease or is unreachable',
  async t => {
    const paper = await PaperCluster.start({ seed: 4 });
    const file = await paper.open('f');
    await paper.append(file, 'one');
    const before = paper.seen.length;
    for (let i = 0; i < 10; i++) await paper.append(file, 'more');
    const asked = (): string[] =>
      paper.seen.slice(before).flatMap(({ kind, to, from }) => (to === 'master' && from === 'c1' ? [kind] : []));
    t.deepEqual(
      asked().filter(kind => kind !== 'keepSession'),
      [],
    );
    paper.machine(paper.chainOf(file)[0]!).kill();
    await paper.append(file, 'last');
    t.true(asked().includes('complain') || asked().includes('appendTarget'));
  },
);

test.serial(
  '§3.1, §3.4 the master may revoke a lease before it expires, as for a snapshot: nothing is appended to the shared chunk any more',
  async t => {
    const paper = await PaperCluster.start({ seed: 5 });
    const file = await paper.open('f');
    await paper.append(file, 'before ');
    const target = paper.targetOf(file);
    await paper.drive(paper.client().snapshot(at('f'), at('copy'), OWNER));
    t.true(paper.simulator.nowMs < paper.calls('append')[0]!.atMs + LEASE_MS, 'the lease would still run');
    t.is(await appendLate(paper, target), 'FENCED');

    await paper.append(file, 'after');
    t.not(paper.targetOf(file).handle, target.handle);
    t.is((await paper.read(file)).toString(), 'before after');
    t.is((await paper.read(await paper.open('copy'))).toString(), 'before ');
  },
);

test.serial(
  '§3.1 when the master loses its primary another one gets a lease safely: the old one acknowledges nothing (fenced, not waited for)',
  async t => {
    const paper = await PaperCluster.start({ seed: 6, servers: 4 });
    const file = await paper.open('f', 'c2');
    await paper.append(file, 'one ');
    const target = paper.targetOf(file);
    const [primary] = paper.chainOf(file);
    // c1 still reaches the old primary, which reaches the chain, and which believes its lease to run.
    paper.cluster.network.partition([primary!], ['master', 'c2']);
    const cutMs = paper.simulator.nowMs;
    await paper.append(file, 'two ');
    t.not(paper.chainOf(file)[0], primary);
    t.true(paper.simulator.nowMs < cutMs + 3 * LEASE_MS);
    const code = await appendLate(paper, target);
    t.true(code === 'BROKEN' || code === 'FENCED', code ?? 'it was acknowledged');
    await paper.append(file, 'three');
    t.is((await paper.read(file)).toString(), 'one two three');
  },
);

test.serial(
  '§3.2 data is pushed along a chain of chunkservers: each has it from the one before, and forwards while it still arrives',
  async t => {
    const paper = await PaperCluster.start({ seed: 7, chunkSizeBytes: 8 * 1024 * 1024 });
    const file = await paper.open('f');
    const lengthBytes = 1536 * 1024;
    // What goes to a server first is sent in one piece, for it may not be there.
    await paper.append(file, 'hello');
    await paper.append(file, Buffer.alloc(lengthBytes, 'x'));
    const chain = ['c1', ...paper.chainOf(file)];
    const pushes = paper.calls('push');
    for (let hop = 1; hop < chain.length; hop++) {
      const received = pushes.filter(({ to }) => to === chain[hop]);
      t.deepEqual([...new Set(received.map(({ from }) => from))], [chain[hop - 1]]);
      t.is(
        received.reduce((sum, { payloadBytes }) => sum + payloadBytes, 0),
        lengthBytes,
        'each link carries the bytes once',
      );
    }

    // The first part of another append, whose rest the client has not sent yet, goes down the whole chain.
    const before = paper.seen.length;
    const { token, chain: replicas } = paper.targetOf(file);
    await paper.send(replicas[0]!.address, 'push', { token, push: 1, part: 0, position: 0 }, [Buffer.from('part')]);
    t.deepEqual(
      paper.seen.slice(before).flatMap(({ kind, from, to }) => (kind === 'push' ? [`${from} ${to}`] : [])),
      [`${chain[0]} ${chain[1]}`, `${chain[1]} ${chain[2]}`, `${chain[2]} ${chain[3]}`],
    );
  },
);

test('§3.2 each machine forwards to the closest machine in the topology that has not received the data', t => {
  const random = new Simulator({ seed: 8 }).random('chain');
  const candidates = ['/az1/p1/r1/a', '/az1/p1/r2/b', '/az1/p2/r1/c', '/az2/p1/r1/d', '/az2/p1/r1/e'].map(location => ({
    id: location as ServerId,
    location,
    freeBytes: 1,
    recentAllocations: 0,
  }));
  const first = new Set<string>();
  for (let i = 0; i < 50; i++) {
    const chain = chainOrder(random, candidates).map(({ location }) => location);
    first.add(chain[0]!);
    t.deepEqual([...chain].sort(), candidates.map(({ location }) => location).sort());
    for (let hop = 0; hop + 1 < chain.length; hop++) {
      const left = chain.slice(hop + 1).map(location => distance(chain[hop]!, location));
      t.is(left[0], Math.min(...left));
    }
  }
  t.is(first.size, candidates.length, 'every one of them is the primary at times');
});
