// A file as a list of extents (DESIGN 2), kept under inode and index so that every step is a point read: find, append, cut, share, give up.
// It never touches the open chunk: callers seal it first where the end of the file matters.
import { assert } from '../lib/assert.js';
import { GfsError } from '../protocol/errors.js';
import { HOLE, type InodeId } from '../protocol/ids.js';
import { addReference, discard, dropReference, getChunk, putChunk } from './chunk-table.js';
import { getFile, putInode } from './inodes.js';
import { extentKey } from './keys.js';
import { type Moment, nowNs } from './moment.js';
import { EXTENT, type ExtentRecord, type InodeRecord } from './records.js';
import type { Change, Reader } from './store.js';

/** The extent with this index, 0 to extentCount - 1. */
export function getExtent(reader: Reader, file: InodeRecord, index: number): ExtentRecord {
  assert(index >= 0 && index < file.extentCount, 'the file has an extent with this index');
  const key = extentKey(file.inode, index);
  const value = reader.get(key);
  assert(value !== undefined, 'every extent of a file is stored');
  return EXTENT.decode(key, value);
}

/** The index of the extent that holds `fromByte`; extentCount when it lies past the sealed part. */
export function findExtentIndex(reader: Reader, file: InodeRecord, fromByte: number): number {
  let low = 0;
  let high = file.extentCount;
  if (fromByte >= file.sealedBytes) return high;
  // INVARIANT: extents before low end at or before fromByte, those from high on begin after it.
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (getExtent(reader, file, middle).fileOffset <= fromByte) low = middle;
    else high = middle;
  }
  return low;
}

export interface IndexedExtent extends ExtentRecord {
  index: number;
}

/** Up to `limit` extents from `fromIndex` on, in order. */
export function listExtents(reader: Reader, file: InodeRecord, fromIndex: number, limit: number): IndexedExtent[] {
  const extents: IndexedExtent[] = [];
  const end = Math.min(file.extentCount, fromIndex + limit);
  for (let index = fromIndex; index < end; index++) extents.push({ index, ...getExtent(reader, file, index) });
  return extents;
}

/** Up to `limit` extents, the first of which holds `fromByte`. `more`: sealed ones follow. */
export function locateExtents(
  reader: Reader,
  file: InodeRecord,
  { fromByte, limit }: { fromByte: number; limit: number },
): { extents: IndexedExtent[]; more: boolean } {
  const first = findExtentIndex(reader, file, fromByte);
  return { extents: listExtents(reader, file, first, limit), more: first + limit < file.extentCount };
}

/** Adds bytes of a chunk at the end of the sealed part and counts the reference. Changes `file`; the caller writes it. */
export function appendExtent(change: Change, file: InodeRecord, extent: Omit<ExtentRecord, 'fileOffset'>): void {
  assert(extent.lengthBytes > 0, 'an extent has bytes');
  assert(file.tailHandle === 0, 'sealed bytes come before the open chunk');
  putExtent(change, file, file.extentCount, { ...extent, fileOffset: file.sealedBytes });
  file.extentCount++;
  file.sealedBytes += extent.lengthBytes;
  if (extent.handle !== HOLE) addReference(change, extent.handle);
}

/** Adds zeros at the end of the sealed part, joined to a hole before them. Changes `file`; the caller writes it. */
function appendHole(change: Change, file: InodeRecord, lengthBytes: number): void {
  const last = file.extentCount === 0 ? undefined : getExtent(change, file, file.extentCount - 1);
  if (last?.handle !== HOLE) {
    appendExtent(change, file, { handle: HOLE, chunkOffset: 0, lengthBytes });
    return;
  }
  putExtent(change, file, file.extentCount - 1, { ...last, lengthBytes: last.lengthBytes + lengthBytes });
  file.sealedBytes += lengthBytes;
}

/**
 * Cuts a file, or extends it with a hole. Requires that its open chunk has been sealed. Cutting readable bytes raises the generation. The times are
 * set in any case, as ftruncate does. Throws STALE, IS_DIRECTORY, TOO_LARGE.
 */
