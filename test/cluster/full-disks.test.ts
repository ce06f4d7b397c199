// Disks that something else than this file system fills up to the last byte, while records are appended and files read, and that have room again:
// nothing is restarted, nothing is lost (FAULTS 9 and 11). Each server's data directory is a small file system of its own.
import fs from 'node:fs';
import path from 'node:path';
import type { ExecutionContext } from 'ava';
import type { Gfs } from '../../src/client/index.js';
import { Cluster, until } from './cluster.js';
import { bytesOf, client, isWell, report, smallDisks } from './healing.js';
import { checkLines, type LineWriter, startRecordWriter } from './lines.js';
import { mountProblem, testUnless } from './needs.js';
import { shell } from './processes.js';
import { startReaders } from './readers.js';

const mountTest = testUnless(await mountProblem());

const MASTER = [
  '--lease',
  '2s',
  '--dead-after',
  '1500ms',
  '--rereplicate-after',
  '1s',
  '--trash',
  '0s',
  '--gc-grace',
  '1s',
];
const CHUNKSERVER = ['--heartbeat', '300ms', '--lease-idle', '300ms', '--reserve', '2MiB'];
const LENGTH = 100_000;
const OLD = Array.from({ length: 8 }, (_, i) => `/old${i}`);

function clusterOnSmallDisks(t: ExecutionContext, servers: number): Promise<Cluster> {
  const indices = Array.from({ length: servers }, (_, i) => i);
  const prepare = (folder: string): Promise<void> => smallDisks(t, folder, indices, 48);
  return Cluster.start(t, { servers, chunkSize: '256KiB', master: MASTER, chunkserver: CHUNKSERVER, prepare });
}

/** Not a byte is left, also of what came free since. */
const fill = (data: string): Promise<unknown> => shell(`dd if=/dev/zero bs=4k >> ${data}/filler`);
const free = (data: string): void => fs.rmSync(path.join(data, 'filler'));
const logOf = (cluster: Cluster, index: number): string => cluster.servers[index]!.daemon.output.text;
const acknowledged = ({ log }: LineWriter): number => fs.readFileSync(log, 'utf8').split('\n').length - 1;

/** Each of the writers has another record acknowledged. */
async function untilAppending(what: string, writers: readonly LineWriter[], timeoutMs = 40_000): Promise<void> {
  const before = writers.map(acknowledged);
  await until(what, () => writers.every((writer, i) => acknowledged(writer) > before[i]! + 10), timeoutMs);
}

async function writersOn(t: ExecutionContext, cluster: Cluster, count: number): Promise<LineWriter[]> {
  const gfs = await client(t, cluster);
  return Promise.all(
    Array.from({ length: count }, async (_, i) => {
      await gfs.writeFile(`/lines${i}`, '');
      return startRecordWriter(t, { master: cluster.masterAddress, file: `/lines${i}` }, `w${i}`, cluster.folder);
    }),
  );
}

/** Files to be read, files to be deleted, and a writer for each server, at work. */
async function busyCluster(t: ExecutionContext, servers: number) {
  const cluster = await clusterOnSmallDisks(t, servers);
  const gfs = await client(t, cluster);
  for (const name of OLD) await gfs.writeFile(name, bytesOf(name, LENGTH));
  const victims = Array.from({ length: 300 }, (_, i) => `/victim${i}`);
  await Promise.all(victims.map(name => gfs.writeFile(name, name)));
  const writers = await writersOn(t, cluster, servers);
  await untilAppending('records are appended', writers);
  return { cluster, gfs, victims, writers };
}

/** Fills the disks of these servers until their indexes find no room: deletions have to be recorded, and what they set free is filled again. */
async function fillUp(cluster: Cluster, gfs: Gfs, indices: readonly number[], victims: string[]): Promise<void> {
  let round = 0;
  const areFull = async (): Promise<boolean> => {
    await Promise.all(indices.map(i => fill(cluster.servers[i]!.data)));
    // Seldom enough that what one deletion sets free is taken before the next has to be recorded.
    const victim = ++round % 4 === 0 ? victims.pop() : undefined;
    if (victim !== undefined) await gfs.unlink(victim);
    return indices.every(i => logOf(cluster, i).includes('a disk is full'));
  };
  await until('the indexes found no room', areFull, 90_000);
}

