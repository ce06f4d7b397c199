// Snapshots (paper, §3.4): a new file that shares the chunks of another, made in one change. Chunks are immutable, so nothing is ever copied on write.
import { GfsError } from '../protocol/errors.js';
import type { WireWhere } from '../protocol/messages.js';
import { shareExtents } from './file-extents.js';
import type { Moment } from './moment.js';
import { createFile, resolve } from './namespace.js';
import type { InodeRecord } from './records.js';
import type { Change } from './store.js';

export interface SnapshotOptions {
  from: WireWhere;
  to: WireWhere;
  uid: number;
  gid: number;
}

/**
 * Requires that the open chunk of `from` has been sealed in the same turn. Throws EXISTS (`to` is taken), IS_DIRECTORY, INVALID (not a file), and what
 * `walk` throws.
 */
export function snapshotFile(change: Change, { from, to, uid, gid }: SnapshotOptions, at: Moment): InodeRecord {
  const source = resolve(change, from, true);
  if (source.type === 'directory') throw new GfsError('IS_DIRECTORY', 'a snapshot is made of a file');
  const { file } = createFile(change, { where: to, mode: source.mode, uid, gid, exclusive: true }, at);
  return shareExtents(change, source, file.inode);
}
