// The paper's garbage collection (§4.4) and stale replica detection (§4.5), as far as this system keeps them; docs/divergence.md has the rest.
import test from 'ava';
import type { OpenFile } from '../../src/client/types.js';
import { findChunk } from '../../src/master/chunks.js';
import type { WireTarget } from '../../src/protocol/messages.js';
import { LEASE_MS, MASTER_ADDRESS } from '../sim/cluster.js';
import { at } from '../sim/workloads/workload.js';
import { PaperCluster, pathOf, recordOf } from './paper-cluster.js';

/** Much longer than the grace of garbage in simulated clusters. */
const LONG_MS = 40_000;
const RETENTION_MS = 30_000;
const ADMIN = { role: 'admin' } as const;

/** Shorter than the day of the default, which would take long to simulate. */
function shortenRetention(paper: PaperCluster): void {
  (paper.master.settings as { trash: number }).trash = RETENTION_MS;
}

/** A deleted file of one sealed chunk and an open one, with what it held. */
async function deleteFile(paper: PaperCluster): Promise<{ file: OpenFile; bytes: Buffer }> {
  const file = await paper.open('f');
  for (let i = 0; i < 5; i++) await paper.append(file, recordOf('w', i, 1000));
  const bytes = await paper.read(file);
  await paper.drive(file.close());
  await paper.drive(paper.client().unlink(at('f')));
  return { file, bytes };
}

function holders(paper: PaperCluster, handle: Parameters<typeof pathOf>[0]): string[] {
  return paper.cluster.servers.filter(({ node }) => node.disk.file(pathOf(handle))).map(({ name }) => name);
}

test.serial(
  '§4.4.1 a deleted file is not reclaimed at once: it can be read and undeleted until the retention is over',
  async t => {
    t.timeout(60_000);
    const paper = await PaperCluster.start();
    shortenRetention(paper);
    const { file, bytes } = await deleteFile(paper);
    t.is(await paper.codeOf(paper.client().lookup(at('f'))), 'NOT_FOUND');
    await paper.pass(RETENTION_MS - 5_000);
    t.deepEqual(await paper.read(await paper.drive(paper.client('c2').openInode(file.inode))), bytes);
    const { inode } = paper.targetOf(file);
    await paper.drive(paper.call(MASTER_ADDRESS, 'restoreTrash', { inode, to: at('again') }, ADMIN));
    await paper.pass(LONG_MS);
    t.deepEqual(await paper.read(await paper.open('again', 'c2')), bytes);
  },
);

test.serial(
  '§4.4.1 after the retention its metadata is erased, which severs its links to all its chunks, and the servers delete their replicas',
  async t => {
    const paper = await PaperCluster.start({ seed: 2 });
    shortenRetention(paper);
    const { file } = await deleteFile(paper);
    const { inode, handle } = paper.targetOf(file);
    const { extents } = await paper.locate(file.inode);
    const handles = [handle, ...extents.map(one => one.handle)];
    for (const one of handles) t.is(holders(paper, one).length, 3);
    await paper.pass(RETENTION_MS + LONG_MS);
    const code = await paper.codeOf(paper.call(MASTER_ADDRESS, 'restoreTrash', { inode, to: at('again') }, ADMIN));
    t.true(code === 'STALE' || code === 'NOT_FOUND', code ?? 'it was restored');
    for (const one of handles) {
      t.is(findChunk(paper.master.store, one), undefined);
      t.deepEqual(holders(paper, one), []);
    }
  },
);

test.serial(
  '§4.4.1 a server reports the chunks it has, learns which the master has no metadata of, and deletes its replicas of these',
  async t => {
    const paper = await PaperCluster.start({ seed: 3, servers: 4 });
    shortenRetention(paper);
    const file = await paper.open('f');
    await paper.append(file, 'bytes');
    const { inode, handle } = paper.targetOf(file);
    const absent = paper.chainOf(file)[1]!;
    paper.machine(absent).kill();
    await paper.drive(file.close());
    await paper.drive(paper.client().unlink(at('f')));
    await paper.drive(paper.call(MASTER_ADDRESS, 'purgeTrash', { inodes: [inode] }, ADMIN));
    await paper.pass(LONG_MS);
    t.is(findChunk(paper.master.store, handle), undefined);
    t.deepEqual(holders(paper, handle), [absent]);

    paper.machine(absent).start();
    await paper.pass(5_000);
    t.true(paper.calls('deleteChunk').some(({ to, request }) => to === absent && request.handle === handle));
    t.deepEqual(holders(paper, handle), []);
  },
);

