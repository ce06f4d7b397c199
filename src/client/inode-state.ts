// What this client knows of one file: generation, the size it has seen, the chunk map, the open chunk, the append target, and chunks that
// wait for a sync. It asks nobody. Invariants: the size it tells never shrinks within one generation, and says nothing of any single chunk.
import type { ChunkHandle, InodeId } from '../protocol/ids.js';
import type { Reply, WireAttributes, WireReplica, WireTail, WireTarget } from '../protocol/messages.js';
import { timesAfterAppend } from '../protocol/times.js';
import { ChunkMap } from './chunk-map.js';

/** An append target and until when, by the monotonic clock, its lease certainly lives. */
export interface CachedTarget {
  readonly wire: WireTarget;
  readonly validUntilMs: number;
}

/** An append that stands, as a witness of its chunk: where it is found, all earlier ones are. */
export interface Witness {
  readonly writer: string;
  readonly sequence: number;
}

/** A chunk with acknowledged bytes of this client that may not be on the disks yet. */
export interface UnsyncedChunk {
  readonly handle: ChunkHandle;
  readonly version: number;
  readonly chain: readonly WireReplica[];
  readonly token: Buffer;
  /** Offset in the chunk after the last of these bytes. */
  readonly endByte: number;
  readonly last: Witness;
}

/** Chunks of one file of which is remembered how far they are committed: the newest ones. */
const COMMITTED_MAX = 4;

export class InodeState {
  generation = 0;
  /** The largest size seen in this generation: every byte below it is committed. */
  sizeBytes = 0;
  /** The last append heard of: where the file ended with it, and when it was committed by the master's clock. */
  #grown: { endByte: number; changedMs: number } | undefined;
  /** When the master was last asked about this file. */
  checkedMs = Number.NEGATIVE_INFINITY;
  /** The open chunk as last seen. */
  tail: WireTail | undefined;
  target: CachedTarget | undefined;
  /** The target that came with creating the file, until something is sent there. */
  #unused: { handle: ChunkHandle; version: number } | undefined;
  readonly chunks = new ChunkMap();
  /** Up to which offset in the file chunks are known to be committed. */
  readonly #committed = new Map<ChunkHandle, number>();
  readonly unsynced = new Map<ChunkHandle, UnsyncedChunk>();
  /**
   * How often acknowledged bytes turned out to be gone before an fsync had confirmed them: their machines lost power, all of them. Each open file
   * reports each loss once.
   */
  losses = 0;
  /** Open files that use it. */
  opens = 0;

  constructor(readonly inode: InodeId) {}

  /** Takes what the master said; returns it as users may see it. `tail`: the open chunk of the same answer, 'unknown' when the answer does not tell. */
  note(attributes: WireAttributes, tail: WireTail | undefined | 'unknown', nowMs: number): WireAttributes {
    // An answer that was overtaken by a newer one.
    if (attributes.generation < this.generation) return this.shown(attributes);
    this.noteGeneration(attributes.generation);
    this.sizeBytes = Math.max(this.sizeBytes, attributes.sizeBytes);
    if (tail !== 'unknown') this.tail = tail;
    if (tail && tail !== 'unknown') this.noteCommitted(attributes.generation, tail, tail.committedBytes);
    this.checkedMs = nowMs;
    return this.shown(attributes);
  }