async function checkAll(t: ExecutionContext, cluster: Cluster, writers: readonly LineWriter[]): Promise<void> {
  const gfs = await client(t, cluster);
  for (const [i, writer] of writers.entries()) {
    const account = await writer.stop();
    const lines = checkLines(await gfs.readFile(`/lines${i}`, 'utf8'), [writer]);
    t.log(
      `${writer.name}: ${lines} lines, errors ${JSON.stringify(account.errors)}, longest ${account.longestStallMs} ms`,
    );
  }
  for (const name of OLD) t.true((await gfs.readFile(name)).equals(bytesOf(name, LENGTH)), `${name} is right`);
  await until('every chunk has its copies', async () => isWell(await report(cluster)), 40_000);
  const fsck = await cluster.gfs('fsck');
  t.is(fsck.code, 0, fsck.stdout + fsck.stderr);
}

mountTest(
  'one full disk: appends and reads go on, its server is up, and takes chunks again when there is room',
  async t => {
    t.timeout(180_000);
    const { cluster, gfs, victims, writers } = await busyCluster(t, 4);
    const { data, address, daemon } = cluster.servers[0]!;
    const stopReading = startReaders(t, cluster, OLD, LENGTH);

    await fillUp(cluster, gfs, [0], victims);
    await untilAppending('records go elsewhere', writers);
    await untilAppending('and go on to', writers);
    const full = (await report(cluster)).servers.find(server => server.address === address)!;
    t.not(full.state, 'down');
    t.is(full.freeBytes, 0);
    t.true(full.capacityBytes > 0);
    t.false(full.reason.includes('failed'), full.reason);

    free(data);
    await until('it goes on', () => logOf(cluster, 0).includes('the server goes on'));
    await until('it is well', async () => {
      const server = (await report(cluster)).servers.find(other => other.address === address);
      return server?.state === 'up' && server.freeBytes > 0;
    });
    const before = (await report(cluster)).servers.find(server => server.address === address)!.chunks;
    await until(
      'it gets chunks',
      async () => (await report(cluster)).servers.find(server => server.address === address)!.chunks > before,
      40_000,
    );
    const seen = await stopReading();
    t.log(`${seen.reads} reads, ${seen.failures} failed`);
    t.deepEqual(seen.wrong, []);
    t.is(seen.failures, 0);
    t.true(seen.receivedBytes >= seen.reads * LENGTH, 'servers were asked for every byte');
    await checkAll(t, cluster, writers);
    t.is(daemon.child.exitCode, null);
  },
);

mountTest(
  'all disks full: reads go on, appends get ENOSPC, and both go on by themselves when there is room',
  async t => {
    t.timeout(240_000);
    const { cluster, gfs, victims, writers } = await busyCluster(t, 3);
    const stopReading = startReaders(t, cluster, OLD, LENGTH);

    await fillUp(cluster, gfs, [0, 1, 2], victims);
    const stopped = writers.map(acknowledged);
    const refused = await t.throwsAsync(gfs.writeFile('/new', bytesOf('/new', LENGTH)));
    t.is((refused as { code?: string }).code, 'NO_SPACE');
    t.true((await report(cluster)).servers.every(({ state }) => state !== 'down'));
    t.deepEqual(writers.map(acknowledged), stopped);

    for (const { data } of cluster.servers) free(data);
    await until('they go on', () => [0, 1, 2].every(i => logOf(cluster, i).includes('the server goes on')));
    await untilAppending('records are appended again', writers);
    await gfs.writeFile('/new', bytesOf('/new', LENGTH));
    t.true((await gfs.readFile('/new')).equals(bytesOf('/new', LENGTH)));
    const seen = await stopReading();
    t.log(`${seen.reads} reads, ${seen.failures} failed`);
    t.deepEqual(seen.wrong, []);
    t.is(seen.failures, 0);
    t.true(seen.receivedBytes >= seen.reads * LENGTH, 'servers were asked for every byte');
    await checkAll(t, cluster, writers);
    t.true(cluster.servers.every(({ daemon }) => daemon.child.exitCode === null));
  },
);
