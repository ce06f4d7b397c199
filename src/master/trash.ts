// Files without a name: they stay whole for the retention time, and longer while somebody has them open, then are given up in bounded steps. Restoring
// gives a file a name again. What becomes of chunks is chunk-table.ts's.
import { assert } from '../lib/assert.js';
import { GfsError } from '../protocol/errors.js';
import type { ChunkHandle, InodeId } from '../protocol/ids.js';
import type { WireWhere } from '../protocol/messages.js';
import { findChunk } from './chunk-table.js';
import { count } from './counters.js';
import { addEntry } from './entries.js';
import { listExtents, releaseExtents } from './file-extents.js';
import { deleteInode, findInode, getFile, putInode } from './inodes.js';
import { dueRange, parseTrashKey, rangeOf, trashKey } from './keys.js';
import { type Moment, nowNs } from './moment.js';
import { type InodeRecord, TRASH, type TrashRecord } from './records.js';
import { pathOf, walk } from './resolve.js';
import type { Change, Reader, Store } from './store.js';
import { removeAllXattrs } from './xattrs.js';

const POSTPONED_PER_STEP = 1_024;
/** When a file is due that is given up in part: before all others, and it cannot be had back, since it would be cut. */
const HALF_GONE_MS = 0;

/** Where a name was. */
interface Name {
  parent: InodeId;
  name: string;
}

/**
 * A file or symlink loses a name; `remove` takes the entry out. Without any name left a file goes to the trash, where an empty one stays only for the
 * grace, and a symlink is gone. Returns the record as it then is.
 */
export function dropName(change: Change, inode: InodeRecord, from: Name, at: Moment, remove: () => void): InodeRecord {
  assert(inode.nlink > 0, 'what has a name has a link');
  const path = inode.nlink === 1 && inode.type === 'file' ? pathOf(change, from) : '';
  remove();
  inode.nlink--;
  inode.ctimeNs = nowNs(at);
  if (inode.nlink > 0) {
    putInode(change, inode);
    return inode;
  }
  count(change, { files: -1 });
  if (inode.type === 'symlink') {
    removeAllXattrs(change, inode);
    deleteInode(change, inode.inode);
    return inode;
  }
  const isEmpty = inode.extentCount === 0 && inode.tailHandle === 0;
  const keepMs = isEmpty ? at.graceMs : Math.max(at.trashMs, at.graceMs);
  putTrash(change, inode, { inode: inode.inode, deletedMs: at.nowMs, ...from, path }, at.nowMs + keepMs);
  count(change, { trash: 1 });
  return inode;
}

/** What is known of a file in the trash. Throws STALE, NOT_FOUND when it is not there. */
export function getTrash(reader: Reader, inode: InodeId): TrashRecord {
  return trashOf(reader, getFile(reader, inode));
}

/** Where a walk over the trash stands. */
export interface TrashPlace {
  dueMs: number;
  inode: InodeId;
}

export interface TrashItem extends TrashRecord {
  dueMs: number;
  file: InodeRecord;
}

/** Up to `limit` files of the trash, the soonest due first, those after `after`. */
export async function listTrash(
  store: Store,
  { after, limit }: { after?: TrashPlace; limit: number },
): Promise<TrashItem[]> {
  const items: TrashItem[] = [];
  for (const [key, value] of await store.scan({ ...rangeAfter(after), limit })) {
    const { dueMs, inode } = parseTrashKey(key);
    const file = findInode(store, inode);
    // Collected or restored since the scan.
    if (file?.trashDueMs !== dueMs) continue;
    items.push({ ...TRASH.decode(key, value), dueMs, file });
  }
  return items;
}

/** Names a file of the trash `to`, which must be free. Throws NOT_FOUND (not in the trash), STALE, EXISTS and what `walk` throws. */
export function restoreTrash(change: Change, inode: InodeId, to: WireWhere, at: Moment): InodeRecord {
  const file = getFile(change, inode);
  trashOf(change, file);
  if (file.trashDueMs === HALF_GONE_MS) throw new GfsError('NOT_FOUND', `inode ${inode} is being deleted`);
  const { inode: existing, place } = walk(change, to, false);
  if (existing !== undefined) throw new GfsError('EXISTS');
  deleteTrash(change, file);
  file.nlink = 1;
  file.ctimeNs = nowNs(at);
  putInode(change, file);
  addEntry(change, { parent: place.parent.inode, name: place.name, inode: file }, at);
  count(change, { trash: -1, files: 1 });
  return file;
}

/** Makes a file of the trash due now. Throws NOT_FOUND (not in the trash), STALE. */
export function purgeTrash(change: Change, inode: InodeId, at: Moment): void {
  const file = getFile(change, inode);
  const trash = trashOf(change, file);
  if (file.trashDueMs === HALF_GONE_MS) return;
  deleteTrash(change, file);
  putTrash(change, file, trash, at.nowMs);
}

export interface CollectOptions {
  at: Moment;
  /** Whether a session has the inode open: such a file stays for another grace. */
  isOpen: (inode: InodeId) => boolean;
  /** Bounds of one call: files looked at, extents given up. */
  filesMax: number;
  extentsMax: number;
}

