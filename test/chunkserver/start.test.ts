// What a start finds: torn tails, lost power, missing files, directories that belong elsewhere (DESIGN 4 and 6; issue 4).
import test from 'ava';
import type { Chunk } from '../../src/chunkserver/chunk.js';
import type { ChunkStore } from '../../src/chunkserver/chunk-store.js';
import { GfsError } from '../../src/protocol/errors.js';
import type { ChunkHandle } from '../../src/protocol/ids.js';
import { CHUNK, type Host, KiB, MiB, pattern, Rig } from './rig.js';

const hello = Buffer.from('hello\n');

test('a killed server keeps everything that it acknowledged, and nothing becomes suspect', async t => {
  const rig = await Rig.start(t);
  const bytes = pattern(300 * KiB);
  await rig.appendAll([hello, bytes]);

  await rig.hosts[1]!.crash();

  t.like(rig.report(rig.hosts[1]!), { lengthBytes: 6 + 300 * KiB, suspect: false, corrupt: false, state: 'open' });
  t.true((await rig.do(() => rig.read(rig.hosts[1]!, 6, 300 * KiB))).equals(bytes));
});

test('a torn append behind the recorded length is cut off at the start (DESIGN 6)', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);
  const host = rig.hosts[0]!;
  host.node.kill();
  host.node.disk.file(host.path())!.write(6, Buffer.from('torn'));

  await host.start();

  t.deepEqual(host.file(), hello);
  t.like(rig.report(host), { lengthBytes: 6, suspect: false });
});

test('the file of a chunk that was never acknowledged goes away at the start', async t => {
  const rig = await Rig.start(t);
  const host = rig.hosts[0]!;
  host.node.kill();
  const path = host.path(9 as ChunkHandle);
  host.node.disk.create(path).write(0, Buffer.from('torn'));

  await host.start();

  t.is(host.node.disk.file(path), undefined);
});

/** The chunk as the process of the host holds it. */
function chunkOf(host: Host): Chunk {
  const { running } = host.process as unknown as { running: { store: ChunkStore } };
  return running.store.existing(CHUNK)!;
}

test('after a loss of power open chunks are suspect and as long as their bytes can be verified (DESIGN 4)', async t => {
  let shortened = 0;
  for (let seed = 1; seed <= 12; seed++) {
    const rig = await Rig.start(t, { seed });
    const records = Array.from({ length: 12 }, (_, i) => pattern(20_000 + i, i));
    await rig.appendAll(records.slice(0, 4));
    await rig.do(() => rig.call(rig.hosts[0]!, 'syncChunk', { token: rig.token(), lengthBytes: 80_006 }));
    await rig.appendAll(records.slice(4), { from: 5 });
    const host = rig.hosts[1]!;
    await host.losePower();

    const report = rig.report(host)!;
    t.true(report.suspect);
    t.true(report.lengthBytes >= 80_006, 'what was synced is there');
    const ends = records.map((_, i) => records.slice(0, i + 1).reduce((sum, record) => sum + record.length, 0));
    t.true(ends.includes(report.lengthBytes), 'no half append is left');
    const { lengthBytes } = report;
    const read = await rig.do(() => rig.read(host, 0, lengthBytes));
    t.true(read.equals(Buffer.concat(records).subarray(0, lengthBytes)));
    if (lengthBytes < ends[11]!) shortened++;
  }
  t.true(shortened > 0, 'some of the seeds lose bytes');
});

