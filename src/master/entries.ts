// Directory entries and the bookkeeping of the directory that holds them: child count, link count, times. Every entry is made and removed here.
import { assert } from '../lib/assert.js';
import type { InodeId } from '../protocol/ids.js';
import type { WireAttributes } from '../protocol/messages.js';
import { count } from './counters.js';
import { deleteInode, findInode, getDirectory, putInode, toAttributes } from './inodes.js';
import { entryKey, entryRange, parseEntryKey } from './keys.js';
import { type Moment, nowNs } from './moment.js';
import { ENTRY, type EntryRecord, type InodeRecord } from './records.js';
import type { Change, Reader, Store } from './store.js';
import { removeAllXattrs } from './xattrs.js';

export function findEntry(reader: Reader, parent: InodeId, name: string): EntryRecord | undefined {
  const key = entryKey(parent, name);
  const value = reader.get(key);
  return value === undefined ? undefined : ENTRY.decode(key, value);
}

/** Names `inode` in a directory, where the name must be free. A directory also learns where it is; the caller's record is brought up to date. */
export function addEntry(
  change: Change,
  { parent, name, inode }: { parent: InodeId; name: string; inode: InodeRecord },
  at: Moment,
): void {
  assert(findEntry(change, parent, name) === undefined, 'the name is free');
  const key = entryKey(parent, name);
  change.put(key, ENTRY.encode(key, { inode: inode.inode, type: inode.type }));
  const isDirectory = inode.type === 'directory';
  if (isDirectory) {
    inode.parent = parent;
    inode.name = name;
    putInode(change, inode);
  }
  touch(change, parent, { children: 1, links: isDirectory ? 1 : 0 }, at);
}

/** Takes a name out of its directory. What it named keeps its link count: the caller decides what becomes of it. */
export function removeEntry(change: Change, { parent, name }: { parent: InodeId; name: string }, at: Moment): void {
  const entry = findEntry(change, parent, name);
  assert(entry !== undefined, 'the entry exists');
  change.del(entryKey(parent, name));
  touch(change, parent, { children: -1, links: entry.type === 'directory' ? -1 : 0 }, at);
}

/** Deletes an empty directory whose entry is gone. */
export function forgetDirectory(change: Change, directory: InodeRecord): void {
  removeAllXattrs(change, directory);
  deleteInode(change, directory.inode);
  count(change, { directories: -1 });
}

export interface DirectoryPage {
  entries: Array<{ name: string; attributes: WireAttributes; record: InodeRecord }>;
  /** Nothing follows. */
  end: boolean;
}

/**
 * Up to `limit` entries with names (as UTF-8 bytes) above `after`, in order, with the attributes as they stand when it settles. Entries that come or
 * go between two pages may or may not be seen; all others are seen once. Throws STALE, NOT_DIRECTORY.
 */
export async function readDirectory(
  store: Store,
  { inode, after, limit }: { inode: InodeId; after: string; limit: number },
): Promise<DirectoryPage> {
  getDirectory(store, inode);
  const rows = await store.scan({ ...entryRange(inode, after), limit });
  const page: DirectoryPage = { entries: [], end: rows.length < limit };
  for (const [key, value] of rows) {
    const record = findInode(store, ENTRY.decode(key, value).inode);
    // Removed since the scan.
    if (record === undefined) continue;
    page.entries.push({ name: parseEntryKey(key).name, attributes: toAttributes(store, record), record });
  }
  return page;
}

function touch(change: Change, inode: InodeId, deltas: { children: number; links: number }, at: Moment): void {
  const directory = getDirectory(change, inode);
  directory.childCount += deltas.children;
  directory.nlink += deltas.links;
  directory.mtimeNs = nowNs(at);
  directory.ctimeNs = directory.mtimeNs;
  putInode(change, directory);
}
