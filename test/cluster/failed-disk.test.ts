// One disk of a server with two fails before a start: the other one goes on under the same name, and what was on the failed one is copied elsewhere
// (DESIGN 6: a failing disk takes only its own chunks down).
import fs from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Cluster, until } from './cluster.js';
import { bytesOf, client, isWell, report } from './healing.js';
import { Daemon } from './processes.js';

const MASTER = ['--lease', '2s', '--dead-after', '1500ms', '--rereplicate-after', '1s'];
const BEAT = ['--heartbeat', '300ms', '--lease-idle', '300ms'];
const LENGTH = 150_000;
const NAMES = Array.from({ length: 12 }, (_, i) => `/f${i}`);

function replicaFiles(data: string): string[] {
  return fs
    .readdirSync(path.join(data, 'chunks'), { recursive: true, encoding: 'utf8' })
    .filter(name => /\/.{16}$/.test(name));
}

/** The index is there and no store any more. */
function damageIndex(data: string): void {
  for (const name of fs.readdirSync(path.join(data, 'index')))
    if (name.startsWith('MANIFEST')) fs.writeFileSync(path.join(data, 'index', name), 'this is no manifest');
}

/** Where the directory was is something else. */
function replaceByFile(data: string): void {
  fs.renameSync(data, `${data}.away`);
  fs.writeFileSync(data, 'no directory');
}

async function failsOf(
  t: ExecutionContext,
  { which, spoil }: { which: 0 | 1; spoil: (data: string) => void },
): Promise<void> {
  t.timeout(120_000);
  const cluster = await Cluster.start(t, { servers: 3, master: MASTER, chunkserver: BEAT });
  const data = [path.join(cluster.folder, 'two-a'), path.join(cluster.folder, 'two-b')];
  let daemon: Daemon | undefined;
  t.teardown(async () => void (await daemon?.stop('SIGKILL')));
  const start = async (): Promise<void> => {
    const args = ['serve', '--data', data[0]!, '--data', data[1]!, '--master', cluster.masterAddress];
    ({ daemon } = await Daemon.start('gfs-chunkserver', [...args, '--listen', '127.0.0.1:0', ...BEAT]));
  };
  const listed = async () => {
    const { servers } = await report(cluster);
    return servers.find(({ address }) => !cluster.servers.some(other => other.address === address))!;
  };
  await start();
  const gfs = await client(t, cluster);
  await until('both disks hold chunks', async () => {
    for (const name of NAMES) await gfs.writeFile(name, bytesOf(name, LENGTH));
    return data.every(folder => replicaFiles(folder).length > 0);
  });
  const { id } = await listed();
  await daemon!.stop();
  const kept = replicaFiles(data[1 - which]!).length;
  spoil(data[which]!);

  await start();
  // Before it has registered it is up as it was before.
  await until('it has reported', async () => {
    const { state, reason } = await listed();
    return state === 'up' && reason.includes(data[which]!);
  });

  const server = await listed();
  t.is(server.id, id);
  t.true(daemon!.output.text.includes('a disk cannot be opened') && daemon!.output.text.includes(data[which]!));
  await until('every chunk has its copies', async () => isWell(await report(cluster)), 40_000);
  t.true(replicaFiles(data[1 - which]!).length >= kept, 'nothing is given up on the disk that works');
  for (const name of NAMES) t.true((await gfs.readFile(name)).equals(bytesOf(name, LENGTH)), name);
  // What the report counts may be older than what fsck asks the servers for.
  await until('fsck finds nothing', async () => (await cluster.gfs('fsck')).code === 0, 40_000);
}

test.serial('the index on the first of two disks is damaged: the server goes on with the second one', t =>
  failsOf(t, { which: 0, spoil: damageIndex }),
);

test.serial('the index on the second of two disks is damaged: the server goes on with the first one', t =>
  failsOf(t, { which: 1, spoil: damageIndex }),
);

test.serial('where the first of two data directories was is a file: the server goes on with the second one', t =>
  failsOf(t, { which: 0, spoil: replaceByFile }),
);
