// Locks, sessions and open files over a restart of the master: those who held locks claim them before others get any; whoever does not come, or came too late,
// has none; a file that was deleted while open stays until its holder had time to say so. On a clock that the test moves.
import test, { type ExecutionContext } from 'ava';
import { type InodeId, ROOT_INODE } from '../../src/protocol/ids.js';
import type { Reply, WireLockRange } from '../../src/protocol/messages.js';
import { FakeCluster, throwsCode } from './fake-cluster.js';

const TTL_MS = 20_000;
const at = (path: string) => ({ start: ROOT_INODE, path });
const lockOf = (owner: string, kind: 'exclusive' | 'shared' = 'exclusive'): WireLockRange => ({
  ...{ owner, kind, startByte: 0, endByte: 99, space: 'posix', pid: 1 },
});

class Person {
  session = '';

  constructor(
    private readonly cluster: FakeCluster,
    readonly client: string,
  ) {}

  async comes(open: InodeId[] = []): Promise<this> {
    const request = { client: this.client, name: this.client, open, wantsChanges: false };
    this.session = (await this.cluster.ask('openSession', request)).session;
    return this;
  }

  lock(inode: InodeId, options: { waitMs?: number; claim?: boolean; kind?: 'shared' } = {}): Promise<Reply<'lock'>> {
    const { waitMs = 0, claim = false, kind = 'exclusive' } = options;
    const request = {
      session: this.session,
      inode,
      lock: lockOf(this.client, kind),
      waitMs,
      ...(claim ? { claim } : {}),
    };
    return this.cluster.ask('lock', request);
  }

  keep(claimed = false): Promise<unknown> {
    return this.cluster.ask('keepSession', { session: this.session, ...(claimed ? { claimed } : {}) });
  }

  leaves(): Promise<unknown> {
    return this.cluster.ask('closeSession', { session: this.session });
  }
}

async function scene(t: ExecutionContext) {
  const cluster = await FakeCluster.start(t, {
    servers: 3,
    settings: { sessionTtl: TTL_MS, trash: 0, gcGrace: 1_000 },
  });
  const inode = await cluster.createFile('f');
  const a = await new Person(cluster, 'a'.repeat(16)).comes();
  const b = await new Person(cluster, 'b'.repeat(16)).comes();
  return { cluster, inode, a, b };
}

test('a lock that is held over a restart of the master stays exclusive: others wait until it is claimed, and then for its holder', async t => {
  const { cluster, inode, a, b } = await scene(t);
  t.true((await a.lock(inode)).granted);

  await cluster.restartMaster();
  await b.comes();
  await throwsCode(t, b.lock(inode), 'GRACE');
  await throwsCode(t, b.lock(99 as InodeId), 'GRACE');
  const test = { session: b.session, inode, lock: lockOf('b') };
  await throwsCode(t, cluster.ask('testLock', test), 'GRACE');
  await a.comes();
  t.true((await a.lock(inode, { claim: true })).granted);
  await throwsCode(t, b.lock(99 as InodeId), 'GRACE');
  await a.keep(true);

  t.like(await b.lock(inode), { granted: false, conflict: { owner: a.client } });
  t.true((await b.lock(99 as InodeId)).granted, 'nothing is awaited any more');
});

test('the lock of a holder that does not come back is free once its session would be over, and it cannot claim it then', async t => {
  const { cluster, inode, a, b } = await scene(t);
  await a.lock(inode);
  await cluster.restartMaster();
  await b.comes();
  await cluster.clock.advance(TTL_MS - 3_000);
  await b.keep();
  await throwsCode(t, b.lock(inode), 'GRACE');

  await cluster.clock.advance(3_500);
  t.true((await b.lock(inode)).granted);
  await a.comes();
  t.false((await a.lock(inode, { claim: true })).granted);
  await b.leaves();
  t.false((await a.lock(inode, { claim: true })).granted, 'others may have held it: a free lock is lost too');
  t.true((await a.lock(inode)).granted);
});

test('who has lost a lock before the restart cannot claim it from its new holder', async t => {
  const { cluster, inode, a, b } = await scene(t);
  await a.lock(inode);
  for (let i = 0; i < 3; i++) {
    await cluster.clock.advance(TTL_MS / 2);
    await b.keep();
  }
  t.true((await b.lock(inode)).granted, 'the session of a is over');

  await cluster.restartMaster();
  await a.comes();
  await b.comes();
  t.false((await a.lock(inode, { claim: true })).granted);
  t.true((await b.lock(inode, { claim: true })).granted);
});

