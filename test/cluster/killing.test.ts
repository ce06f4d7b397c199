// Four mounts append to one file while one random process is killed or stopped and brought back, round after round (I2, I3, §3.3): a server, the master, or
// one of the mounts, which is only stopped (mount-killed.test.ts kills them). No fault is as long as a deadline, so no line may fail either.
// GFS_TEST_KILL_ROUNDS sets how many (CI: 5; `npm run soak:kill`: 200), GFS_TEST_SEED the choice of victims.
import fs from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { pause, randomOf } from './chance.js';
import { Cluster, until } from './cluster.js';
import { checkLines, type LineAccount, type LineWriter, startWriter } from './lines.js';
import { must, shell } from './processes.js';

const rounds = Number(process.env['GFS_TEST_KILL_ROUNDS'] ?? 5);
const stopMs = Number(process.env['GFS_TEST_STOP_MS'] ?? (rounds > 10 ? 10_000 : 3000));
const deadlineMs = 30_000;

/** Local TCP ports of a process's connections. */
function portsOf(pid: number): number[] {
  const links = fs.readdirSync(`/proc/${pid}/fd`).map(fd => {
    try {
      return fs.readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      // Closed meanwhile.
      return '';
    }
  });
  const inodes = new Set(links.map(link => /^socket:\[(\d+)\]$/.exec(link)?.[1]).filter(Boolean));
  const rows = fs.readFileSync('/proc/net/tcp', 'utf8').trim().split('\n').slice(1);
  const fields = rows.map(row => row.trim().split(/\s+/));
  const ESTABLISHED = '01';
  const ours = fields.filter(columns => columns[3] === ESTABLISHED && inodes.has(columns[9]));
  return ours.map(columns => Number.parseInt(columns[1]!.split(':')[1]!, 16));
}

interface Fault {
  what: string;
  fromMs: number;
  toMs: number;
  /** Of this, how long the test kept the victim away on purpose. */
  awayMs: number;
}

/**
 * The longest line per kind of fault: each slow line is laid to the fault that it was longest in work with, counting a second after the fault's end. In
 * brackets the longest without the time that the victim was kept away on purpose: what starting, finding it and going on took.
 */
function stallsByFault(faults: readonly Fault[], accounts: readonly LineAccount[]): Record<string, string> {
  const longest = new Map<string, { ms: number; besidesMs: number }>();
  for (const { atMs, ms } of accounts.flatMap(account => account.stalls)) {
    let cause = { what: 'no fault', sharedMs: 0, awayMs: 0 };
    for (const { what, fromMs, toMs, awayMs } of faults) {
      const sharedMs = Math.min(atMs + ms, toMs + 1000) - Math.max(atMs, fromMs);
      const awayShareMs = Math.max(0, Math.min(atMs + ms, fromMs + awayMs) - Math.max(atMs, fromMs));
      if (sharedMs > cause.sharedMs) cause = { what, sharedMs, awayMs: awayShareMs };
    }
    const known = longest.get(cause.what) ?? { ms: 0, besidesMs: 0 };
    longest.set(cause.what, {
      ms: Math.max(known.ms, ms),
      besidesMs: Math.max(known.besidesMs, ms - cause.awayMs),
    });
  }
  return Object.fromEntries([...longest].map(([what, { ms, besidesMs }]) => [what, `${ms} (${besidesMs})`]));
}

/** Settles when each of these writers has one more line acknowledged than now. */
async function growth(writers: readonly LineWriter[]): Promise<void> {
  const sizes = writers.map(({ log }) => fs.statSync(log).size);
  const hasGrown = ({ log }: LineWriter, i: number): boolean => fs.statSync(log).size > sizes[i]!;
  await until('every writer that nothing is in the way of has another line', () => writers.every(hasGrown), deadlineMs);
}

