// One large file: the same bytes through the mount and in the flat files of each of the three replicas.
// GFS_TEST_LARGE_MIB sets its size; CI takes 256 MiB, `npm run test:large` the 1 GiB of the issue.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { Cluster } from './cluster.js';
import { must } from './processes.js';

interface Info {
  size: number;
  chunks: Array<{
    index: number;
    state: string;
    length: number;
    offset: number;
    replicas: Array<{ server: string; path: string; length: number; state: string }>;
  }>;
}

test('a large random file has one SHA-256 through the mount and from the flat files of each replica', async t => {
  const mebibytes = Number(process.env['GFS_TEST_LARGE_MIB'] ?? 256);
  const cluster = await Cluster.start(t, { chunkSize: '64MiB' });
  const point = await cluster.mount();
  const local = path.join(cluster.folder, 'random');
  await must(t, `head -c ${mebibytes}M /dev/urandom > ${local}`);
  const expected = (await must(t, `sha256sum < ${local}`)).slice(0, 64);

  const started = Date.now();
  await must(t, `cp ${local} ${point}/large`, { timeoutMs: 170_000 });
  const copied = Date.now();
  t.is((await must(t, `cat ${point}/large | sha256sum`, { timeoutMs: 170_000 })).slice(0, 64), expected);
  t.log(
    `cp ${Math.round((mebibytes * 1000) / (copied - started))} MiB/s, cat | sha256sum ${Math.round((mebibytes * 1000) / (Date.now() - copied))} MiB/s`,
  );

  const info = await cluster.json<Info>('info', '/large');
  t.is(info.size, mebibytes * 1024 * 1024);
  for (let replica = 0; replica < 3; replica++) {
    const hash = createHash('sha256');
    for (const chunk of info.chunks) {
      t.is(chunk.replicas.length, 3);
      const file = fs.readFileSync(chunk.replicas[replica]!.path);
      t.is(file.length, chunk.length, `chunk ${chunk.index}, replica ${replica}`);
      hash.update(file);
    }
    t.is(hash.digest('hex'), expected, `replica ${replica}`);
  }
});
