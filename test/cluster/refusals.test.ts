// What goes wrong at the start of programs and with too few servers: each ends with one line that says what to do, none hangs, none makes anything.
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Cluster, until } from './cluster.js';
import { Daemon, folder, must, program, type ShellResult, shell } from './processes.js';

/** One line on standard error that matches, and this exit code. */
function refused(t: ExecutionContext, result: ShellResult, code: number, message: RegExp): void {
  t.is(result.code, code, result.stderr);
  t.regex(result.stderr, message);
  t.is(result.stderr.trim().split('\n').length, 1, result.stderr);
  t.notRegex(result.stderr, /^\s+at /m);
}

test('wrong usage exits 2 with one line naming option and value, and creates nothing', async t => {
  const data = path.join(folder(t), 'data');
  const cases: Array<[Parameters<typeof program>[0], string[], RegExp]> = [
    ['gfs-master', ['format', '--data', data, '--chunk-size', '0'], /--chunk-size.*\b0\b/],
    ['gfs-master', ['format', '--data', data, '--chunk-size', '-1'], /--chunk-size.*-1/],
    ['gfs-master', ['format', '--data', data, '--chunk-size', 'abc'], /--chunk-size.*abc/],
    ['gfs-master', ['format', '--data', data, '--replicas', '0'], /--replicas.*\b0\b/],
    ['gfs-master', ['format'], /--data/],
    ['gfs-master', ['serve', '--data', data, '--listen', '127.0.0.1:70000'], /--listen.*70000/],
    ['gfs-master', ['serve', '--data', data, '--secret-file', '/nowhere/secret'], /--secret-file.*\/nowhere\/secret/],
    ['gfs-chunkserver', ['serve', '--data', data, '--master', '127.0.0.1:70000'], /--master.*70000/],
    [
      'gfs-chunkserver',
      ['serve', '--data', data, '--master', '127.0.0.1:9400', '--heartbeat', 'soon'],
      /--heartbeat.*soon/,
    ],
    ['gfs-mount', ['--master', 'nonsense', data], /--master.*nonsense/],
    ['gfs-mount', ['-o', 'sideways', data], /sideways/],
    ['gfs-mount', [], /MOUNTPOINT/i],
    ['gfs', ['frobnicate'], /frobnicate/],
  ];
  for (const [name, args, message] of cases) refused(t, await program(name, args), 2, message);
  t.false(fs.existsSync(data));
});

test('a data directory that is a file is refused by name', async t => {
  const file = path.join(folder(t), 'file');
  fs.writeFileSync(file, 'not a directory');
  for (const [name, args] of [
    ['gfs-master', ['format', '--data', file]],
    ['gfs-master', ['serve', '--data', file]],
    ['gfs-chunkserver', ['serve', '--data', file, '--master', '127.0.0.1:9400']],
  ] as const) {
    const result = await program(name, [...args]);
    refused(t, result, 2, new RegExp(file));
  }
  t.is(fs.readFileSync(file, 'utf8'), 'not a directory');
});

test('a master never starts on an empty directory by surprise', async t => {
  const data = folder(t);
  refused(t, await program('gfs-master', ['serve', '--data', data, '--listen', '127.0.0.1:0']), 1, /gfs-master format/);
  t.deepEqual(fs.readdirSync(data), []);
});

test('a second format of the same directory is refused', async t => {
  const data = path.join(folder(t), 'm');
  t.is((await program('gfs-master', ['format', '--data', data])).code, 0);
  refused(t, await program('gfs-master', ['format', '--data', data]), 1, new RegExp(data));
});

test.serial(
  'a second master on the same directory, a port in use and a chunkserver of another cluster are refused',
  async t => {
    const cluster = await Cluster.start(t, { servers: 1, minReplicas: 1, replicas: 1 });
    refused(
      t,
      await program('gfs-master', ['serve', '--data', cluster.masterData, '--listen', '127.0.0.1:0']),
      1,
      /in use|another process/i,
    );

    const other = path.join(cluster.folder, 'other');
    t.is((await program('gfs-master', ['format', '--data', other])).code, 0);
    refused(
      t,
      await program('gfs-master', ['serve', '--data', other, '--listen', cluster.masterAddress]),
      1,
      /port|in use/i,
    );

    const { daemon, ready } = await Daemon.start('gfs-master', ['serve', '--data', other, '--listen', '127.0.0.1:0']);
    t.teardown(() => daemon.stop('SIGKILL'));
    const address = /([\d.]+:\d+)/.exec(ready)![1]!;
    await cluster.servers[0]!.daemon.stop();
    const foreign = await program(
      'gfs-chunkserver',
      ['serve', '--data', cluster.servers[0]!.data, '--master', address, '--listen', '127.0.0.1:0'],
      { timeoutMs: 20_000 },
    );
    refused(t, foreign, 1, /cluster/i);
  },
);

