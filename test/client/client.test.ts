// Sessions, repeated calls to the master, closing: what holds however often a message must be sent again.
import test from 'ava';
import type { ChangeNotice } from '../../src/client/types.js';
import { hasCode } from '../../src/protocol/errors.js';
import type { InodeId } from '../../src/protocol/ids.js';
import { MASTER, newFile, withCluster } from './fake-cluster.js';

const at = (path: string) => ({ start: 1 as InodeId, path });
const OWNER = { mode: 0o755, uid: 0, gid: 0 };

test('a change whose answer was lost is repeated with the same identity and done once', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect();
    cluster.bend('makeDirectory', 'lose-reply', { count: 3 });

    await client.makeDirectory(at('d'), OWNER);

    const identities = cluster.requests('makeDirectory').map(({ once }) => `${once.client} ${once.sequence}`);
    t.is(identities.length, 4);
    t.is(new Set(identities).size, 1);
    t.is(cluster.names.size, 1);
  });
});

test('each change has its own identity and says which outcomes it does not need any more', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect();
    cluster.bend('makeDirectory', 'hang');

    const slow = client.makeDirectory(at('slow'), OWNER);
    await client.makeDirectory(at('b'), OWNER);
    await client.makeDirectory(at('c'), OWNER);
    await slow;
    await client.makeDirectory(at('d'), OWNER);

    const sent = cluster
      .requests('makeDirectory')
      .map(({ where, once }) => [where.path, once.sequence, once.ackedBelow]);
    t.deepEqual(sent, [
      ['slow', 1, 1],
      ['b', 2, 1],
      ['c', 3, 1],
      ['slow', 1, 1],
      ['d', 4, 4],
    ]);
  });
});

test('a refusal of the master is told as it is, at once', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect();

    const error = await t.throwsAsync(client.lookup(at('nothing')));

    t.true(hasCode(error, 'NOT_FOUND'));
    t.is(cluster.count('lookup'), 1);
  });
});

test('an operation ends with TIMED_OUT when the master is gone, and works when it is back', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect({ opTimeoutMs: 2_000 });
    let isDown = true;
    cluster.bends.push(call => (isDown && call.address === MASTER ? 'UNREACHABLE' : undefined));
    const startMs = cluster.simulator.nowMs;

    const error = await t.throwsAsync(client.makeDirectory(at('d'), OWNER));

    t.true(hasCode(error, 'TIMED_OUT'));
    t.true(error instanceof Error && error.message.includes(MASTER));
    t.true(cluster.simulator.nowMs - startMs <= 2_100);
    isDown = false;
    await client.makeDirectory(at('d'), OWNER);
  });
});

test('connecting ends in time when there is no master', async t => {
  await withCluster(t, async cluster => {
    cluster.bends.push(() => 'UNREACHABLE');

    const error = await t.throwsAsync(cluster.connect());

    t.true(hasCode(error, 'TIMED_OUT'));
    t.true(cluster.simulator.nowMs <= 5_000);
  });
});

test('a session that the master lost is opened anew with the files that are open, and the operation goes on', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect();
    const notices: ChangeNotice[] = [];
    client.onChange = notice => notices.push(notice);
    const { file } = await newFile(client);
    cluster.session = '00000000000000bb';

    await Promise.all([client.lookup(at('f')), client.lookup(at('f'))]);

    const opened = cluster.requests('openSession');
    t.is(opened.length, 2);
    t.deepEqual(opened[1]?.open, [file.inode as InodeId]);
    t.is(opened[0]?.client, opened[1]?.client);
    t.deepEqual(
      notices.map(({ lost }) => lost),
      [true],
    );
  });
});

test('the session is kept alive while nothing happens', async t => {
  await withCluster(t, async cluster => {
    await cluster.connect();

    await cluster.simulator.sleep(60_000);

    t.true(cluster.count('keepSession') >= 3);
  });
});

test('a lost connection is told to who watches changes, and the session is taken up on the next one', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect();
    const notices: ChangeNotice[] = [];
    client.onChange = notice => notices.push(notice);

    cluster.hooks!.onLost(MASTER);
    cluster.hooks!.onLost('cs1:1');
    await cluster.simulator.sleep(10);
    cluster.hooks!.onNotice(MASTER, 'changed', { inodes: [5], entries: [{ parent: 1, name: 'x' }] });

    t.is(cluster.count('openSession'), 2);
    t.deepEqual(notices, [
      { lost: true, inodes: [], entries: [] },
      // Between the two connections nobody was told of anything.
      { lost: true, inodes: [], entries: [] },
      { lost: false, inodes: [5], entries: [{ parent: 1, name: 'x' }] },
    ]);
  });
});

