// The simulated platform's own promises: one seed one run, and what kills, losses of power and cuts take away.
import test from 'ava';
import { SimFile } from './sim-file.js';
import { SimNetwork } from './sim-network.js';
import { SimNode } from './sim-node.js';
import { SimRandom } from './sim-random.js';
import { Simulator } from './simulator.js';

const put = (key: string, value: string) => ({
  type: 'put' as const,
  key: Buffer.from(key),
  value: Buffer.from(value),
});

function cluster(seed: number): { simulator: Simulator; network: SimNetwork; a: SimNode; b: SimNode } {
  const simulator = new Simulator({ seed });
  const network = new SimNetwork(simulator);
  return { simulator, network, a: new SimNode(simulator, network, 'a'), b: new SimNode(simulator, network, 'b') };
}

/** A busy while with faults in it; the result is all that can be compared. */
async function eventful(seed: number): Promise<{ fingerprint: string; trace: readonly string[]; echoes: number }> {
  const { simulator, network, a, b } = cluster(seed);
  let echoes = 0;
  const serve = async (): Promise<void> => {
    const { transport, kv, disk } = b.boot();
    const store = await kv.open('/kv', { create: true });
    const file = await disk.open('/log', { create: true });
    await transport.listen('b:1', connection => {
      connection.onData = async data => {
        await Promise.all([store.batch([put(data.toString(), '')], { sync: true }), file.write([data], 0)]);
        connection.send([data]);
      };
    });
  };
  const { transport, clock } = a.boot();
  const ask = async (): Promise<void> => {
    for (;;) {
      try {
        const connection = await transport.connect('b:1', 500);
        await new Promise<void>(resolve => {
          connection.onData = data => {
            echoes++;
            connection.send([data]);
          };
          connection.onClose = () => resolve();
          connection.send([Buffer.from(`hello ${echoes}`)]);
          clock.setTimer(2_000, () => connection.close());
        });
      } catch (error) {
        simulator.trace(`a: ${String(error)}`);
      }
    }
  };
  void serve();
  void ask();
  await simulator.run(500);
  network.cut('a', 'b', { oneWay: true });
  await simulator.run(300);
  network.heal();
  await simulator.run(500);
  b.kill();
  void serve();
  await simulator.run(1_000);
  network.reset('a', 'b');
  b.powerLoss();
  await simulator.run(1_000);
  void serve();
  await simulator.run(8_000);
  return { fingerprint: simulator.fingerprint, trace: simulator.traceLines, echoes };
}

test('the same seed gives the same run, another seed another one', async t => {
  const first = await eventful(11);
  const again = await eventful(11);
  const other = await eventful(12);

  t.deepEqual(again, first);
  t.not(other.fingerprint, first.fingerprint);
  t.true(first.echoes > 100);
});

test('a killed process hears nothing any more, at whatever it waited for', async t => {
  const { simulator, a } = cluster(1);
  const { clock, disk, kv, transport } = a.boot();
  const heard: string[] = [];
  clock.setTimer(100, () => heard.push('timer'));
  disk.makeDirectory('/d').then(
    () => heard.push('disk'),
    () => heard.push('disk error'),
  );
  kv.open('/kv', { create: true }).then(
    () => heard.push('kv'),
    () => heard.push('kv error'),
  );
  transport.connect('nobody:1', 1_000).then(
    () => heard.push('connection'),
    () => heard.push('connection error'),
  );

  a.kill();
  await simulator.run(60_000);

  t.deepEqual(heard, []);
});

