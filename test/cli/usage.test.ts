// Command lines as people type them: exit codes, one line on standard error that names option and value, nothing made.
import fs from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { folder, program } from '../cluster/processes.js';

type Name = Parameters<typeof program>[0];

async function refused(t: ExecutionContext, name: Name, args: string[], message: RegExp): Promise<void> {
  const { code, stdout, stderr } = await program(name, args, { env: { GFS_MASTER: undefined, GFS_DEBUG: undefined } });
  const shown = `${name} ${args.join(' ')}: ${stderr}`;
  t.is(code, 2, shown);
  t.is(stdout, '', shown);
  t.regex(stderr, message);
  t.regex(stderr, new RegExp(`^${name}: [^\\n]+\\n$`));
}

test('every program explains itself with --help and says its version', async t => {
  for (const name of ['gfs', 'gfs-mount', 'gfs-master', 'gfs-chunkserver'] as const) {
    const help = await program(name, ['--help']);
    t.is(help.code, 0);
    t.regex(help.stdout, /^Usage: /);
    t.regex(help.stdout, /Example/);
    t.regex((await program(name, ['--version'])).stdout, /^\d+\.\d+\.\d+\n$/);
  }
});

test('settings of gfs-mount are checked before anything happens', async t => {
  const data = path.join(folder(t), 'data');
  const point = folder(t);

  await refused(t, 'gfs-mount', ['--data', data, '--op-timeout', '0', point], /--op-timeout 0: /);
  await refused(
    t,
    'gfs-mount',
    ['--data', data, '--write-buffer', 'much', point],
    /--write-buffer much: is not a size/,
  );
  await refused(t, 'gfs-mount', ['--data', data, '--fuse', 'magic', point], /--fuse magic: .*native/);
  await refused(t, 'gfs-mount', ['--data', data, '-o', 'ro,bogus', point], /-o bogus: /);
  await refused(t, 'gfs-mount', ['--data', data, '--chunk-size', '1', point], /--chunk-size 1: is too small/);
  await refused(t, 'gfs-mount', ['--data', data, '--secret-file', '/nowhere', point], /--secret-file \/nowhere: /);
  await refused(t, 'gfs-mount', ['--data', data, '--pid-file', '/nowhere/pid', point], /--pid-file \/nowhere\/pid: /);
  await refused(t, 'gfs-mount', ['--data', data, '--master', '127.0.0.1:1', point], /--data .*--master/);
  await refused(t, 'gfs-mount', ['--data', data, '--bogus', point], /--bogus/);

  t.false(fs.existsSync(data));
});

test('settings of a cluster are checked before it is made', async t => {
  const data = path.join(folder(t), 'data');

  await refused(
    t,
    'gfs-master',
    ['format', '--data', data, '--replicas', '2', '--min-replicas', '3'],
    /--min-replicas 3: /,
  );
  await refused(t, 'gfs-master', ['format', '--data', data, '--replicas', '-1'], /--replicas -1: /);
  await refused(t, 'gfs-master', ['format', '--data', data, '--chunk-size', '1TiB'], /--chunk-size 1TiB: is too large/);
  await refused(t, 'gfs-master', ['serve', '--data', data, '--lease', '1'], /--lease 1: /);
  await refused(t, 'gfs-master', ['serve', '--data', data, '--log-level', 'loud'], /--log-level loud: /);
  await refused(t, 'gfs-master', [], /command is missing/);

  t.false(fs.existsSync(data));
});

test('limits of connections and messages are checked like all settings', async t => {
  const data = path.join(folder(t), 'data');
  for (const name of ['gfs-master', 'gfs-chunkserver'] as const) {
    const serve = ['serve', '--data', data];
    await refused(t, name, [...serve, '--connections-max', '0'], /--connections-max 0: is too small/);
    await refused(t, name, [...serve, '--idle-timeout', '1ms'], /--idle-timeout 1ms: is too small, at least 1s/);
    await refused(t, name, [...serve, '--frame-timeout', 'soon'], /--frame-timeout soon: is not a duration/);
    await refused(t, name, [...serve, '--frame-size', '1GiB'], /--frame-size 1GiB: is too large/);
  }
  await refused(t, 'gfs', ['--op-timeout', '1ms', 'ls', '/'], /--op-timeout 1ms: is too small/);
  await refused(t, 'gfs', ['ls', '/', '--op-timeout', 'soon'], /--op-timeout soon: is not a duration/);

  t.false(fs.existsSync(data));
});

