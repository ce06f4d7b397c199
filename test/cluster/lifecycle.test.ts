// gfs-mount with its embedded cluster: one line says so, everything ends within seconds of fusermount -u, umount, SIGTERM or SIGINT with nothing
// left behind, and mounting again finds every byte.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { nativeTransportProblem } from '../../src/mount/fuse-native.js';
import { kernelTransportProblem } from '../../src/mount/kernel/transport.js';
import { gone, isAlive, until } from './cluster.js';
import { Daemon, folder, must, program, shell } from './processes.js';

interface Embedded {
  data: string;
  point: string;
  mount(...args: string[]): Promise<{ stdout: string; pids: number[]; mountPid: number }>;
}

function embedded(t: ExecutionContext): Embedded {
  const base = folder(t);
  const data = path.join(base, 'data');
  const point = path.join(base, 'mnt');
  fs.mkdirSync(point);
  const pidFile = path.join(base, 'pid');
  const started: number[] = [];
  t.teardown(async () => {
    await shell(`mountpoint -q ${point} && umount -l ${point}`);
    for (const pid of started) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  });
  return {
    data,
    point,
    mount: async (...args) => {
      const result = await program('gfs-mount', ['--data', data, '--pid-file', pidFile, ...args, point], {
        timeoutMs: 30_000,
      });
      t.is(result.code, 0, result.stderr + result.stdout);
      const mountPid = Number(fs.readFileSync(pidFile, 'utf8'));
      const children = await childrenOf(t, mountPid);
      started.push(mountPid, ...children);
      return { stdout: result.stdout, pids: [mountPid, ...children], mountPid };
    },
  };
}

async function childrenOf(t: ExecutionContext, pid: number): Promise<number[]> {
  return (await must(t, `cat /proc/${pid}/task/*/children`)).trim().split(/\s+/).filter(Boolean).map(Number);
}

async function allGone(t: ExecutionContext, pids: number[]): Promise<void> {
  const started = Date.now();
  for (const pid of pids) await gone(pid);
  t.log(`all processes gone after ${Date.now() - started} ms`);
}

const ENDINGS: Record<string, (point: string, pid: number) => string> = {
  'fusermount -u': point => `fusermount -u ${point}`,
  umount: point => `umount ${point}`,
  SIGTERM: (_point, pid) => `kill -TERM ${pid}`,
  SIGINT: (_point, pid) => `kill -INT ${pid}`,
};

test.serial(
  'the embedded cluster: mount, write, end by each of the four ways, mount again, and every byte is there',
  async t => {
    const { mount, point } = embedded(t);
    let expected = '';
    for (const [name, command] of Object.entries(ENDINGS)) {
      const { stdout, pids, mountPid } = await mount();
      t.regex(stdout, /embedded cluster/i);
      t.is(pids.length, 5, 'the mount, one master and three chunkservers');
      t.is(await must(t, `cat ${point}/f 2> /dev/null || true`), expected);
      await must(t, `echo "${name}" >> ${point}/f`);
      expected += `${name}\n`;

      await must(t, command(point, mountPid));
      await allGone(t, pids);
      t.is((await shell(`mountpoint -q ${point}`)).code, 32);
    }
    await mount();
    t.is(await must(t, `cat ${point}/f`), expected);
  },
);

test.serial(
  'in front with -f it exits with status 0 after each of the four endings, and leaves no process',
  async t => {
    const { data, point } = embedded(t);
    for (const [name, command] of Object.entries(ENDINGS)) {
      const { daemon } = await Daemon.start('gfs-mount', ['-f', '--data', data, point]);
      t.teardown(() => daemon.stop('SIGKILL'));
      const children = await childrenOf(t, daemon.pid);
      await must(t, `echo x > ${point}/f`);

      const startMs = Date.now();
      await must(t, command(point, daemon.pid));
      t.is(await daemon.exited, 0, `${name}: ${daemon.output.text}`);
      t.log(`${name}: ended after ${Date.now() - startMs} ms`);
      t.false(children.some(isAlive), name);
    }
  },
);

/** Writes on and on, and says how often, to a file that stays open; the first twenty are confirmed. */
const WRITER = `
import os, sys, time
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for count in range(1, 1000000):
    os.write(file, b"x" * 4096)
    if count == 20: os.fsync(file)
    print(count, flush=True)
    time.sleep(0.002)
`;