/** Gives up files whose time in the trash is over. Resolves with how many are gone, and whether more was due than one call does. */
export async function collectDue(
  store: Store,
  { at, isOpen, filesMax, extentsMax }: CollectOptions,
): Promise<{ collected: number; more: boolean }> {
  const rows = await store.scan({ ...dueRange('trash', at.nowMs), limit: filesMax });
  let extentsLeft = extentsMax;
  let collected = 0;
  for (const [key] of rows) {
    if (extentsLeft <= 0) return { collected, more: true };
    const { dueMs, inode } = parseTrashKey(key);
    const file = findInode(store, inode);
    // Restored or purged since the scan.
    if (file?.trashDueMs !== dueMs) continue;
    if (dueMs !== HALF_GONE_MS && isOpen(inode)) {
      store.change(change => postpone(change, file, at));
      continue;
    }
    const extents = file.extentCount;
    if (store.change(change => collect(change, file, extentsLeft, at)).isGone) collected++;
    extentsLeft -= Math.min(extents, extentsLeft) + 1;
  }
  return { collected, more: rows.length === filesMax };
}

export interface ReleaseOptions extends CollectOptions {
  /** Where the walk stopped; the soonest due come first when absent. */
  after?: TrashPlace | undefined;
  /** Asked before each file: no more need go. */
  isEnough: () => boolean;
  /** Chunks that are garbage now. */
  onGarbage: (handles: ChunkHandle[]) => void;
}

/**
 * Gives up files before their time, the soonest due first, as long as space is needed. Those that somebody has open are passed by and keep their time.
 * Resolves with where to go on; undefined when all were looked at.
 */
export async function releaseEarly(
  store: Store,
  { at, after, isOpen, isEnough, onGarbage, filesMax, extentsMax }: ReleaseOptions,
): Promise<TrashPlace | undefined> {
  let place = after;
  if (isEnough()) return place;
  const rows = await store.scan({ ...rangeAfter(after), limit: filesMax });
  let extentsLeft = extentsMax;
  for (const [key] of rows) {
    if (extentsLeft <= 0 || isEnough()) return place;
    place = parseTrashKey(key);
    const file = findInode(store, place.inode);
    if (file?.trashDueMs !== place.dueMs || isOpen(file.inode)) continue;
    const extents = file.extentCount;
    onGarbage(store.change(change => collect(change, file, extentsLeft, at)).garbage);
    extentsLeft -= Math.min(extents, extentsLeft) + 1;
  }
  return rows.length < filesMax ? undefined : place;
}

/** No file leaves the trash sooner than if it were deleted now. */
export async function postponeTrash(store: Store, at: Moment): Promise<void> {
  const dueMs = at.nowMs + Math.max(at.trashMs, at.graceMs);
  for (;;) {
    const rows = await store.scan({ ...rangeAfter(), lt: dueRange('trash', dueMs - 1).lt, limit: POSTPONED_PER_STEP });
    store.change(change => {
      for (const [key] of rows) {
        const { dueMs: wasDueMs, inode } = parseTrashKey(key);
        const file = findInode(change, inode);
        if (file?.trashDueMs !== wasDueMs) continue;
        const trash = trashOf(change, file);
        deleteTrash(change, file);
        putTrash(change, file, trash, dueMs);
      }
    });
    if (rows.length < POSTPONED_PER_STEP) return;
  }
}

/** Gives up at most `extentsMax` extents of a file, and the file itself once none is left. Returns the chunks that nothing names any more. */
function collect(
  change: Change,
  file: InodeRecord,
  extentsMax: number,
  at: Moment,
): { isGone: boolean; garbage: ChunkHandle[] } {
  const first = Math.max(0, file.extentCount - extentsMax);
  const named = new Set(listExtents(change, file, first, extentsMax).map(({ handle }) => handle));
  if (file.tailHandle !== 0) named.add(file.tailHandle);
  const isGone = releaseExtents(change, file, extentsMax, at);
  const trash = trashOf(change, file);
  deleteTrash(change, file);
  if (isGone) {
    removeAllXattrs(change, file);
    deleteInode(change, file.inode);
    count(change, { trash: -1 });
  } else putTrash(change, file, trash, HALF_GONE_MS);
  return { isGone, garbage: [...named].filter(handle => findChunk(change, handle)?.garbageDueMs !== undefined) };
}

function postpone(change: Change, file: InodeRecord, at: Moment): void {
  const trash = trashOf(change, file);
  deleteTrash(change, file);
  putTrash(change, file, trash, at.nowMs + Math.max(at.graceMs, 1));
}

/** What comes after a place; all that can be had back when there is none. */
function rangeAfter(after?: TrashPlace): { gte: Buffer; lt: Buffer } {
  const { lt } = rangeOf('trash');
  const gte = after ? trashKey(after.dueMs, (after.inode + 1) as InodeId) : trashKey(HALF_GONE_MS + 1, 0 as InodeId);
  return { gte, lt };
}

function trashOf(reader: Reader, file: InodeRecord): TrashRecord {
  if (file.trashDueMs === undefined) throw new GfsError('NOT_FOUND', `inode ${file.inode} is not in the trash`);
  const key = trashKey(file.trashDueMs, file.inode);
  const value = reader.get(key);
  assert(value !== undefined, 'a file of the trash has a trash row');
  return TRASH.decode(key, value);
}

function putTrash(change: Change, file: InodeRecord, trash: TrashRecord, dueMs: number): void {
  file.trashDueMs = Math.floor(dueMs);
  const key = trashKey(file.trashDueMs, file.inode);
  change.put(key, TRASH.encode(key, trash));
  putInode(change, file);
}

function deleteTrash(change: Change, file: InodeRecord): void {
  assert(file.trashDueMs !== undefined, 'the file is in the trash');
  change.del(trashKey(file.trashDueMs, file.inode));
  delete file.trashDueMs;
}
