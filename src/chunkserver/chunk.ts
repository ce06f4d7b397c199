// One replica as this server knows it: what is recorded in the index and, beside it, what only this process knows. It holds state and says
// whether the state is sound; who changes it (append queue, orders, copying) is not decided here.
import { assert } from '../lib/assert.js';
import type { GfsError } from '../protocol/errors.js';
import type { ChunkHandle } from '../protocol/ids.js';
import type { ChunkState, WireChunkReport } from '../protocol/messages.js';
import type { AppendQueue } from './append-queue.js';
import type { ChunkRecord, Tombstone } from './chunk-record.js';
import type { DataDirectory } from './data-directory.js';
import type { ForwardGate } from './forward-gate.js';
import type { WriterTable } from './writer-table.js';

/** Legal moves. A whole copy onto a corrupt sealed replica goes back through fenced. */
const NEXT_STATES: Record<ChunkState, readonly ChunkState[]> = {
  open: ['fenced'],
  fenced: ['sealed'],
  sealed: ['fenced'],
};

export class Chunk {
  // Recorded.
  version = 0;
  /** Highest version of a fence; 0 while never fenced. INVARIANT: state is not 'open' when it is not 0. */
  fencedVersion = 0;
  state: ChunkState = 'open';
  /** Known to be on the disk (fdatasync). INVARIANT: at most writtenBytes. */
  syncedBytes = 0;
  /** CRC of the last block's bytes up to syncedBytes, which later appends do not change; undefined where it is not known. */
  syncedCrc: number | undefined;
  /** Epoch of this server when the replica came into being here. */
  createdEpoch = 0;
  suspect = false;
  corrupt = false;
  /** Fenced or sealed, no write in flight, all bytes synced: a loss of power cannot change it any more. */
  settled = false;
  /** There is no such chunk here, and none may come into being by a late append (DESIGN 4, rule 4). */
  tombstone: Tombstone | undefined;

  // Of this process. INVARIANT: recordedBytes ≤ writtenBytes ≤ endBytes.
  /** In the index (in the operating system's cache at least): what may be read, reported and acknowledged. */
  recordedBytes = 0;
  /** In the file, with checksums in memory. */
  writtenBytes = 0;
  /** Given out to appends. */
  endBytes = 0;
  /** Synced, with a synced record of it, by this process. */
  durableBytes = 0;
  /** Bytes were lost in a failed sync: nothing that the disk says of this chunk is believed in this process. */
  syncFailure: GfsError | undefined;
  /** How far write-back.ts has sent it on to the disk; no promise. */
  sentOnBytes = 0;
  /** The version in which the chunk takes no more appends because something failed; 0 none. */
  brokenVersion = 0;
  /** The version in which an append did not fit; 0 none. */
  fullVersion = 0;
  /** When this server answered the grant of its version: its lease cannot have begun earlier. 0 none. */
  grantedMs = 0;
  /** The version whose lease this server gave back in peace; 0 none. */
  returnedVersion = 0;
  /** Deleted: only a name for those who still hold it. */
  gone = false;
  /** How often bytes were taken away: what was read across such a moment proves nothing. */
  cuts = 0;
  reads = 0;
  lastUseMs = 0;
  queue: AppendQueue | undefined;
  gate: ForwardGate | undefined;
  writers: WriterTable | undefined;
  /** Pages of checksums that are not in the index yet: changed since the last batch, and in the batch that is being written. */
  dirtyPages: Map<number, Buffer> | undefined;
  committingPages: Map<number, Buffer> | undefined;

  constructor(
    readonly handle: ChunkHandle,
    readonly disk: DataDirectory,
  ) {}

  get exists(): boolean {
    return !this.tombstone && !this.gone;
  }

  get isIdle(): boolean {
    return !this.queue || this.queue.isIdle;
  }

  moveTo(state: ChunkState): void {
    if (this.state === state) return;
    assert(NEXT_STATES[this.state].includes(state), `a chunk does not move from ${this.state} to ${state}`);
    this.state = state;
    if (state === 'fenced') this.settled = false;
  }

  /** No append was lost on the way: what is recorded is all there is. Requires an idle queue. */
  setLength(lengthBytes: number): void {
    assert(this.isIdle, 'a length is set when no append is in work');
    if (lengthBytes < this.writtenBytes) this.cuts++;
    this.recordedBytes = lengthBytes;
    this.writtenBytes = lengthBytes;
    this.endBytes = lengthBytes;
    if (lengthBytes < this.syncedBytes) this.syncedCrc = undefined;
    this.syncedBytes = Math.min(this.syncedBytes, lengthBytes);
    this.durableBytes = Math.min(this.durableBytes, lengthBytes);
    this.sentOnBytes = Math.min(this.sentOnBytes, lengthBytes);
  }

  /** What syncs confirmed is in doubt: the next one really asks the disk. */
  distrustSync(): void {
    this.syncedBytes = 0;
    this.syncedCrc = undefined;
    this.durableBytes = 0;
  }

  /** As it goes into the index: with the bytes written so far. */
  record(): ChunkRecord {
    return {
      state: this.state,
      version: this.version,
      fencedVersion: this.fencedVersion,
      lengthBytes: this.writtenBytes,
      syncedBytes: this.syncedBytes,
      syncedCrc: this.syncedCrc,
      createdEpoch: this.createdEpoch,
      suspect: this.suspect,
      corrupt: this.corrupt,
      settled: this.settled,
      tombstone: this.tombstone,
    };
  }

  restore(record: ChunkRecord): void {
    this.state = record.state;
    this.version = record.version;
    this.fencedVersion = record.fencedVersion;
    this.createdEpoch = record.createdEpoch;
    this.suspect = record.suspect;
    this.corrupt = record.corrupt;
    this.settled = record.settled;
    this.tombstone = record.tombstone;
    this.syncedBytes = record.syncedBytes;
    this.syncedCrc = record.syncedCrc;
    this.setLength(record.lengthBytes);
  }

  report(): WireChunkReport {
    return {
      handle: this.handle,
      version: this.version,
      lengthBytes: this.recordedBytes,
      state: this.state,
      suspect: this.suspect,
      corrupt: this.corrupt || (this.disk.failure !== undefined && !this.disk.isFull),
      ...(this.exists ? {} : { gone: true }),
    };
  }

  /** The failure that keeps this chunk from changing, if there is one. */
  get failure(): GfsError | undefined {
    return this.syncFailure ?? this.disk.failure;
  }

  checkInvariants(): void {
    assert(this.recordedBytes <= this.writtenBytes, 'what is recorded is written');
    assert(this.writtenBytes <= this.endBytes, 'what is written was given out');
    assert(this.syncedBytes <= this.writtenBytes, 'what is synced is written');
    assert(this.durableBytes <= this.syncedBytes, 'what is durable is synced');
    assert(this.fencedVersion === 0 || this.state !== 'open', 'a fenced chunk is not open');
    assert(this.fencedVersion <= this.version, 'a fence raises the version');
    assert(!this.tombstone || this.endBytes === 0, 'a tombstone has no bytes');
    assert(this.state === 'open' || !this.settled || this.isIdle, 'a settled chunk takes no writes');
  }
}
