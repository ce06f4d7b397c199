// What the source documents 003 (peers, chunks and names with chunks of 128 kB) and 004 (eight calls, servers that ask to join) ask for, on real
// processes that share a secret.
import fs from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Cluster, type ClusterOptions, until } from './cluster.js';
import { folder, must, program } from './processes.js';

interface Info {
  size: number;
  chunks: Array<{ handle: string; length: number; replicas: Array<{ server: string; address: string; path: string }> }>;
}
interface Report {
  servers: Array<{ id: string; address: string; state: string; capacity: number; lastHeardMs: number }>;
}

const KB = 1024;

/** A cluster whose processes, and those that the test runs against it, share a secret. */
function startCluster(t: ExecutionContext, options: ClusterOptions): Promise<Cluster> {
  const prepare = (folder: string): Promise<void> => {
    const file = path.join(folder, 'secret');
    fs.writeFileSync(file, 'join me\n');
    process.env.GFS_SECRET_FILE = file;
    return Promise.resolve();
  };
  t.teardown(() => delete process.env.GFS_SECRET_FILE);
  return Cluster.start(t, { ...options, prepare });
}

test.serial('document 003: peers, chunks of 128 kB and names in tables; a file is added, read and deleted', async t => {
  const master = ['--lease', '2s', '--dead-after', '2s', '--trash', '0s', '--gc-grace', '100ms'];
  const cluster = await startCluster(t, { servers: 4, chunkSize: '128KiB', master });
  const local = path.join(cluster.folder, 'local');
  const bytes = Buffer.from(Array.from({ length: 300 * KB }, (_, i) => (i * i) % 251));
  fs.writeFileSync(local, bytes);

  t.is((await cluster.gfs('put', local, '/file')).code, 0);

  const peers = (await cluster.json<Report>('report')).servers;
  t.deepEqual(peers.map(({ address }) => address).sort(), cluster.servers.map(({ address }) => address).sort());
  const info = await cluster.json<Info>('info', '/file');
  t.deepEqual(
    info.chunks.map(({ length }) => length),
    [128 * KB, 128 * KB, 44 * KB],
  );
  const ids = new Map(peers.map(({ id, address }) => [id, address]));
  for (const { replicas } of info.chunks) {
    t.is(replicas.length, 3);
    for (const { server, address } of replicas) t.is(ids.get(server), address);
  }
  t.is((await cluster.gfs('ls', '/')).stdout, 'file\n');
  t.is((await cluster.gfs('get', '/file', `${local}.back`)).code, 0);
  t.true(fs.readFileSync(`${local}.back`).equals(bytes));

  t.is((await cluster.gfs('rm', '/file')).code, 0);
  t.is((await cluster.gfs('ls', '/')).stdout, '');
  const files = info.chunks.flatMap(({ replicas }) => replicas.map(replica => replica.path));
  await until('every peer has deleted its chunks', () => files.every(file => !fs.existsSync(file)));
});

test.serial('document 004: create, unlink, mkdir, rmdir, open, close, read and write', async t => {
  const cluster = await startCluster(t, { servers: 1, replicas: 1, minReplicas: 1 });
  const point = await cluster.mount();
  const calls = `
import os
os.mkdir("d")
with open("d/f", "x"): pass
fd = os.open("d/f", os.O_WRONLY)
print(os.write(fd, b"some bytes"))
os.close(fd)
fd = os.open("d/f", os.O_RDONLY)
print(os.read(fd, 4), os.read(fd, 100), os.read(fd, 100))
os.unlink("d/f")
print(os.path.exists("d/f"), os.pread(fd, 100, 5))
os.close(fd)
os.rmdir("d")
print(os.listdir("."))
try: os.read(fd, 1)
except OSError as error: print(error.strerror)
`;
  t.is(
    await must(t, `cd ${point} && python3 - <<'P'\n${calls}\nP`),
    "10\nb'some' b' bytes' b''\nFalse b'bytes'\n[]\nBad file descriptor\n",
  );
});

test.serial(
  'document 004: a server joins with its space and the password or not at all, and counts while it says that it is active',
  async t => {
    const cluster = await startCluster(t, { servers: 2, replicas: 1, minReplicas: 1 });
    const stranger = path.join(cluster.folder, 'stranger');
    const args = ['serve', '--data', stranger, '--master', cluster.masterAddress, '--listen', '127.0.0.1:0'];
    const wrong = path.join(cluster.folder, 'wrong');
    fs.writeFileSync(wrong, 'let me in\n');
    for (const file of [undefined, wrong]) {
      const refused = await program('gfs-chunkserver', args, { env: { GFS_SECRET_FILE: file }, timeoutMs: 20_000 });
      t.is(refused.code, 1, refused.stderr);
      t.regex(refused.stderr, /^gfs-chunkserver: [^\n]*secret[^\n]*\n$/);
    }

    const servers = async (): Promise<Report['servers']> => (await cluster.json<Report>('report')).servers;
    t.deepEqual(
      (await servers()).map(({ address }) => address).sort(),
      cluster.servers.map(({ address }) => address).sort(),
    );
    for (const { capacity, state } of await servers()) {
      t.true(capacity > 0);
      t.is(state, 'up');
    }

    const [silent, other] = cluster.servers;
    const stateOf = async (address: string): Promise<string | undefined> =>
      (await servers()).find(server => server.address === address)?.state;
    silent!.daemon.signal('SIGSTOP');
    await until('the silent server is down', async () => (await stateOf(silent!.address)) === 'down');
    t.is(await stateOf(other!.address), 'up');
    silent!.daemon.signal('SIGCONT');
    await until('it is up again', async () => (await stateOf(silent!.address)) === 'up');
  },
);

test.serial(
  'documents 001 and 002: a cluster is made with an id of its own, chunks of 64 MB and three replicas',
  async t => {
    const base = folder(t);
    const made = [];
    for (const name of ['one', 'two']) {
      const data = path.join(base, name);
      const formatted = await program('gfs-master', ['format', '--data', data]);
      t.is(formatted.code, 0, formatted.stderr);
      const inspected = await program('gfs-master', ['inspect', '--data', data, '--json']);
      made.push((JSON.parse(inspected.stdout) as { cluster: { clusterId: string } }).cluster);
    }

    for (const one of made) t.like(one, { chunkSizeBytes: 64 * KB * KB, replicas: 3 });
    t.not(made[0]!.clusterId, made[1]!.clusterId);
  },
);
