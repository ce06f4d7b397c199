// What the master does unasked: safe mode, healing, garbage, promise 8, keys, sessions with their locks, notices to other clients.
import test, { type ExecutionContext } from 'ava';
import { findChunk } from '../../src/master/chunks.js';
import { GfsError } from '../../src/protocol/errors.js';
import { type ChunkHandle, type InodeId, ROOT_INODE } from '../../src/protocol/ids.js';
import type { Reply } from '../../src/protocol/messages.js';
import { FakeCluster, fakeConnection, throwsCode } from './fake-cluster.js';
import { FakeServer } from './fake-servers.js';

async function withSealedChunk(t: ExecutionContext, options: Parameters<typeof FakeCluster.start>[1] = {}) {
  const cluster = await FakeCluster.start(t, options);
  const inode = await cluster.createFile('f');
  const target = await cluster.target(inode);
  const chain = cluster.chainOf(target);
  for (const server of chain) server.hold(target.handle, 100);
  await cluster.ask('complain', { handle: target.handle, version: 1 });
  await cluster.clock.advance(1_000);
  return { cluster, inode, handle: target.handle, chain };
}

/** A file with one sealed chunk on the servers that are up. */
async function sealedFile(cluster: FakeCluster, name: string): Promise<ChunkHandle> {
  const target = await cluster.target(await cluster.createFile(name));
  for (const server of cluster.chainOf(target)) server.hold(target.handle, 50);
  await cluster.ask('complain', { handle: target.handle, version: 1 });
  return target.handle;
}

function openSession(
  cluster: FakeCluster,
  client: string,
  connection = fakeConnection(),
): Promise<Reply<'openSession'>> {
  return cluster.ask(
    'openSession',
    { client: client.repeat(16), name: client, open: [], wantsChanges: true },
    connection,
  );
}

test('an empty new cluster leaves safe mode as soon as enough servers are up; before that appends are refused clearly', async t => {
  const cluster = await FakeCluster.start(t, { silent: true, settings: { safeModeWait: 1_000 } });
  const inode = await cluster.createFile('f');
  await throwsCode(t, cluster.ask('appendTarget', { inode }), 'SAFE_MODE');
  t.true((await cluster.ask('report', {})).safemode);

  await cluster.registerAll();

  t.false((await cluster.ask('report', {})).safemode);
  t.is((await cluster.target(inode)).chain.length, 3);
});

test('§4.3 when a server is away for long, its chunks are copied elsewhere; when it is back, surplus copies go', async t => {
  const { cluster, handle, chain } = await withSealedChunk(t, { servers: 4, settings: { rereplicateAfter: 5_000 } });
  const spare = cluster.servers.find(server => !chain.includes(server))!;
  chain[2]!.isReachable = false;
  await cluster.clock.advance(12_000);
  t.false(spare.chunks.has(handle));

  await cluster.clock.advance(10_000);
  t.is(spare.chunks.get(handle)?.lengthBytes, 100);
  chain[2]!.isReachable = true;
  await cluster.clock.advance(10_000);

  const holders = cluster.servers.filter(server => server.chunks.has(handle));
  t.is(holders.length, 3);
});

test('§4.5 a replica that is behind gets only its missing tail, and is not read from before', async t => {
  const { cluster, inode, handle, chain } = await withSealedChunk(t);
  const late = chain[1]!;
  late.chunks.set(handle, { version: 1, lengthBytes: 40, state: 'open', suspect: false });
  late.epoch = 2;
  let release!: () => void;
  late.before = kind => (kind === 'copyChunk' ? new Promise<void>(resolve => (release = resolve)) : undefined);
  await cluster.register(late);
  await cluster.clock.advance(1_000);
  const during = await cluster.ask('locate', { inode, fromByte: 0, limit: 1 });
  t.false(during.extents[0]!.replicas.some(({ server }) => server === late.id));

  release();
  await cluster.clock.advance(1_000);

  const after = await cluster.ask('locate', { inode, fromByte: 0, limit: 1 });
  t.is(after.extents[0]!.replicas.length, 3);
  t.is(cluster.master.rooms.healing.copiedBytes, 60);
});