test.serial('gfs-mount says so and exits within five seconds when there is no master', async t => {
  const place = folder(t);
  const started = Date.now();
  refused(t, await program('gfs-mount', ['--master', '127.0.0.1:9', place], { timeoutMs: 8000 }), 1, /127\.0\.0\.1:9/);
  t.true(Date.now() - started < 8000);
});

test.serial('a mount point that is missing, no directory or in use is refused by name', async t => {
  const cluster = await Cluster.start(t);
  const missing = path.join(cluster.folder, 'missing');
  const file = path.join(cluster.folder, 'file');
  fs.writeFileSync(file, '');
  refused(
    t,
    await program('gfs-mount', ['--master', cluster.masterAddress, missing]),
    1,
    new RegExp(`${missing}.*(exist|mkdir)`),
  );
  refused(t, await program('gfs-mount', ['--master', cluster.masterAddress, file]), 1, new RegExp(`${file}.*director`));
  const point = await cluster.mount();
  refused(
    t,
    await program('gfs-mount', ['--master', cluster.masterAddress, point]),
    1,
    new RegExp(`${point}.*(in use|mounted)`),
  );
  t.is(await must(t, `echo still > ${point}/f; cat ${point}/f`), 'still\n');
});

test.serial('without /dev/fuse gfs-mount says what is missing', async t => {
  const cluster = await Cluster.start(t, { servers: 1, minReplicas: 1, replicas: 1 });
  const place = folder(t);
  // A mount namespace of its own in which /dev has no fuse; skipped where the machine does not allow that.
  const probe = await shell('unshare -m true');
  if (probe.code !== 0) {
    t.log('skipped: this machine does not allow unshare -m');
    return t.pass();
  }
  const result = await shell(
    `unshare -m bash -c 'mount -t tmpfs none /dev && mknod /dev/null c 1 3 && mknod /dev/urandom c 1 9 && exec ${process.execPath} bin/gfs-mount.js --master ${cluster.masterAddress} ${place}'`,
    { timeoutMs: 20_000 },
  );
  return refused(t, result, 1, /\/dev\/fuse/);
});

test.serial('with too few chunkservers up writing ends with a clear error and reading goes on', async t => {
  const cluster = await Cluster.start(t, { master: ['--lease', '1s', '--dead-after', '1s'] });
  const point = await cluster.mount({ args: ['--op-timeout', '8s'] });
  await must(t, `echo content > ${point}/f`);
  await Promise.all([cluster.servers[0]!.daemon.stop('SIGKILL'), cluster.servers[1]!.daemon.stop('SIGKILL')]);
  await until(
    'two servers are down',
    async () =>
      (await cluster.json<{ servers: Array<{ state: string }> }>('report')).servers.filter(
        server => server.state === 'down',
      ).length === 2,
  );

  const failed = await shell(`echo more > ${point}/g`, { timeoutMs: 30_000 });
  t.not(failed.code, 0);
  t.regex(failed.stderr, /Read-only file system|Input\/output error|timed out/);
  t.is(await must(t, `cat ${point}/f`), 'content\n');

  await Promise.all([cluster.startServer(0), cluster.startServer(1)]);
  await until('writing works again', async () => (await shell(`echo more > ${point}/h`)).code === 0);
  t.is(await must(t, `cat ${point}/h`), 'more\n');
});

test.serial('hostile bytes on the ports of both servers: closed, one log line, the server lives', async t => {
  const cluster = await Cluster.start(t);
  const hostile = [
    Buffer.from('GET / HTTP/1.0\r\n\r\n'.repeat(5)),
    Buffer.alloc(100, 0xff),
    Buffer.concat([Buffer.from([0x47, 0x46, 1, 4]), Buffer.alloc(28, 0xee)]),
  ];
  for (const address of [cluster.masterAddress, cluster.servers[0]!.address]) {
    const [host, port] = address.split(':') as [string, string];
    for (const bytes of hostile) {
      const socket = net.connect(Number(port), host);
      socket.on('error', () => undefined).resume();
      socket.write(bytes);
      await new Promise(resolve => socket.once('close', resolve));
    }
    // A greeting that is cut off: the connection just ends.
    const cut = net.connect(Number(port), host);
    cut.on('error', () => undefined);
    cut.end(Buffer.from([0x47, 0x46, 1]));
    await new Promise(resolve => cut.resume().once('close', resolve));
  }
  for (const daemon of [cluster.master, cluster.servers[0]!.daemon]) {
    t.is(daemon.child.exitCode, null);
    const closings = (): number => daemon.output.text.split('\n').filter(line => line.includes('BAD_MESSAGE')).length;
    await until(`${daemon.name} wrote its lines`, () => closings() >= hostile.length);
    t.is(closings(), hostile.length);
  }
  const point = await cluster.mount();
  t.is(await must(t, `echo alive > ${point}/f; cat ${point}/f`), 'alive\n');
});
