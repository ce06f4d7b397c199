// What a client has given up must not undo what it did since: requests that waited in the socket of an older connection, by handlers of the master.
import test, { type ExecutionContext } from 'ava';
import type { InodeId } from '../../src/protocol/ids.js';
import { ROOT_INODE } from '../../src/protocol/ids.js';
import type { Kind, Reply, Request, WireLockRange } from '../../src/protocol/messages.js';
import type { ServerConnection } from '../../src/rpc/types.js';
import { FakeCluster, throwsCode } from './fake-cluster.js';

const WHOLE = { startByte: 0, endByte: Number.MAX_SAFE_INTEGER, space: 'flock' } as const;
const lockOf = (owner: string, kind: 'exclusive' | 'shared' = 'exclusive'): WireLockRange => ({
  ...{ ...WHOLE, owner, kind, pid: 1 },
});

class Person {
  session = '';
  /** Number of the connection that it sends on. */
  connection = 1;

  constructor(
    private readonly cluster: FakeCluster,
    readonly client: string,
  ) {}

  private get who(): { session: string; connection: number } {
    return { session: this.session, connection: this.connection };
  }

  opening(open: InodeId[] = [], wantsChanges = false): Request<'openSession'> {
    return { client: this.client, name: 'p', open, wantsChanges, connection: this.connection };
  }

  async comes(): Promise<this> {
    this.session = (await this.cluster.ask('openSession', this.opening())).session;
    return this;
  }

  locking(inode: InodeId, more: Partial<Request<'lock'>> = {}): Request<'lock'> {
    return { ...this.who, inode, lock: lockOf(this.client), waitMs: 0, ...more };
  }

  unlocking(inode: InodeId, more: Partial<Request<'unlock'>> = {}): Request<'unlock'> {
    return { ...this.who, inode, owner: this.client, ...WHOLE, ...more };
  }

  lock(inode: InodeId, more: Partial<Request<'lock'>> = {}): Promise<Reply<'lock'>> {
    return this.cluster.ask('lock', this.locking(inode, more));
  }

  unlock(inode: InodeId, more: Partial<Request<'unlock'>> = {}): Promise<unknown> {
    return this.cluster.ask('unlock', this.unlocking(inode, more));
  }

  file(inode: InodeId): Request<'openFile'> {
    return { ...this.who, inode };
  }
}

async function scene(t: ExecutionContext) {
  const cluster = await FakeCluster.start(t, { servers: 3, settings: { trash: 0, gcGrace: 1_000 } });
  const inode = await cluster.createFile('f');
  const a = await new Person(cluster, 'a'.repeat(16)).comes();
  const b = await new Person(cluster, 'b'.repeat(16)).comes();
  return { cluster, inode, a, b };
}

test('an unlock that was given up with its connection does not free the lock that its owner took since', async t => {
  const { cluster, inode, a, b } = await scene(t);
  await a.lock(inode);
  const late = a.unlocking(inode);
  a.connection = 2;
  await a.unlock(inode);
  t.true((await a.lock(inode)).granted);

  await throwsCode(t, cluster.ask('unlock', late), 'SUPERSEDED');

  t.like(await b.lock(inode), { granted: false, conflict: { owner: a.client } });
});

test('a lock that was given up with its connection is granted to nobody, whether it comes late or waits', async t => {
  const { cluster, inode, a, b } = await scene(t);
  await b.lock(inode);
  const late = a.locking(inode);
  const waiting = cluster.call('lock', a.locking(inode, { waitMs: 20_000 }));
  await cluster.clock.advance(10);

  a.connection = 2;
  t.false((await a.lock(inode)).granted);
  t.false((await cluster.clock.run(waiting)).granted, 'nobody listens there any more');
  await b.unlock(inode);
  await throwsCode(t, cluster.ask('lock', late), 'SUPERSEDED');

  t.true((await b.lock(inode)).granted);
});

