// The embedded cluster on a disk that something else fills up to the last byte: its master and its three chunkservers all lack room at the same time.
// What is there is read, what is new gets ENOSPC, and with room again everything goes on, without a remount and with the same processes (FAULTS 9, 11).
import fs from 'node:fs';
import path from 'node:path';
import { isAlive, until } from './cluster.js';
import { checkLines, startWriter } from './lines.js';
import { mountProblem, testUnless } from './needs.js';
import { folder, must, program, type ShellResult, shell } from './processes.js';

const mountTest = testUnless(await mountProblem());
const FILES = 20;

mountTest(
  'all of the embedded cluster on one full disk: reads go on, changes get ENOSPC, and all goes on when there is room',
  async t => {
    t.timeout(300_000);
    const base = folder(t);
    const point = path.join(base, 'mnt');
    const disk = path.join(base, 'disk');
    fs.mkdirSync(point);
    fs.mkdirSync(disk);
    await must(t, `mount -t tmpfs -o size=160M none ${disk}`);
    t.teardown(async () => void (await shell(`umount -l ${disk}`)));
    const pidFile = path.join(base, 'pid');
    t.teardown(async () => {
      const pid = Number(fs.readFileSync(pidFile, 'utf8'));
      await shell(`mountpoint -q ${point} && umount -l ${point}`);
      await until('the mount is gone', () => !isAlive(pid));
    });
    const mounted = await program('gfs-mount', [
      '--data',
      `${disk}/data`,
      '--pid-file',
      pidFile,
      '--op-timeout',
      '8s',
      point,
    ]);
    t.is(mounted.code, 0, mounted.stderr);
    const mountPid = fs.readFileSync(pidFile, 'utf8').trim();
    const processes = async (): Promise<string> =>
      `${mountPid} ${await must(t, `cat /proc/${mountPid}/task/*/children`)}`;
    const pids = await processes();
    const at = (script: string): Promise<ShellResult> => shell(`cd ${point} && ${script}`, { timeoutMs: 30_000 });
    await must(
      t,
      `cd ${point} && for i in $(seq ${FILES}); do head -c 100000 /dev/zero | tr '\\0' "\\\\$(printf %o $((64 + i)))" > old$i; done`,
    );
    const writer = startWriter(t, `${point}/lines`, 'w', base);
    await until('lines are appended', () => fs.readFileSync(writer.log, 'utf8').split('\n').length > 20);

    /** The mount's own cache must not answer: each file is looked at once in each round by another name. */
    const readAll = async (round: string, count: number): Promise<void> => {
      for (let i = 1; i <= count; i++) {
        const read = await at(`cat old${i} | tr -d '${String.fromCharCode(64 + i)}' | wc -c && wc -c < old${i}`);
        t.is(read.stdout, '0\n100000\n', `${round}, old${i}: ${read.stderr}`);
      }
    };
    let number = 0;
    let refused: ShellResult | undefined;
    await until(
      'a change of names finds no room',
      async () => {
        await shell(`dd if=/dev/zero bs=4k >> ${disk}/filler`);
        const made = await at(`mkdir made${++number}`);
        if (made.code !== 0) refused = made;
        return made.code !== 0;
      },
      60_000,
    );
    t.regex(refused!.stderr, /No space left on device/);
    await readAll('full', FILES / 2);
    const listed = await at('ls');
    t.regex(listed.stdout, /old1\n/);
    t.regex((await at('echo more > new')).stderr, /No space left on device/);
    t.regex((await at('rm old1')).stderr, /No space left on device/);
    await readAll('still full', FILES);

    fs.rmSync(`${disk}/filler`);
    await until('names are changed again', async () => (await at(`mkdir again${++number}`)).code === 0, 30_000);
    await until('new files are written', async () => (await at('echo more > new')).code === 0, 30_000);
    const before = fs.readFileSync(writer.log, 'utf8').split('\n').length;
    await until(
      'lines are appended again',
      () => fs.readFileSync(writer.log, 'utf8').split('\n').length > before + 10,
      40_000,
    );

    t.is(await processes(), pids, 'nothing was started again');
    await readAll('well', FILES);
    t.is((await at('cat new')).stdout, 'more\n');
    const account = await writer.stop();
    t.log(`errors ${JSON.stringify(account.errors)}, longest ${account.longestStallMs} ms`);
    t.log(`${checkLines((await at('cat lines')).stdout, [writer])} lines`);
    const master = fs.readFileSync(`${disk}/data/master-address`, 'utf8').trim();
    let found = '';
    const isClean = async (): Promise<boolean> => {
      const fsck = await program('gfs', ['--master', master, 'fsck']);
      found = fsck.stdout + fsck.stderr;
      return fsck.code === 0;
    };
    await until('fsck finds all well', isClean, 120_000).catch(error => t.fail(`${error.message}\n${found}`));
  },
);
