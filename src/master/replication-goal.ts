// How many copies a file's chunks are to have: set for a file with its chunks, or for a directory, whose new children inherit it. Copies are made
// and taken away by healing afterwards.

import { GfsError } from '../protocol/errors.js';
import { type ChunkHandle, HOLE, type InodeId } from '../protocol/ids.js';
import type { Reply, Request } from '../protocol/messages.js';
import type { Rooms } from './api-context.js';
import { getChunk, putChunk } from './chunks.js';
import { sealTail } from './file-cuts.js';
import { listExtents } from './file-extents.js';
import { findInode, getFile, getInode, putInode, toAttributes } from './inodes.js';
import { momentOf } from './master-context.js';
import { nowNs } from './moment.js';
import { resolve } from './namespace.js';
import type { Change } from './store.js';

/** Extents whose chunks are changed together. */
const EXTENTS_PER_CHANGE = 1_024;

/**
 * Durable when it settles; may be repeated. A chunk that another file has too never goes below what it has. Throws UNAVAILABLE or SAFE_MODE when the
 * open chunk cannot be sealed (new chunks then have the new goal all the same), and what `resolve` throws.
 */
export async function setReplication(
  rooms: Rooms,
  { where, goal }: Request<'setReplication'>,
  deadlineMs: number,
): Promise<Reply<'setReplication'>> {
  const { store, notices } = rooms.context;
  const { inode, type } = resolve(store, where, true);
  if (type === 'symlink') throw new GfsError('INVALID', 'a symbolic link has no chunks');
  store.change(change => setGoal(change, rooms, inode, goal));
  notices.inodeChanged(inode);
  const counts = { changed: 0, shared: 0 };
  if (type === 'file') {
    await sealUnlike(rooms, inode, goal, deadlineMs);
    await changeChunks(rooms, inode, goal, counts);
  }
  await store.durable();
  notices.flush();
  return { attributes: toAttributes(store, getInode(store, inode)), ...counts };
}

function setGoal(change: Change, { context }: Rooms, inode: InodeId, goal: number): void {
  const record = getInode(change, inode);
  if (record.goal === goal) return;
  record.goal = goal;
  record.ctimeNs = nowNs(momentOf(context));
  putInode(change, record);
}

/** The members of an open chunk never change (DESIGN 4, rule 1): with another goal the file goes on in a new one. */
async function sealUnlike(rooms: Rooms, inode: InodeId, goal: number, deadlineMs: number): Promise<void> {
  const { store } = rooms.context;
  for (;;) {
    const { tailHandle } = getFile(store, inode);
    if (tailHandle === 0 || getChunk(store, tailHandle).goal === goal) return;
    await sealTail(rooms, inode, deadlineMs);
  }
}

async function changeChunks(
  rooms: Rooms,
  inode: InodeId,
  goal: number,
  counts: { changed: number; shared: number },
): Promise<void> {
  const { store } = rooms.context;
  for (let index = 0; ; index += EXTENTS_PER_CHANGE) {
    const file = findInode(store, inode);
    // Deleted meanwhile, or set to something else by somebody else.
    if (!file || file.goal !== goal || index >= file.extentCount) return;
    const changed = store.change(change => {
      const handles = listExtents(change, file, index, EXTENTS_PER_CHANGE).map(({ handle }) => handle);
      return [...new Set(handles)].filter(handle => handle !== HOLE && changeChunk(change, handle, goal, counts));
    });
    await store.durable();
    counts.changed += changed.length;
    for (const handle of changed) rooms.healing.consider(handle);
  }
}

function changeChunk(change: Change, handle: ChunkHandle, goal: number, counts: { shared: number }): boolean {
  const chunk = getChunk(change, handle);
  if (chunk.goal === goal) return false;
  if (goal < chunk.goal && chunk.references > 1) {
    counts.shared++;
    return false;
  }
  chunk.goal = goal;
  putChunk(change, chunk);
  return true;
}
