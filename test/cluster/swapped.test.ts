// Data directories of real chunkservers in each other's place (issue 4): whole ones, the chunk folders without their indexes, second disks. Clients that
// learned the places before go on reading all the while; a wrong byte fails the test.
import fs from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { Cluster, until } from './cluster.js';
import { bytesOf, client, isWell, report } from './healing.js';
import { Daemon, program } from './processes.js';
import { startReaders } from './readers.js';

const LENGTH = 100_000;
const FAST = ['--lease', '2s', '--dead-after', '1500ms', '--rereplicate-after', '1s'];
const BEAT = ['--heartbeat', '300ms', '--lease-idle', '300ms', '--scrub-period', '3s'];
const names = Array.from({ length: 16 }, (_, i) => `/f${i}`);

const untilWell = (cluster: Cluster): Promise<void> =>
  until('every chunk has its copies', async () => isWell(await report(cluster)), 30_000);

function swap(one: string, other: string): void {
  fs.renameSync(one, `${one}.x`);
  fs.renameSync(other, one);
  fs.renameSync(`${one}.x`, other);
}

for (const how of ['SIGTERM', 'SIGKILL'] as const)
  test.serial(
    `the data directories of two servers swapped after ${how}: the master names it, and every byte is right all the while`,
    async t => {
      t.timeout(120_000);
      const cluster = await Cluster.start(t, { servers: 4, chunkSize: '64KiB', master: FAST, chunkserver: BEAT });
      const gfs = await client(t, cluster);
      for (const name of names) await gfs.writeFile(name, bytesOf(name, LENGTH));
      const log: Buffer[] = [];
      const append = async (): Promise<void> => {
        const record = bytesOf(`record ${log.length}`, 5_000);
        await gfs.recordAppend('/log', record);
        log.push(record);
      };
      await gfs.writeFile('/log', Buffer.alloc(0));
      for (let i = 0; i < 8; i++) await append();
      const stopReading = startReaders(t, cluster, names, LENGTH);
      const [a, b] = cluster.servers as [(typeof cluster.servers)[0], (typeof cluster.servers)[0]];
      const idsOf = async () =>
        (await report(cluster)).servers.filter(({ address }) => [a.address, b.address].includes(address));
      const before = await idsOf();

      await Promise.all([a.daemon.stop(how), b.daemon.stop(how)]);
      swap(a.data, b.data);
      await Promise.all([cluster.startServer(0), cluster.startServer(1)]);

      await until('the master names it', () =>
        cluster.master.output.text.includes("data directory is in the place of another's"),
      );
      await untilWell(cluster);
      const after = await idsOf();
      for (const { id, address } of before) t.not(after.find(server => server.id === id)?.address, address);
      for (let i = 0; i < 8; i++) await append();
      const { wrong, reads, receivedBytes } = await stopReading();
      t.deepEqual(wrong, []);
      t.true(reads > names.length);
      t.true(receivedBytes >= reads * LENGTH, 'servers were asked for every byte');
      for (const reader of [gfs, await client(t, cluster)]) {
        for (const name of names) t.true((await reader.readFile(name)).equals(bytesOf(name, LENGTH)), name);
        t.true((await reader.readFile('/log')).equals(Buffer.concat(log)));
      }
      await until('fsck finds nothing', async () => (await cluster.gfs('fsck')).code === 0);
    },
  );

test.serial(
  'the chunk folders of two servers swapped without their indexes: named in the logs, nothing deleted, and healed',
  async t => {
    t.timeout(120_000);
    const cluster = await Cluster.start(t, { servers: 4, chunkSize: '64KiB', master: FAST, chunkserver: BEAT });
    const gfs = await client(t, cluster);
    for (const name of names) await gfs.writeFile(name, bytesOf(name, LENGTH));
    await untilWell(cluster);
    const [a, b] = cluster.servers as [(typeof cluster.servers)[0], (typeof cluster.servers)[0]];
    await Promise.all([a.daemon.stop(), b.daemon.stop()]);
    const filesIn = (data: string): string[] =>
      fs
        .readdirSync(data, { recursive: true, encoding: 'utf8' })
        .map(name => path.basename(name))
        .filter(name => /^[0-9a-f]{16}(-\d+)?$/.test(name))
        .map(name => name.slice(0, 16));
    const held = [...filesIn(a.data), ...filesIn(b.data)].sort();
    const onlyOne = held.filter(name => held.filter(other => other === name).length === 1);
    t.true(onlyOne.length > 0, 'some chunks are on one of the two only');

    swap(path.join(a.data, 'chunks'), path.join(b.data, 'chunks'));
    await Promise.all([cluster.startServer(0), cluster.startServer(1)]);

    const text = (): string => cluster.servers.map(({ daemon }) => daemon.output.text).join('');
    await until('the logs name it', () => /its file is missing/.test(text()) && /set aside the file/.test(text()));
    await untilWell(cluster);
    const now = [...filesIn(a.data), ...filesIn(b.data)];
    for (const name of held) t.true(now.includes(name), `${name} is still somewhere on the two`);
    t.is(
      fs.readdirSync(path.join(a.data, 'orphans')).length + fs.readdirSync(path.join(b.data, 'orphans')).length,
      onlyOne.length,
    );
    const fresh = await client(t, cluster);
    for (const name of names) t.true((await fresh.readFile(name)).equals(bytesOf(name, LENGTH)), name);
    t.is((await cluster.gfs('fsck')).code, 0);
  },
);

test.serial(
  'second disks of two servers swapped: both refuse to start, name the directory, and serve once it is set right',
  async t => {
    const cluster = await Cluster.start(t, {
      servers: 1,
      replicas: 3,
      minReplicas: 1,
      master: FAST,
      chunkserver: BEAT,
    });
    const disk = (name: string): string => path.join(cluster.folder, name);
    const argsOf = (first: string, second: string): string[] => [
      ...['serve', '--data', disk(first), '--data', disk(second), '--master', cluster.masterAddress],
      ...['--listen', '127.0.0.1:0', ...BEAT],
    ];
    const start = async (first: string, second: string): Promise<Daemon> => {
      const { daemon } = await Daemon.start('gfs-chunkserver', argsOf(first, second));
      t.teardown(() => daemon.stop('SIGKILL'));
      return daemon;
    };
    const gfs = await client(t, cluster);
    const one = await start('a1', 'a2');
    const two = await start('b1', 'b2');
    await until(
      'three servers are up',
      async () => (await report(cluster)).servers.filter(({ state }) => state === 'up').length === 3,
    );
    for (const name of names) await gfs.writeFile(name, bytesOf(name, LENGTH));
    await untilWell(cluster);
    await Promise.all([one.stop(), two.stop()]);

    for (const [first, second] of [
      ['a1', 'b2'],
      ['b1', 'a2'],
    ] as const) {
      const refused = await program('gfs-chunkserver', argsOf(first, second));
      t.is(refused.code, 1);
      t.regex(
        refused.stderr,
        new RegExp(`the data directory ${disk(second)} belongs to server \\w+, but .*${disk(first)}`),
      );
    }

    await start('a1', 'a2');
    await start('b1', 'b2');
    await untilWell(cluster);
    for (const name of names) t.true((await gfs.readFile(name)).equals(bytesOf(name, LENGTH)), name);
  },
);
