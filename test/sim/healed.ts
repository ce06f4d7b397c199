// What a cluster has come to when faults are over and time has passed: every sealed chunk at its goal, with replicas that are exactly what the master
// recorded, and none that it does not know. Looks into master and servers behind their backs; changes nothing.
import type { ChunkStore } from '../../src/chunkserver/chunk-store.js';
import { chunksAfter, findChunk } from '../../src/master/chunks.js';
import { isCurrent } from '../../src/master/locations.js';
import type { ChunkHandle } from '../../src/protocol/ids.js';
import type { Cluster } from './cluster.js';

const CHUNKS_MAX = 100_000;

/** A sentence about the first chunk that is not healed, or undefined. */
export async function findUnhealed(cluster: Cluster): Promise<string | undefined> {
  const master = cluster.masterProcess;
  if (!master) return 'The master does not run.';
  const { store, locations, servers } = master.rooms.context;
  const holders = new Map<ChunkHandle, string[]>();
  for (const [name, process] of cluster.serverProcesses) {
    // The store is nobody's business outside, and the only one that knows what is there.
    const { running } = process as unknown as { running?: { store: ChunkStore } };
    for (const chunk of running?.store.all() ?? []) {
      if (!chunk.exists) continue;
      if (!findChunk(store, chunk.handle)) return `${name} has an orphan, chunk ${chunk.handle}.`;
      holders.set(chunk.handle, [...(holders.get(chunk.handle) ?? []), name]);
    }
  }
  for (const chunk of await chunksAfter(store, 0, CHUNKS_MAX)) {
    if (chunk.state !== 'sealed' || chunk.lengthBytes === 0 || chunk.garbageDueMs !== undefined) continue;
    const current = locations
      .get(chunk.handle)
      .filter(replica => isCurrent(replica, chunk) && servers.isLive(replica.server));
    const there = holders.get(chunk.handle) ?? [];
    if (current.length !== chunk.goal || there.length !== chunk.goal)
      return `Chunk ${chunk.handle} wants ${chunk.goal} copies; ${current.length} are known as good, ${there.join(', ')} have one.`;
  }
  return undefined;
}
