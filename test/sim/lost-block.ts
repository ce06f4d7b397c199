// Damages one block in every copy of a chunk, once all is well, and judges what the cluster makes of it: these bytes are refused, all others are read, nothing
// is deleted, fsck names the bytes. It brings one good copy back in the end; what becomes of that is for others to judge.
import { listExtents } from '../../src/master/file-extents.js';
import { checkFiles } from '../../src/master/fsck.js';
import { findInode } from '../../src/master/inodes.js';
import { type ChunkHandle, HOLE, type InodeId } from '../../src/protocol/ids.js';
import { LIMITS } from '../../src/protocol/limits.js';
import type { Actor } from './actor.js';
import type { Cluster, Machine } from './cluster.js';
import type { SimRandom } from './platform/sim-random.js';
import { trueReplicas } from './truth.js';

const BLOCK = LIMITS.blockBytes;

/** One damaged copy. */
interface Spot {
  machine: Machine;
  path: string;
  /** The byte that was flipped. */
  at: number;
  fileBytes: number;
}

export class LostBlock {
  private constructor(
    private readonly cluster: Cluster,
    readonly inode: InodeId,
    private readonly handle: ChunkHandle,
    /** Of the file: what is lost. */
    private readonly fromByte: number,
    private readonly toByte: number,
    private readonly spots: readonly Spot[],
  ) {}

  /** Damages a block of one of these files in all its copies; undefined when there is none. */
  static make(cluster: Cluster, random: SimRandom, inodes: readonly number[]): LostBlock | undefined {
    const { store } = cluster.masterProcess!.rooms.context;
    const replicas = trueReplicas(cluster);
    const places = inodes.flatMap(inode => {
      const file = findInode(store, inode as InodeId);
      if (file?.type !== 'file') return [];
      const extents = listExtents(store, file, 0, file.extentCount);
      return extents.filter(({ handle }) => handle !== HOLE).map(extent => ({ inode: file.inode, extent }));
    });
    const place = places[random.int(Math.max(1, places.length))];
    if (!place) return undefined;
    const { inode, extent } = place;
    const { handle, chunkOffset, fileOffset, lengthBytes } = extent;
    const block = Math.floor((chunkOffset + random.int(lengthBytes)) / BLOCK);
    const copies = replicas.get(handle) ?? [];
    const spots = copies.map(({ machine, path, chunk }): Spot => {
      const at = block * BLOCK + random.int(Math.min(BLOCK, chunk.recordedBytes - block * BLOCK));
      machine.node.disk.flipBit(path, at);
      return { machine, path, at, fileBytes: machine.node.disk.file(path)!.sizeBytes };
    });
    const base = fileOffset - chunkOffset;
    const endByte = Math.min(base + (block + 1) * BLOCK, fileOffset + lengthBytes);
    return new LostBlock(cluster, inode, handle, Math.max(fileOffset, base + block * BLOCK), endByte, spots);
  }

  /** Reads all of the file. What may be read is judged by the checkers. */
  async read(actor: Actor): Promise<void> {
    const { fromByte, toByte } = this;
    const file = await actor.client.openInode(this.inode);
    const { sizeBytes } = await actor.size(file);
    const isCut = { watchCuts: true };
    const refused: Array<[fromByte: number, toByte: number]> = [
      [0, sizeBytes],
      [fromByte, toByte],
      [fromByte, fromByte + 1],
      [Math.max(0, toByte - 1), Math.min(sizeBytes, toByte + 1)],
    ];
    for (const [from, to] of refused) {
      const error = await actor.attempt(() => actor.read(file, from, to - from, isCut));
      if (error?.code !== 'CORRUPT') this.fail(actor, `Reading ${from} to ${to} gave ${error?.code ?? 'bytes'}.`);
    }
    for (const [from, to] of [
      [0, fromByte],
      [toByte, sizeBytes],
    ] as const) {
      if (from >= to) continue;
      const error = await actor.attempt(() => actor.read(file, from, to - from, isCut));
      if (error) this.fail(actor, `Reading ${from} to ${to} failed with ${error.code} (${error.message}).`);
    }
    await file.close();
  }

  /** What is wrong with what the cluster says of it by now, or undefined. */
  async findWrong(): Promise<string | undefined> {
    const gone = this.findGone();
    if (gone !== undefined) return gone;
    const rooms = this.cluster.masterProcess?.rooms;
    if (!rooms) return 'The master does not run.';
    const { findings } = await checkFiles(rooms, { under: this.inode, limit: LIMITS.checkPageMax, repair: false });
    const named = findings.flatMap(({ lost }) => lost ?? []);
    const wanted = [{ fromByte: this.fromByte, lengthBytes: this.toByte - this.fromByte }];
    if (JSON.stringify(named) === JSON.stringify(wanted)) return undefined;
    return `${this.show()}: fsck names ${JSON.stringify(named)}, lost is ${JSON.stringify(wanted)}.`;
  }

  /** A copy that was taken away. */
  findGone(): string | undefined {
    const copies = trueReplicas(this.cluster).get(this.handle) ?? [];
    for (const { machine, path, fileBytes } of this.spots) {
      const isThere = copies.some(replica => replica.machine === machine && replica.path === path);
      if (!isThere || machine.node.disk.file(path)?.sizeBytes !== fileBytes)
        return `${this.show()}: the copy on ${machine.name} is gone.`;
    }
    return undefined;
  }

  /** One copy is good again. */
  bringBack(random: SimRandom): void {
    const { machine, path, at } = this.spots[random.int(this.spots.length)]!;
    machine.node.disk.flipBit(path, at);
  }

  private fail(actor: Actor, what: string): void {
    actor.history.violate(LOST_BLOCK, `${this.show()}: ${what}`);
  }

  private show(): string {
    return `Inode ${this.inode}, chunk ${this.handle}, bytes ${this.fromByte} to ${this.toByte}`;
  }
}

export const LOST_BLOCK =
  'Bytes that are damaged in every copy are refused and named, all others are read, and nothing is deleted.';
