// Healing of real processes (issue 4): servers killed and wiped, bits turned over, servers away, disks full, files and indexes gone, wrong masters.
// Sizes are small for CI; GFS_TEST_HEALING_FILES, _KIB and _RATE_MIB make them large (`npm run soak:healing`).
import fs from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { Gfs } from '../../src/client/index.js';
import { Cluster, until } from './cluster.js';
import { bytesOf, client, flipBit, isWell, pause, report, smallDisks } from './healing.js';
import { mountProblem, testUnless } from './needs.js';
import { program, shell } from './processes.js';
import { startReaders } from './readers.js';

const mountTest = testUnless(await mountProblem());
const fileCount = Number(process.env['GFS_TEST_HEALING_FILES'] ?? 60);
const lengthBytes = Number(process.env['GFS_TEST_HEALING_KIB'] ?? 48) * 1024;
const flips = Math.min(50, Math.ceil(fileCount / 6));
const rateMiB = Number(process.env['GFS_TEST_HEALING_RATE_MIB'] ?? (fileCount > 1000 ? 64 : 1));
const patienceMs = fileCount > 1000 ? 600_000 : 30_000;
// Of many files the scrubbers are to read less than the copies move.
const SCRUB = ['--scrub-period', fileCount > 1000 ? '120s' : '3s'];
const FAST = ['--lease', '2s', '--dead-after', '1500ms', '--rereplicate-after', '1s'];
const BEAT = ['--heartbeat', '300ms', '--lease-idle', '300ms'];

const namesOf = (count: number): string[] => Array.from({ length: count }, (_, i) => `/f${i}`);

