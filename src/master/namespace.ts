// The tree of names: making and removing files, directories, symbolic and hard links, with the refusals and the bookkeeping that POSIX asks for.
// It checks no permissions (the mount does), and never touches chunks: what loses its last name goes to the trash. Renaming is in rename.ts.
import { GfsError } from '../protocol/errors.js';
import { type InodeId, ROOT_INODE } from '../protocol/ids.js';
import { LIMITS } from '../protocol/limits.js';
import type { WireWhere } from '../protocol/messages.js';
import { count } from './counters.js';
import { addEntry, forgetDirectory, removeEntry } from './entries.js';
import { makeInode, putInode } from './inodes.js';
import { type Moment, nowNs } from './moment.js';
import { checkTarget, splitPath } from './names.js';
import type { InodeRecord } from './records.js';
import { type Place, resolve, walk } from './resolve.js';
import type { Change } from './store.js';
import { dropName } from './trash.js';

export { readDirectory } from './entries.js';
export { renameEntry } from './rename.js';
export { resolve, type Walk, walk } from './resolve.js';

const SETGID = 0o2000;
const SYMLINK_MODE = 0o777;

export interface Owner {
  uid: number;
  gid: number;
}

export interface CreateFileOptions extends Owner {
  where: WireWhere;
  mode: number;
  /** Refuse an existing name with EXISTS, also that of a symlink. */
  exclusive: boolean;
}

/**
 * The file at `where`, made when there is none; a symlink at the end is followed unless `exclusive`, a dangling one makes the file that it points to.
 * Throws EXISTS, IS_DIRECTORY and what `walk` throws. Cutting an existing file is the caller's: its open chunk has to be sealed first.
 */
export function createFile(
  change: Change,
  { where, mode, uid, gid, exclusive }: CreateFileOptions,
  at: Moment,
): { file: InodeRecord; created: boolean; place: Place | undefined } {
  const { inode, place } = walk(change, where, !exclusive);
  if (inode === undefined)
    return { file: make(change, place, { type: 'file', mode, uid, gid }, at), created: true, place };
  if (exclusive) throw new GfsError('EXISTS');
  if (inode.type === 'directory') throw new GfsError('IS_DIRECTORY');
  return { file: inode, created: false, place };
}

export interface MakeDirectoryOptions extends Owner {
  where: WireWhere;
  mode: number;
}

/** Throws EXISTS and what `walk` throws. */
export function makeDirectory(
  change: Change,
  { where, mode, uid, gid }: MakeDirectoryOptions,
  at: Moment,
): InodeRecord {
  return make(change, freePlace(change, where), { type: 'directory', mode, uid, gid }, at);
}

/** Makes the directories that are missing before the last name of `where`, and returns where they are. Throws what `walk` throws. */
export function makeParents(
  change: Change,
  { where, mode, uid, gid }: MakeDirectoryOptions,
  at: Moment,
): Array<{ parent: InodeId; name: string }> {
  const made: Array<{ parent: InodeId; name: string }> = [];
  const names = splitPath(where.path);
  for (let depth = 1; depth < names.length; depth++) {
    const place = { start: where.start, path: names.slice(0, depth).join('/') };
    const { inode, place: free } = walk(change, place, true);
    if (inode !== undefined) continue;
    make(change, free, { type: 'directory', mode, uid, gid }, at);
    made.push({ parent: free.parent.inode, name: free.name });
  }
  return made;
}

export interface MakeSymlinkOptions extends Owner {
  where: WireWhere;
  target: string;
}

/** Throws EXISTS, what `checkTarget` and what `walk` throws. */
export function makeSymlink(change: Change, { where, target, uid, gid }: MakeSymlinkOptions, at: Moment): InodeRecord {
  checkTarget(target);
  return make(change, freePlace(change, where), { type: 'symlink', mode: SYMLINK_MODE, uid, gid, target }, at);
}

/** Another name for a file or symlink. Throws EXISTS, NOT_PERMITTED (a directory), NOT_FOUND, TOO_MANY_LINKS and what `walk` throws. */
export function link(
  change: Change,
  { existing, created }: { existing: WireWhere; created: WireWhere },
  at: Moment,
): InodeRecord {
  const inode = resolve(change, existing, false);
  const place = freePlace(change, created);
  if (inode.type === 'directory') throw new GfsError('NOT_PERMITTED', 'a directory has one name only');
  if (inode.nlink === 0) throw new GfsError('NOT_FOUND', 'the file was deleted');
  if (inode.nlink >= LIMITS.linksMax) throw new GfsError('TOO_MANY_LINKS');
  inode.nlink++;
  inode.ctimeNs = nowNs(at);
  putInode(change, inode);
  addEntry(change, { parent: place.parent.inode, name: place.name, inode }, at);
  return inode;
}

/** Removes a name of a file or symlink and returns what it named; the last name of a file sends it to the trash. Throws IS_DIRECTORY and what `walk` throws. */
export function unlink(change: Change, where: WireWhere, at: Moment): InodeRecord {
  const { inode, place } = taken(change, where);
  if (inode.type === 'directory') throw new GfsError('IS_DIRECTORY');
  if (place === undefined) throw new GfsError('INVALID', 'a name is removed, not an inode');
  const from = { parent: place.parent.inode, name: place.name };
  return dropName(change, inode, from, at, () => removeEntry(change, from, at));
}

/** Removes an empty directory. Throws NOT_DIRECTORY, NOT_EMPTY, BUSY (the root) and what `walk` throws. */
export function removeDirectory(change: Change, where: WireWhere, at: Moment): InodeRecord {
  const { inode, place } = taken(change, where);
  if (inode.type !== 'directory') throw new GfsError('NOT_DIRECTORY');
  if (inode.inode === ROOT_INODE) throw new GfsError('BUSY', 'the root cannot be removed');
  if (place === undefined) throw new GfsError('INVALID', 'a name is removed, not an inode');
  if (inode.childCount > 0) throw new GfsError('NOT_EMPTY');
  removeEntry(change, { parent: place.parent.inode, name: place.name }, at);
  forgetDirectory(change, inode);
  return inode;
}

function taken(change: Change, where: WireWhere): { inode: InodeRecord; place: Place | undefined } {
  const { inode, place } = walk(change, where, false);
  if (inode === undefined) throw new GfsError('NOT_FOUND', `there is no ${place.name}`);
  return { inode, place };
}

function freePlace(change: Change, where: WireWhere): Place {
  const { inode, place } = walk(change, where, false);
  if (inode !== undefined) throw new GfsError('EXISTS');
  return place;
}

type NewEntry = Owner & { type: InodeRecord['type']; mode: number; target?: string };

/** In a set-group-id directory children belong to its group, and directories pass the bit on (inode(7)). */
function make(change: Change, { parent, name }: Place, fields: NewEntry, at: Moment): InodeRecord {
  const inheritsGroup = (parent.mode & SETGID) !== 0;
  const mode = fields.type === 'directory' && inheritsGroup ? fields.mode | SETGID : fields.mode;
  const gid = inheritsGroup ? parent.gid : fields.gid;
  const inode = makeInode(change, { ...fields, mode, gid, goal: parent.goal }, at);
  addEntry(change, { parent: parent.inode, name, inode }, at);
  count(change, fields.type === 'directory' ? { directories: 1 } : { files: 1 });
  return inode;
}
