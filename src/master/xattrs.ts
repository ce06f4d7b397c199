// Extended attributes: one row per value, and one with the names of an inode, so that listing and removing are point reads. It knows no namespaces
// of attributes (user., security., …): the mount decides what it passes on.
import { assert } from '../lib/assert.js';
import { GfsError } from '../protocol/errors.js';
import { LIMITS } from '../protocol/limits.js';
import { putInode } from './inodes.js';
import { xattrKey, xattrNamesKey } from './keys.js';
import { type Moment, nowNs } from './moment.js';
import { isUnicode } from './names.js';
import { type InodeRecord, XATTR, XATTR_NAMES } from './records.js';
import type { Change, Reader } from './store.js';

/** Throws NO_ATTRIBUTE. */
export function getXattr(reader: Reader, inode: InodeRecord, name: string): Buffer {
  checkXattrName(name);
  const key = xattrKey(inode.inode, name);
  const value = inode.xattrCount === 0 ? undefined : reader.get(key);
  if (value === undefined) throw new GfsError('NO_ATTRIBUTE');
  return XATTR.decode(key, value).value;
}

/** In the order they were first set. */
export function listXattrs(reader: Reader, inode: InodeRecord): string[] {
  if (inode.xattrCount === 0) return [];
  const key = xattrNamesKey(inode.inode);
  const value = reader.get(key);
  assert(value !== undefined, 'the names of attributes are stored');
  return XATTR_NAMES.decode(key, value).names;
}

export interface SetXattrOptions {
  name: string;
  value: Buffer;
  /** Refuse an existing attribute (EXISTS), or a missing one (NO_ATTRIBUTE). */
  create: boolean;
  replace: boolean;
}

/** Throws EXISTS, NO_ATTRIBUTE, ATTRIBUTE_SPACE, NAME_TOO_LONG, NAME_INVALID, INVALID. Changes and writes `inode`. */
export function setXattr(
  change: Change,
  inode: InodeRecord,
  { name, value, create, replace }: SetXattrOptions,
  at: Moment,
): void {
  checkXattrName(name);
  if (create && replace) throw new GfsError('INVALID', 'create and replace exclude each other');
  if (value.length > LIMITS.xattrValueBytesMax) throw new GfsError('ATTRIBUTE_SPACE');
  const names = listXattrs(change, inode);
  const exists = names.includes(name);
  if (create && exists) throw new GfsError('EXISTS');
  if (replace && !exists) throw new GfsError('NO_ATTRIBUTE');
  if (!exists && names.length >= LIMITS.xattrsPerInodeMax) {
    throw new GfsError('ATTRIBUTE_SPACE', `an inode has at most ${LIMITS.xattrsPerInodeMax} extended attributes`);
  }
  const key = xattrKey(inode.inode, name);
  change.put(key, XATTR.encode(key, { value }));
  if (!exists) putNames(change, inode, [...names, name]);
  inode.ctimeNs = nowNs(at);
  putInode(change, inode);
}

/** Throws NO_ATTRIBUTE. Changes and writes `inode`. */
export function removeXattr(change: Change, inode: InodeRecord, name: string, at: Moment): void {
  checkXattrName(name);
  const names = listXattrs(change, inode);
  if (!names.includes(name)) throw new GfsError('NO_ATTRIBUTE');
  change.del(xattrKey(inode.inode, name));
  putNames(
    change,
    inode,
    names.filter(other => other !== name),
  );
  inode.ctimeNs = nowNs(at);
  putInode(change, inode);
}

/** For an inode that is about to be deleted; its row is the caller's. */
export function removeAllXattrs(change: Change, inode: InodeRecord): void {
  for (const name of listXattrs(change, inode)) change.del(xattrKey(inode.inode, name));
  putNames(change, inode, []);
}

function putNames(change: Change, inode: InodeRecord, names: string[]): void {
  const key = xattrNamesKey(inode.inode);
  if (names.length > 0) change.put(key, XATTR_NAMES.encode(key, { names }));
  else if (inode.xattrCount > 0) change.del(key);
  inode.xattrCount = names.length;
}

function checkXattrName(name: string): void {
  if (name === '' || name.includes('\0') || !isUnicode(name)) {
    throw new GfsError('NAME_INVALID', 'an attribute name is valid UTF-8 without a NUL byte and not empty');
  }
  if (Buffer.byteLength(name, 'utf8') > LIMITS.xattrNameBytesMax) throw new GfsError('NAME_TOO_LONG');
}