async function writeAll(gfs: Gfs, names: readonly string[], bytes: number): Promise<void> {
  const left = [...names];
  const worker = async (): Promise<void> => {
    for (let name = left.pop(); name; name = left.pop()) await gfs.writeFile(name, bytesOf(name, bytes));
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
}

/** By a client that has nothing in its cache. */
async function checkAll(t: ExecutionContext, cluster: Cluster, names: readonly string[], bytes: number): Promise<void> {
  const gfs = await client(t, cluster);
  for (const name of names) t.true((await gfs.readFile(name)).equals(bytesOf(name, bytes)), `${name} is right`);
}

function chunkFiles(data: string): string[] {
  const folder = path.join(data, 'chunks');
  return fs
    .readdirSync(folder)
    .flatMap(name => fs.readdirSync(path.join(folder, name)).map(file => path.join(folder, name, file)));
}

const untilWell = (cluster: Cluster, copies?: number): Promise<void> =>
  until('every chunk has its copies', async () => isWell(await report(cluster), copies), patienceMs);

test.serial(
  `one of five servers killed, one wiped, ${flips} chunk files damaged down to one good copy: all comes back to three, and no read is ever wrong`,
  async t => {
    t.timeout(patienceMs * 3);
    const master = [...FAST, '--copy-rate', `${rateMiB}MiB`];
    const cluster = await Cluster.start(t, { servers: 5, master, chunkserver: [...BEAT, ...SCRUB] });
    const gfs = await client(t, cluster);
    const names = namesOf(fileCount);
    await writeAll(gfs, names, lengthBytes);
    const before = (await report(cluster)).healing!;
    const chunksOf = await Promise.all(names.map(name => gfs.chunks(name)));
    t.true(chunksOf.every(chunks => chunks.length === 1));

    const stopReading = startReaders(t, cluster, names, lengthBytes);
    const startMs = Date.now();
    await cluster.servers[0]!.daemon.stop('SIGKILL');
    await cluster.servers[1]!.daemon.stop('SIGKILL');
    fs.rmSync(cluster.servers[1]!.data, { recursive: true });
    const kept = cluster.servers.slice(2).map(({ data }) => data);
    let flipped = 0;
    for (const chunk of chunksOf.flat()) {
      const left = chunk.replicas.map(replica => replica.path).filter(file => kept.some(data => file.startsWith(data)));
      if (flipped >= flips || left.length < 2) continue;
      for (const file of left.slice(1)) flipBit(file, lengthBytes);
      flipped += left.length - 1;
    }
    await cluster.startServer(1);
    let firstMs = 0;
    let lastMs = 0;
    let copied = before.copiedBytes;
    // Otherwise the master waits whether a server comes back, or the scrubbers look for the rest: that says nothing of how fast copies are.
    const inHand = { ms: 0, bytes: 0, sinceMs: 0 };
    await until(
      'everything is repaired',
      async () => {
        const now = await report(cluster);
        const atMs = Date.now() - startMs;
        if (inHand.sinceMs > 0) {
          inHand.ms += atMs - inHand.sinceMs;
          inHand.bytes += now.healing!.copiedBytes - copied;
        }
        const isBusy = now.healing!.due! + now.healing!.copies > 0;
        inHand.sinceMs = isBusy ? atMs : 0;
        if (now.healing!.copiedBytes > copied) {
          copied = now.healing!.copiedBytes;
          firstMs ||= atMs;
          lastMs = atMs;
        }
        const scrubbed = now.servers.filter(({ scrub }) => (scrub?.roundsDone ?? 0) > 1).length;
        return isWell(now) && scrubbed >= 4 && allSound();
      },
      patienceMs,
    );

    /** At least three flat files of each chunk on live servers, all with the bytes that belong there. */
    function allSound(): boolean {
      return names.every((name, i) => {
        const file = chunksOf[i]![0]!.handle.toString(16).padStart(16, '0');
        const paths = cluster.servers.slice(1).map(({ data }) => path.join(data, 'chunks', file.slice(-2), file));
        const found = paths.filter(candidate => fs.existsSync(candidate));
        const expected = bytesOf(name, lengthBytes);
        return found.length >= 3 && found.every(candidate => fs.readFileSync(candidate).equals(expected));
      });
    }

    const seen = await stopReading();
    const bytes = copied - before.copiedBytes;
    const share = bytes / ((lastMs - firstMs) / 1000) / (rateMiB * 1024 * 1024);
    t.log(`${flipped} files damaged; first repair seen after ${firstMs} ms, last after ${lastMs} ms`);
    t.log(`${bytes} bytes copied, ${share.toFixed(2)} of the rate limit from the first to the last of them`);
    const inHandShare = inHand.bytes / (inHand.ms / 1000) / (rateMiB * 1024 * 1024);
    t.log(
      `${inHandShare.toFixed(2)} of it in the ${inHand.ms} ms in which copies were wanted (the paper reached 0.77)`,
    );
    t.log(`${seen.reads} reads meanwhile, ${seen.failures} failed`);
    t.deepEqual(seen.wrong, []);
    t.true(seen.reads > names.length);
    t.true(seen.receivedBytes >= seen.reads * lengthBytes, 'servers were asked for every byte');
    await checkAll(t, cluster, names, lengthBytes);
    const fsck = await cluster.gfs('fsck');
    t.is(fsck.code, 0, fsck.stdout + fsck.stderr);
  },
);

test.serial(
  'a server was down while 1,000 appends went to 20 files: only the missing bytes are copied to it',
  async t => {
    t.timeout(120_000);
    const master = ['--lease', '2s', '--dead-after', '1s', '--rereplicate-after', '4s'];
    const cluster = await Cluster.start(t, { servers: 3, master, chunkserver: BEAT });
    const gfs = await client(t, cluster);
    const names = namesOf(20);
    await writeAll(gfs, names, 20_000);
    await cluster.servers[2]!.daemon.stop('SIGKILL');
    await until('it is down', async () => (await report(cluster)).servers.some(({ state }) => state === 'down'));
    const record = Buffer.alloc(100, 'r');
    await Promise.all(
      names.map(async name => {
        for (let i = 0; i < 50; i++) await gfs.appendFile(name, record);
      }),
    );

    await cluster.startServer(2);
    await untilWell(cluster);

    const { healing } = await report(cluster);
    const missing = 1_000 * record.length;
    t.log(`${healing!.copiedBytes} bytes copied; ${missing} were missing of ${20 * 20_000 + missing}`);
    // A record that was on its way when a chunk was sealed may be copied between the other two, once a file at most.
    t.true(healing!.copiedBytes >= missing && healing!.copiedBytes <= missing + names.length * record.length);
    await until('its heartbeat says so', async () =>
      (await report(cluster)).servers.some(({ copiedBytes }) => copiedBytes === missing),
    );
    for (const name of names) {
      const expected = Buffer.concat([bytesOf(name, 20_000), ...Array.from({ length: 50 }, () => record)]);
      t.true((await gfs.readFile(name)).equals(expected));
    }
  },
);

test.serial(
  'a server comes back while its chunk is being copied: the copy stops, what it brought goes, and there are three copies',
  async t => {
    t.timeout(120_000);
    const cluster = await Cluster.start(t, {
      servers: 4,
      chunkSize: '16MiB',
      master: FAST,
      chunkserver: [...BEAT, '--copy-rate', '512KiB'],
    });
    const gfs = await client(t, cluster);
    const bytes = bytesOf('/f', 8 * 1024 * 1024);
    await gfs.writeFile('/f', bytes);
    const holders = (await gfs.chunks('/f'))[0]!.replicas.map(({ address }) => address);
    const away = cluster.servers.findIndex(({ address }) => address === holders[1]);
    const target = cluster.servers.find(({ address }) => !holders.includes(address))!;
    await cluster.servers[away]!.daemon.stop('SIGKILL');
    await until('a copy runs', async () => (await report(cluster)).healing!.copies === 1);
    await until('it has brought something', () => chunkFiles(target.data).some(file => fs.statSync(file).size > 0));

    await cluster.startServer(away);
    await until('the copy has ended', async () => (await report(cluster)).healing!.copies === 0);

    const { healing } = await report(cluster);
    t.is(healing!.copiesDone, 0);
    t.true(healing!.copiedBytes < bytes.length, `${healing!.copiedBytes} bytes were copied`);
    t.true(target.daemon.output.text.includes('a copy is stopped'));
    await until('what it brought is gone', () => chunkFiles(target.data).length === 0);
    await pause(2_000);
    t.is((await report(cluster)).healing!.copiedBytes, healing!.copiedBytes);
    await untilWell(cluster);
    t.true((await gfs.readFile('/f')).equals(bytes));
  },
);

const SMALL = [...BEAT, '--reserve', '2MiB'];
const FULL_MASTER = [...FAST, '--trash', '1h', '--gc-grace', '1s'];

mountTest('one full disk: appends go elsewhere, and nothing is corrupt', async t => {
  t.timeout(120_000);
  const prepare = (folder: string): Promise<void> => smallDisks(t, folder, [0, 1, 2, 3], 32);
  const cluster = await Cluster.start(t, { servers: 4, master: FULL_MASTER, chunkserver: SMALL, prepare });
  const gfs = await client(t, cluster);
  const names = namesOf(16);
  await writeAll(gfs, names.slice(0, 8), 700_000);
  const { data } = cluster.servers[0]!;
  const held = chunkFiles(data).length;

  await shell(`dd if=/dev/zero of=${data}/filler bs=1M`);
  await writeAll(gfs, names.slice(8), 700_000);

  t.is((await shell(`df --output=avail ${data} | tail -1`)).stdout.trim(), '0');
  t.log(`${chunkFiles(data).length - held} chunks were begun on the full disk before the master heard of it`);
  await checkAll(t, cluster, names, 700_000);
});

mountTest(
  'all disks full: a clear ENOSPC; deletion frees space, also out of the trash; nothing is corrupt',
  async t => {
    t.timeout(120_000);
    const prepare = (folder: string): Promise<void> => smallDisks(t, folder, [0, 1, 2], 12);
    const cluster = await Cluster.start(t, { servers: 3, master: FULL_MASTER, chunkserver: SMALL, prepare });
    const gfs = await client(t, cluster);
    const names: string[] = [];
    let refusal = '';
    for (let i = 0; i < 40 && refusal === ''; i++) {
      try {
        await gfs.writeFile(`/f${i}`, bytesOf(`/f${i}`, 700_000));
        names.push(`/f${i}`);
      } catch (error) {
        refusal = (error as { code: string }).code;
      }
    }
    t.is(refusal, 'NO_SPACE');
    t.true(names.length >= 5);
    await checkAll(t, cluster, names, 700_000);

    await gfs.rm(`/f${names.length}`, { force: true });
    // One at a time: the room that the first gives does not end the emptying of the trash.
    for (const name of names.slice(0, 4)) {
      const files = (await gfs.chunks(name)).flatMap(({ replicas }) => replicas.map(replica => replica.path));
      t.is(files.length, 3);
      await gfs.unlink(name);
      await until(`the replicas of ${name} go`, () => !files.some(file => fs.existsSync(file)), 30_000);
    }
    // A secondary takes what its primary took down to half the reserve, which is filled up first.
    const roomBytes = 4 * 700_000 - 2 ** 20 - 100_000;
    await until('there is room again', async () => (await gfs.statfs()).freeBytes > roomBytes, 30_000);
    await gfs.writeFile('/new', bytesOf('/new', 700_000));

    await checkAll(t, cluster, ['/new', ...names.slice(4)], 700_000);
  },
);

test.serial(
  'a chunk file deleted, an index deleted, two data directories swapped: detected, named in the log, and healed',
  async t => {
    t.timeout(120_000);
    const cluster = await Cluster.start(t, {
      servers: 4,
      chunkSize: '64KiB',
      master: FAST,
      chunkserver: [...BEAT, ...SCRUB],
    });
    const gfs = await client(t, cluster);
    const names = namesOf(12);
    await writeAll(gfs, names, 100_000);
    const [a, b, c] = cluster.servers;

    const all = (await Promise.all(names.map(name => gfs.chunks(name)))).flat();
    const sealed = all.filter(({ state }) => state === 'sealed').flatMap(({ replicas }) => replicas);
    const victim = sealed.map(replica => replica.path).find(file => file.startsWith(a!.data))!;
    await a!.daemon.stop();
    fs.rmSync(victim);
    await cluster.startServer(0);
    await until('its log names the file', () => {
      const { text } = cluster.servers[0]!.daemon.output;
      return text.includes('its file is missing') && text.includes(victim);
    });
    await untilWell(cluster);

    await b!.daemon.stop();
    fs.rmSync(path.join(b!.data, 'index'), { recursive: true });
    await cluster.startServer(1);
    await until('its log says so', () => /set aside/.test(cluster.servers[1]!.daemon.output.text));
    await untilWell(cluster);

    await Promise.all([cluster.servers[0]!.daemon.stop(), c!.daemon.stop()]);
    fs.renameSync(a!.data, `${a!.data}.x`);
    fs.renameSync(c!.data, a!.data);
    fs.renameSync(`${a!.data}.x`, c!.data);
    await Promise.all([cluster.startServer(0), cluster.startServer(2)]);
    await untilWell(cluster);

    await checkAll(t, cluster, names, 100_000);
  },
);

test.serial(
  "a master on yesterday's copy, on an empty directory, on another cluster's: no chunk is deleted, the message names it, and the right one serves everything",
  async t => {
    t.timeout(120_000);
    const cluster = await Cluster.start(t, { servers: 3, master: [...FAST, '--gc-grace', '1s'], chunkserver: BEAT });
    const names = namesOf(10);
    const gfs = await client(t, cluster);
    await writeAll(gfs, names.slice(0, 5), 30_000);
    await cluster.master.stop();
    const right = cluster.masterData;
    fs.cpSync(right, `${right}.old`, { recursive: true });
    await cluster.startMaster();
    await writeAll(gfs, names.slice(5), 30_000);
    await gfs.close();
    await pause(1_000);
    await cluster.master.stop();
    const files = cluster.servers.flatMap(({ data }) => chunkFiles(data)).sort();
    const put = (from: string): void => {
      fs.rmSync(right, { recursive: true, force: true });
      if (from !== '') fs.cpSync(from, right, { recursive: true });
    };
    fs.cpSync(right, `${right}.good`, { recursive: true });

    put(`${right}.old`);
    await cluster.startMaster();
    await until('it is found out', async () => /old copy/.test((await report(cluster)).safemodeReason));
    t.regex(cluster.master.output.text, /start the master on the newest copy/);
    await pause(3_000);
    await cluster.master.stop();
    t.deepEqual(cluster.servers.flatMap(({ data }) => chunkFiles(data)).sort(), files);

    put('');
    const empty = await program('gfs-master', ['serve', '--data', right, '--listen', cluster.masterAddress]);
    t.not(empty.code, 0);
    t.regex(empty.stderr, /holds no cluster|does not exist|no cluster/);

    await program('gfs-master', ['format', '--data', right]);
    await cluster.startMaster();
    await until('the servers refuse it', () =>
      cluster.servers.every(({ daemon }) => /WRONG_CLUSTER/.test(daemon.output.text)),
    );
    await cluster.master.stop();
    t.deepEqual(cluster.servers.flatMap(({ data }) => chunkFiles(data)).sort(), files);

    put(`${right}.good`);
    await cluster.startMaster();
    await untilWell(cluster);
    await checkAll(t, cluster, names, 30_000);
  },
);
