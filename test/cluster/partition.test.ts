// The network is cut around the primary of a chunk that two clients append to, while one of them still reaches it (I2, I4): in network namespaces with
// veth pairs and a packet filter. Needs root; says when it skips and why. GFS_TEST_CUT_ROUNDS repeats the cuts (CI: 1).
import fs from 'node:fs';
import path from 'node:path';
import type { ExecutionContext } from 'ava';
import { Cluster, until } from './cluster.js';
import { checkLines, type LineWriter, startRecordWriter } from './lines.js';
import { testUnless } from './needs.js';
import { Network } from './network.js';

const rounds = Number(process.env['GFS_TEST_CUT_ROUNDS'] ?? 1);
const networkTest = testUnless(await Network.problem());
/** Lines that each client has acknowledged between two steps. */
const LINES = 200;
const SERVERS = ['c0', 'c1', 'c2', 'c3'];

interface Info {
  chunks: Array<{ handle: number; state: string; replicas: Array<{ address: string; primary: boolean }> }>;
}

function countOf(writer: LineWriter): number {
  return fs.readFileSync(writer.log, 'utf8').split('\n').length - 1;
}

/** Settles once every writer has `LINES` more lines acknowledged than now. */
async function progress(what: string, writers: readonly LineWriter[]): Promise<void> {
  const goals = writers.map(writer => countOf(writer) + LINES);
  await until(what, () => writers.every((writer, i) => countOf(writer) >= goals[i]!), 30_000);
}

/** The open chunk's chain as names of hosts, primary first. */
async function chainOf(cluster: Cluster): Promise<string[]> {
  let chain: string[] = [];
  await until('the file has an open chunk with a primary', async () => {
    const { chunks } = await cluster.json<Info>('info', '/lines');
    const open = chunks.find(({ state }) => state === 'open');
    const members = open?.replicas ?? [];
    const primary = members.find(member => member.primary);
    if (primary === undefined) return false;
    const addresses = [primary, ...members.filter(member => member !== primary)].map(({ address }) => address);
    chain = addresses.map(address => `c${cluster.servers.findIndex(server => server.address === address)}`);
    return true;
  });
  return chain;
}

type Cut = (at: { network: Network; primary: string; secondary: string }) => Array<[string, string]>;

function scenario(title: string, cutsOf: Cut): void {
  networkTest(`${title}: no acknowledged line is lost, both clients go on`, async t => {
    t.timeout(rounds * 120_000 + 60_000);
    await runRounds(t, cutsOf);
  });
}

async function runRounds(t: ExecutionContext, cutsOf: Cut): Promise<void> {
  const network = await Network.make(t, ['master', ...SERVERS, 'near', 'far']);
  const cluster = await Cluster.start(t, {
    servers: SERVERS.length,
    chunkSize: '64MiB',
    master: [],
    chunkserver: [],
    place: name => network.place(name),
  });
  const writers = ['near', 'far'].map(host =>
    startRecordWriter(
      t,
      { master: cluster.masterAddress, file: '/lines', within: network.place(host).within },
      host,
      cluster.folder,
    ),
  );
  await progress('both clients append', writers);

  for (let round = 0; round < rounds; round++) {
    const [primary, secondary] = await chainOf(cluster);
    const cuts = cutsOf({ network, primary: primary!, secondary: secondary! });
    for (const [one, other] of cuts) await network.cut(one, other);
    await progress(`both clients append although ${primary} is cut off`, writers);
    for (const [one, other] of cuts) await network.join(one, other);
    await progress('both clients append after the cut', writers);
  }

  const accounts = await Promise.all(writers.map(writer => writer.stop()));
  for (const { writer, acknowledged, longestStallMs, errors } of accounts)
    t.log(JSON.stringify({ writer, acknowledged, longestStallMs, errors }));
  const copy = path.join(cluster.folder, 'copy');
  const read = await cluster.gfs('get', '/lines', copy);
  t.is(read.code, 0, read.stderr);
  t.log(`${checkLines(fs.readFileSync(copy, 'utf8'), writers)} lines stand`);
}

scenario('a cut between the primary and a secondary', ({ primary, secondary }) => [[primary, secondary]]);

scenario(
  'the primary is cut off from the master, the other servers and one client, and the other client still reaches it',
  ({ primary }) => [
    [primary, 'master'],
    [primary, 'far'],
    ...SERVERS.filter(server => server !== primary).map((server): [string, string] => [primary, server]),
  ],
);

scenario(
  'the primary is cut off from the master and one client, and serves the other one with the secondaries',
  ({ primary }) => [
    [primary, 'master'],
    [primary, 'far'],
  ],
);