  /** The same attributes with the generation and the size this client knows of, and with the times of appends that the master had not heard of. */
  shown(attributes: WireAttributes): WireAttributes {
    if (attributes.type !== 'file') return attributes;
    const isUnheard =
      this.#grown && this.#grown.endByte > attributes.sizeBytes && attributes.generation === this.generation;
    const times = isUnheard ? timesAfterAppend(attributes, this.#grown!.changedMs) : {};
    return { ...attributes, ...times, generation: this.generation, sizeBytes: this.sizeBytes };
  }

  /** When the last append that this client heard of was committed, by the master's clock; undefined: it heard of none in this generation. */
  get changedMs(): number | undefined {
    return this.#grown?.changedMs;
  }

  /** A newer generation voids everything that was known of the bytes. */
  noteGeneration(generation: number): void {
    if (generation <= this.generation) return;
    this.generation = generation;
    this.sizeBytes = 0;
    this.#grown = undefined;
    this.tail = undefined;
    this.target = undefined;
    this.chunks.clear();
    this.#committed.clear();
  }

  /** The first `committedBytes` bytes of this chunk are committed in `generation`; the last of them at `changedMs`, where that is known. */
  noteCommitted(
    generation: number,
    { handle, base }: { handle: ChunkHandle; base: number },
    committedBytes: number,
    changedMs?: number,
  ): void {
    this.noteGeneration(generation);
    if (generation !== this.generation) return;
    const endByte = base + committedBytes;
    const isLater = !this.#grown || endByte >= this.#grown.endByte;
    if (changedMs !== undefined && isLater) this.#grown = { endByte, changedMs };
    this.sizeBytes = Math.max(this.sizeBytes, endByte);
    this.#committed.set(handle, Math.max(endByte, this.#committed.get(handle) ?? 0));
    // Handles rise: the oldest goes.
    if (this.#committed.size > COMMITTED_MAX)
      this.#committed.delete(Math.min(...this.#committed.keys()) as ChunkHandle);
  }

  /**
   * Up to which offset in the file `tail` is known to be committed. The file may be longer and go on in another chunk, while a replica of this one holds
   * more that was never committed and is not of this file.
   */
  tailEndByte(): number {
    const { tail } = this;
    return tail ? Math.max(tail.base + tail.committedBytes, this.#committed.get(tail.handle) ?? 0) : 0;
  }

  noteTarget(wire: WireTarget, askedMs: number): CachedTarget {
    this.noteGeneration(wire.generation);
    const target = { wire, validUntilMs: askedMs + wire.leaseMs };
    if (wire.generation === this.generation) this.target = target;
    return target;
  }

  /** The file was just made, and this came along. */
  noteFirstTarget(wire: WireTarget, askedMs: number): void {
    this.noteTarget(wire, askedMs);
    this.#unused = { handle: wire.handle, version: wire.version };
  }

  /** From now on a chunk may hold something of this client. */
  noteUse(): void {
    this.#unused = undefined;
  }

  /** The first target when nothing was ever sent there, forgotten for ever. */
  giveUpUnused(): { handle: ChunkHandle; version: number } | undefined {
    const unused = this.#unused;
    this.#unused = undefined;
    if (unused) this.noteClosed(unused);
    return unused;
  }

  /** This version of the chunk takes no more appends, or its primary does not answer: nothing is sent there on speculation. */
  noteClosed({ handle, version }: { handle: ChunkHandle; version: number }): void {
    if (this.target?.wire.handle === handle && this.target.wire.version === version) this.target = undefined;
  }

  /** Forgets the target if it is still this one. */
  dropTarget(target: CachedTarget): void {
    if (this.target === target) this.target = undefined;
  }

  /** An append of `lengthBytes` was acknowledged at `offset` of the target's chunk, of which `committed` is known with that. */
  noteLanded(
    target: WireTarget,
    { offset, lengthBytes, committed }: { offset: number; lengthBytes: number; committed: Reply<'tailLength'> },
    last: Witness,
  ): void {
    const endByte = offset + lengthBytes;
    const committedBytes = Math.max(endByte, committed.committedBytes);
    this.noteCommitted(target.generation, target, committedBytes, committed.changedMs);
    const before = this.unsynced.get(target.handle);
    if (before && before.endByte >= endByte && before.version >= target.version) return;
    const { handle, version, chain, token } = target;
    this.unsynced.set(handle, {
      handle,
      version,
      chain,
      token,
      endByte: Math.max(endByte, before?.endByte ?? 0),
      last,
    });
  }

  /** This chunk was sealed without bytes that this client had been told stand in it. */
  noteLost(handle: ChunkHandle): void {
    this.unsynced.delete(handle);
    this.losses++;
  }
}