test('a start after a loss of power does not vouch for a bit that flipped in what was synced (I8)', async t => {
  let torn = 0;
  for (let seed = 1; seed <= 12; seed++) {
    const rig = await Rig.start(t, { seed });
    const records = Array.from({ length: 12 }, (_, i) => pattern(5_000 + i, i));
    await rig.appendAll(records.slice(0, 4));
    await rig.do(() => rig.call(rig.hosts[0]!, 'syncChunk', { token: rig.token(), lengthBytes: 20_006 }));
    const host = rig.hosts[1]!;
    // As after a cut, or read from a record of before this was kept.
    if (seed % 2 === 0) chunkOf(host).syncedCrc = undefined;
    await rig.appendAll(records.slice(4), { from: 5 });
    host.node.powerLoss();
    host.node.disk.flipBit(host.path(), 7_000);
    await host.start();

    const { lengthBytes } = rig.report(host)!;
    if (lengthBytes < 60_000) torn++;
    if (lengthBytes <= 7_000) continue;
    const reading = rig.do(() => rig.read(host, 0, lengthBytes));
    await t.throwsAsync(reading, { instanceOf: GfsError, code: 'CORRUPT' }, `seed ${seed}: ${lengthBytes}`);
  }
  t.true(torn > 0, 'in some of the seeds the block of the flipped bit lost its end');
});

test('a killed server does not cut an open chunk at a bit that flipped: the blocks behind may be the last good ones (I8)', async t => {
  const rig = await Rig.start(t);
  const bytes = pattern(300 * KiB);
  await rig.appendAll([bytes]);
  const host = rig.hosts[1]!;
  host.node.kill();
  host.node.disk.flipBit(host.path(), 70_000);

  await host.start();

  t.like(rig.report(host), { lengthBytes: 300 * KiB, corrupt: true, state: 'open' });
  const behind = await rig.do(() => rig.read(host, 128 * KiB, 100 * KiB));
  t.true(behind.equals(bytes.subarray(128 * KiB, 228 * KiB)));
});

test('after a loss of power what write-back had brought to the disk stays, though writers remember only what their client has not settled', async t => {
  let shortened = 0;
  for (let seed = 1; seed <= 8; seed++) {
    const rig = await Rig.start(t, { seed, servers: 1, chunkSizeBytes: 64 * MiB });
    const host = rig.hosts[0]!;
    const records = Array.from({ length: 11 }, (_, i) => pattern(MiB, i));
    // One after another: each says that all before it are settled, and the row of their writer holds one.
    for (const [i, bytes] of records.entries()) {
      await rig.appendAll([bytes], { from: i + 1, settles: true });
      // Time for the sync behind the eighth.
      await rig.pass(30);
    }
    // The index reaches the disk with the sync of another chunk; nothing syncs this one.
    const other = rig.token({ handle: 8 as ChunkHandle });
    await rig.do(() => rig.append({ bytes: hello, token: other }));
    await rig.do(() => rig.call(host, 'syncChunk', { token: other, lengthBytes: 6 }));
    await host.losePower();

    const { lengthBytes, suspect } = rig.report(host)!;
    t.true(lengthBytes >= 8 * MiB && lengthBytes % MiB === 0, `seed ${seed}: ${lengthBytes}`);
    t.true(suspect);
    const all = Buffer.concat(records);
    for (let at = 0; at < lengthBytes; at += MiB)
      t.true((await rig.do(() => rig.read(host, at, MiB))).equals(all.subarray(at, at + MiB)));
    if (lengthBytes < all.length) shortened++;
  }
  t.true(shortened > 0, 'some of the seeds lose bytes');
});

test('after a loss of power no half append is left where writers remember only the newest', async t => {
  for (let seed = 1; seed <= 12; seed++) {
    const rig = await Rig.start(t, { seed, servers: 1 });
    const host = rig.hosts[0]!;
    const records = Array.from({ length: 12 }, (_, i) => pattern(30_000 + i, i));
    for (const [i, bytes] of records.entries()) await rig.appendAll([bytes], { from: i + 1, settles: true });
    await host.losePower();

    const lengthBytes = rig.report(host)?.lengthBytes ?? 0;
    const ends = records.map((_, i) => records.slice(0, i + 1).reduce((sum, record) => sum + record.length, 0));
    t.true([0, ...ends].includes(lengthBytes), `seed ${seed}: ${lengthBytes}`);
    const read = lengthBytes === 0 ? Buffer.alloc(0) : await rig.do(() => rig.read(host, 0, lengthBytes));
    t.true(read.equals(Buffer.concat(records).subarray(0, lengthBytes)));
  }
});

