// Four mounts append to one file while one random process is killed or stopped and brought back, round after round (I2, I3, §3.3).
// GFS_TEST_KILL_ROUNDS sets how many (CI: 5; `npm run soak:kill`: 200), GFS_TEST_SEED the choice of victims.
import fs from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { Cluster } from './cluster.js';
import { checkLines, startWriter } from './lines.js';
import { must, shell } from './processes.js';

const rounds = Number(process.env['GFS_TEST_KILL_ROUNDS'] ?? 5);
const stopMs = Number(process.env['GFS_TEST_STOP_MS'] ?? (rounds > 10 ? 10_000 : 3000));
const deadlineMs = 30_000;

function randomOf(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return bound => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));

/** Local TCP ports of a process's connections. */
async function portsOf(pid: number): Promise<string[]> {
  const script = `for i in $(ls -l /proc/${pid}/fd | grep -o "socket:\\[[0-9]*" | cut -d[ -f2); do awk -v i=$i '$10 == i && $4 == "01" { split($2, a, ":"); print strtonum("0x" a[2]) }' /proc/net/tcp; done`;
  return (await shell(script)).stdout.trim().split('\n').filter(Boolean);
}

test(`${rounds} rounds of SIGKILL, SIGSTOP and cut connections: no acknowledged line is missing, doubled or torn, none hangs past its deadline`, async t => {
  t.timeout(rounds * 60_000 + 120_000);
  const seed = Number(process.env['GFS_TEST_SEED'] ?? Date.now() % 1_000_000);
  t.log(`seed ${seed} (GFS_TEST_SEED=${seed} GFS_TEST_KILL_ROUNDS=${rounds})`);
  const random = randomOf(seed);
  const cluster = await Cluster.start(t, { servers: 4, chunkSize: '1MiB', master: [], chunkserver: [] });
  const points = [];
  for (let i = 0; i < 4; i++) points.push(await cluster.mount());
  const writers = points.map((point, i) => startWriter(t, `${point}/lines`, `w${i}`, cluster.folder));

  const canCut =
    (await shell('iptables -L -n')).code === 0 &&
    (await shell('awk "BEGIN { print strtonum(\\"0x10\\") }"')).stdout.trim() === '16';
  if (!canCut) t.log('connections are not cut: iptables or gawk is missing');
  for (let round = 0; round < rounds; round++) {
    await pause(300 + random(700));
    const victim = random(canCut ? 6 : 5);
    const kill = random(3) !== 0;
    const downMs = 100 + random(1500);
    if (victim === 5) {
      const ports = await portsOf(cluster.mountPid(points[random(4)]!));
      for (const port of ports)
        await shell(`iptables -I INPUT -i lo -p tcp --sport ${port} -j REJECT --reject-with tcp-reset`);
      await pause(downMs);
      for (const port of ports)
        await shell(`iptables -D INPUT -i lo -p tcp --sport ${port} -j REJECT --reject-with tcp-reset`);
    } else {
      const daemon = victim === 4 ? cluster.master : cluster.servers[victim]!.daemon;
      if (kill) {
        await daemon.stop('SIGKILL');
        await pause(downMs);
        if (victim === 4) await cluster.startMaster();
        else await cluster.startServer(victim);
      } else {
        daemon.signal('SIGSTOP');
        await pause(stopMs);
        daemon.signal('SIGCONT');
      }
    }
  }
  await pause(1000);
  const accounts = await Promise.all(writers.map(writer => writer.stop()));
  for (const account of accounts) t.log(JSON.stringify(account));

  const copy = path.join(cluster.folder, 'copy');
  await must(t, `cat ${points[0]}/lines > ${copy}`);
  const lines = checkLines(fs.readFileSync(copy, 'utf8'), writers);
  t.log(`${lines} lines stand`);
  for (const account of accounts) {
    t.true(account.acknowledged > 0);
    t.true(account.longestStallMs < deadlineMs + 5000, `a line took ${account.longestStallMs} ms`);
  }
});
