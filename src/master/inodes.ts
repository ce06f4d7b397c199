// Inode rows: reading, writing, and how they look on the wire. It does not know names (namespace.ts) or what a file consists of (file-extents.ts).
import { assert } from '../lib/assert.js';
import { GfsError } from '../protocol/errors.js';
import type { InodeId } from '../protocol/ids.js';
import type { WireAttributes } from '../protocol/messages.js';
import { findChunk } from './chunk-table.js';
import { allocateInode } from './counters.js';
import { inodeKey } from './keys.js';
import { type Moment, nowNs } from './moment.js';
import { type FileType, INODE, type InodeRecord } from './records.js';
import type { Change, Reader } from './store.js';

export function findInode(reader: Reader, inode: InodeId): InodeRecord | undefined {
  const key = inodeKey(inode);
  const value = reader.get(key);
  if (value === undefined) return undefined;
  const record = INODE.decode(key, value);
  assert(record.inode === inode, 'an inode is stored under its number');
  return record;
}

/** Throws STALE when there is no such inode (any more). */
export function getInode(reader: Reader, inode: InodeId): InodeRecord {
  const record = findInode(reader, inode);
  if (record === undefined) throw new GfsError('STALE', `inode ${inode} was deleted`);
  return record;
}

/** The inode of a file. Throws STALE, IS_DIRECTORY, INVALID (a symlink). */
export function getFile(reader: Reader, inode: InodeId): InodeRecord {
  const record = getInode(reader, inode);
  if (record.type === 'directory') throw new GfsError('IS_DIRECTORY');
  if (record.type === 'symlink') throw new GfsError('INVALID', 'a symbolic link has no content');
  return record;
}

/** Throws STALE, NOT_DIRECTORY. */
export function getDirectory(reader: Reader, inode: InodeId): InodeRecord {
  const record = getInode(reader, inode);
  if (record.type !== 'directory') throw new GfsError('NOT_DIRECTORY');
  return record;
}

export function putInode(change: Change, record: InodeRecord): void {
  const key = inodeKey(record.inode);
  change.put(key, INODE.encode(key, record));
}

export function deleteInode(change: Change, inode: InodeId): void {
  change.del(inodeKey(inode));
}

export interface NewInode {
  type: FileType;
  mode: number;
  uid: number;
  gid: number;
  goal: number;
  target?: string;
  parent?: InodeId;
  name?: string;
}

/** Writes a new inode, with one name (a directory with its '.' as well); the caller makes the entry. */
export function makeInode(change: Change, fields: NewInode, at: Moment): InodeRecord {
  return makeInodeNumbered(change, allocateInode(change), fields, at);
}

export function makeInodeNumbered(change: Change, inode: InodeId, fields: NewInode, at: Moment): InodeRecord {
  const now = nowNs(at);
  const record: InodeRecord = {
    inode,
    generation: 0,
    nlink: fields.type === 'directory' ? 2 : 1,
    atimeNs: now,
    mtimeNs: now,
    ctimeNs: now,
    sealedBytes: 0,
    extentCount: 0,
    tailHandle: 0,
    childCount: 0,
    xattrCount: 0,
    ...fields,
  };
  putInode(change, record);
  return record;
}

/** What `stat` sees. The size counts what the master knows to be committed in the open chunk. */
export function toAttributes(reader: Reader, record: InodeRecord): WireAttributes {
  const attributes: WireAttributes = {
    inode: record.inode,
    generation: record.generation,
    type: record.type,
    mode: record.mode,
    uid: record.uid,
    gid: record.gid,
    nlink: record.nlink,
    sizeBytes: sizeBytes(reader, record),
    atimeNs: record.atimeNs,
    mtimeNs: record.mtimeNs,
    ctimeNs: record.ctimeNs,
    goal: record.goal,
  };
  if (record.target !== undefined) attributes.target = record.target;
  if (record.xattrCount === 0) attributes.noXattrs = true;
  return attributes;
}

/** Bytes of a file that the master knows of; of a symlink the length of its target; 0 of a directory. */
export function sizeBytes(reader: Reader, record: InodeRecord): number {
  if (record.target !== undefined) return Buffer.byteLength(record.target, 'utf8');
  if (record.tailHandle === 0) return record.sealedBytes;
  const tail = findChunk(reader, record.tailHandle);
  assert(tail !== undefined, 'the tail of a file exists');
  return record.sealedBytes + tail.lengthBytes;
}