for (const kind of ['native', 'kernel'] as const) {
  const problem = kind === 'native' ? nativeTransportProblem() : kernelTransportProblem();
  const run = problem === undefined ? test.serial : test.serial.skip;
  const note = problem === undefined ? '' : ` (skipped: ${problem})`;
  run(
    `${kind}: ended while servers stand still and written bytes wait, it fails, names the file, and leaves no process${note}`,
    async t => {
      const { data, point } = embedded(t);
      const { daemon } = await Daemon.start('gfs-mount', ['-f', '--fuse', kind, '--data', data, point]);
      t.teardown(() => daemon.stop('SIGKILL'));
      const children = await childrenOf(t, daemon.pid);
      const writer = spawn('python3', ['-c', WRITER, `${point}/unfinished`], { stdio: ['ignore', 'pipe', 'ignore'] });
      t.teardown(() => writer.kill('SIGKILL'));
      let written = 0;
      writer.stdout.setEncoding('utf8').on('data', (text: string) => {
        written = Number(text.trim().split('\n').at(-1));
      });
      await until('something is confirmed and more is written', () => written > 20);
      for (const pid of children) process.kill(pid, 'SIGSTOP');
      const before = written;
      // Or one write waits for its answer, which is as well.
      await until('more is written', () => written > before + 5, 500).catch(() => undefined);

      const startMs = Date.now();
      daemon.signal('SIGTERM');
      t.is(await daemon.exited, 1, daemon.output.text);
      t.log(`ended after ${Date.now() - startMs} ms`);
      t.regex(daemon.output.text, /^gfs-mount: the mount ended while written bytes were not acknowledged.*inode \d+/m);
      if (kind === 'native') t.regex(daemon.output.text, /not acknowledged.*: unfinished, inode/);
      t.false(children.some(isAlive));

      const again = await Daemon.start('gfs-mount', ['-f', '--fuse', kind, '--data', data, point]);
      t.teardown(() => again.daemon.stop('SIGKILL'));
      const sizeBytes = Number(await must(t, `cat ${point}/unfinished | wc -c`));
      t.is(sizeBytes % 4_096, 0, 'what was not acknowledged stands whole or not at all');
      t.true(sizeBytes >= 20 * 4_096);
      await must(t, `fusermount -u ${point}`);
      t.is(await again.daemon.exited, 0, again.daemon.output.text);
    },
  );
}

test.serial('a child of the embedded cluster that dies is started again, and the mount goes on', async t => {
  const { mount, point } = embedded(t);
  const { pids } = await mount('--op-timeout', '25s');
  await must(t, `echo one > ${point}/f`);

  for (const pid of pids.slice(1)) process.kill(pid, 'SIGKILL');
  await until(
    'appending works again',
    async () => (await shell(`echo two >> ${point}/g`, { timeoutMs: 40_000 })).code === 0,
    60_000,
  );

  t.is(await must(t, `cat ${point}/f`), 'one\n');
});

test.serial('a mount point left dead by a killed process is cleaned and used again', async t => {
  const { mount, point } = embedded(t);
  const { pids, mountPid } = await mount();
  await must(t, `echo kept > ${point}/f`);
  process.kill(mountPid, 'SIGKILL');
  for (const pid of pids) await gone(pid);
  t.regex((await shell(`ls ${point}`)).stderr, /Transport endpoint is not connected/);

  await mount();

  t.is(await must(t, `cat ${point}/f`), 'kept\n');
});

test.serial('a mount point whose server stands still is refused as in use, and not waited for', async t => {
  const { mount, data, point } = embedded(t);
  const { mountPid } = await mount();
  process.kill(mountPid, 'SIGSTOP');
  t.teardown(() => isAlive(mountPid) && process.kill(mountPid, 'SIGCONT'));

  const refused = await program('gfs-mount', ['--data', `${data}-other`, point], { timeoutMs: 30_000 });

  t.is(refused.code, 1);
  t.regex(refused.stderr, /mount point .* is in use/);
  t.false(fs.existsSync(`${data}-other`));
  process.kill(mountPid, 'SIGCONT');
  await must(t, `echo x > ${point}/f; fusermount -u ${point}`);
});

test.serial('scripts/mount.sh mounts, and a second call neither installs nor builds', async t => {
  const { data, point } = embedded(t);
  const first = await shell(`scripts/mount.sh --data ${data} ${point}`, { timeoutMs: 170_000 });
  t.is(first.code, 0, first.stderr + first.stdout);
  await must(t, `echo x > ${point}/f; fusermount -u ${point}`);
  await until('the port of call is free', async () => (await shell(`mountpoint -q ${point}`)).code !== 0);
  await until('the data directory is free', async () => (await shell(`pgrep -f ${data}`)).code !== 0);

  const second = await shell(`scripts/mount.sh --data ${data} ${point}`, { timeoutMs: 60_000 });
  t.is(second.code, 0, second.stderr + second.stdout);
  t.notRegex(second.stdout + second.stderr, /npm|building|installing/i);
  t.is(await must(t, `cat ${point}/f`), 'x\n');
  await must(t, `fusermount -u ${point}`);
  await until('everything ended', async () => (await shell(`pgrep -f ${data}`)).code !== 0);
});

test.serial('with -o ro writing is refused', async t => {
  const { mount, point } = embedded(t);
  await mount('-o', 'ro');
  t.regex((await shell(`echo x > ${point}/f`)).stderr, /Read-only file system/);
});

test.serial('df of the embedded cluster is true: three copies go to one file system', async t => {
  const { mount, point, data } = embedded(t);
  await mount();
  const bytesFree = (of: string): number => {
    const { bavail, bsize } = fs.statfsSync(of);
    return bavail * bsize;
  };
  const reserveBytes = 16 * 2 ** 20;
  // Others may write to the disk meanwhile.
  const isTrue = (): boolean =>
    Math.abs(3 * bytesFree(point) - (bytesFree(data) - reserveBytes)) < Math.max(64 * 2 ** 20, bytesFree(data) / 50);
  await until('df tells what the disk has', isTrue, 10_000);

  await must(t, `head -c 8000000 /dev/zero > ${point}/f && sync ${point}/f`);

  const isUsed = (): boolean => {
    const { blocks, bfree, bsize } = fs.statfsSync(point);
    const usedBytes = (blocks - bfree) * bsize;
    return usedBytes >= 8_000_000 && usedBytes < 8_200_000;
  };
  await until('df tells what the file takes', isUsed, 10_000);
});
