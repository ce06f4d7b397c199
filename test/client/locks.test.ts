// Locks of a client that is cut off from the master, or loses its answers: it holds none longer than the master lets it, and leaves none behind.
import test from 'ava';
import { LockDoubts } from '../../src/client/lock-doubts.js';
import { silentLogger } from '../../src/lib/logger.js';
import { hasCode } from '../../src/protocol/errors.js';
import type { InodeId } from '../../src/protocol/ids.js';
import { holderMs } from '../../src/protocol/limits.js';
import type { Kind, WireLockRange } from '../../src/protocol/messages.js';
import { ManualClock } from '../master/manual-clock.js';
import { type FakeCluster, withCluster } from './fake-cluster.js';

const TTL_MS = 60_000;
const lockOf = (kind: 'exclusive' | 'shared', startByte = 0, endByte = 99): WireLockRange => ({
  ...{ owner: 'a', kind, startByte, endByte, space: 'posix', pid: 1 },
});

/** From now on: nothing is answered until the result is called. */
function cutOff(cluster: FakeCluster): () => void {
  let isCut = true;
  cluster.bends.push(() => (isCut ? 'hang' : undefined));
  return () => {
    isCut = false;
  };
}

/** What was said of locks, in short. */
function said(cluster: FakeCluster): string[] {
  return cluster.calls
    .filter(({ kind }) => kind === 'lock' || kind === 'unlock')
    .map(({ kind, request }) => {
      const { lock, startByte, endByte, endWaits } = request as {
        lock?: WireLockRange;
        startByte?: number;
        endByte?: number;
        endWaits?: boolean;
      };
      const range = lock ? `${lock.kind} ${lock.startByte}-${lock.endByte}` : `${startByte}-${endByte}`;
      return `${kind} ${range}${endWaits ? ', no waits' : ''}`;
    });
}

test('a lock whose answer was lost is given back as soon as the master is heard again', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect({ opTimeoutMs: 8_000 });
    const comeBack = cutOff(cluster);

    t.true(hasCode(await t.throwsAsync(client.lock(2, lockOf('exclusive'))), 'TIMED_OUT'));
    comeBack();
    cluster.calls.length = 0;
    await cluster.simulator.sleep(30_000);

    t.deepEqual(said(cluster), ['unlock 0-99, no waits']);
    await client.lock(2, lockOf('exclusive'));
    t.is(said(cluster).length, 2, 'nothing is in doubt any more');
  });
});

test('nothing is given back of a lock that was refused at once', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect();
    cluster.grantsClaims = false;
    cluster.bend('lock', 'DEADLOCK');

    t.true(hasCode(await t.throwsAsync(client.lock(2, lockOf('exclusive'))), 'DEADLOCK'));
    await cluster.simulator.sleep(30_000);

    t.deepEqual(said(cluster), ['lock exclusive 0-99']);
  });
});

test('what an owner held before a lock whose answer was lost it holds on to, as it was', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect({ opTimeoutMs: 8_000 });
    await client.lock(2, lockOf('shared', 20, 39));
    cluster.bend('lock', 'hang', { count: 2 });
    t.true(hasCode(await t.throwsAsync(client.lock(2, lockOf('exclusive', 10, 99))), 'TIMED_OUT'));
    await cluster.simulator.sleep(30_000);

    t.deepEqual(said(cluster).slice(3), [
      'unlock 10-19, no waits',
      'lock shared 20-39, no waits',
      'unlock 40-99, no waits',
    ]);
  });
});

test('an unlock that was not answered is done later, and before its owner locks again', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect({ opTimeoutMs: 8_000 });
    await client.lock(2, lockOf('exclusive'));
    cluster.bend('unlock', 'hang', { count: 2 });
    t.true(hasCode(await t.throwsAsync(client.unlock(2, lockOf('exclusive'))), 'TIMED_OUT'));
    cluster.calls.length = 0;

    await client.lock(2, lockOf('exclusive'));

    t.deepEqual(said(cluster), ['unlock 0-99, no waits', 'lock exclusive 0-99']);
  });
});