test('what was synced survives every loss of power, what a kill leaves is whole in the cache', async t => {
  let lostBytes = 0;
  let lostBatches = 0;
  for (let seed = 0; seed < 40; seed++) {
    const { simulator, a } = cluster(seed);
    const before = a.boot();
    const write = async (): Promise<void> => {
      await before.disk.makeDirectory('/d');
      await before.disk.syncDirectory('/');
      const file = await before.disk.open('/d/f', { create: true });
      await before.disk.syncDirectory('/d');
      await file.write([Buffer.from('synced')], 0);
      await file.sync();
      await file.write([Buffer.from(' unsynced')], 6);
      const kv = await before.kv.open('/kv', { create: true });
      await kv.batch([put('1', 'synced')], { sync: true });
      for (const key of ['2', '3', '4']) await kv.batch([put(key, 'unsynced')], { sync: false });
      before.witness.raise('w', 4);
    };
    await simulator.drive(write(), 10_000);

    a.kill();
    const afterKill = a.boot();
    const survived = await simulator.drive(afterKill.disk.readSmall('/d/f'), 10_000);
    t.is(survived?.toString(), 'synced unsynced');
    t.is(afterKill.witness.recall('w'), 4);

    a.powerLoss();
    const { disk, kv: stores, witness } = a.boot();
    const content = (await simulator.drive(disk.readSmall('/d/f'), 10_000))!.toString('latin1');
    t.true(content.startsWith('synced'));
    if (content !== 'synced unsynced') lostBytes++;
    const kv = await simulator.drive(stores.open('/kv', { create: false }), 10_000);
    const kept = ['1', '2', '3', '4'].map(key => kv.getSync(Buffer.from(key)) !== undefined);
    t.true(kept[0]);
    t.deepEqual(
      kept,
      kept.toSorted((x, y) => Number(y) - Number(x)),
      'batches are lost from the end',
    );
    if (!kept[3]) lostBatches++;
    t.is(witness.recall('w'), undefined);
  }
  t.true(lostBytes > 5);
  t.true(lostBatches > 5);
});

test('a loss of power may keep a later page without an earlier one, with zeros before it, and never touches what was synced', t => {
  const PAGE = 4096;
  const synced = Buffer.alloc(PAGE + 100, 1);
  let holes = 0;
  let shorter = 0;
  for (let seed = 1; seed <= 200; seed++) {
    const file = new SimFile();
    file.write(0, synced);
    file.sync();
    file.write(PAGE + 100, Buffer.alloc(3 * PAGE, 2));
    file.losePower(new SimRandom(seed, 'pages'));
    const bytes = file.read(10 * PAGE, 0);
    t.true(bytes.subarray(0, synced.length).equals(synced));
    const rest = bytes.subarray(synced.length);
    t.true(rest.every(byte => byte === 0 || byte === 2));
    if (rest.includes(0) && rest.indexOf(2, rest.indexOf(0)) >= 0) holes++;
    if (rest.length > 0 && rest.length % PAGE !== PAGE - 100) shorter++;
    // The disk holds it: another loss takes nothing more.
    file.losePower(new SimRandom(seed + 1, 'pages'));
    t.true(file.read(10 * PAGE, 0).equals(bytes));
  }
  t.true(holes > 10 && shorter > 10, `${holes} with holes, ${shorter} of other lengths`);
});

test('a name that no directory sync saved may be lost, also when the file was synced', async t => {
  let lostNames = 0;
  for (let seed = 0; seed < 20; seed++) {
    const { simulator, a } = cluster(seed);
    const { disk } = a.boot();
    const write = async (): Promise<void> => {
      const file = await disk.open('/f', { create: true });
      await file.write([Buffer.from('x')], 0);
      await file.sync();
      await disk.writeSmall('/small', Buffer.from('first'));
    };
    await simulator.drive(write(), 10_000);
    void disk.rename('/small', '/renamed');
    void disk.open('/late', { create: true });
    await simulator.run(1_000);

    a.powerLoss();

    const paths = a.disk.filePaths();
    t.true(paths.includes('/f'), 'the directory was synced by writeSmall');
    t.true(paths.includes('/small') !== paths.includes('/renamed'), 'a rename is whole or not at all');
    if (!paths.includes('/late')) lostNames++;
  }
  t.true(lostNames > 3);
});