test('of two that claim the same, which only a fault can bring about, one has it', async t => {
  const { cluster, inode, a, b } = await scene(t);
  await a.lock(inode);
  await b.lock(99 as InodeId);
  await cluster.restartMaster();
  await a.comes();
  await b.comes();

  t.true((await a.lock(inode, { claim: true })).granted);
  t.like(await b.lock(inode, { claim: true }), { granted: false, conflict: { owner: a.client } });
});

test('nobody is awaited where nobody held a lock: none was taken, all were given back, or their sessions were closed', async t => {
  const { cluster, inode, a, b } = await scene(t);
  await cluster.restartMaster();
  await a.comes();
  t.true((await a.lock(inode)).granted);
  const { owner, startByte, endByte, space } = lockOf(a.client);
  await cluster.ask('unlock', { session: a.session, inode, owner, startByte, endByte, space });
  await cluster.clock.advance(4_000);

  await cluster.restartMaster();
  await b.comes();
  t.true((await b.lock(inode)).granted);
  await b.leaves();

  await cluster.restartMaster();
  await a.comes();
  t.true((await a.lock(inode)).granted);
});

test('a lock that came by waiting, and shared ones, are claimed as others', async t => {
  const { cluster, inode, a, b } = await scene(t);
  await a.lock(inode, { kind: 'shared' });
  t.true((await b.lock(inode, { kind: 'shared' })).granted);
  const c = await new Person(cluster, 'c'.repeat(16)).comes();
  const waiting = cluster.call('lock', { session: c.session, inode, lock: lockOf(c.client), waitMs: 10_000 });
  await a.leaves();
  await b.leaves();
  t.true((await cluster.clock.run(waiting)).granted);

  await cluster.restartMaster();
  await c.comes();
  t.true((await c.lock(inode, { claim: true })).granted);
  await c.keep(true);
  t.true((await c.lock(inode)).granted);
});

test('a second restart within the grace awaits the same holders again', async t => {
  const { cluster, inode, a, b } = await scene(t);
  await a.lock(inode);
  await cluster.restartMaster();
  await cluster.clock.advance(5_000);
  await cluster.restartMaster();
  await b.comes();
  await throwsCode(t, b.lock(inode), 'GRACE');
  await a.comes();
  t.true((await a.lock(inode, { claim: true })).granted);
});

test('a holder that opens its session anew and closes it keeps nobody waiting', async t => {
  const { cluster, inode, a, b } = await scene(t);
  await a.lock(inode);
  await cluster.restartMaster();
  await a.comes();
  await a.leaves();
  await b.comes();
  t.true((await b.lock(inode)).granted);
});

test('a file deleted while open outlives a restart of the master until its holder closes it', async t => {
  const { cluster, inode, a } = await scene(t);
  await cluster.ask('openFile', { session: a.session, inode });
  await cluster.ask('unlink', { once: cluster.once(), where: at('f') });
  const trash = async (): Promise<number> => (await cluster.ask('listTrash', { limit: 9 })).items.length;
  await cluster.clock.advance(500);

  await cluster.restartMaster();
  await cluster.clock.advance(TTL_MS / 2);
  t.is(await trash(), 1, 'its time is over, but its holder may still say that it is open');
  await a.comes([inode]);
  for (let i = 0; i < 4; i++) {
    await cluster.clock.advance(TTL_MS / 2);
    await a.keep();
  }
  t.is(await trash(), 1);
  await cluster.ask('lookup', { where: { start: inode, path: '' }, follow: false });

  await cluster.ask('closeFile', { session: a.session, inode });
  await cluster.clock.advance(10_000);
  t.is(await trash(), 0);
});

test('deleted files are collected at once after a start when nobody had a session before', async t => {
  const { cluster, a, b } = await scene(t);
  await a.leaves();
  await b.leaves();
  await cluster.clock.advance(3_000);
  await cluster.ask('unlink', { once: cluster.once(), where: at('f') });
  await cluster.restartMaster();
  await cluster.clock.advance(3_000);

  t.deepEqual((await cluster.ask('listTrash', { limit: 9 })).items, []);
});