test('an empty secret is no secret', async t => {
  const file = path.join(folder(t), 'secret');
  fs.writeFileSync(file, '\n');

  await refused(
    t,
    'gfs-chunkserver',
    ['serve', '--data', '/nowhere', '--secret-file', file],
    /--secret-file .*: is empty/,
  );
});

test('gfs refuses unknown commands, missing arguments and paths that do not start at the root', async t => {
  await refused(t, 'gfs', ['frobnicate'], /frobnicate/);
  await refused(t, 'gfs', ['cat'], /PATH/);
  await refused(t, 'gfs', ['ls', 'relative'], /relative: a path in the file system starts with \//);
  await refused(t, 'gfs', ['rm', '-r', '/a/..'], /root directory/);
  await refused(t, 'gfs', ['lock', '/f', '--wait', 'soon'], /--wait soon: /);
  await refused(t, 'gfs', ['--master', '127.0.0.1', 'ls', '/'], /--master 127\.0\.0\.1: /);
});

test("operators' commands check what is asked before they ask a master", async t => {
  await refused(t, 'gfs', ['drain'], /SERVER/);
  await refused(t, 'gfs', ['safemode', 'maybe'], /maybe.*get, enter, leave/);
  await refused(t, 'gfs', ['trash', 'empty'], /empty.*ls, restore, purge/);
  await refused(t, 'gfs', ['trash', 'restore'], /FILE: /);
  await refused(t, 'gfs', ['trash', 'purge'], /FILE: .*--all/);
  await refused(t, 'gfs', ['trash', 'ls', '--to', '/f'], /--to: belongs to restore/);
  await refused(t, 'gfs', ['setrep', '0', '/f'], /0: is not a number of copies, 1 to 10/);
  await refused(t, 'gfs', ['setrep', '2', 'f'], /f: a path in the file system starts with \//);
  await refused(t, 'gfs', ['fsck', 'relative'], /relative: a path in the file system starts with \//);
  await refused(t, 'gfs', ['recover', '--accept-suspect'], /give FILE with it/);
  await refused(t, 'gfs', ['recover', '/f', '--accept-old-metadata'], /give no FILE with it/);
  await refused(t, 'gfs', ['forget'], /SERVER/);
  await refused(t, 'gfs', ['trash', 'purge', '-r', '/d'], /--recursive: belongs to restore/);
  await refused(t, 'gfs', ['trash', 'restore', '-r', '/d', '--to', '/e'], /--to: takes one file/);
});

test('inspecting refuses what is no data of a server, and makes nothing', async t => {
  const data = path.join(folder(t), 'data');

  await refused(t, 'gfs-master', ['inspect', '--data', data, '--list', 'all'], /--list all: is not one of names/);
  await refused(t, 'gfs-chunkserver', ['inspect', '--data', data, 'xyz'], /xyz: is no handle of a chunk/);
  const master = await program('gfs-master', ['inspect', '--data', data]);
  t.is(master.code, 1);
  t.regex(master.stderr, /^gfs-master: [^\n]*holds no cluster[^\n]*\n$/);
  const server = await program('gfs-chunkserver', ['inspect', '--data', data]);
  t.is(server.code, 1);
  t.regex(server.stderr, /^gfs-chunkserver: [^\n]*is no data directory of a chunkserver[^\n]*\n$/);

  t.false(fs.existsSync(data));
});

test('without a master gfs ends with 1 and names the address', async t => {
  const { code, stderr } = await program('gfs', ['--master', '127.0.0.1:9', 'ls', '/']);

  t.is(code, 1);
  t.regex(stderr, /^gfs: [^\n]*127\.0\.0\.1:9[^\n]*\n$/);
});

test('a mount point that does not exist is refused before the embedded cluster is made', async t => {
  const base = folder(t);
  const { code, stderr } = await program('gfs-mount', ['--data', path.join(base, 'data'), path.join(base, 'missing')]);

  t.is(code, 1);
  t.regex(stderr, /^gfs-mount: [^\n]*missing does not exist[^\n]*mkdir[^\n]*\n$/);
  t.deepEqual(fs.readdirSync(base), []);
});
