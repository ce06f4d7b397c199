// From a place in the tree to what is there: walks directories and symbolic links by point reads. It changes nothing and checks no permissions
// (the mount does).
import { assert } from '../lib/assert.js';
import { GfsError } from '../protocol/errors.js';
import { type InodeId, ROOT_INODE } from '../protocol/ids.js';
import { LIMITS } from '../protocol/limits.js';
import type { WireWhere } from '../protocol/messages.js';
import { findEntry } from './entries.js';
import { findInode, getInode } from './inodes.js';
import { checkName, splitPath, splitTarget } from './names.js';
import type { InodeRecord } from './records.js';
import type { Reader } from './store.js';

/** A name in a directory, taken or free. */
export interface Place {
  parent: InodeRecord;
  name: string;
}

/** Where a walk ended. `inode` undefined: the last name is free. `place` undefined: it did not end on a name (the start, the root, '..'). */
export type Walk = { inode: InodeRecord; place: Place | undefined } | { inode: undefined; place: Place };

/**
 * Walks to `where`. Symbolic links on the way are followed, the last one when `follow`; absolute targets begin at the root of the file system. Throws
 * NOT_FOUND (something before the last name is missing), NOT_DIRECTORY, SYMLINK_LOOP, NAME_INVALID, NAME_TOO_LONG, STALE (the start is gone).
 */
export function walk(reader: Reader, where: WireWhere, follow: boolean): Walk {
  const steps = splitPath(where.path).reverse();
  let inode = start(reader, where.start, steps.length);
  let place: Place | undefined;
  let symlinks = 0;
  while (steps.length > 0) {
    const name = steps.pop()!;
    if (inode.type !== 'directory') throw new GfsError('NOT_DIRECTORY', `there is a ${inode.type} before ${name}`);
    if (name === '.' || name === '..') {
      if (name === '..') inode = parentOf(reader, inode);
      place = undefined;
      continue;
    }
    checkName(name);
    place = { parent: inode, name };
    const entry = findEntry(reader, inode.inode, name);
    if (entry === undefined) {
      if (steps.length > 0) throw new GfsError('NOT_FOUND', `there is no ${name}`);
      return { inode: undefined, place };
    }
    const child = getInode(reader, entry.inode);
    if (child.type !== 'symlink' || (steps.length === 0 && !follow)) {
      inode = child;
      continue;
    }
    symlinks++;
    if (symlinks > LIMITS.symlinksMax) throw new GfsError('SYMLINK_LOOP');
    assert(child.target !== undefined, 'a symlink has a target');
    const target = splitTarget(child.target);
    if (target.absolute) inode = getInode(reader, ROOT_INODE);
    for (const step of target.steps.reverse()) steps.push(step);
    place = undefined;
  }
  return { inode, place };
}

/** What is at `where`. Throws as `walk`, and NOT_FOUND when the last name is free. */
export function resolve(reader: Reader, where: WireWhere, follow: boolean): InodeRecord {
  const { inode, place } = walk(reader, where, follow);
  if (inode === undefined) throw new GfsError('NOT_FOUND', `there is no ${place.name}`);
  return inode;
}

/** The directory of a directory; the root's is the root. */
export function parentOf(reader: Reader, directory: InodeRecord): InodeRecord {
  assert(directory.parent !== undefined, 'a directory has a parent');
  return getInode(reader, directory.parent);
}

/** Whether `directory` is `ancestor` or lies below it. */
export function isWithin(reader: Reader, directory: InodeRecord, ancestor: InodeId): boolean {
  let current = directory;
  while (current.inode !== ancestor) {
    if (current.inode === ROOT_INODE) return false;
    current = parentOf(reader, current);
  }
  return true;
}

/** The path of a name from the root, without a leading slash. Linear in its depth, for people's eyes only. */
export function pathOf(reader: Reader, { parent, name }: { parent: InodeId; name: string }): string {
  const names = [name];
  let current = getInode(reader, parent);
  while (current.inode !== ROOT_INODE) {
    assert(current.name !== undefined, 'a directory knows its name');
    names.push(current.name);
    current = parentOf(reader, current);
  }
  return names.reverse().join('/');
}

/** POSIX: nothing can be found or made in a directory that was removed (ENOENT), while the thing itself is stale. */
function start(reader: Reader, inode: InodeId, steps: number): InodeRecord {
  if (steps === 0) return getInode(reader, inode);
  const record = findInode(reader, inode);
  if (record === undefined) throw new GfsError('NOT_FOUND', `the directory with inode ${inode} was removed`);
  return record;
}
