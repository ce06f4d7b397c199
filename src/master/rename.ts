// Renaming as rename(2) and renameat2(2) have it: one change of two entries, however large the tree below. Nothing else moves names.
import { GfsError } from '../protocol/errors.js';
import type { WireWhere } from '../protocol/messages.js';
import { addEntry, forgetDirectory, removeEntry } from './entries.js';
import { getInode, putInode } from './inodes.js';
import { type Moment, nowNs } from './moment.js';
import type { InodeRecord } from './records.js';
import { isWithin, type Place, walk } from './resolve.js';
import type { Change } from './store.js';
import { dropName } from './trash.js';

export interface RenameOptions {
  from: WireWhere;
  to: WireWhere;
  /** Refuse an existing target (RENAME_NOREPLACE). */
  noReplace: boolean;
  /** Swap two existing names (RENAME_EXCHANGE). */
  exchange: boolean;
}

export interface Renamed {
  moved: InodeRecord;
  /** What was at `to`: replaced, or swapped. */
  other: InodeRecord | undefined;
}

/**
 * Moves a name, replacing a file or an empty directory at `to`. Two names of one file: nothing happens, as POSIX says. Throws NOT_FOUND, EXISTS
 * (noReplace), IS_DIRECTORY, NOT_DIRECTORY, NOT_EMPTY, INVALID (into itself; both options), BUSY (the root) and what `walk` throws.
 */
export function renameEntry(change: Change, { from, to, noReplace, exchange }: RenameOptions, at: Moment): Renamed {
  if (noReplace && exchange) throw new GfsError('INVALID', 'noReplace and exchange exclude each other');
  const source = walk(change, from, false);
  const target = walk(change, to, false);
  if (source.inode === undefined) throw new GfsError('NOT_FOUND', `there is no ${source.place.name}`);
  if (source.place === undefined) throw new GfsError('BUSY', 'a name is moved, not the root or an inode');
  if (target.place === undefined) throw new GfsError('BUSY', 'the target is a name, not the root or an inode');
  const [moved, other] = [source.inode, target.inode];
  refuseOwnSubtree(change, moved, target.place);
  if (noReplace && other !== undefined) throw new GfsError('EXISTS');
  if (exchange) {
    if (other === undefined) throw new GfsError('NOT_FOUND', `there is no ${target.place.name}`);
    refuseOwnSubtree(change, other, source.place);
    if (moved.inode !== other.inode) swap(change, { moved, other, from: source.place, to: target.place }, at);
    return { moved, other };
  }
  if (other !== undefined) {
    if (other.inode === moved.inode) return { moved, other };
    refuseReplacement(moved, other);
    replace(change, other, target.place, at);
  }
  removeEntry(change, nameOf(source.place), at);
  addAgain(change, moved, target.place, at);
  return { moved, other };
}

function refuseOwnSubtree(change: Change, moved: InodeRecord, to: Place): void {
  if (moved.type === 'directory' && isWithin(change, to.parent, moved.inode)) {
    throw new GfsError('INVALID', 'a directory cannot be moved into itself');
  }
}

function refuseReplacement(moved: InodeRecord, other: InodeRecord): void {
  if (moved.type === 'directory' && other.type !== 'directory') throw new GfsError('NOT_DIRECTORY');
  if (moved.type !== 'directory' && other.type === 'directory') throw new GfsError('IS_DIRECTORY');
  if (other.childCount > 0) throw new GfsError('NOT_EMPTY');
}

function replace(change: Change, other: InodeRecord, to: Place, at: Moment): void {
  if (other.type !== 'directory') {
    dropName(change, other, nameOf(to), at, () => removeEntry(change, nameOf(to), at));
    return;
  }
  removeEntry(change, nameOf(to), at);
  forgetDirectory(change, other);
}

function swap(
  change: Change,
  { moved, other, from, to }: { moved: InodeRecord; other: InodeRecord; from: Place; to: Place },
  at: Moment,
): void {
  removeEntry(change, nameOf(from), at);
  removeEntry(change, nameOf(to), at);
  addAgain(change, moved, to, at);
  addAgain(change, other, from, at);
}

/** The record is read anew: a moved directory may have been the parent of the other name, whose removal changed it. */
function addAgain(change: Change, { inode: id }: InodeRecord, { parent, name }: Place, at: Moment): void {
  const inode = getInode(change, id);
  inode.ctimeNs = nowNs(at);
  putInode(change, inode);
  addEntry(change, { parent: parent.inode, name, inode }, at);
}

function nameOf({ parent, name }: Place): { parent: InodeRecord['inode']; name: string } {
  return { parent: parent.inode, name };
}