test('a file system that was cut off and is back has the index of a later sync, and not the bytes: such a chunk is suspect, others are not', async t => {
  let shortened = 0;
  for (let seed = 1; seed <= 12; seed++) {
    const rig = await Rig.start(t, { seed, servers: 1 });
    const host = rig.hosts[0]!;
    const records = Array.from({ length: 6 }, (_, i) => pattern(20_000 + i, i));
    await rig.appendAll(records);
    const other = rig.token({ handle: 8 as ChunkHandle });
    await rig.do(() => rig.append({ bytes: hello, token: other }));
    await rig.do(() => rig.call(host, 'syncChunk', { token: other, lengthBytes: 6 }));

    // The machine goes on, and with it what remembers the last batch of the index.
    host.node.kill();
    host.node.disk.losePower();
    host.node.kv.losePower();
    await host.start();

    const { lengthBytes, suspect } = rig.report(host)!;
    const all = Buffer.concat(records);
    t.is(suspect, lengthBytes < all.length);
    const read = lengthBytes === 0 ? Buffer.alloc(0) : await rig.do(() => rig.read(host, 0, lengthBytes));
    t.true(read.equals(all.subarray(0, lengthBytes)));
    t.like(rig.report(host, 8 as ChunkHandle), { lengthBytes: 6, suspect: false });
    if (suspect) shortened++;
  }
  t.true(shortened > 0, 'some of the seeds lose bytes');
});

test('a chunk that was fenced before the power went is not suspect: its answer was synced first (DESIGN 4)', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello, pattern(100_000)]);
  const host = rig.hosts[1]!;
  await rig.do(() => rig.order(host, 'fence', { version: 2 }));

  await host.losePower();

  t.like(rig.report(host), { lengthBytes: 100_006, suspect: false, state: 'fenced', version: 2 });
});

test('a start that dies before it has doubted every chunk leaves the doubt to the next one', async t => {
  const rig = await Rig.start(t, { servers: 1 });
  const handles = [11, 12, 13, 14, 15, 16, 17, 18, 19, 20] as ChunkHandle[];
  for (const handle of handles)
    await rig.do(() => rig.append({ bytes: pattern(70_000), token: rig.token({ handle }) }));
  const host = rig.hosts[0]!;
  host.node.powerLoss();
  for (let ms = 1; ms < 30; ms += 4) {
    void host.create().start();
    await rig.pass(ms);
    host.node.kill();
  }

  await host.start();

  const present = handles.map(handle => rig.report(host, handle)).filter(report => report !== undefined);
  t.true(present.length > 0);
  for (const report of present) t.true(report.suspect, `chunk ${report.handle}`);
});

test('a server that was stopped cleanly has nothing to doubt, even if its machine loses power then', async t => {
  const rig = await Rig.start(t, { servers: 1 });
  await rig.appendAll([hello, pattern(100_000)]);
  const host = rig.hosts[0]!;
  await host.stop();
  t.like(rig.returned[0], { handle: CHUNK, version: 1, lengthBytes: 100_006 });

  await host.losePower();

  t.like(rig.report(host), { lengthBytes: 100_006, suspect: false });
});

test('the file of a sealed chunk is missing: named in the log, reported as corrupt, not read (issue 4)', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);
  await rig.seal(2);
  const host = rig.hosts[0]!;
  host.node.kill();
  host.node.disk.remove(host.path());

  await host.start();

  t.like(rig.report(host), { corrupt: true, state: 'sealed' });
  t.is(await rig.refusal(() => rig.read(host, 0, 6)), 'CORRUPT');
});

