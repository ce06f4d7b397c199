// What a cluster has come to when faults are over and time has passed: every sealed chunk at its goal, with replicas that are exactly what the master
// recorded, whole by the disks' own bytes and alike, and nothing besides. Looks into master and servers behind their backs; changes nothing.
import { findChunk } from '../../src/master/chunks.js';
import { isCurrent } from '../../src/master/locations.js';
import type { ChunkRecord } from '../../src/master/records.js';
import type { Cluster } from './cluster.js';
import { allChunks, type TrueReplica, trueReplicas } from './truth.js';

/** A sentence about the first chunk that is not healed, or undefined. */
export function findUnhealed(cluster: Cluster): string | undefined {
  const master = cluster.masterProcess;
  if (!master) return 'The master does not run.';
  const { store } = master.rooms.context;
  const replicas = trueReplicas(cluster);
  for (const [handle, [first]] of replicas)
    if (!findChunk(store, handle)) return `${first!.machine.name} has an orphan, chunk ${handle}.`;
  const chunks = allChunks(store).filter(
    ({ state, lengthBytes, garbageDueMs }) => state === 'sealed' && lengthBytes > 0 && garbageDueMs === undefined,
  );
  const look = (find: typeof findMissing): string | undefined => {
    for (const chunk of chunks) {
      const wrong = find(cluster, chunk, replicas.get(chunk.handle) ?? []);
      if (wrong !== undefined) return `Chunk ${chunk.handle} ${wrong}`;
    }
    return undefined;
  };
  // The bytes last: they take longest to compare.
  return look(findMissing) ?? findStrayFile(cluster, replicas) ?? look(findDamaged);
}

/** By the master's word and by the servers'. */
function findMissing(cluster: Cluster, chunk: ChunkRecord, replicas: readonly TrueReplica[]): string | undefined {
  const { locations, servers } = cluster.masterProcess!.rooms.context;
  const current = locations
    .get(chunk.handle)
    .filter(replica => isCurrent(replica, chunk) && servers.isLive(replica.server));
  const sealed = replicas.filter(replica => replica.isSealedAs(chunk) && !replica.chunk.corrupt);
  const isRight = [current.length, replicas.length, sealed.length].every(count => count === chunk.goal);
  if (isRight) return undefined;
  const names = replicas.map(({ machine }) => machine.name).join(', ');
  return `wants ${chunk.goal} copies; ${current.length} are known as good, ${names} have one, ${sealed.length} as it was sealed.`;
}

/** By the disks'. */
function findDamaged(_cluster: Cluster, _chunk: ChunkRecord, replicas: readonly TrueReplica[]): string | undefined {
  let known: Buffer | undefined;
  for (const replica of replicas) {
    const bytes = replica.goodBytes();
    if (!bytes) return `is damaged on ${replica.machine.name} (${replica.path}), which nobody has found.`;
    if (known && !known.equals(bytes))
      return `differs between ${replicas[0]!.machine.name} and ${replica.machine.name}.`;
    known = bytes;
  }
  return undefined;
}

/** Files in the chunk folders that no record speaks of. */
function findStrayFile(cluster: Cluster, replicas: ReadonlyMap<number, TrueReplica[]>): string | undefined {
  const known = new Set([...replicas.values()].flat().map(({ machine, path }) => `${machine.name}:${path}`));
  for (const machine of cluster.servers)
    for (const path of machine.node.disk.filePaths())
      if (!known.has(`${machine.name}:${path}`) && /\/chunks\/[0-9a-f]{2}\/[0-9a-f]{16}$/.test(path))
        return `${machine.name} has a chunk file without a record, ${path}.`;
  return undefined;
}
