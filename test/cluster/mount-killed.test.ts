// The mount's process is killed with SIGKILL while it works, round after round (issue 5): its directory can be mounted again each time, and nothing that
// close(2) or fsync(2) confirmed is missing. GFS_TEST_MOUNT_KILL_ROUNDS sets how many rounds (CI: 4; `npm run soak:mount-kill`: 50), GFS_TEST_SEED the moments.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { nativeTransportProblem } from '../../src/mount/fuse-native.js';
import { kernelTransportProblem } from '../../src/mount/kernel/transport.js';
import { pause, randomOf } from './chance.js';
import { Cluster, gone, until } from './cluster.js';
import { checkLines, type LineWriter, startWriter } from './lines.js';
import { must, shell } from './processes.js';

const rounds = Number(process.env.GFS_TEST_MOUNT_KILL_ROUNDS ?? 4);
const PROBLEMS = { kernel: kernelTransportProblem(), native: nativeTransportProblem() };
const kinds = (['kernel', 'native'] as const).filter(kind => PROBLEMS[kind] === undefined);
/** Of each file that is copied in. */
const FILE_BYTES = 300_000;

/** Copies files into the mount and reads them, on and on, and writes the names of those whose cp(1) was content into a local list. */
function startCopying(t: ExecutionContext, point: string, round: number, cluster: Cluster): { stop(): Promise<void> } {
  const script = `cd /; for ((i = 0; ; i++)); do cp "$0/source" "$1/files/${round}-$i" && echo "${round}-$i" >> "$0/copied"; cat "$1"/files/* > /dev/null; sleep 0.02; done`;
  const child = spawn('bash', ['-c', script, cluster.folder, point], { stdio: 'ignore', detached: true });
  const ended = new Promise<void>(resolve => child.once('close', () => resolve()));
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) process.kill(-child.pid!, 'SIGKILL');
    await ended;
  };
  t.teardown(stop);
  return { stop };
}

test(`${rounds} times SIGKILL of a mount under load: the directory is mounted again, and nothing acknowledged is missing`, async t => {
  t.timeout(rounds * 60_000 + 120_000);
  const seed = Number(process.env.GFS_TEST_SEED ?? Date.now() % 1_000_000);
  t.log(`seed ${seed} (GFS_TEST_SEED=${seed} GFS_TEST_MOUNT_KILL_ROUNDS=${rounds}), transports ${kinds.join(', ')}`);
  if (kinds.length === 0) throw new Error(`no transport works here: ${Object.values(PROBLEMS).join('; ')}`);
  const random = randomOf(seed);
  const cluster = await Cluster.start(t, { chunkSize: '1MiB', master: [], chunkserver: [] });
  const source = path.join(cluster.folder, 'source');
  fs.writeFileSync(source, Buffer.alloc(FILE_BYTES, 'some bytes\n'));
  fs.writeFileSync(path.join(cluster.folder, 'copied'), '');
  const writers: LineWriter[] = [];

  let point = '';
  const mountAgain = async (round: number): Promise<void> => {
    point = await cluster.mount({ name: 'mnt', args: ['--fuse', kinds[round % kinds.length]!] });
  };
  for (let round = 0; round < rounds; round++) {
    await mountAgain(round);
    if (round === 0) await must(t, `mkdir ${point}/files`);
    const modes = ['close', 'close', 'sync'] as const;
    const working = modes.map((mode, i) => startWriter(t, `${point}/lines`, `r${round}w${i}`, cluster.folder, mode));
    const copying = startCopying(t, point, round, cluster);
    const begun = (writer: LineWriter): boolean => fs.statSync(writer.log).size > 0;
    await until('every writer has an acknowledged line', () => working.every(begun));
    await pause(random(1000));

    const pid = cluster.mountPid(point);
    process.kill(pid, 'SIGKILL');
    await gone(pid);

    await copying.stop();
    for (const writer of working) await writer.stop();
    writers.push(...working);
    t.regex((await shell(`stat ${point}`)).stderr, /Transport endpoint is not connected/);
  }

  await mountAgain(rounds);
  const lines = checkLines(await must(t, `cat ${point}/lines`), writers);
  const copied = fs.readFileSync(path.join(cluster.folder, 'copied'), 'utf8').trim().split('\n').filter(Boolean);
  await must(t, `cd ${point}/files; while read name; do cmp $name ${source}; done < ${cluster.folder}/copied`);
  t.log(`${lines} lines and ${copied.length} files stand after ${rounds} kills`);
  t.true(copied.length > 0);
});