test('a chunk file that the index does not know is set aside with its bytes; only an empty one is removed (issue 4, mixed-up disks)', async t => {
  const rig = await Rig.start(t, { servers: 1 });
  await rig.appendAll([hello]);
  const host = rig.hosts[0]!;
  const { disk } = host.node;
  const aside = (): string[] => disk.filePaths('/data/orphans');

  host.node.kill();
  disk.rename(host.path(), host.path(0x99 as ChunkHandle));
  disk.create(host.path(0x98 as ChunkHandle));
  await host.start();
  t.deepEqual(disk.filePaths('/data/chunks'), []);
  t.deepEqual(
    aside().map(path => disk.file(path)!.sizeBytes),
    [6],
  );

  // A second one of the same name takes nothing away from the first.
  await host.stop();
  disk.create(host.path(0x99 as ChunkHandle)).write(0, hello);
  await host.start();
  t.deepEqual(
    aside().map(path => disk.file(path)!.sizeBytes),
    [6, 6],
  );
});

test('who lost the index is a new server; the old chunk files are set aside (DESIGN 4, rule 2)', async t => {
  const rig = await Rig.start(t);
  await rig.appendAll([hello]);
  const host = rig.hosts[0]!;
  const { id } = host;
  host.node.kill();
  host.node.kv.wipe();

  await host.start();

  t.not(host.id, id);
  t.is(rig.report(host), undefined);
  t.is(host.file(), undefined);
  t.is(host.node.disk.filePaths('/data/chunks.lost-').length, 1);
});

test('the epoch is raised durably before every registration (rule 2)', async t => {
  const rig = await Rig.start(t, { servers: 1 });
  const host = rig.hosts[0]!;
  const epochs = [host.epoch];
  for (let i = 0; i < 3; i++) {
    if (i === 1) await host.losePower();
    else await host.crash();
    epochs.push(host.epoch);
  }
  t.deepEqual(epochs, [1, 2, 3, 4]);
});

test('several directories: the first one names the server, and one of another server is refused', async t => {
  const rig = await Rig.start(t, { servers: 1, settings: { data: ['/data', '/disk2'] } });
  const host = rig.hosts[0]!;
  await host.stop();

  const swapped = await t.throwsAsync(host.start({ data: ['/new', '/disk2'] }));

  t.true(swapped instanceof GfsError && swapped.code === 'WRONG_DATA' && swapped.message.includes('/disk2'));
  host.node.exit();
  await host.start({ data: ['/data', '/disk2'] });
  t.is(host.epoch, 2);
});

test('a chunk goes to the disk with more room, and a failing disk takes only its own chunks down (DESIGN 6)', async t => {
  const rig = await Rig.start(t, { servers: 1, settings: { data: ['/data', '/disk2'] } });
  const host = rig.hosts[0]!;
  await rig.appendAll([hello]);
  host.node.disk.setFaults({ syncErrorRate: 1 }, '/data/chunks');
  const token = rig.token();

  t.is(await rig.refusal(() => rig.call(host, 'syncChunk', { token, lengthBytes: 6 })), 'DISK_FAILED');
  await rig.pass(500);

  t.is(rig.failedDisks[0]?.path, '/data');
  t.like(rig.report(host), { corrupt: true });
  t.is(await rig.refusal(() => rig.append({ bytes: hello, sequence: 2 })), 'BROKEN');
  const elsewhere = rig.token({ handle: 9 as ChunkHandle });
  t.is((await rig.do(() => rig.append({ bytes: hello, token: elsewhere }))).offset, 0);
  t.is(host.node.disk.filePaths('/disk2/chunks/09').length, 1);
});

test('a master of another cluster is refused at the start', async t => {
  const rig = await Rig.start(t, { servers: 1 });
  const host = rig.hosts[0]!;
  await host.stop();
  rig.clusterId = 'another';

  const refused = await t.throwsAsync(host.start());

  t.true(refused instanceof GfsError && refused.code === 'WRONG_CLUSTER');
});