test.serial(
  '§4.5 whenever the master grants a new lease it raises the chunk version, with all replicas and durably, before any client is told',
  async t => {
    const paper = await PaperCluster.start({ seed: 4 });
    const file = await paper.open('f');
    await paper.append(file, 'one ');
    const { handle, version } = paper.targetOf(file);
    // Given back: nobody appends.
    await paper.pass(LEASE_MS);
    t.true(paper.calls('returnLease').length > 0);

    const machines = [paper.cluster.master, ...paper.cluster.servers];
    const isTold = ({ kind, body }: (typeof paper.seen)[number]): boolean =>
      kind === 'appendTarget' && (body as { target?: WireTarget } | undefined)?.target?.handle === handle;
    let toldMs = 0;
    paper.once(isTold, () => {
      toldMs = paper.simulator.nowMs;
      for (const machine of machines) machine.powerLoss();
      for (const machine of machines) machine.start();
    });
    const appended = paper.append(file, 'two');
    await appended;
    const told = paper.calls('appendTarget').find(seen => isTold(seen))!;
    t.is(told.body!.target.version, version + 1);
    const grants = paper.calls('grant').filter(({ request }) => request.version === version + 1);
    t.is(new Set(grants.map(({ to }) => to)).size, 3);
    for (const { answeredMs, code } of grants) {
      t.is(code, undefined);
      t.true(answeredMs! <= toldMs);
    }
    // Everything lost its power at that moment, and nothing forgot it.
    t.true(findChunk(paper.master.store, handle)!.version > version);
    await paper.until(() => machines.every(({ isReady }) => isReady));
    for (const replica of paper.replicasOf(handle)) t.true(replica.version > version, replica.server);
    t.is((await paper.read(file)).toString(), 'one two');
  },
);

test.serial(
  '§4.5 a replica that misses mutations while its server is down is stale: detected by its version, never given to clients, replaced',
  async t => {
    const paper = await PaperCluster.start({ seed: 5 });
    const file = await paper.open('f');
    await paper.append(file, 'one ');
    const { handle, token, version } = paper.targetOf(file);
    const down = paper.chainOf(file)[2]!;
    const replicated = paper.calls('replicate').findLast(({ to }) => to === down)!;
    // It dies before it has this append; the others of the chain have it, and keep it.
    paper.once(
      ({ kind, to }) => kind === 'replicate' && to === down,
      () => paper.machine(down).kill(),
    );
    await paper.append(file, 'two ');
    t.true(findChunk(paper.master.store, handle)!.version > version);

    // It is back, and cannot be brought up to date.
    paper.cluster.network.partition(
      [down],
      paper.cluster.servers.map(({ name }) => name),
    );
    paper.machine(down).start();
    await paper.until(() => paper.machine(down).isReady);
    await paper.pass(1_000);
    const stale = paper.replicasOf(handle).find(({ server }) => server === down);
    t.is(stale?.bytes.toString(), 'one ');
    t.true(stale!.version <= version || stale!.state !== 'sealed');
    const { extents } = await paper.locate(file.inode);
    const extent = extents.find(one => one.handle === handle)!;
    t.true(extent.replicas.length >= 2);
    t.false(extent.replicas.some(({ address }) => address.startsWith(`${down}:`)));
    const address = `${down}:9411`;
    const { lengthBytes } = extent;
    t.not(await paper.codeOf(paper.call(address, 'read', { token: extent.token!, offset: 0, lengthBytes })), undefined);
    t.is(
      await paper.codeOf(
        paper.call(
          address,
          'replicate',
          { ...replicated.request, token, offset: 4, sequence: replicated.request.sequence + 1 },
          { payload: [Buffer.from('one ')], role: 'chunkserver' },
        ),
      ),
      'FENCED',
    );
    t.is((await paper.read(file)).toString(), 'one two ');

    paper.cluster.network.heal();
    await paper.pass(20_000);
    const replicas = paper.replicasOf(handle);
    t.true(replicas.length >= 3);
    for (const { version: now, bytes } of replicas) {
      t.is(now, findChunk(paper.master.store, handle)!.version);
      t.deepEqual(bytes, replicas[0]!.bytes);
    }
  },
);
