// Compares the replicas of each sealed chunk byte by byte, on the simulated disks, behind the back of all servers.
import type { ChunkStore } from '../../src/chunkserver/chunk-store.js';
import { handleName } from '../../src/protocol/ids.js';
import { CHUNKSERVER_DATA, type Cluster } from './cluster.js';

/** What is wrong with the first chunk whose current replicas differ (I1), or undefined. `except`: paths of files that were damaged on purpose. */
export function findUnlikeReplicas(cluster: Cluster, except: ReadonlySet<string>): string | undefined {
  /** The first replica that was found of each chunk. */
  const known = new Map<string, { server: string; bytes: Buffer }>();
  for (const machine of cluster.servers) {
    // The store is nobody's business outside, and the only one that knows what is sealed.
    const { running } = (cluster.serverProcesses.get(machine.name) ?? {}) as unknown as {
      running?: { store: ChunkStore };
    };
    if (!running) continue;
    for (const { handle, writtenBytes: lengthBytes, state, corrupt } of running.store.all()) {
      const name = handleName(handle);
      const path = `${CHUNKSERVER_DATA}/chunks/${name.slice(-2)}/${name}`;
      if (state !== 'sealed' || corrupt || except.has(path)) continue;
      const bytes = machine.node.disk.file(path)?.read(lengthBytes, 0) ?? Buffer.alloc(0);
      const other = known.get(`${name} ${lengthBytes}`);
      if (!other) known.set(`${name} ${lengthBytes}`, { server: machine.name, bytes });
      else if (!other.bytes.equals(bytes))
        return `Chunk ${handle} (${lengthBytes} bytes) differs between ${other.server} and ${machine.name}.`;
    }
  }
  return undefined;
}