test('a server starts without a master and registers when there is one', async t => {
  const rig = await Rig.start(t, { servers: 1 });
  const host = rig.hosts[0]!;
  await rig.appendAll([hello]);
  host.node.kill();
  rig.network.cut('s1', 'master');
  await host.start();
  t.false(host.process!.isRegistered);

  rig.network.heal();
  await rig.pass(10_000);

  t.true(host.process!.isRegistered);
});

for (const [what, wrong] of [
  ['of another cluster', { clusterId: 'another' }],
  ['with another secret', { secret: Buffer.from('another') }],
] as const)
  test(`a master ${what} in the place of the right one: servers say so once, try less and less often, serve reads, and go on with the right one`, async t => {
    const rig = await Rig.start(t);
    const bytes = pattern(100 * KiB);
    await rig.appendAll([bytes]);
    const tries = (): number => rig.simulator.traceLines.filter(line => line.includes('connect')).length;
    const told = (): string[] =>
      rig.simulator.traceLines.filter(line => /another master is in the place of the right one/.test(line));

    rig.replaceMaster(wrong);
    await rig.pass(40_000);
    const triesBefore = tries();
    await rig.pass(40_000);

    for (const host of rig.hosts) {
      t.is(host.failure, undefined);
      t.true((await rig.do(() => rig.read(host, 0, bytes.length))).equals(bytes));
    }
    t.is(told().length, rig.hosts.length, told().join('\n'));
    t.true(tries() - triesBefore <= rig.hosts.length * 10, 'about every five seconds');
    t.is(rig.registrations, rig.hosts.length);

    rig.replaceMaster();
    await rig.pass(6_000);

    t.is(rig.registrations, 2 * rig.hosts.length);
    for (const host of rig.hosts) t.like(rig.report(host), { lengthBytes: bytes.length });
    t.is((await rig.do(() => rig.append({ bytes: hello, sequence: 2 }))).offset, bytes.length);
  });

test('a lease that another master would not take back is not in doubt: appends go on under it, and the log is not filled', async t => {
  const rig = await Rig.start(t, { settings: { leaseIdle: 1_000 } });
  await rig.appendAll([hello]);
  rig.replaceMaster({ clusterId: 'another' });
  await rig.pass(10_000);

  t.is((await rig.do(() => rig.append({ bytes: hello, sequence: 2 }))).offset, hello.length);
  t.false(rig.simulator.traceLines.some(line => /could not be given back/.test(line)));
  rig.replaceMaster();
  await rig.pass(10_000);
  t.deepEqual(
    rig.returned.map(({ lengthBytes }) => lengthBytes),
    [2 * hello.length],
  );
});

test('a server names the highest stamp of the metadata that it was told: at once after another start of the master, else as of two seconds before it was killed', async t => {
  const rig = await Rig.start(t, { servers: 1, settings: { data: ['/data', '/disk2'] } });
  const host = rig.hosts[0]!;
  const told = (start: string, number: number) => ({ start: start.repeat(16), number });
  t.deepEqual(rig.named, [undefined]);

  rig.stamp = told('a', 10);
  await rig.pass(500);
  await host.losePower();
  t.deepEqual(rig.named.at(-1), told('a', 10), 'that of a new start is on the disk');

  for (let number = 11; number <= 30; number++) {
    rig.stamp = told('a', number);
    await rig.pass(200);
  }
  await host.crash();
  t.true(rig.named.at(-1)!.number >= 20 && rig.named.at(-1)!.number <= 30);

  rig.stamp = told('b', 5);
  await rig.pass(5_000);
  await host.stop();
  await host.start();
  t.deepEqual(
    rig.named.at(-1),
    told('a', 30),
    'a lower one changes nothing, and a clean stop saves what was heard last',
  );
});