test('the report shows how far and how fast each scrubber is by its last heartbeat', async t => {
  const cluster = await FakeCluster.start(t);
  const [first] = cluster.servers;
  const scrub = { roundsDone: 4, checkedBytes: 30, totalBytes: 100, bytesPerSecond: 7 };
  cluster.stopBeats();

  await cluster.beat(first!, { scrub });

  const { servers } = await cluster.ask('report', {});
  t.deepEqual(servers.find(({ id }) => id === first!.id)?.scrub, scrub);
  t.true(servers.every(server => server.id === first!.id || server.scrub === undefined));
});

test('a corrupt replica is mended on its own server from the others when there is no other server', async t => {
  const { cluster, handle, chain } = await withSealedChunk(t);
  const [bad] = chain;
  const report = { handle, version: 2, lengthBytes: 100, state: 'sealed' as const, suspect: false, corrupt: true };

  await cluster.beat(bad!, { changed: [report] });
  await cluster.clock.advance(2_000);

  const order = bad!.orders.find(({ kind }) => kind === 'mendChunk');
  t.is((order!.body.sources as unknown[]).length, 2);
  t.is(bad!.countOf('copyChunk'), 0);
  t.is(cluster.master.rooms.context.locations.find(handle, bad!.id)?.corrupt, false);
});

test('a chunk that no server can take does not keep the healing of others waiting', async t => {
  const cluster = await FakeCluster.start(t, { settings: { rereplicateAfter: 1_000 } });
  cluster.servers[2]!.isReachable = false;
  await cluster.clock.advance(15_000);
  await sealedFile(cluster, 'first');
  const handle = await sealedFile(cluster, 'second');
  await cluster.clock.advance(2_000);

  const bad = cluster.servers[0]!;
  const report = { handle, version: 2, lengthBytes: 50, state: 'sealed' as const, suspect: false };
  await cluster.beat(bad, { changed: [{ ...report, corrupt: true }] });
  await cluster.clock.advance(5_000);

  const mends = bad.orders.filter(({ kind, body }) => kind === 'mendChunk' && body.handle === handle);
  t.is(mends.length, 1);
});

test('§4.4 what nothing refers to is deleted after the grace, and not before', async t => {
  const { cluster, inode, handle, chain } = await withSealedChunk(t, { settings: { gcGrace: 5_000, trash: 0 } });

  await cluster.ask('truncate', { once: cluster.once(), inode, sizeBytes: 0 });
  await cluster.clock.advance(3_000);
  t.true(chain.every(server => server.chunks.has(handle)));
  chain[0]!.isReachable = false;
  await cluster.clock.advance(15_000);

  t.false(chain[1]!.chunks.has(handle));
  t.is(findChunk(cluster.master.rooms.context.store, handle), undefined);
  // The one that was off names the replica when it registers, and is told to delete it.
  chain[0]!.isReachable = true;
  chain[0]!.epoch = 2;
  await cluster.register(chain[0]!);
  await cluster.clock.advance(5_000);
  t.false(chain[0]!.chunks.has(handle));
});

test('a replica that is named while the record of its chunk is on its way out is deleted with the others', async t => {
  const { cluster, inode, handle, chain } = await withSealedChunk(t, { servers: 4, settings: { gcGrace: 1_000 } });
  const other = cluster.servers.find(server => !chain.includes(server))!;
  await cluster.ask('truncate', { once: cluster.once(), inode, sizeBytes: 0 });
  let open!: () => void;
  cluster.kv.only.gate = new Promise<void>(resolve => (open = resolve));
  await cluster.clock.advance(3_000);
  other.hold(handle, 0);
  await cluster.beat(other, { changed: other.reports() });
  t.true(
    cluster.servers.every(server => server.chunks.has(handle)),
    'the record may still be on the disk',
  );

  open();
  await cluster.clock.advance(3_000);

  t.false(cluster.servers.some(server => server.chunks.has(handle)));
  t.deepEqual(cluster.master.rooms.garbage.unclearReplicas(), []);
});

