// Changing owner, mode and times of an inode, as chmod(2), chown(2) and utimensat(2) have it. Sizes are file-extents.ts's.
import type { WireWhere } from '../protocol/messages.js';
import { putInode } from './inodes.js';
import { type Moment, nowNs } from './moment.js';
import type { InodeRecord } from './records.js';
import { resolve } from './resolve.js';
import type { Change } from './store.js';

const SETUID = 0o4000;
const SETGID = 0o2000;
const GROUP_EXECUTE = 0o010;

export interface AttributeChanges {
  mode?: number | undefined;
  uid?: number | undefined;
  gid?: number | undefined;
  /** 0: now. */
  atimeNs?: bigint | undefined;
  mtimeNs?: bigint | undefined;
}

/** Throws what `resolve` throws. */
export function setAttributes(
  change: Change,
  { where, follow, ...changes }: AttributeChanges & { where: WireWhere; follow: boolean },
  at: Moment,
): InodeRecord {
  const inode = resolve(change, where, follow);
  const now = nowNs(at);
  const changesOwner = changes.uid !== undefined || changes.gid !== undefined;
  if (changes.mode !== undefined) inode.mode = changes.mode;
  else if (changesOwner && inode.type === 'file') inode.mode = withoutSetId(inode.mode);
  inode.uid = changes.uid ?? inode.uid;
  inode.gid = changes.gid ?? inode.gid;
  if (changes.atimeNs !== undefined) inode.atimeNs = changes.atimeNs === 0n ? now : changes.atimeNs;
  if (changes.mtimeNs !== undefined) inode.mtimeNs = changes.mtimeNs === 0n ? now : changes.mtimeNs;
  inode.ctimeNs = now;
  putInode(change, inode);
  return inode;
}

/** A file that changes hands does not keep its powers. Set-group-id without group execution once meant mandatory locking, and stays (chown(2)). */
function withoutSetId(mode: number): number {
  return mode & ~(SETUID | ((mode & GROUP_EXECUTE) !== 0 ? SETGID : 0));
}
