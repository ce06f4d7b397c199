// The life of a chunk at the master: opened as the tail of a file, leased under rising versions, sealed for ever (DESIGN 4). Keeps the master's part
// of I4 and I5: versions only rise, a sealed chunk never changes, and no chunk is sealed shorter than what is known to be committed.
import { assert } from '../lib/assert.js';
import { GfsError } from '../protocol/errors.js';
import type { ChunkHandle, InodeId } from '../protocol/ids.js';
import { timesAfterAppend } from '../protocol/times.js';
import { discard, findChunk, forgetUnused, getChunk, putChunk } from './chunk-table.js';
import { allocateHandle, count } from './counters.js';
import { appendExtent } from './file-extents.js';
import { findInode, getFile, putInode } from './inodes.js';
import type { Moment } from './moment.js';
import type { ChainMember, ChunkRecord, InodeRecord } from './records.js';
import type { Change, Reader } from './store.js';

export * from './chunk-table.js';
export { allocateHandle } from './counters.js';

const FIRST_VERSION = 1;

export interface OpenChunkOptions {
  inode: InodeId;
  /** Primary first, at least one. */
  chain: readonly ChainMember[];
}

/** Makes a new, empty open chunk the tail of a file that has none, with version 1 and the file's goal. Throws STALE. */
export function openChunk(change: Change, { inode, chain }: OpenChunkOptions, at: Moment): ChunkRecord {
  assert(chain.length > 0, 'a chunk has a chain');
  const file = getFile(change, inode);
  assert(file.tailHandle === 0, 'a file has one open chunk at most');
  const chunk: ChunkRecord = {
    handle: allocateHandle(change),
    state: 'open',
    version: FIRST_VERSION,
    lengthBytes: 0,
    known: false,
    goal: file.goal,
    references: 0,
    inode,
    chain: chain.map(({ server, epoch }) => ({ server, epoch })),
    createdMs: at.nowMs,
    modifiedMs: at.nowMs,
  };
  putChunk(change, chunk);
  file.tailHandle = chunk.handle;
  putInode(change, file);
  count(change, { chunks: 1, openChunks: 1 });
  return chunk;
}

/** Undoes openChunk. Requires that no server has heard of the chunk, and nobody who may append to it will use it. */
export function undoOpen(change: Change, handle: ChunkHandle): void {
  const chunk = getOpen(change, handle);
  assert(chunk.version === FIRST_VERSION, 'a chunk that was granted again may have replicas');
  assert(chunk.lengthBytes === 0, 'a chunk with bytes stays');
  assert(chunk.inode !== 0, 'it is the tail of a file');
  const file = getFile(change, chunk.inode);
  assert(file.tailHandle === handle, 'an open chunk is the tail of its file');
  file.tailHandle = 0;
  putInode(change, file);
  forgetUnused(change, chunk);
}

/** The next version, before a grant or a fence; from here on the length is not exactly known. A sealed chunk's may rise too (copies). */
export function raiseVersion(change: Change, handle: ChunkHandle): ChunkRecord {
  const chunk = getChunk(change, handle);
  chunk.version++;
  if (chunk.state === 'open') chunk.known = false;
  putChunk(change, chunk);
  return chunk;
}

/** Records the registration epochs that the members of an open chunk's chain answered a grant with. The members stay the same (rule 1). */
export function recordEpochs(change: Change, handle: ChunkHandle, chain: readonly ChainMember[]): ChunkRecord {
  const chunk = getOpen(change, handle);
  assert(chain.length === chunk.chain.length, 'the members of an open chunk do not change');
  for (let i = 0; i < chain.length; i++) {
    assert(
      chunk.chain.some(({ server }) => server === chain[i]!.server),
      'the members of an open chunk do not change',
    );
  }
  chunk.chain = chain.map(({ server, epoch }) => ({ server, epoch }));
  putChunk(change, chunk);
  return chunk;
}

/** At least `lengthBytes` are committed: a primary said so. A lower bound; an older, smaller one changes nothing. */
export function recordCommitted(change: Change, handle: ChunkHandle, lengthBytes: number, at: Moment): ChunkRecord {
  const chunk = getOpen(change, handle);
  grow(change, chunk, Math.max(lengthBytes, chunk.lengthBytes), at);
  putChunk(change, chunk);
  return chunk;
}

/** The lease of the current version came back, the chain synced: exactly `lengthBytes` are committed. Throws BAD_MESSAGE when committed bytes are missing. */
export function recordReturned(change: Change, handle: ChunkHandle, lengthBytes: number, at: Moment): ChunkRecord {
  const chunk = getOpen(change, handle);
  if (lengthBytes < chunk.lengthBytes) {
    throw new GfsError(
      'BAD_MESSAGE',
      `chunk ${handle} came back with ${lengthBytes} of ${chunk.lengthBytes} committed bytes`,
    );
  }
  grow(change, chunk, lengthBytes, at);
  chunk.known = true;
  putChunk(change, chunk);
  return chunk;
}

/**
 * Seals an open chunk at its length, for ever (I5), and gives the file its extent; an empty chunk becomes garbage instead. Its file may be in the
 * trash; when it is gone altogether the chunk already is garbage and only changes its state.
 */
export function sealChunk(change: Change, handle: ChunkHandle, lengthBytes: number, at: Moment): ChunkRecord {
  const chunk = getOpen(change, handle);
  assert(lengthBytes >= chunk.lengthBytes, 'a chunk is not sealed shorter than what is committed');
  grow(change, chunk, lengthBytes, at);
  chunk.state = 'sealed';
  chunk.known = true;
  count(change, { openChunks: -1 });
  if (chunk.inode === 0) {
    assert(chunk.garbageDueMs !== undefined, 'an open chunk without a file is garbage');
    putChunk(change, chunk);
    return chunk;
  }
  const file = getFile(change, chunk.inode);
  assert(file.tailHandle === handle, 'an open chunk is the tail of its file');
  file.tailHandle = 0;
  if (lengthBytes === 0) discard(change, chunk, at);
  putChunk(change, chunk);
  if (lengthBytes > 0) appendExtent(change, file, { handle, chunkOffset: 0, lengthBytes });
  putInode(change, file);
  return getChunk(change, handle);
}

/** Whether a chunk is the open one of a file, leased or not. */
export function isOpen(chunk: ChunkRecord): boolean {
  return chunk.state === 'open' && chunk.garbageDueMs === undefined;
}

/** The open chunk of a file, or undefined. */
export function tailOf(reader: Reader, file: InodeRecord): ChunkRecord | undefined {
  if (file.tailHandle === 0) return undefined;
  const chunk = findChunk(reader, file.tailHandle);
  assert(chunk?.state === 'open', 'the tail of a file is an open chunk');
  return chunk;
}

function getOpen(change: Change, handle: ChunkHandle): ChunkRecord {
  const chunk = getChunk(change, handle);
  assert(chunk.state === 'open', 'the chunk is open');
  return chunk;
}

/** New length of an open chunk. Growth that the master learns of is a modification of the file. */
function grow(change: Change, chunk: ChunkRecord, lengthBytes: number, at: Moment): void {
  if (lengthBytes === chunk.lengthBytes) return;
  chunk.lengthBytes = lengthBytes;
  chunk.modifiedMs = at.nowMs;
  const file = chunk.inode === 0 ? undefined : findInode(change, chunk.inode);
  if (file === undefined) return;
  Object.assign(file, timesAfterAppend(file, at.nowMs));
  putInode(change, file);
}
