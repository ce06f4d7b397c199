// Readers whose reads reach the servers: the cache of a client would show for ever what it once read, whatever became of the copies. Counts the bytes
// that servers sent, so that a test can say that they were asked. It judges bytes by their names (bytesOf) and restarts nothing.
import type { ExecutionContext } from 'ava';
import { systemPlatform } from '../../src/cli/system-platform.js';
import { connectFileSystem } from '../../src/client/connect.js';
import { Gfs } from '../../src/client/gfs.js';
import type { ClientSettings } from '../../src/client/settings.js';
import { silentLogger } from '../../src/lib/logger.js';
import type { Address, Connection, Transport } from '../../src/lib/transport.js';
import type { Cluster } from './cluster.js';
import { bytesOf, pause } from './healing.js';

/** What each server has sent, by its address. */
export type Received = Map<Address, number>;

/** A client without a cache, which counts. Closed with the test; closing it earlier is fine. */
export async function countingClient(
  t: ExecutionContext,
  cluster: Cluster,
  received: Received,
  settings: Partial<ClientSettings> = {},
): Promise<Gfs> {
  const platform = systemPlatform({ logger: silentLogger });
  const client = await connectFileSystem(
    { ...platform, transport: counting(platform.transport, received) },
    { master: cluster.masterAddress, name: 'reader', settings: { ...settings, cacheBytes: 0 } },
  );
  const gfs = new Gfs(client, { random: platform.random, uid: 0, gid: 0 });
  t.teardown(() => gfs.close());
  return gfs;
}

/**
 * Reads files round and round until it is stopped: with a client that learned the places at the beginning, and with another one for each round. A read may
 * fail; a wrong byte is for the test to refuse.
 */
export function startReaders(t: ExecutionContext, cluster: Cluster, names: readonly string[], lengthBytes: number) {
  let isStopped = false;
  const received: Received = new Map();
  const seen = { reads: 0, failures: 0, wrong: [] as string[] };
  const readAll = async (gfs: Gfs): Promise<void> => {
    for (let i = 0; i < names.length && !isStopped; i++) {
      const name = names[i]!;
      try {
        const bytes = await gfs.readFile(name);
        seen.reads++;
        if (!bytes.equals(bytesOf(name, lengthBytes))) seen.wrong.push(name);
      } catch (error) {
        seen.failures++;
        t.log(`${name}: ${(error as Error).message}`);
      }
      await pause(5);
    }
  };
  const old = async (): Promise<void> => {
    const gfs = await countingClient(t, cluster, received);
    while (!isStopped) await readAll(gfs);
  };
  const fresh = async (): Promise<void> => {
    while (!isStopped) {
      const gfs = await countingClient(t, cluster, received);
      await readAll(gfs);
      await gfs.close();
    }
  };
  const done = Promise.all([old(), fresh()]);
  t.teardown(() => {
    isStopped = true;
  });
  return async (): Promise<typeof seen & { receivedBytes: number }> => {
    isStopped = true;
    await done;
    const fromServers = [...received].filter(([address]) => address !== cluster.masterAddress);
    return { ...seen, receivedBytes: fromServers.reduce((sum, [, bytes]) => sum + bytes, 0) };
  };
}

/** The same doors, counting what comes in. */
function counting(transport: Transport, received: Received): Transport {
  return {
    listen: (address, onConnection) => transport.listen(address, onConnection),
    connect: async (address, timeoutMs) => {
      const connection = await transport.connect(address, timeoutMs);
      return new Proxy(connection, {
        set: (target: Connection, key, value) => {
          if (key !== 'onData') return Reflect.set(target, key, value);
          const onData = value as Connection['onData'];
          target.onData = data => {
            received.set(address, (received.get(address) ?? 0) + data.length);
            onData(data);
          };
          return true;
        },
        get: (target, key) => {
          const value = Reflect.get(target, key);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      });
    },
  };
}
