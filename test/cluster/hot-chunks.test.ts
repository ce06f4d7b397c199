// Chunks that are read much, on real processes (document 001): they get more copies, and the readers that were there before read from those too.
import test from 'ava';
import { Cluster, until } from './cluster.js';
import { bytesOf, client } from './healing.js';
import { countingClient, type Received } from './readers.js';

const NAME = '/hot';
const LENGTH = 1_500_000;

test('document 001: a reader that made a chunk hot reads from its new copies, and every byte is right', async t => {
  t.timeout(90_000);
  const cluster = await Cluster.start(t, {
    servers: 5,
    chunkSize: '4MiB',
    master: ['--lease', '2s', '--dead-after', '2s', '--hot-reads', '5', '--hot-replicas', '5'],
  });
  const expected = bytesOf(NAME, LENGTH);
  const gfs = await client(t, cluster);
  await gfs.writeFile(NAME, expected);
  // Only sealed chunks are copied.
  await gfs.snapshot(NAME, '/sealed');
  const places = async (): Promise<string[]> => {
    const { chunks } = await cluster.json<{ chunks: Array<{ replicas: Array<{ address: string }> }> }>('info', NAME);
    return chunks.flatMap(({ replicas }) => replicas.map(({ address }) => address));
  };
  const before = await places();
  t.is(before.length, 3);

  const received: Received = new Map();
  // No large requests, so that each round is many reads.
  const settings = { readRequestBytes: 65_536, relocateMs: 1_000 };
  const reader = await countingClient(t, cluster, received, settings);
  const round = async (): Promise<void> => {
    t.true((await reader.readFile(NAME)).equals(expected));
  };

  await round();
  const others = cluster.servers.map(({ address }) => address).filter(address => !before.includes(address));
  t.true(others.every(address => !received.has(address)));
  await until('each of the five servers has sent much of the chunk to the same reader', async () => {
    await round();
    return cluster.servers.every(({ address }) => (received.get(address) ?? 0) > LENGTH);
  });
  t.is((await places()).length, 5);
});