for (const code of ['WRONG_CLUSTER', 'UNAUTHENTICATED'] as const)
  test(`a wrong master in the place of the right one (${code}): operations end with that at once, and go on with the right one, notices too`, async t => {
    await withCluster(t, async cluster => {
      const client = await cluster.connect();
      const { file } = await newFile(client);
      await file.append([Buffer.from('before')], { split: false });
      let isWrong = true;
      cluster.bends.push(call => (isWrong && call.address === MASTER ? code : undefined));
      cluster.hooks!.onLost(MASTER);
      await cluster.simulator.sleep(100);
      const startMs = cluster.simulator.nowMs;

      const works: Array<() => Promise<unknown>> = [
        () => client.lookup(at('f')),
        () => client.makeDirectory(at('d'), OWNER),
        () => file.read(0, 6),
      ];
      for (const work of works) t.true(hasCode(await t.throwsAsync(work()), code));
      t.true(cluster.simulator.nowMs - startMs < 100, 'they do not wait for their deadlines');
      isWrong = false;
      const opened = cluster.count('openSession');
      await client.makeDirectory(at('d'), OWNER);
      await file.append([Buffer.from(' and after')], { split: false });
      await cluster.simulator.sleep(20_000);

      t.is(Buffer.concat(await file.read(0, 16)).toString(), 'before and after');
      t.is(cluster.count('openSession'), opened + 1, 'the same session, on a connection that notices go to');
      await cluster.simulator.sleep(60_000);
      t.is(cluster.count('openSession'), opened + 1, 'once');
    });
  });

test('a lock that cannot be claimed in a new session is lost: its holder is told, once, and does not claim it again', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect();
    const lock = { owner: 'a', kind: 'exclusive', startByte: 0, endByte: 99, space: 'posix', pid: 1 } as const;
    const lost: string[] = [];
    await client.lock(2, lock, { onLost: reason => lost.push(reason) });
    cluster.grantsClaims = false;
    for (const session of ['00000000000000bb', '00000000000000cc']) {
      cluster.session = session;
      await client.testLock(2, lock);
      await cluster.simulator.sleep(10);
    }

    t.is(lost.length, 1);
    t.regex(lost[0]!, /had ended, and others may have held it/);
    t.is(cluster.requests('lock').filter(({ claim }) => claim).length, 1);
  });
});

test('locks are claimed in a session that stands after two restarts of the master, and only then is it said that all are', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect();
    const lock = { kind: 'exclusive', startByte: 0, endByte: 99, space: 'posix', pid: 1 } as const;
    for (const owner of ['a', 'b', 'c']) await client.lock(2, { ...lock, owner });
    cluster.session = '00000000000000bb';
    cluster.bend('lock', 'hang');
    void client.testLock(2, { ...lock, owner: 'a' }).catch(() => undefined);
    await cluster.simulator.sleep(100);
    cluster.session = '00000000000000cc';
    await cluster.simulator.sleep(30_000);

    const claims = cluster.requests('lock').filter(({ claim, session }) => claim && session === cluster.session);
    const owners = claims.map(({ lock: { owner } }) => owner);
    t.deepEqual(owners.slice(-3), ['a', 'b', 'c'], 'all of them, after the last session stood');
    const said = cluster.requests('keepSession').filter(({ claimed }) => claimed);
    t.deepEqual(
      said.map(({ session }) => session),
      [cluster.session],
    );
  });
});

test('locks are claimed again in a new session, piece by piece', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect();
    const lock = { owner: 'a', kind: 'exclusive', startByte: 0, endByte: 99, space: 'posix', pid: 1 } as const;
    await client.lock(2, lock);
    await client.unlock(2, { owner: 'a', startByte: 10, endByte: 19, space: 'posix' });
    cluster.session = '00000000000000bb';

    await client.testLock(2, lock).catch(() => undefined);
    await newFile(client);
    await cluster.simulator.sleep(10);

    const ranges = cluster.requests('lock').map(request => [request.lock.startByte, request.lock.endByte]);
    t.deepEqual(ranges, [
      [0, 99],
      [0, 9],
      [20, 99],
    ]);
    t.deepEqual(
      cluster.requests('lock').map(({ claim }) => claim === true),
      [false, true, true],
    );
    t.deepEqual(
      cluster.requests('keepSession').map(({ claimed }) => claimed),
      [true],
    );
  });
});