test('deletions that wait when safe mode begins are made when it is over', async t => {
  const { cluster, inode } = await withSealedChunk(t, { settings: { gcGrace: 1_000, trash: 0 } });
  const operator = { ...fakeConnection(), role: 'admin' as const };
  const others: ChunkHandle[] = [];
  for (let i = 0; i < 40; i++) others.push(await sealedFile(cluster, `g${i}`));
  const open: Array<() => void> = [];
  for (const server of cluster.servers)
    server.before = kind =>
      kind === 'deleteChunk' ? new Promise<void>(resolve => void open.push(resolve)) : undefined;
  await cluster.ask('truncate', { once: cluster.once(), inode, sizeBytes: 0 });
  for (let i = 0; i < 40; i++)
    await cluster.ask('unlink', { once: cluster.once(), where: { start: ROOT_INODE, path: `g${i}` } });
  await cluster.clock.advance(3_000);
  const waiting = cluster.master.rooms.garbage.deletionCount;
  t.true(open.length > 0 && waiting > 0, 'some are under way, the others wait');

  await cluster.ask('safemode', { action: 'enter' }, operator);
  for (const server of cluster.servers) server.before = () => undefined;
  for (const done of open.splice(0)) done();
  await cluster.clock.advance(5_000);
  t.is(cluster.master.rooms.garbage.deletionCount, waiting);
  t.true(others.some(handle => cluster.servers.some(server => server.chunks.has(handle))));

  await cluster.ask('safemode', { action: 'leave' }, operator);
  await cluster.clock.advance(5_000);
  t.false(others.some(handle => cluster.servers.some(server => server.chunks.has(handle))));
});

test('once servers run full the trash is emptied until there is room for more than the next file', async t => {
  const { cluster } = await withSealedChunk(t);
  const trashed = async (): Promise<number> => (await cluster.ask('report', {})).trash;
  const setFree = (chunks: number): void => {
    for (const server of cluster.servers) server.freeBytes = 10 ** 9 * 0.05 + chunks * 65_536;
  };
  await sealedFile(cluster, 'g');
  await sealedFile(cluster, 'h');
  setFree(1);
  await cluster.ask('unlink', { once: cluster.once(), where: { start: ROOT_INODE, path: 'f' } });
  await cluster.clock.advance(5_000);
  t.is(await trashed(), 1, 'there is room: it stays');

  setFree(-1);
  await cluster.clock.advance(5_000);
  t.is(await trashed(), 0);
  setFree(2);
  await cluster.ask('unlink', { once: cluster.once(), where: { start: ROOT_INODE, path: 'g' } });
  await cluster.clock.advance(5_000);
  t.is(await trashed(), 0, 'a little room is not enough again');

  setFree(500);
  await cluster.clock.advance(5_000);
  await cluster.ask('unlink', { once: cluster.once(), where: { start: ROOT_INODE, path: 'h' } });
  await cluster.clock.advance(5_000);
  t.is(await trashed(), 1);
});

test('FAULTS promise 8: a replica whose handle was never given out stops deletion and appends', async t => {
  const { cluster, inode, chain } = await withSealedChunk(t, { settings: { safeModeWait: 500 } });
  const foreign = 999 as ChunkHandle;
  chain[0]!.chunks.set(foreign, { version: 1, lengthBytes: 5, state: 'sealed', suspect: false });

  await cluster.beat(chain[0]!, { changed: chain[0]!.reports().filter(({ handle }) => handle === foreign) });
  await cluster.clock.advance(30_000);

  t.true(chain[0]!.chunks.has(foreign));
  const report = await cluster.ask('report', {});
  t.true(report.safemode);
  t.regex(report.safemodeReason, /old copy/);
  await throwsCode(t, cluster.ask('appendTarget', { inode }), 'SAFE_MODE');
  // Healing rests as well.
  const { handle } = (await cluster.ask('locate', { inode, fromByte: 0, limit: 1 })).extents[0]!;
  const bad = { handle, version: 2, lengthBytes: 100, state: 'sealed' as const, suspect: false, corrupt: true };
  await cluster.beat(chain[1]!, { changed: [bad] });
  await cluster.clock.advance(5_000);
  t.is(chain[1]!.countOf('copyChunk'), 0);
});

test('FAULTS promise 8: a replica of a newer version than recorded stops deletion and appends', async t => {
  const { cluster, handle, chain } = await withSealedChunk(t);
  chain[0]!.chunks.get(handle)!.version = 9;

  await cluster.beat(chain[0]!, { changed: chain[0]!.reports() });

  t.true((await cluster.ask('report', {})).safemode);
  t.is(cluster.master.rooms.context.locations.find(handle, chain[0]!.id)?.version, 2);
});

