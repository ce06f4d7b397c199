// What goes wrong at the start of programs and with too few servers: each ends with one line that says what to do, none hangs, none makes anything.
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { CONNECT_MS_MAX } from '../../src/cli/connect.js';
import { encodeFrame, FRAME, type FrameType } from '../../src/protocol/frame.js';
import { MESSAGES } from '../../src/protocol/messages.js';
import { encodeBody } from '../../src/protocol/wire-values.js';
import { Cluster, until } from './cluster.js';
import { mountNamespaceProblem, mountProblem, testUnless } from './needs.js';
import { Daemon, folder, must, program, type ShellResult, shell } from './processes.js';

const namespaceTest = testUnless(await mountNamespaceProblem());
const mountTest = testUnless(await mountProblem());

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

mountTest('a data directory that cannot be written is refused by name, and not taken for a damaged one', async t => {
  const cluster = await Cluster.start(t, { servers: 1, minReplicas: 1, replicas: 1 });
  // Read-only for root as well, which permissions do not stop.
  const place = path.join(cluster.folder, 'read-only');
  fs.mkdirSync(place);
  await must(t, `mount --bind ${cluster.folder} ${place} && mount -o remount,bind,ro ${place}`);
  t.teardown(async () => void (await shell(`umount -l ${place}`)));
  const mounted = folder(t);
  await cluster.servers[0]!.daemon.stop();
  await cluster.master.stop();
  const serve = ['--master', cluster.masterAddress, '--listen', '127.0.0.1:0'];

  for (const [name, args, data] of [
    ['gfs-master', ['format'], `${place}/new`],
    ['gfs-master', ['format'], '/proc/gfs'],
    ['gfs-master', ['serve', '--listen', '127.0.0.1:0'], `${place}/master`],
    ['gfs-chunkserver', ['serve', ...serve], `${place}/new`],
    ['gfs-chunkserver', ['serve', ...serve], `${place}/c0`],
    ['gfs-chunkserver', ['serve', ...serve], '/proc/gfs'],
    ['gfs-mount', [mounted], `${place}/new`],
    ['gfs-mount', ['-f', mounted], '/proc/gfs'],
  ] as const) {
    const result = await program(name, [...args, '--data', data], { timeoutMs: 20_000 });
    refused(t, result, 1, new RegExp(`${data}.*(read-only|EROFS|ENOENT)`));
    t.notRegex(result.stderr, /damaged|move it away|holds no cluster/);
  }
  const pidFile = `${place}/pid`;
  refused(
    t,
    await program('gfs-mount', ['--data', `${mounted}/data`, '--pid-file', pidFile, mounted]),
    2,
    /--pid-file/,
  );
  t.deepEqual(fs.readdirSync(mounted), []);
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

    const taken = ['--master', cluster.masterAddress, '--listen', cluster.servers[0]!.address];
    const second = path.join(cluster.folder, 'second');
    refused(t, await program('gfs-chunkserver', ['serve', '--data', second, ...taken]), 1, /:\d+: the port is in use/);
    const { servers } = await cluster.json<{ servers: Array<{ address: string; state: string }> }>('report');
    t.like(servers, [{ address: cluster.servers[0]!.address, state: 'up' }]);
    t.is(servers.length, 1);

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

test.serial(
  'gfs-mount says so and exits within five seconds when there is no master, or one that does not answer',
  async t => {
    const place = folder(t);
    const silent = net.createServer(socket => socket.on('error', () => undefined).resume());
    await new Promise<void>(resolve => silent.listen(0, '127.0.0.1', resolve));
    t.teardown(() => silent.close());
    t.true(CONNECT_MS_MAX < 5_000);

    const { port } = silent.address() as net.AddressInfo;
    for (const address of ['127.0.0.1:9', `127.0.0.1:${port}`])
      refused(
        t,
        await program('gfs-mount', ['--master', address, place], { timeoutMs: 25_000 }),
        1,
        new RegExp(address),
      );
  },
);

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

namespaceTest('without /dev/fuse gfs-mount says what is missing', async t => {
  const cluster = await Cluster.start(t, { servers: 1, minReplicas: 1, replicas: 1 });
  const place = folder(t);
  // A mount namespace of its own in which /dev has no fuse.
  const result = await shell(
    `unshare -m bash -c 'mount -t tmpfs none /dev && mknod /dev/null c 1 3 && mknod /dev/urandom c 1 9 && exec ${process.execPath} bin/gfs-mount.js --master ${cluster.masterAddress} ${place}'`,
    { timeoutMs: 20_000 },
  );
  refused(t, result, 1, /\/dev\/fuse/);
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

function frame(type: number, kind: number, body: Buffer, payload: Buffer = Buffer.alloc(0)): Buffer {
  return Buffer.concat(encodeFrame({ type: type as FrameType, kind, callId: 1, waitMs: 0, body, payload: [payload] }));
}

test.serial('hostile bytes on the ports of both servers: closed, one log line, the server lives', async t => {
  const cluster = await Cluster.start(t);
  const nonce = Buffer.alloc(16);
  const hello = frame(FRAME.hello, 0, encodeBody({ version: 1, role: 'client', clusterId: '', nonce }));
  const call = frame(FRAME.request, MESSAGES.keepSession.number, encodeBody({ session: '0'.repeat(16) }));
  const damaged = Buffer.from(call);
  damaged[9]! ^= 1;
  const tooMuch = frame(FRAME.oneWay, MESSAGES.push.number, call, Buffer.alloc((64 << 20) + 1));
  const garbage = {
    'no frames at all': Buffer.from('GET / HTTP/1.0\r\n\r\n'.repeat(5)),
    'nothing but ones': Buffer.alloc(100, 0xff),
    'a header with a wrong checksum': Buffer.concat([Buffer.from([0x47, 0x46, 1, 4]), Buffer.alloc(28, 0xee)]),
    'a call before the greeting': call,
    'a greeting that is too long': frame(FRAME.hello, 0, Buffer.alloc(5000)),
    'garbage after a greeting': Buffer.concat([hello, Buffer.alloc(100, 0xee)]),
    'a damaged call after a greeting': Buffer.concat([hello, damaged]),
    'a body that is too long': Buffer.concat([hello, frame(FRAME.request, 2, Buffer.alloc((1 << 20) + 1))]),
    'a payload that is too long': Buffer.concat([hello, tooMuch.subarray(0, 1000)]),
  };
  const truncated = {
    'a cut greeting': hello.subarray(0, 3),
    'a cut header after a greeting': Buffer.concat([hello, call.subarray(0, 20)]),
    'a cut body after a greeting': Buffer.concat([hello, call.subarray(0, -1)]),
  };

  for (const [daemon, address] of [
    [cluster.master, cluster.masterAddress],
    [cluster.servers[0]!.daemon, cluster.servers[0]!.address],
  ] as const) {
    const [host, port] = address.split(':') as [string, string];
    const say = async (what: string, bytes: Buffer, code: string): Promise<void> => {
      const socket = net.connect(Number(port), host);
      socket.on('error', () => undefined).resume();
      await new Promise(resolve => socket.once('connect', resolve));
      const mine = `"remote":"127.0.0.1:${socket.localPort}"`;
      const closed = new Promise(resolve => socket.once('close', resolve));
      // Only a cut message is ended by us.
      if (code === 'CONNECTION_LOST') socket.end(bytes);
      else socket.write(bytes);
      await closed;

      const lines = (): string[] => daemon.output.text.split('\n').filter(line => line.includes(mine));
      await until(`${daemon.name} says something of ${what}`, () => lines().length > 0);
      t.is(lines().length, 1, what);
      t.true(lines()[0]!.includes(code), `${what}: ${lines()[0]}`);
    };
    for (const [what, bytes] of Object.entries(garbage)) await say(what, bytes, 'BAD_MESSAGE');
    for (const [what, bytes] of Object.entries(truncated)) await say(what, bytes, 'CONNECTION_LOST');
    t.is(daemon.child.exitCode, null);
  }
  // No message to the master has a payload, so not even a small one is taken.
  const [host, port] = cluster.masterAddress.split(':') as [string, string];
  const socket = net.connect(Number(port), host);
  socket.on('error', () => undefined).resume();
  socket.write(Buffer.concat([hello, frame(FRAME.request, MESSAGES.keepSession.number, call, Buffer.alloc(1))]));
  await new Promise(resolve => socket.once('close', resolve));

  const point = await cluster.mount();
  t.is(await must(t, `echo alive > ${point}/f; cat ${point}/f`), 'alive\n');
});

test.serial('limits of connections and messages can be set: who does not keep to them is closed', async t => {
  const limits = ['--idle-timeout', '1s', '--frame-timeout', '500ms', '--connections-max', '12'];
  const cluster = await Cluster.start(t, {
    ...{ servers: 1, replicas: 1, minReplicas: 1 },
    master: [...limits, '--frame-size', '512KiB'],
    chunkserver: ['--heartbeat', '300ms', ...limits, '--frame-size', '1MiB'],
  });
  const nonce = Buffer.alloc(16);
  const hello = frame(FRAME.hello, 0, encodeBody({ version: 1, role: 'client', clusterId: '', nonce }));
  const body = frame(FRAME.request, MESSAGES.keepSession.number, Buffer.alloc(513 << 10));
  const payload = frame(FRAME.oneWay, MESSAGES.push.number, hello, Buffer.alloc((1 << 20) + 1));
  const half = frame(FRAME.request, MESSAGES.keepSession.number, hello).subarray(0, -1);

  for (const [daemon, address, large] of [
    [cluster.master, cluster.masterAddress, body],
    [cluster.servers[0]!.daemon, cluster.servers[0]!.address, payload],
  ] as const) {
    const [host, port] = address.split(':') as [string, string];
    /** What the server says of a connection that sends this, once it is closed. */
    const saidOf = async (bytes: Buffer): Promise<string> => {
      const socket = net.connect(Number(port), host);
      t.teardown(() => socket.destroy());
      socket.on('error', () => undefined).resume();
      const ended = new Promise(resolve => socket.once('close', resolve));
      await new Promise(resolve => socket.once('connect', resolve));
      const mine = `"remote":"127.0.0.1:${socket.localPort}"`;
      socket.write(bytes);
      await ended;
      // Its output comes through a pipe.
      await new Promise(resolve => setTimeout(resolve, 100));
      return daemon.output.text.split('\n').find(line => line.includes(mine)) ?? 'nothing';
    };
    t.is(await saidOf(hello), 'nothing');
    t.regex(await saidOf(Buffer.concat([hello, half])), /TIMED_OUT.*500 ms/);
    t.regex(await saidOf(Buffer.concat([hello, large.subarray(0, 1000)])), /BAD_MESSAGE.*over the limit/);
    const said = await Promise.all(Array.from({ length: 20 }, () => saidOf(hello)));
    t.true(said.some(line => /too many/.test(line)));
    t.true(said.some(line => line === 'nothing'));
  }
  const point = await cluster.mount();
  t.is(await must(t, `echo alive > ${point}/f; cat ${point}/f`), 'alive\n');
});

test.serial('a chunkserver whose messages could not hold a record of the cluster says so and ends', async t => {
  const cluster = await Cluster.start(t, { servers: 0, chunkSize: '64MiB' });
  const data = path.join(cluster.folder, 'small');
  const serve = ['serve', '--data', data, '--master', cluster.masterAddress, '--listen', '127.0.0.1:0'];
  refused(t, await program('gfs-chunkserver', [...serve, '--frame-size', '8MiB']), 2, /--frame-size 8MiB: .*16MiB/);
});

test.serial('an operation of gfs ends within --op-timeout when the master does not answer', async t => {
  const cluster = await Cluster.start(t, { servers: 0 });
  cluster.master.signal('SIGSTOP');
  const ended: string[] = [];
  const list = async (timeout: string): Promise<void> => {
    const result = await cluster.gfs('--op-timeout', timeout, 'ls', '/');
    ended.push(timeout);
    refused(t, result, 1, new RegExp(cluster.masterAddress));
  };
  await Promise.all([list('10m'), list('300ms')]);
  t.deepEqual(ended, ['300ms', '10m']);
});