test('a holder that does not reach the master gives its locks up before the master does, by its own clock from its last question', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect();
    const lost: Array<{ atMs: number; reason: string }> = [];
    const { simulator } = cluster;
    await client.lock(2, lockOf('exclusive'), { onLost: reason => lost.push({ atMs: simulator.nowMs, reason }) });
    let heardMs = simulator.nowMs;
    cluster.bends.push(({ kind }: { kind: Kind }) => {
      if (kind === 'keepSession') heardMs = simulator.nowMs;
      return undefined;
    });
    await simulator.sleep(40_000);
    const lastMs = heardMs;
    const comeBack = cutOff(cluster);
    await simulator.sleep(2 * TTL_MS);

    t.is(lost.length, 1);
    const { atMs, reason } = lost[0]!;
    t.true(atMs - lastMs <= holderMs(TTL_MS) + 2 && atMs - lastMs > TTL_MS / 2, `${atMs - lastMs}`);
    t.regex(reason, /had ended by this client's clock/);

    cluster.calls.length = 0;
    comeBack();
    await simulator.sleep(60_000);
    t.deepEqual(said(cluster), ['unlock 0-99, no waits'], 'the master may not have noticed');
    t.is(lost.length, 1);
  });
});

test('a holder whose signs of life are answered keeps its locks, and what ended with a session is not given back', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect({ opTimeoutMs: 8_000 });
    const lost: string[] = [];
    await client.lock(2, lockOf('exclusive'), { onLost: reason => lost.push(reason) });
    await cluster.simulator.sleep(1.5 * TTL_MS);
    t.deepEqual(lost, []);

    const comeBack = cutOff(cluster);
    await cluster.simulator.sleep(2 * TTL_MS);
    t.is(lost.length, 1);
    cluster.session = '00000000000000bb';
    cluster.calls.length = 0;
    comeBack();
    await cluster.simulator.sleep(30_000);
    t.deepEqual(
      cluster.requests('unlock').filter(({ session }) => session === cluster.session),
      [],
    );
    t.deepEqual(cluster.requests('lock'), [], 'it is not claimed either');
  });
});

test('doubts of an owner wait while it asks for a lock, and more than the bound are not remembered', async t => {
  const settled: string[] = [];
  const clock = new ManualClock();
  const doubts = new LockDoubts(
    clock,
    silentLogger,
    async ({ owner, startByte }) => void settled.push(`${owner} ${startByte}`),
  );
  const range = { inode: 2 as InodeId, owner: 'a', space: 'posix' as const, startByte: 0, endByte: 9 };
  await doubts.asking(range, 1_000, async () => {
    doubts.add(range);
    doubts.add({ ...range, startByte: 3, endByte: 5 });
    doubts.add({ ...range, owner: 'b' });
    await doubts.run();
    t.deepEqual(settled, ['b 0']);
  });
  await doubts.run();
  t.deepEqual(settled, ['b 0', 'a 0'], 'what a range covers is not asked twice');

  for (let i = 0; i <= 4_096; i++) doubts.add({ ...range, startByte: 10 * i, endByte: 10 * i + 9 });
  settled.length = 0;
  await doubts.run();
  t.is(settled.length, 4_096);
});

test('what comes to be in doubt while its owner is settled is settled after that', async t => {
  const settled: number[] = [];
  let goOn = (): void => undefined;
  const doubts = new LockDoubts(new ManualClock(), silentLogger, async ({ startByte }) => {
    settled.push(startByte);
    await new Promise<void>(resolve => {
      goOn = resolve;
    });
  });
  const range = { inode: 2 as InodeId, owner: 'a', space: 'posix' as const, startByte: 0, endByte: 9 };
  doubts.add(range);
  const first = doubts.run();
  doubts.add({ ...range, startByte: 3, endByte: 5 });
  goOn();
  await first;
  const second = doubts.run();
  goOn();
  await second;
  t.deepEqual(settled, [0, 3]);
});

test('a lock of an owner whose last one stays in doubt ends at its own deadline', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect({ opTimeoutMs: 8_000 });
    const comeBack = cutOff(cluster);
    t.true(hasCode(await t.throwsAsync(client.lock(2, lockOf('exclusive'))), 'TIMED_OUT'));
    await cluster.simulator.sleep(500);
    const startMs = cluster.simulator.nowMs;

    t.true(hasCode(await t.throwsAsync(client.lock(2, lockOf('exclusive'))), 'TIMED_OUT'));
    t.true(cluster.simulator.nowMs - startMs <= 8_010, `${cluster.simulator.nowMs - startMs}`);

    comeBack();
    await client.lock(2, lockOf('exclusive'));
  });
});
