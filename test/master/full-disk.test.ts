// The master on a full disk: names are read and not changed, files are read and appended to under the leases that there are, and its owner hears when
// there is room again (FAULTS 9 and 11). On a clock that the test moves.
import test, { type ExecutionContext } from 'ava';
import { type InodeId, ROOT_INODE } from '../../src/protocol/ids.js';
import { FakeCluster, fakeConnection, throwsCode } from './fake-cluster.js';

const at = (path: string) => ({ start: ROOT_INODE, path });
const SESSION = { client: 'a'.repeat(16), name: 'a', open: [] as InodeId[], wantsChanges: false };

async function fullCluster(t: ExecutionContext) {
  const told = { room: 0, failures: 0 };
  const cluster = await FakeCluster.start(t, {
    settings: { lease: 10_000 },
    events: { onRoom: () => void told.room++, onFailure: () => void told.failures++ },
  });
  const inode = await cluster.createFile('old');
  const target = await cluster.target(inode);
  const [primary] = cluster.chainOf(target);
  const { session } = await cluster.ask('openSession', SESSION);
  cluster.kv.only.failure = Object.assign(new Error('no room'), { code: 'ENOSPC' });
  cluster.space.freeBytes = 0;
  // Whoever is on his way then does not know what became of it, and asks again.
  await throwsCode(t, cluster.createFile('doubtful'), 'CONNECTION_LOST');
  return { cluster, told, inode, target, primary: primary!, session };
}

test('changes of names are refused with NO_SPACE; reading, opening, listing and new sessions go on, and show nothing that was not written', async t => {
  const { cluster, told, inode, session } = await fullCluster(t);

  await throwsCode(t, cluster.createFile('new'), 'NO_SPACE');
  await throwsCode(t, cluster.ask('unlink', { once: cluster.once(), where: at('old') }), 'NO_SPACE');
  const lock = { owner: 'x', kind: 'exclusive' as const, startByte: 0, endByte: 9, space: 'posix' as const, pid: 1 };
  await throwsCode(t, cluster.ask('lock', { session, inode, lock, waitMs: 0 }), 'NO_SPACE');

  t.is((await cluster.ask('lookup', { where: at('old'), follow: true })).attributes.inode, inode);
  await throwsCode(t, cluster.ask('lookup', { where: at('doubtful'), follow: true }), 'NOT_FOUND');
  await cluster.ask('openFile', { session, inode });
  const again = await cluster.ask('openSession', { ...SESSION, client: 'b'.repeat(16) }, fakeConnection());
  await cluster.ask('closeSession', { session: again.session });
  const { entries } = await cluster.ask('readDirectory', { inode: ROOT_INODE, after: '', limit: 10 });
  t.deepEqual(
    entries.map(({ name }) => name),
    ['old'],
  );
  t.is(told.failures, 0);
});

test('a file stays readable and under its lease, also when nobody appends for longer than that, and a server may come back', async t => {
  const { cluster, inode, target, primary } = await fullCluster(t);
  const lease = { handle: target.handle, version: 1, committedBytes: 500, active: false };
  for (let ms = 0; ms < 30_000; ms += 1_000) {
    const { extended } = await cluster.beat(primary, { leases: [lease] });
    t.deepEqual(extended, [{ handle: target.handle, version: 1 }]);
    await cluster.clock.advance(1_000);
  }

  const located = await cluster.ask('locate', { inode, fromByte: 0, limit: 10 });
  t.like(located.tail, { handle: target.handle, leased: true, committedBytes: 500 });
  await throwsCode(
    t,
    cluster.ask('returnLease', {
      server: primary.id,
      epoch: primary.epoch,
      handle: target.handle,
      version: 1,
      lengthBytes: 500,
    }),
    'NO_SPACE',
  );
  const other = cluster.servers.find(server => server !== primary)!;
  other.epoch++;
  await cluster.register(other);
  t.is(cluster.master.rooms.context.servers.get(other.id)!.epoch, other.epoch);
});

test('the owner hears once of room, and the master that it starts then takes changes, also the one that was in doubt', async t => {
  const { cluster, told } = await fullCluster(t);
  await cluster.clock.advance(5_000);
  t.is(told.room, 0);

  cluster.space.freeBytes = 5e8;
  await cluster.clock.advance(5_000);
  t.is(told.room, 1);

  cluster.kv.only.failure = undefined;
  await cluster.restartMaster();
  await cluster.createFile('doubtful');
  const { entries } = await cluster.ask('readDirectory', { inode: ROOT_INODE, after: '', limit: 10 });
  t.deepEqual(
    entries.map(({ name }) => name),
    ['doubtful', 'old'],
  );
});