test('any request on a newer connection ends the waits of older ones, those of others go on', async t => {
  const { cluster, inode, a, b } = await scene(t);
  const c = await new Person(cluster, 'c'.repeat(16)).comes();
  await c.lock(inode);
  const waits = [a, b].map(person => cluster.call('lock', person.locking(inode, { waitMs: 20_000 })));
  await cluster.clock.advance(10);

  a.connection = 2;
  await cluster.ask('openFile', a.file(inode));
  t.false((await cluster.clock.run(waits[0]!)).granted);
  await c.unlock(inode);

  t.true((await cluster.clock.run(waits[1]!)).granted);
});

test('a close that was given up does not undo a newer open, and an open not a newer close', async t => {
  const { cluster, inode, a } = await scene(t);
  await cluster.ask('openFile', a.file(inode));
  const late = a.file(inode);
  a.connection = 2;
  await cluster.ask('closeFile', a.file(inode));
  await cluster.ask('openFile', a.file(inode));
  await throwsCode(t, cluster.ask('closeFile', late), 'SUPERSEDED');
  await cluster.ask('unlink', { once: cluster.once(), where: { start: ROOT_INODE, path: 'f' } });
  await cluster.clock.advance(5_000);
  await cluster.ask('lookup', { where: { start: inode, path: '' }, follow: false });

  await cluster.ask('closeFile', a.file(inode));
  await throwsCode(t, cluster.ask('openFile', late), 'SUPERSEDED');
  await cluster.clock.advance(5_000);

  await throwsCode(t, cluster.ask('lookup', { where: { start: inode, path: '' }, follow: false }), 'STALE');
});

test('a late opening of the session does not take the notices back to a connection that is gone', async t => {
  const { cluster, inode, a } = await scene(t);
  const told: string[] = [];
  const line = (name: string): ServerConnection =>
    ({
      ...{ id: name.length, remoteAddress: 'x:1', role: 'client', queuedBytes: 0 },
      notify: (_kind: Kind) => void told.push(name),
      onClose: () => undefined,
    }) as ServerConnection;
  const late = a.opening([], true);
  a.connection = 2;
  await cluster.ask('openSession', a.opening([], true), line('new'));
  await throwsCode(t, cluster.ask('openSession', late, line('the old one')), 'SUPERSEDED');
  await cluster.ask('lookup', { where: { start: inode, path: '' }, follow: false, session: a.session });

  const where = { start: inode, path: '' };
  await cluster.ask('setAttributes', { once: cluster.once(), where, follow: false, mode: 0o600 });
  await cluster.clock.advance(100);

  t.deepEqual(told, ['new']);
});

test('after a restart of the master a late unlock meets no session, and claims are in order of their connections', async t => {
  const { cluster, inode, a, b } = await scene(t);
  await a.lock(inode);
  const late = a.unlocking(inode);
  await cluster.restartMaster();
  a.connection = 2;
  await a.comes();
  const lateClaim = a.locking(inode, { claim: true });
  a.connection = 3;
  t.true((await a.lock(inode, { claim: true })).granted);
  await throwsCode(t, cluster.ask('unlock', late), 'SESSION_EXPIRED');
  await cluster.ask('keepSession', { session: a.session, claimed: true });
  await b.comes();
  t.false((await b.lock(inode)).granted);

  await a.unlock(inode);
  await throwsCode(t, cluster.ask('lock', lateClaim), 'SUPERSEDED');

  t.true((await b.lock(inode)).granted);
});

test('who has lost the answer to a lock gives up what it may wait for with what it may hold, and no other owner or range', async t => {
  const { cluster, inode, a, b } = await scene(t);
  await b.lock(inode);
  const waiting = cluster.call('lock', a.locking(inode, { waitMs: 20_000 }));
  const other = cluster.call('lock', a.locking(inode, { lock: lockOf('other'), waitMs: 20_000 }));
  await cluster.clock.advance(10);

  await a.unlock(inode, { endWaits: true });

  t.false((await cluster.clock.run(waiting)).granted);
  await b.unlock(inode);
  t.true((await cluster.clock.run(other)).granted);
});
