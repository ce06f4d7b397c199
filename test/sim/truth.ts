// What the simulated disks really hold: every replica of every running chunkserver beside its bytes, each block compared with its checksum. It believes no
// mark and no report of a server, and looks behind the backs of all; it changes nothing.
import type { Chunk } from '../../src/chunkserver/chunk.js';
import type { ChunkStore } from '../../src/chunkserver/chunk-store.js';
import type { Disks } from '../../src/chunkserver/disks.js';
import { crc32 } from '../../src/lib/checksum.js';
import { findChunk } from '../../src/master/chunks.js';
import { readCounters } from '../../src/master/counters.js';
import type { ChunkRecord } from '../../src/master/records.js';
import type { Store } from '../../src/master/store.js';
import type { ChunkHandle } from '../../src/protocol/ids.js';
import { LIMITS } from '../../src/protocol/limits.js';
import type { Cluster, Machine } from './cluster.js';

const BLOCK = LIMITS.blockBytes;

/** One replica that a running server has a record of. */
export class TrueReplica {
  constructor(
    readonly machine: Machine,
    readonly chunk: Chunk,
    private readonly store: ChunkStore,
  ) {}

  get path(): string {
    return this.chunk.disk.pathOf(this.chunk.handle);
  }

  get blockCount(): number {
    return Math.ceil(this.chunk.recordedBytes / BLOCK);
  }

  /** The bytes of a block, or undefined when they are not there or not those that were written. */
  goodBlock(block: number): Buffer | undefined {
    const { chunk } = this;
    const start = block * BLOCK;
    const lengthBytes = Math.min(BLOCK, chunk.recordedBytes - start);
    const bytes = this.machine.node.disk.file(this.path)?.read(lengthBytes, start);
    // An append that is in work may have changed the checksum of the last block already.
    const isAsRecorded = chunk.writtenBytes === chunk.recordedBytes;
    if (lengthBytes <= 0 || bytes?.length !== lengthBytes || !isAsRecorded) return undefined;
    return crc32(bytes) === this.store.checksums.get(chunk, block) ? bytes : undefined;
  }

  /** All bytes, or undefined when a block is bad. */
  goodBytes(): Buffer | undefined {
    const blocks: Buffer[] = [];
    for (let block = 0; block < this.blockCount; block++) {
      const bytes = this.goodBlock(block);
      if (!bytes) return undefined;
      blocks.push(bytes);
    }
    return Buffer.concat(blocks);
  }

  /** What the master records of a sealed chunk, as this server records it. */
  isSealedAs({ version, lengthBytes }: ChunkRecord): boolean {
    const { chunk } = this;
    return chunk.state === 'sealed' && chunk.version === version && chunk.recordedBytes === lengthBytes;
  }
}

/** All replicas, by chunk. */
export function trueReplicas(cluster: Cluster): Map<ChunkHandle, TrueReplica[]> {
  const replicas = new Map<ChunkHandle, TrueReplica[]>();
  for (const machine of cluster.servers) {
    const store = storeOf(cluster, machine);
    for (const chunk of store?.all() ?? []) {
      if (!chunk.exists) continue;
      const replica = new TrueReplica(machine, chunk, store!);
      const known = replicas.get(chunk.handle);
      if (known) known.push(replica);
      else replicas.set(chunk.handle, [replica]);
    }
  }
  return replicas;
}

/** Every chunk that the running master has a record of. */
export function allChunks(store: Store): ChunkRecord[] {
  const chunks: ChunkRecord[] = [];
  const { nextHandle } = readCounters(store);
  for (let handle = 1; handle < nextHandle; handle++) {
    const chunk = findChunk(store, handle as ChunkHandle);
    if (chunk) chunks.push(chunk);
  }
  return chunks;
}

/** Whether what the machine's disks hold can be seen: its server runs, and has looked through all of them. */
export function isSeen(cluster: Cluster, machine: Machine): boolean {
  const process = cluster.serverProcesses.get(machine.name) as unknown as { disks: Disks } | undefined;
  return storeOf(cluster, machine) !== undefined && process?.disks.blindness === undefined;
}

/** The store is nobody's business outside, and the only one that knows what is there. */
export function storeOf(cluster: Cluster, { name }: Machine): ChunkStore | undefined {
  const process = cluster.serverProcesses.get(name) as unknown as { running?: { store: ChunkStore } } | undefined;
  return process?.running?.store;
}
