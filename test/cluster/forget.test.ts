// gfs forget with a server that holds the only copies there are: what it says, what it refuses, and what the server is worth when it comes back.
import fs from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { Cluster, until } from './cluster.js';

const TEXT = 'a line of text\n'.repeat(10_000);

test.serial(
  'a server with the only copy of a file is forgotten only when the loss is accepted, and its copy counts again if it returns',
  async t => {
    const cluster = await Cluster.start(t, {
      servers: 2,
      replicas: 1,
      minReplicas: 1,
      chunkSize: '64KiB',
      master: ['--lease', '2s', '--dead-after', '1s', '--rereplicate-after', '1s', '--balance-threshold', '1000'],
    });
    const local = path.join(cluster.folder, 'local');
    fs.writeFileSync(local, TEXT);
    t.is((await cluster.gfs('put', local, '/f')).code, 0);
    await until('every chunk is sealed or in place', async () => (await cluster.gfs('fsck')).code === 0);
    const { chunks } = await cluster.json<{ chunks: Array<{ replicas: Array<{ address: string }> }> }>('info', '/f');
    const { address } = chunks[0]!.replicas[0]!;
    const index = cluster.servers.findIndex(server => server.address === address);
    await cluster.servers[index]!.daemon.stop();

    await until('it is down for longer than a lease', async () => {
      const { stderr } = await cluster.gfs('forget', address);
      return !/only one that is gone|may still hold leases/.test(stderr);
    });
    const refused = await cluster.gfs('forget', address);
    t.is(refused.code, 1);
    t.regex(refused.stdout, /^\/f: bytes 0 to \d+ cannot be read without it$/m);
    t.regex(refused.stdout, /is not forgotten: it may hold the only good copy of \d+ chunks? \(.*\) of 1 file$/m);
    t.regex(refused.stdout, /--accept-loss/);
    interface Json {
      forgotten: boolean;
      unreadable: Array<{ path: string; from: number; length: number }>;
    }
    const json = JSON.parse((await cluster.gfs('forget', address, '--json')).stdout) as Json;
    t.like(json, { forgotten: false });
    t.like(json.unreadable[0], { path: '/f', from: 0 });

    const done = await cluster.gfs('forget', address, '--accept-loss');
    t.is(done.code, 0, done.stderr);
    t.regex(done.stdout, /^\/f: bytes 0 to \d+ cannot be read$/m);
    t.regex(done.stdout, /is forgotten, with \d+ replicas? on it/);
    // fsck says the same of the same bytes.
    t.regex((await cluster.gfs('fsck')).stdout, /^\/f: bytes 0 to \d+ cannot be read$/m);
    t.regex((await cluster.gfs('forget', address)).stderr, /no chunkserver has this id or address/);

    await cluster.startServer(index);
    await until('its copy counts', async () => (await cluster.gfs('fsck')).code === 0);
    t.is((await cluster.gfs('cat', '/f')).stdout, TEXT);
  },
);