test('disk faults: errors, a full disk, flipped bits', async t => {
  const { simulator, a } = cluster(3);
  const { disk } = a.boot();
  const file = await simulator.drive(disk.open('/f', { create: true }), 1_000);
  await simulator.drive(file.write([Buffer.alloc(100)], 0), 1_000);

  a.disk.setFaults({ writeErrorRate: 1, readErrorRate: 1, syncErrorRate: 1 });
  await t.throwsAsync(simulator.drive(file.write([Buffer.alloc(10)], 100), 1_000), { code: 'EIO' });
  await t.throwsAsync(simulator.drive(file.read(10, 0), 1_000), { code: 'EIO' });
  await t.throwsAsync(simulator.drive(file.sync(), 1_000), { code: 'EIO' });
  a.disk.setFaults({}, '/f');
  await t.notThrowsAsync(simulator.drive(file.sync(), 1_000), 'the longest prefix counts');
  a.disk.clearFaults();
  a.disk.capacityBytes = 150;
  await t.throwsAsync(simulator.drive(file.write([Buffer.alloc(100)], 100), 1_000), { code: 'ENOSPC' });
  t.is((await simulator.drive(disk.space('/'), 1_000)).freeBytes, 0);
  t.true(a.disk.flipBit('/f'));

  const content = await simulator.drive(file.read(1_000, 0), 1_000);
  t.is(content.filter(byte => byte !== 0).length, 1);
  t.is(simulator.faultCounts.get('disk-EIO'), 3);
});

test('a store whose batch failed refuses batches until it is opened anew', async t => {
  const { simulator, a } = cluster(4);
  const { kv: stores } = a.boot();
  const kv = await simulator.drive(stores.open('/kv', { create: true }), 1_000);
  a.kv.faults = { ...a.kv.faults, batchErrorRate: 1 };
  await t.throwsAsync(simulator.drive(kv.batch([put('a', '1')], { sync: true }), 1_000), { code: 'EIO' });
  a.kv.faults = { ...a.kv.faults, batchErrorRate: 0 };
  await t.throwsAsync(simulator.drive(kv.batch([put('a', '1')], { sync: true }), 1_000), { code: 'EIO' });

  await simulator.drive(kv.close(), 1_000);
  const again = await simulator.drive(stores.open('/kv', { create: false }), 1_000);

  await t.notThrowsAsync(simulator.drive(again.batch([put('a', '1')], { sync: true }), 1_000));
  a.kv.damage('/kv');
  await simulator.drive(again.close(), 1_000);
  await t.throwsAsync(simulator.drive(stores.open('/kv', { create: false }), 1_000), { code: 'EIO' });
  a.kv.wipe('/kv');
  await t.throwsAsync(simulator.drive(stores.open('/kv', { create: false }), 1_000), { code: 'ENOENT' });
});

test('a cut hangs both ways or one way, and healing delivers or ends the connection', async t => {
  const outcomes = new Set<string>();
  for (let seed = 0; seed < 20; seed++) {
    const { simulator, network, a, b } = cluster(seed);
    const far: string[] = [];
    const near: string[] = [];
    const atB = b.boot();
    const atA = a.boot();
    void atB.transport.listen('b:1', connection => {
      connection.onData = data => far.push(data.toString());
      connection.onClose = () => far.push('closed');
      connection.send([Buffer.from('hi')]);
      atB.clock.setTimer(500, () => connection.send([Buffer.from('still here')]));
    });
    const connection = await simulator.drive(atA.transport.connect('b:1', 1_000), 2_000);
    connection.onData = data => near.push(data.toString());
    connection.onClose = error => near.push((error as { code?: string } | undefined)?.code ?? 'closed');
    await simulator.run(400);

    network.cut('a', 'b', { oneWay: true });
    connection.send([Buffer.from('lost?')]);
    await simulator.run(1_000);
    t.is(near.join(''), 'histill here');
    t.deepEqual(far, []);
    await t.throwsAsync(simulator.drive(atA.transport.connect('b:1', 1_000), 2_000), { code: 'ETIMEDOUT' });

    network.heal();
    await simulator.run(10_000);
    t.true(far.length > 0);
    outcomes.add(far.includes('closed') ? 'closed' : 'delivered');
    t.is(far.includes('closed'), near.includes('ECONNRESET') || near.includes('closed'));
  }
  t.deepEqual([...outcomes].sort(), ['closed', 'delivered']);
});