test('closing a file waits for its appends, and the master hears of the last of its opens', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect();
    const { file } = await newFile(client);
    const second = await client.openInode(file.inode);
    let hasLanded = false;
    void file.append([Buffer.from('x')], { split: false }).then(() => {
      hasLanded = true;
    });

    await file.close();
    await file.close();
    t.true(hasLanded);
    await cluster.simulator.sleep(10);
    t.is(cluster.count('closeFile'), 0);
    await second.close({ durable: true });
    await cluster.simulator.sleep(10);

    t.is(cluster.count('closeFile'), 1);
    t.is(cluster.count('syncChunk'), 1, 'what any handle wrote is synced');
    t.true(hasCode(await t.throwsAsync(file.read(0, 1)), 'BAD_HANDLE'));
    t.true(hasCode(await t.throwsAsync(file.append([Buffer.from('x')], { split: false })), 'BAD_HANDLE'));
  });
});

test('closing a new file gives the target that came with it back, unless something was sent there', async t => {
  await withCluster(t, async cluster => {
    cluster.tellsTargets = true;
    const client = await cluster.connect();
    const create = async (path: string) =>
      (await client.createFile(at(path), { ...OWNER, exclusive: false, truncate: false })).file;
    const [unused, used, reopened] = [await create('unused'), await create('used'), await create('reopened')];
    await used.append([Buffer.from('x')], { split: false });
    const second = await client.openInode(reopened.inode);
    await reopened.close();
    await second.append([Buffer.from('x')], { split: false });

    for (const file of [unused, used, second]) await file.close();
    await cluster.simulator.sleep(10);
    const again = await client.openInode(unused.inode);
    t.is(await again.append([Buffer.from('x')], { split: false }), 0);
    await again.close();
    await cluster.simulator.sleep(10);

    const closed = cluster.requests('closeFile').map(request => [request.inode, request.unused?.version]);
    t.deepEqual(closed, [
      [unused.inode, 1],
      [used.inode, undefined],
      [reopened.inode, undefined],
      [unused.inode, undefined],
    ]);
    t.is(cluster.count('appendTarget'), 1, 'a target that was given back is not used again');
  });
});

test('closing the client closes its files, ends its session, and refuses later calls', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect();
    const { file } = await newFile(client);
    const landed = file.append([Buffer.from('x')], { split: false });

    await Promise.all([client.close(), client.close()]);

    t.is(await landed, 0);
    t.is(cluster.count('closeSession'), 1);
    t.true(hasCode(await t.throwsAsync(client.lookup(at('f'))), 'STOPPING'));
    await cluster.simulator.sleep(120_000);
    t.is(cluster.count('keepSession'), 0);
  });
});

test('closing in a hurry waits for appends and master as long as it was told, and no longer', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect();
    const { file } = await newFile(client);
    await file.append([Buffer.from('x')], { split: false });
    cluster.bends.push(() => 'hang');
    const stuck = file.append([Buffer.from('y')], { split: false }).catch(error => error);
    const startMs = cluster.simulator.nowMs;

    await client.close({ waitMs: 700 });

    t.is(Math.round(cluster.simulator.nowMs - startMs), 700);
    // It ends by its own deadline at the latest.
    t.true(hasCode(await stuck, 'STOPPING', 'TIMED_OUT', 'UNREACHABLE', 'CONNECTION_LOST'));
    const calls = cluster.calls.length;
    await cluster.simulator.sleep(120_000);
    t.is(cluster.calls.length, calls, 'nobody is asked any more');
  });
});

test('a file deleted and collected elsewhere is STALE', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    cluster.files.delete(file.inode as InodeId);

    t.true(hasCode(await t.throwsAsync(file.attributes()), 'STALE'));
    t.true(hasCode(await t.throwsAsync(file.append([Buffer.from('x')], { split: false })), 'STALE'));
    t.true(hasCode(await t.throwsAsync(file.read(0, 1)), 'STALE'));
  });
});
