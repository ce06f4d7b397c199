// flock(1) and fcntl(2) locks hold across mounts (issue 5): the master keeps them; those of a mount that was killed end with its session.
import { spawn } from 'node:child_process';
import test, { type ExecutionContext } from 'ava';
import { kernelTransportProblem } from '../../src/mount/kernel/transport.js';
import { Cluster, gone, until } from './cluster.js';
import { must, shell } from './processes.js';

// fuse-native passes no locks on; the kernel transport needs root.
const kernelTest = kernelTransportProblem() === undefined ? test.serial : test.serial.skip;
/** Long enough for one look at the lock on a busy machine. */
const TTL_MS = 5000;

async function twoMounts(t: ExecutionContext): Promise<{ cluster: Cluster; one: string; two: string }> {
  const master = ['--lease', '2s', '--dead-after', '2s', '--session-ttl', `${TTL_MS}ms`];
  const cluster = await Cluster.start(t, { servers: 2, minReplicas: 1, master });
  const args = ['--fuse', 'kernel'];
  const [one, two] = [await cluster.mount({ args }), await cluster.mount({ args })];
  await must(t, `touch ${one}/f`);
  return { cluster, one, two };
}

/** A process that holds the lock until it is killed; settles once it has it. */
async function hold(t: ExecutionContext, file: string): Promise<{ pid: number; release(): void }> {
  const child = spawn('flock', [file, 'sh', '-c', 'echo held; exec sleep 100'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  });
  const release = (): void => {
    try {
      process.kill(-child.pid!, 'SIGKILL');
    } catch (error) {
      // It ended before.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  };
  t.teardown(release);
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve());
    child.once('close', code => reject(new Error(`flock ended with ${code}`)));
  });
  return { pid: child.pid!, release };
}

// One cluster for all of it: starting one takes longer than the locks do.
kernelTest(
  'locks of two mounts: flock excludes, waits and shares, fcntl ranges exclude where they overlap',
  async t => {
    const { one, two } = await twoMounts(t);
    const holder = await hold(t, `${one}/f`);
    t.is((await shell(`flock -n -E 77 ${two}/f true`)).code, 77);
    t.is((await shell(`flock -w 0.3 -E 77 ${two}/f true`)).code, 77);
    const waiting = must(t, `flock ${two}/f echo got it`);
    holder.release();
    t.is(await waiting, 'got it\n');
    t.is((await shell(`flock -n -E 77 ${one}/f true`)).code, 0);

    const sharing = `flock -s ${one}/f sh -c 'flock -s -n ${two}/f echo shared; flock -x -n -E 77 ${two}/f true || echo $?'`;
    t.is(await must(t, sharing), 'shared\n77\n');

    const ranges = `
import fcntl, os, sys
a = os.open(sys.argv[1], os.O_RDWR)
fcntl.lockf(a, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 0)
b = os.open(sys.argv[2], os.O_RDWR)
fcntl.lockf(b, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 5); print("beside")
try: fcntl.lockf(b, fcntl.LOCK_EX | fcntl.LOCK_NB, 2, 4); print("over")
except OSError as error: print("refused")
`;
    t.is(await must(t, `python3 - ${one}/f ${two}/f <<'P'\n${ranges}\nP`), 'beside\nrefused\n');
  },
);

kernelTest('the lock of a mount that was killed stands for its time to live, and is free after it', async t => {
  const { cluster, one, two } = await twoMounts(t);
  const holder = await hold(t, `${one}/f`);
  const pid = cluster.mountPid(one);
  process.kill(pid, 'SIGKILL');
  await gone(pid);

  // Its session is not over yet: for the master it may be slow only.
  t.is((await shell(`flock -n -E 77 ${two}/f true`)).code, 77);
  t.is(await must(t, `flock -w 60 ${two}/f echo free`), 'free\n');
  holder.release();
});

kernelTest(
  'a lock outlives the kill and restart of the master: it excludes all the while, and goes to the next when it is given up',
  async t => {
    const { cluster, one, two } = await twoMounts(t);
    const holder = await hold(t, `${one}/f`);
    // Deleted while open, the file is there for its holder.
    await must(t, `echo kept > ${one}/open`);
    const reader = spawn('sh', ['-c', `exec 3< ${one}/open; rm ${one}/open; echo open; read go; cat <&3`], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    t.teardown(() => reader.kill('SIGKILL'));
    let seen = '';
    reader.stdout.setEncoding('utf8').on('data', text => {
      seen += text;
    });
    await until('the file is deleted', () => seen.includes('open'));

    for (let i = 0; i < 2; i++) {
      await cluster.master.kill();
      await cluster.startMaster();
      t.is((await shell(`flock -n -E 77 ${two}/f true`)).code, 77);
    }
    const waiting = must(t, `flock ${two}/f echo got it`);
    t.is((await shell(`flock -w 0.3 -E 77 ${two}/f true`)).code, 77);
    holder.release();
    t.is(await waiting, 'got it\n');

    reader.stdin.end('go\n');
    await until('its bytes are read', () => seen.includes('kept'));
  },
);