test('a server of another cluster, and one with an old copy of its index, are refused', async t => {
  const cluster = await FakeCluster.start(t);
  const [server] = cluster.servers;
  const request = {
    server: server!.id,
    epoch: 5,
    clusterId: '',
    address: server!.address,
    location: '',
    space: server!.space,
  };
  await throwsCode(t, cluster.ask('register', { ...request, clusterId: 'another' }), 'WRONG_CLUSTER');
  await cluster.ask('register', request);

  await throwsCode(t, cluster.ask('register', { ...request, epoch: 4 }), 'WRONG_DATA');
  const stale = await cluster.ask('heartbeat', {
    server: server!.id,
    epoch: 4,
    sequence: 1,
    space: server!.space,
    leases: [],
    changed: [],
    reads: [],
    failedDisks: [],
  });
  t.false(stale.registered);
});

test('servers go down when they are silent and come up again when they are heard', async t => {
  const cluster = await FakeCluster.start(t);
  cluster.servers[0]!.isReachable = false;
  await cluster.clock.advance(12_000);
  const states = async () => (await cluster.ask('report', {})).servers.map(({ state }) => state).sort();
  t.deepEqual(await states(), ['down', 'up', 'up']);

  cluster.servers[0]!.isReachable = true;
  await cluster.clock.advance(1_000);

  t.deepEqual(await states(), ['up', 'up', 'up']);
});

test('token keys survive a restart and roll over with the old ones staying valid', async t => {
  const cluster = await FakeCluster.start(t, { settings: { keyRollover: 20_000 } });
  const keys = async () => (await cluster.beat(cluster.servers[0]!)).keys.map(({ id }) => id);
  const before = await keys();

  await cluster.restartMaster();
  t.deepEqual(await keys(), before);
  await cluster.clock.advance(25_000);

  t.deepEqual(await keys(), [...before, before[0]! + 1]);
});

test('a session ends with its time to live, and its locks go to who waits for them', async t => {
  const cluster = await FakeCluster.start(t, { settings: { sessionTtl: 2_000 } });
  const inode = await cluster.createFile('f');
  const [first, second] = [await openSession(cluster, 'a'), await openSession(cluster, 'b')];
  const lock = { owner: 'o', kind: 'exclusive' as const, startByte: 0, endByte: 9, space: 'posix' as const, pid: 1 };
  await cluster.ask('lock', { session: first.session, inode, lock, waitMs: 0 });
  const refused = await cluster.ask('lock', { session: second.session, inode, lock, waitMs: 0 });
  t.is(refused.conflict?.owner, 'o');

  const waiting = cluster.call('lock', { session: second.session, inode, lock, waitMs: 10_000 });
  for (let passed = 0; passed < 4; passed++) {
    await cluster.clock.advance(800);
    await cluster.ask('keepSession', { session: second.session });
  }

  t.true((await waiting).granted);
  await throwsCode(t, cluster.ask('keepSession', { session: first.session }), 'SESSION_EXPIRED');
});

test('a lock that is waited for is not given to a client that is gone', async t => {
  const cluster = await FakeCluster.start(t);
  const inode = await cluster.createFile('f');
  const [first, second] = [await openSession(cluster, 'a'), await openSession(cluster, 'b')];
  const lock = { owner: 'o', kind: 'exclusive' as const, startByte: 0, endByte: 9, space: 'flock' as const, pid: 1 };
  await cluster.ask('lock', { session: first.session, inode, lock, waitMs: 0 });
  const connection = fakeConnection();
  const waiting = cluster.call('lock', { session: second.session, inode, lock, waitMs: 10_000 }, connection);
  await cluster.clock.advance(100);

  connection.close();
  await cluster.ask('unlock', { session: first.session, inode, owner: 'o', startByte: 0, endByte: 9, space: 'flock' });

  t.false((await cluster.clock.run(waiting)).granted);
  t.is((await cluster.ask('testLock', { session: first.session, inode, lock })).conflict, undefined);
});