export function truncateFile(change: Change, inode: InodeId, sizeBytes: number, at: Moment): InodeRecord {
  const file = getFile(change, inode);
  assert(file.tailHandle === 0, 'the open chunk is sealed before a truncation');
  if (!Number.isSafeInteger(sizeBytes)) throw new GfsError('TOO_LARGE');
  if (sizeBytes > file.sealedBytes) appendHole(change, file, sizeBytes - file.sealedBytes);
  if (sizeBytes < file.sealedBytes) {
    while (file.sealedBytes > sizeBytes) cutLastExtent(change, file, sizeBytes, at);
    file.generation++;
  }
  file.mtimeNs = nowNs(at);
  file.ctimeNs = nowNs(at);
  putInode(change, file);
  return file;
}

/**
 * Gives `to`, an empty file, the sealed content of `from` by sharing its chunks (paper, §3.4). Requires that neither has an open chunk. Holes and
 * offsets in chunks come along.
 */
export function shareExtents(change: Change, from: InodeRecord, to: InodeId): InodeRecord {
  const copy = getFile(change, to);
  assert(from.tailHandle === 0, 'the open chunk is sealed before a snapshot');
  assert(copy.tailHandle === 0, 'the copy is empty');
  assert(copy.extentCount === 0, 'the copy is empty');
  for (let index = 0; index < from.extentCount; index++) {
    const { handle, chunkOffset, lengthBytes } = getExtent(change, from, index);
    appendExtent(change, copy, { handle, chunkOffset, lengthBytes });
  }
  putInode(change, copy);
  return copy;
}

/**
 * Gives up the content of a file that nobody can reach any more, at most `extentsMax` extents of it, last first. True once nothing is left. An open
 * chunk is not sealed: nobody will ask for its bytes.
 */
export function releaseExtents(change: Change, file: InodeRecord, extentsMax: number, at: Moment): boolean {
  assert(file.nlink === 0, 'only a file without a name is given up');
  if (file.tailHandle !== 0) {
    const tail = getChunk(change, file.tailHandle);
    tail.inode = 0;
    discard(change, tail, at);
    putChunk(change, tail);
    file.tailHandle = 0;
  }
  for (let left = extentsMax; left > 0 && file.extentCount > 0; left--) cutLastExtent(change, file, 0, at);
  putInode(change, file);
  return file.extentCount === 0;
}

/** Sets the wanted copies of a file and of every chunk it names, its open one included. */
export function setGoal(change: Change, inode: InodeId, goal: number): InodeRecord {
  const file = getFile(change, inode);
  file.goal = goal;
  putInode(change, file);
  const handles = new Set(listExtents(change, file, 0, file.extentCount).map(({ handle }) => handle));
  if (file.tailHandle !== 0) handles.add(file.tailHandle);
  handles.delete(HOLE);
  for (const handle of handles) putChunk(change, { ...getChunk(change, handle), goal });
  return file;
}

/** Removes the last extent, or shortens it so that the file ends at `sizeBytes`. Changes `file`; the caller writes it. */
function cutLastExtent(change: Change, file: InodeRecord, sizeBytes: number, at: Moment): void {
  const index = file.extentCount - 1;
  const last = getExtent(change, file, index);
  assert(last.fileOffset + last.lengthBytes === file.sealedBytes, 'extents cover the sealed part');
  if (last.fileOffset < sizeBytes) {
    putExtent(change, file, index, { ...last, lengthBytes: sizeBytes - last.fileOffset });
    file.sealedBytes = sizeBytes;
    return;
  }
  change.del(extentKey(file.inode, index));
  file.extentCount--;
  file.sealedBytes = last.fileOffset;
  if (last.handle !== HOLE) dropReference(change, last.handle, at);
}

function putExtent(change: Change, file: InodeRecord, index: number, extent: ExtentRecord): void {
  const key = extentKey(file.inode, index);
  change.put(key, EXTENT.encode(key, extent));
}
