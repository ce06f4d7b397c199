// Chunk rows and their reference counts. A chunk that no extent names becomes garbage with a time; it is forgotten, and its replicas deleted,
// after the grace. It does not know why extents come and go (file-extents.ts) or how chunks change state (chunks.ts).
import { assert } from '../lib/assert.js';
import { GfsError } from '../protocol/errors.js';
import type { ChunkHandle } from '../protocol/ids.js';
import { count } from './counters.js';
import { chunkKey, dueRange, garbageKey, parseChunkKey, parseGarbageKey, rangeOf, successor } from './keys.js';
import type { Moment } from './moment.js';
import { CHUNK, type ChunkRecord, GARBAGE } from './records.js';
import type { Change, Reader, Store } from './store.js';

export function findChunk(reader: Reader, handle: ChunkHandle): ChunkRecord | undefined {
  const key = chunkKey(handle);
  const value = reader.get(key);
  if (value === undefined) return undefined;
  const chunk = CHUNK.decode(key, value);
  assert(chunk.handle === handle, 'a chunk is stored under its handle');
  return chunk;
}

/** Throws NO_CHUNK when the master does not know the handle (any more). */
export function getChunk(reader: Reader, handle: ChunkHandle): ChunkRecord {
  const chunk = findChunk(reader, handle);
  if (chunk === undefined) throw new GfsError('NO_CHUNK', `there is no chunk ${handle}`);
  return chunk;
}

export function putChunk(change: Change, chunk: ChunkRecord): void {
  const key = chunkKey(chunk.handle);
  change.put(key, CHUNK.encode(key, chunk));
}

/** Another extent names the chunk. */
export function addReference(change: Change, handle: ChunkHandle): void {
  const chunk = getChunk(change, handle);
  assert(chunk.garbageDueMs === undefined, 'garbage stays garbage');
  chunk.references++;
  putChunk(change, chunk);
}

/** An extent that named the chunk is gone; the last one leaves garbage. */
export function dropReference(change: Change, handle: ChunkHandle, at: Moment): void {
  const chunk = getChunk(change, handle);
  assert(chunk.references > 0, 'an extent is counted as a reference');
  chunk.references--;
  if (chunk.references === 0) discard(change, chunk, at);
  putChunk(change, chunk);
}

/** Makes an unreferenced chunk garbage; the caller writes the row. */
export function discard(change: Change, chunk: ChunkRecord, at: Moment): void {
  assert(chunk.references === 0, 'garbage has no references');
  assert(chunk.garbageDueMs === undefined, 'a chunk becomes garbage once');
  chunk.garbageDueMs = Math.floor(at.nowMs + at.graceMs);
  const key = garbageKey(chunk.garbageDueMs, chunk.handle);
  change.put(key, GARBAGE.encode(key, { handle: chunk.handle, sinceMs: at.nowMs }));
  count(change, { garbage: 1 });
}

/** Up to `limit` garbage chunks whose grace is over, the longest due first. */
export async function garbageDue(store: Store, nowMs: number, limit: number): Promise<ChunkHandle[]> {
  const rows = await store.scan({ ...dueRange('garbage', nowMs), limit });
  return rows.map(([key]) => parseGarbageKey(key).handle);
}

/** Up to `limit` garbage chunks after a place, in the order in which their grace ends. */
export async function garbageAfter(
  store: Store,
  { dueMs, handle }: { dueMs: number; handle: ChunkHandle | 0 },
  limit: number,
): Promise<Array<{ dueMs: number; handle: ChunkHandle }>> {
  const { lt } = rangeOf('garbage');
  const rows = await store.scan({ gte: garbageKey(dueMs, (handle + 1) as ChunkHandle), lt, limit });
  return rows.map(([key]) => parseGarbageKey(key));
}

/**
 * Forgets a garbage chunk. From then on a replica of it is an orphan, to be deleted where it is reported. Returns false (and does nothing) when it
 * is not garbage (any more).
 */
export function forgetGarbage(change: Change, handle: ChunkHandle): boolean {
  const chunk = findChunk(change, handle);
  if (chunk?.garbageDueMs === undefined) return false;
  assert(chunk.references === 0, 'garbage has no references');
  change.del(garbageKey(chunk.garbageDueMs, handle));
  change.del(chunkKey(handle));
  count(change, { garbage: -1, chunks: -1, openChunks: chunk.state === 'open' ? -1 : 0 });
  return true;
}

/** Forgets an open chunk that never had a replica. */
export function forgetUnused(change: Change, chunk: ChunkRecord): void {
  assert(chunk.references === 0, 'no extent names it');
  change.del(chunkKey(chunk.handle));
  count(change, { chunks: -1, openChunks: -1 });
}

/** Up to `limit` chunks with handles above `after`, in order: for walks over all chunks in small pieces. */
export async function chunksAfter(store: Store, after: ChunkHandle | 0, limit: number): Promise<ChunkRecord[]> {
  const { gte, lt } = rangeOf('chunk');
  const from = after === 0 ? gte : successor(chunkKey(after));
  const rows = await store.scan({ gte: from, lt, limit });
  return rows.map(([key, value]) => {
    const chunk = CHUNK.decode(key, value);
    assert(chunk.handle === parseChunkKey(key), 'a chunk is stored under its handle');
    return chunk;
  });
}
