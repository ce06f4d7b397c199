// Chunks that are read much, on real processes (document 001): they get more copies, and the readers that were there before read from those too.
import test from 'ava';
import { systemPlatform } from '../../src/cli/system-platform.js';
import { connectFileSystem } from '../../src/client/connect.js';
import { silentLogger } from '../../src/lib/logger.js';
import type { Address, Connection, Transport } from '../../src/lib/transport.js';
import type { InodeId } from '../../src/protocol/ids.js';
import { Cluster, until } from './cluster.js';
import { bytesOf, client } from './healing.js';

const NAME = '/hot';
const LENGTH = 1_500_000;

/** The same doors, counting what each server sends. */
function counting(transport: Transport, receivedBytes: Map<Address, number>): Transport {
  return {
    listen: (address, onConnection) => transport.listen(address, onConnection),
    connect: async (address, timeoutMs) => {
      const connection = await transport.connect(address, timeoutMs);
      return new Proxy(connection, {
        set: (target: Connection, key, value) => {
          const onData = value as Connection['onData'];
          const counted = (data: Buffer): void => {
            receivedBytes.set(address, (receivedBytes.get(address) ?? 0) + data.length);
            onData(data);
          };
          return Reflect.set(target, key, key === 'onData' ? counted : value);
        },
        get: (target, key) => {
          const value = Reflect.get(target, key);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      });
    },
  };
}

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

  const platform = systemPlatform({ logger: silentLogger });
  const receivedBytes = new Map<Address, number>();
  const reader = await connectFileSystem(
    { ...platform, transport: counting(platform.transport, receivedBytes) },
    // Hardly a cache and no large requests, so that each round is many reads of the servers.
    {
      master: cluster.masterAddress,
      name: 'reader',
      settings: { cacheBytes: 1_048_576, readRequestBytes: 65_536, readAheadBytes: 0, relocateMs: 1_000 },
    },
  );
  t.teardown(() => reader.close());
  const { inode } = await reader.lookup({ start: 1 as InodeId, path: NAME.slice(1) });
  const file = await reader.openInode(inode);
  const round = async (): Promise<void> => {
    t.true(Buffer.concat(await file.read(0, LENGTH)).equals(expected));
  };

  await round();
  t.deepEqual(
    [...receivedBytes.keys()].filter(address => address !== cluster.masterAddress && !before.includes(address)),
    [],
  );
  await until('each of the five servers has sent much of the chunk to the same reader', async () => {
    await round();
    return cluster.servers.every(({ address }) => (receivedBytes.get(address) ?? 0) > LENGTH);
  });
  t.is((await places()).length, 5);
});