test('the peer of a killed process hears of it; the peer of a machine without power only once that is back and the peer sends', async t => {
  const { simulator, a, b } = cluster(6);
  const listen = (): void => {
    void b.boot().transport.listen('b:1', connection => {
      connection.onData = () => undefined;
    });
  };
  const ends: string[] = [];
  const atA = a.boot();
  const connect = async () => {
    const connection = await simulator.drive(atA.transport.connect('b:1', 1_000), 2_000);
    connection.onData = () => undefined;
    connection.onClose = error => ends.push((error as { code?: string } | undefined)?.code ?? 'closed');
    return connection;
  };
  listen();
  await connect();

  b.kill();
  await simulator.run(1_000);
  t.deepEqual(ends, ['ECONNRESET']);
  await t.throwsAsync(connect(), { code: 'ECONNREFUSED' });

  listen();
  const connection = await connect();
  b.powerLoss();
  await simulator.run(60_000);
  t.is(ends.length, 1);
  await t.throwsAsync(connect(), { code: 'ETIMEDOUT' });
  listen();
  await simulator.run(1_000);
  t.is(ends.length, 1);
  connection.send([Buffer.from('anybody there?')]);
  await simulator.run(5_000);
  t.deepEqual(ends, ['ECONNRESET', 'ECONNRESET']);
});

test('a stopped process does nothing, takes connections, and goes on in the order of what came due, its clock having gone on', async t => {
  const { simulator, a, b } = cluster(4);
  const heard: string[] = [];
  const server = b.boot();
  void server.transport.listen('b:1', connection => {
    connection.onData = data => heard.push(data.toString());
  });
  await simulator.run(10);
  const cancelled = server.clock.setTimer(300, () => heard.push('cancelled'));
  server.clock.setTimer(200, () => {
    heard.push('timer');
    cancelled.cancel();
  });
  const fromMs = server.clock.monotonicMs();

  t.true(b.stop());
  t.false(b.stop());
  const connection = await simulator.drive(a.boot().transport.connect('b:1', 500), 1_000);
  connection.send([Buffer.from('hello')]);
  await simulator.run(5_000);
  t.deepEqual(heard, []);
  t.true(b.isStopped);

  t.true(b.goOn());
  await simulator.run(1_000);
  t.deepEqual([...heard].sort(), ['hello', 'timer']);
  t.true(server.clock.monotonicMs() - fromMs > 5_000);
  t.is(simulator.faultCounts.get('pause'), 1);

  b.stop();
  b.kill();
  t.false(b.goOn());
  b.boot();
  t.false(b.isStopped);
});

test('clocks drift apart, wall clocks jump, and a timer is never early by its own clock', async t => {
  const { simulator, a, b } = cluster(7);
  const [clockA, clockB] = [a.boot().clock, b.boot().clock];
  const startA = clockA.monotonicMs();
  const startB = clockB.monotonicMs();
  let firedMs = 0;
  clockA.setTimer(1_000, () => {
    firedMs = clockA.monotonicMs();
  });

  a.clock.setRate(0.5);
  b.clock.jumpWall(-3_600_000);
  await simulator.run(3_000);

  t.true(firedMs >= startA + 1_000);
  t.is(Math.round(clockA.monotonicMs() - startA), 1_500);
  t.true(Math.abs(clockB.monotonicMs() - startB - 3_000) < 4);
  t.true(clockA.wallMs() - clockB.wallMs() > 3_000_000);
});

test('what an event throws ends the run, and a later run goes on', async t => {
  const simulator = new Simulator({ seed: 1 });
  simulator.schedule(1, () => {
    throw new Error('on purpose');
  });

  await t.throwsAsync(simulator.run(10), { message: 'on purpose' });

  await simulator.run(10);
  t.is(simulator.nowMs, 11);
});