test('sessions are told what other clients changed of what they looked at, and nothing else', async t => {
  const cluster = await FakeCluster.start(t);
  const [mine, other] = [fakeConnection(), fakeConnection()];
  const a = await openSession(cluster, 'a', mine);
  await openSession(cluster, 'b', other);
  const inode = await cluster.createFile('f');
  const where = { start: ROOT_INODE, path: 'f' };
  const looked = await cluster.ask('lookup', { where, follow: false, session: a.session });
  t.is(looked.attributes.inode, inode);
  const missing = { start: ROOT_INODE, path: 'g' };
  await throwsCode(t, cluster.ask('lookup', { where: missing, follow: false, session: a.session }), 'NOT_FOUND');

  await cluster.ask('setAttributes', { once: cluster.once('b'.repeat(16)), where, follow: false, mode: 0o600 });
  await cluster.createFile('g');
  await cluster.ask('setAttributes', { once: cluster.once('b'.repeat(16)), where, follow: false, mode: 0o644 });

  t.deepEqual(mine.notices, [
    { inodes: [inode], entries: [] },
    { inodes: [], entries: [{ parent: ROOT_INODE, name: 'g' }] },
  ]);
  t.deepEqual(other.notices, []);
});

test('a session is not told of its own changes', async t => {
  const cluster = await FakeCluster.start(t);
  const mine = fakeConnection();
  const a = await openSession(cluster, 'a', mine);
  await cluster.createFile('f');
  const where = { start: ROOT_INODE, path: 'f' };
  await cluster.ask('lookup', { where, follow: false, session: a.session });

  await cluster.ask('unlink', { once: cluster.once('a'.repeat(16)), where });

  t.deepEqual(mine.notices, []);
});

test('a change that is sent again is answered, not done again', async t => {
  const cluster = await FakeCluster.start(t);
  const once = cluster.once();
  const request = { once, where: { start: ROOT_INODE, path: 'd' }, mode: 0o755, uid: 0, gid: 0 };

  const first = await cluster.ask('makeDirectory', request);
  await cluster.restartMaster();
  const second = await cluster.ask('makeDirectory', request);

  t.deepEqual(first, second);
});

test('create can answer with the append target at once', async t => {
  const cluster = await FakeCluster.start(t);
  const request = {
    where: { start: ROOT_INODE, path: 'f' },
    mode: 0o644,
    uid: 0,
    gid: 0,
    exclusive: true,
    truncate: false,
    wantTarget: true,
  };

  const reply = await cluster.ask('createFile', { once: cluster.once(), ...request });

  t.true(reply.created);
  t.is(reply.target?.inode, reply.attributes.inode);
  t.is(reply.target?.chain.length, 3);
});

test('create with truncate seals what is open and cuts it', async t => {
  const cluster = await FakeCluster.start(t);
  const inode = await cluster.createFile('f');
  const target = await cluster.target(inode);
  for (const server of cluster.chainOf(target)) server.hold(target.handle, 100);

  const reply = await cluster.ask('createFile', {
    once: cluster.once(),
    where: { start: ROOT_INODE, path: 'f' },
    mode: 0o644,
    uid: 0,
    gid: 0,
    exclusive: false,
    truncate: true,
    wantTarget: true,
  });

  t.false(reply.created);
  t.is(reply.attributes.sizeBytes, 0);
  t.not(reply.target?.handle, target.handle);
});

test('info shows each replica as its server says it is, and those that do not answer as unreachable', async t => {
  const { cluster, inode, handle, chain } = await withSealedChunk(t);
  chain[2]!.isReachable = false;
  chain[1]!.chunks.get(handle)!.lengthBytes = 50;

  const info = await cluster.ask('fileInfo', { where: { start: inode, path: '' }, fromChunk: 0, limit: 10 });

  t.is(info.chunks.length, 1);
  const states = new Map(info.chunks[0]!.replicas.map(({ server, state }) => [server, state]));
  t.deepEqual(
    chain.map(({ id }) => states.get(id)),
    ['current', 'behind', 'unreachable'],
  );
});

test('the report counts chunks by their good copies', async t => {
  const { cluster, chain } = await withSealedChunk(t);
  chain[2]!.isReachable = false;
  await cluster.clock.advance(12_000);

  const { chunks, files } = await cluster.ask('report', {});

  t.deepEqual(chunks, { total: 1, degraded: 1, lost: 0, open: 0, byCopies: [{ copies: 2, chunks: 1 }] });
  t.is(files, 1);
});