test(`${rounds} rounds of SIGKILL, SIGSTOP and cut connections: no line fails, is missing, doubled or torn, none hangs past its deadline`, async t => {
  t.timeout(rounds * 60_000 + 120_000);
  const seed = Number(process.env['GFS_TEST_SEED'] ?? Date.now() % 1_000_000);
  t.log(`seed ${seed} (GFS_TEST_SEED=${seed} GFS_TEST_KILL_ROUNDS=${rounds})`);
  const random = randomOf(seed);
  const cluster = await Cluster.start(t, { servers: 4, chunkSize: '1MiB', master: [], chunkserver: [] });
  const points = [];
  for (let i = 0; i < 4; i++) points.push(await cluster.mount());
  const writers = points.map((point, i) => startWriter(t, `${point}/lines`, `w${i}`, cluster.folder));

  const canCut = (await shell('iptables -L -n')).code === 0;
  if (!canCut) t.log('connections are not cut: that needs root and iptables');
  const faults: Fault[] = [];
  for (let round = 0; round < rounds; round++) {
    await pause(300 + random(700));
    // 0 to 3 chunkservers, 4 the master, 5 a mount that is stopped, 6 a mount's connections that are cut.
    const victim = random(canCut ? 7 : 6);
    const kill = random(3) !== 0;
    const downMs = 100 + random(1500);
    const who = victim >= 5 ? 'mount' : victim === 4 ? 'master' : 'chunkserver';
    const isStop = victim === 5 || (victim < 5 && !kill);
    const fault: Fault = {
      what: `${who} ${victim === 6 ? 'cut' : isStop ? 'stopped' : 'killed'}`,
      fromMs: Date.now(),
      toMs: 0,
      awayMs: isStop ? stopMs : downMs,
    };
    faults.push(fault);
    if (victim === 5) {
      const stopped = random(4);
      const pid = cluster.mountPid(points[stopped]!);
      process.kill(pid, 'SIGSTOP');
      try {
        await pause(stopMs);
        // What it has in work is in nobody's way.
        await growth(writers.filter((_, i) => i !== stopped));
      } finally {
        process.kill(pid, 'SIGCONT');
      }
    } else if (victim === 6) {
      const ports = portsOf(cluster.mountPid(points[random(4)]!));
      const reject = (port: number): string => `INPUT -i lo -p tcp --sport ${port} -j REJECT --reject-with tcp-reset`;
      for (const port of ports) await shell(`iptables -I ${reject(port)}`);
      try {
        await pause(downMs);
      } finally {
        for (const port of ports) await shell(`iptables -D ${reject(port)}`);
      }
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
    fault.toMs = Date.now();
    await growth(writers);
    if (rounds > 10)
      t.log(
        `${round + 1}. ${fault.what}${victim < 4 ? ` (c${victim})` : ''} at ${new Date(fault.fromMs).toISOString()}`,
      );
  }
  await pause(1000);
  const accounts = await Promise.all(writers.map(writer => writer.stop()));
  for (const { stalls: _, ...account } of accounts) t.log(JSON.stringify(account));
  t.log(
    `longest stalls in ms, in brackets without the time that the victim was kept away: ${JSON.stringify(stallsByFault(faults, accounts))}`,
  );

  const copy = path.join(cluster.folder, 'copy');
  await must(t, `cat ${points[0]}/lines > ${copy}`);
  const kept = process.env['GFS_TEST_LOGS'];
  if (kept) {
    fs.copyFileSync(copy, path.join(kept, 'lines'));
    fs.writeFileSync(path.join(kept, 'accounts.json'), JSON.stringify({ faults, accounts }));
  }
  const lines = checkLines(fs.readFileSync(copy, 'utf8'), writers);
  t.log(`${lines} lines stand`);
  for (const account of accounts) {
    t.deepEqual(account.errors, {}, account.writer);
    t.true(account.longestStallMs < deadlineMs + 5000, `a line took ${account.longestStallMs} ms`);
  }
});