test('df speaks of bytes of files: space is divided by the copies that are kept', async t => {
  const cluster = await FakeCluster.start(t);
  await cluster.createFile('f');

  const { capacityBytes, files } = await cluster.ask('statfs', {});

  t.is(capacityBytes, new FakeServer(1).space.capacityBytes);
  t.is(files, 2);
});

test('a deleted file that a session has open stays readable', async t => {
  const { cluster, inode, handle } = await withSealedChunk(t, { settings: { trash: 0, gcGrace: 1_000 } });
  const { session } = await openSession(cluster, 'a');
  await cluster.ask('openFile', { session, inode: inode as InodeId });
  await cluster.ask('unlink', { once: cluster.once(), where: { start: ROOT_INODE, path: 'f' } });
  for (let passed = 0; passed < 10; passed++) {
    await cluster.clock.advance(1_000);
    await cluster.ask('keepSession', { session });
  }
  t.is((await cluster.ask('locate', { inode, fromByte: 0, limit: 1 })).extents[0]!.replicas.length, 3);

  await cluster.ask('closeFile', { session, inode });
  await cluster.clock.advance(10_000);

  t.is(findChunk(cluster.master.rooms.context.store, handle), undefined);
  await throwsCode(t, cluster.ask('locate', { inode, fromByte: 0, limit: 1 }), 'STALE');
});

test('a chunkserver that takes the address of another one counts, the other is down at once', async t => {
  const cluster = await FakeCluster.start(t);
  const [old] = cluster.servers;
  const request = { epoch: 1, clusterId: '', address: old!.address, location: '', space: old!.space };
  old!.isReachable = false;

  await cluster.ask('register', { server: 'f'.repeat(16) as FakeServer['id'], ...request });
  await cluster.clock.advance(1_500);

  const { servers } = await cluster.ask('report', {});
  t.is(servers.find(({ id }) => id === old!.id)?.state, 'down');
});

test('a server that was down when a chunk on it was collected reports all that it holds when it is back, and its replica goes', async t => {
  const settings = { trash: 0, gcGrace: 1_000, rereplicateAfter: 600_000 };
  const { cluster, handle, chain } = await withSealedChunk(t, { settings });
  const [away, other] = chain;
  for (const server of [away!, other!]) server.isReachable = false;
  await cluster.clock.advance(12_000);
  other!.isReachable = true;
  await cluster.clock.advance(2_000);
  t.true((await cluster.beat(other!)).registered, 'it has missed nothing');
  await cluster.ask('unlink', { once: cluster.once(), where: { start: ROOT_INODE, path: 'f' } });
  await cluster.clock.advance(20_000);
  t.deepEqual(
    chain.map(server => server.chunks.has(handle)),
    [true, false, false],
  );

  cluster.stopBeats();
  away!.isReachable = true;
  t.false((await cluster.beat(away!)).registered);
  await cluster.register(away!);
  await cluster.clock.advance(5_000);

  t.false(away!.chunks.has(handle));
  t.true((await cluster.beat(away!)).registered);
});

test('a deletion that was refused because the replica has a newer version by now goes by the version that its server names, and not by the old one', async t => {
  const settings = { trash: 0, gcGrace: 1_000, rereplicateAfter: 600_000 };
  const { cluster, handle, chain } = await withSealedChunk(t, { settings });
  const [server] = chain;
  const versions: number[] = [];
  const gates: Array<() => void> = [];
  server!.before = async (kind, body) => {
    if (kind !== 'deleteChunk') return;
    versions.push(body.version as number);
    if (versions.length > 1) return;
    await new Promise<void>(resolve => gates.push(resolve));
    throw new GfsError('SUPERSEDED');
  };
  await cluster.ask('unlink', { once: cluster.once(), where: { start: ROOT_INODE, path: 'f' } });
  await cluster.clock.advance(20_000);
  t.is(versions.length, 1);

  // An order that was long on its way has fenced it.
  const fenced = { version: versions[0]! + 3, lengthBytes: 100, state: 'fenced' as const, suspect: false };
  await cluster.beat(server!, { changed: [{ handle, ...fenced, corrupt: false }] });
  gates[0]!();
  await cluster.clock.advance(20_000);

  t.true(versions.length > 1);
  t.is(versions[1], versions[0]! + 3);
});
