// One step per kind of contradiction that can be put right: a change of the store, and the words for it. Each looks at the rows again and does nothing where an
// earlier step has settled the matter. No step gives up bytes of a file; what nothing names goes to /lost+found.
import { HOLE, type InodeId, ROOT_INODE } from '../protocol/ids.js';
import { discard, findChunk, putChunk } from './chunk-table.js';
import type { Contradiction, RepairableKind } from './contradiction.js';
import { readCounters, writeCounters } from './counters.js';
import { findEntry } from './entries.js';
import { findInode, makeInodeNumbered, putInode } from './inodes.js';
import {
  entryKey,
  extentKey,
  garbageKey,
  parseGarbageKey,
  parseTrashKey,
  parseXattrKey,
  trashKey,
  xattrNamesKey,
} from './keys.js';
import { adoptChunk, adoptInode } from './lost-and-found.js';
import type { Moment } from './moment.js';
import {
  type CountersRecord,
  ENTRY,
  EXTENT,
  type ExtentRecord,
  GARBAGE,
  type InodeRecord,
  TRASH,
  XATTR_NAMES,
} from './records.js';
import type { Change } from './store.js';

/** What was done, or undefined: nothing. */
type Step = (change: Change, problem: Contradiction, at: Moment) => string | undefined;

/** Directories of one way up looked at. */
const DEPTH_MAX = 100_000;
const NOBODY = { uid: 0, gid: 0 };

/** Puts one contradiction right; the words for it, or undefined when nothing is done. Requires that nothing changed since it was found. */
export function repairOne(change: Change, problem: Contradiction, at: Moment): string | undefined {
  return STEPS[problem.kind as RepairableKind]?.(change, problem, at);
}

const STEPS: Record<RepairableKind, Step> = {
  'extent-of-nothing': (change, { inode }, at) => {
    const id = inode!;
    if (findInode(change, id)) return undefined;
    let bytes = 0;
    let extents = 0;
    for (;;) {
      const key = extentKey(id, extents);
      const value = change.get(key);
      if (value === undefined) break;
      const extent = EXTENT.decode(key, value);
      if (extent.fileOffset !== bytes) return undefined;
      bytes += extent.lengthBytes;
      extents++;
    }
    if (extents === 0) return undefined;
    const goal = findInode(change, ROOT_INODE)?.goal ?? 1;
    const file = makeInodeNumbered(change, id, { type: 'file', mode: 0o600, ...NOBODY, goal }, at);
    putInode(change, { ...file, sealedBytes: bytes, extentCount: extents });
    return `makes inode ${id} again from its ${extents} extents, for root alone`;
  },
  'trash-extents': (change, { inode }) => {
    const file = findInode(change, inode!);
    if (file?.trashDueMs === undefined) return undefined;
    const before = `${file.extentCount} of ${file.sealedBytes}`;
    const kept: ExtentRecord[] = [];
    for (let index = 0; ; index++) {
      const key = extentKey(file.inode, index);
      const value = change.get(key);
      if (value === undefined && index >= file.extentCount) break;
      if (value === undefined) continue;
      const extent = EXTENT.decode(key, value);
      const chunk = extent.handle === HOLE ? undefined : findChunk(change, extent.handle);
      const hasBytes = extent.handle === HOLE ? extent.lengthBytes : chunk?.state === 'sealed' ? chunk.lengthBytes : 0;
      const lengthBytes = Math.min(extent.lengthBytes, hasBytes - extent.chunkOffset);
      if (lengthBytes > 0) kept.push({ ...extent, lengthBytes });
      change.del(key);
    }
    file.extentCount = kept.length;
    file.sealedBytes = 0;
    for (const [index, extent] of kept.entries()) {
      const key = extentKey(file.inode, index);
      change.put(key, EXTENT.encode(key, { ...extent, fileOffset: file.sealedBytes }));
      file.sealedBytes += extent.lengthBytes;
    }
    putInode(change, file);
    const after = `${file.extentCount} of ${file.sealedBytes}`;
    return `makes one list of the extents that the deleted file has (${before} bytes before, ${after} now)`;
  },
  'entry-outside': (change, { parent, name }, at) => {
    const directory = findInode(change, parent!);
    if (directory?.type === 'directory') return undefined;
    if (directory) {
      change.del(entryKey(parent!, name!));
      return 'removes the entry';
    }
    const goal = findInode(change, ROOT_INODE)?.goal ?? 1;
    makeInodeNumbered(change, parent!, { type: 'directory', mode: 0o700, ...NOBODY, goal }, at);
    return `makes directory ${parent} again, for root alone`;
  },
  'entry-of-nothing': (change, { parent, name }) => {
    const entry = findEntry(change, parent!, name!);
    // Where extents are left the inode can perhaps be made again.
    if (!entry || findInode(change, entry.inode) || change.get(extentKey(entry.inode, 0))) return undefined;
    change.del(entryKey(parent!, name!));
    return 'removes the entry';
  },
  'entry-type': (change, { parent, name }) => {
    const entry = findEntry(change, parent!, name!);
    const child = entry && findInode(change, entry.inode);
    if (!child || child.type === entry.type) return undefined;
    const key = entryKey(parent!, name!);
    change.put(key, ENTRY.encode(key, { inode: child.inode, type: child.type }));
    return `makes the entry say ${child.type}`;
  },
  'entry-elsewhere': (change, { parent, name }) => {
    const entry = parent === undefined ? undefined : findEntry(change, parent, name!);
    const child = entry && findInode(change, entry.inode);
    if (!child || (child.parent === parent && child.name === name)) return undefined;
    const own = child.parent === undefined ? undefined : findEntry(change, child.parent, child.name ?? '');
    if (child.inode === ROOT_INODE || own?.inode === child.inode) {
      change.del(entryKey(parent!, name!));
      return `removes the entry: a directory has one name, and directory ${child.inode} has another`;
    }
    putInode(change, { ...child, parent: parent!, name: name! });
    return `makes directory ${child.inode} say so too`;
  },
  'xattr-of-nothing': (change, { key }) => {
    if (findInode(change, parseXattrKey(key!).inode)) return undefined;
    change.del(key!);
    return 'removes the attribute';
  },
  'trash-row': (change, { key }) => {
    const { dueMs, inode } = parseTrashKey(key!);
    if (findInode(change, inode)?.trashDueMs === dueMs) return undefined;
    change.del(key!);
    return 'removes the row of the trash';
  },
  'garbage-row': (change, { key }) => {
    const { dueMs, handle } = parseGarbageKey(key!);
    if (findChunk(change, handle)?.garbageDueMs === dueMs) return undefined;
    change.del(key!);
    return 'removes the row of the garbage';
  },

  nameless: (change, { inode }, at) => {
    const record = findInode(change, inode!);
    if (!record || record.inode === ROOT_INODE || record.trashDueMs !== undefined || isNamed(change, record))
      return undefined;
    return `names it ${adoptInode(change, record, at)}`;
  },
  'not-below-root': (change, { inode }, at) => {
    const loop = loopAbove(change, inode!);
    const cut = loop && findInode(change, Math.min(...loop) as InodeId);
    if (!cut) return undefined;
    change.del(entryKey(cut.parent!, cut.name!));
    return `takes directory ${cut.inode} out of the loop and names it ${adoptInode(change, cut, at)}`;
  },
  'trash-missing': (change, { inode }, at) => {
    const record = findInode(change, inode!);
    if (record?.trashDueMs === undefined) return undefined;
    const key = trashKey(record.trashDueMs, record.inode);
    if (change.get(key)) return undefined;
    const name = `inode-${record.inode}`;
    const fields = { inode: record.inode, deletedMs: at.nowMs, parent: ROOT_INODE, name, path: name };
    change.put(key, TRASH.encode(key, fields));
    return `puts it into the trash again, as /${name}`;
  },
  'trash-named': (change, { inode }) => {
    const record = findInode(change, inode!);
    if (record?.trashDueMs === undefined) return undefined;
    change.del(trashKey(record.trashDueMs, record.inode));
    delete record.trashDueMs;
    putInode(change, record);
    return 'takes it out of the trash';
  },
  'garbage-missing': (change, { handle, is }) => {
    const chunk = findChunk(change, handle!);
    if (chunk?.garbageDueMs === undefined) return undefined;
    const key = garbageKey(chunk.garbageDueMs, chunk.handle);
    if (change.get(key)) return undefined;
    if (is === 0) {
      change.put(key, GARBAGE.encode(key, { handle: chunk.handle, sinceMs: chunk.garbageDueMs }));
      return 'puts it among the garbage again';
    }
    delete chunk.garbageDueMs;
    putChunk(change, chunk);
    return 'makes it no garbage';
  },
  'garbage-used': (change, { handle }) => {
    const chunk = findChunk(change, handle!);
    if (chunk?.garbageDueMs === undefined) return undefined;
    change.del(garbageKey(chunk.garbageDueMs, chunk.handle));
    delete chunk.garbageDueMs;
    putChunk(change, chunk);
    return 'makes it no garbage';
  },
  unused: (change, { handle }, at) => {
    const chunk = findChunk(change, handle!);
    if (!chunk) return undefined;
    const file = chunk.inode === 0 ? undefined : findInode(change, chunk.inode);
    if (file?.tailHandle === chunk.handle) return undefined;
    if (chunk.garbageDueMs !== undefined) {
      if (chunk.state !== 'open' || chunk.inode === 0) return undefined;
      putChunk(change, { ...chunk, inode: 0 });
      return 'makes it the garbage of no file';
    }
    // Rows that named it may be lost: a count that speaks of them is set right by this.
    chunk.references = 0;
    putChunk(change, chunk);
    if (chunk.state === 'sealed' && chunk.lengthBytes === 0) {
      discard(change, chunk, at);
      putChunk(change, chunk);
      return 'makes it garbage, as it has no bytes';
    }
    if (chunk.state === 'open' && file?.type === 'file' && file.tailHandle === 0) {
      putInode(change, { ...file, tailHandle: chunk.handle });
      return `makes it the end of inode ${file.inode} again`;
    }
    return `makes the file ${adoptChunk(change, chunk, at)} of it`;
  },

  children: (change, { inode, is }) => setInode(change, inode!, { childCount: is! }),
  links: (change, { inode, is }) => setInode(change, inode!, { nlink: is! }),
  xattrs: (change, { inode, names }) => {
    const key = xattrNamesKey(inode!);
    if (names!.length > 0) change.put(key, XATTR_NAMES.encode(key, { names: names! }));
    else change.del(key);
    setInode(change, inode!, { xattrCount: names!.length });
    return 'lists those that are there';
  },
  references: (change, { handle, is }) => {
    const chunk = findChunk(change, handle!);
    if (!chunk || chunk.references === is) return undefined;
    putChunk(change, { ...chunk, references: is! });
    return 'sets the count right';
  },
  counter: (change, { counter, is }) => setCounter(change, counter as keyof CountersRecord, is!),
  'next-number': (change, { counter, is }) => {
    const name = counter as keyof CountersRecord;
    return readCounters(change)[name] >= is! ? undefined : setCounter(change, name, is!);
  },
};

function setInode(change: Change, inode: InodeId, fields: Partial<InodeRecord>): string | undefined {
  const record = findInode(change, inode);
  if (!record) return undefined;
  putInode(change, { ...record, ...fields });
  return 'sets the count right';
}

function setCounter(change: Change, name: keyof CountersRecord, value: number): string {
  writeCounters(change, { ...readCounters(change), [name]: value });
  return `sets the counter to ${value}`;
}

/** Whether a directory's one name is there, as an earlier step may have made it. Of a file the check has counted. */
function isNamed(change: Change, { inode, type, parent, name }: InodeRecord): boolean {
  if (type !== 'directory' || parent === undefined || name === undefined) return false;
  return findEntry(change, parent, name)?.inode === inode;
}

/** The directories of the loop that the way up from here ends in; undefined when it ends at the root or at one without a name. */
function loopAbove(change: Change, from: InodeId): InodeId[] | undefined {
  const way = new Map<InodeId, number>();
  for (let current = findInode(change, from); current && way.size < DEPTH_MAX; ) {
    if (current.inode === ROOT_INODE || !isNamed(change, current)) return undefined;
    const before = way.get(current.inode);
    if (before !== undefined) return [...way.keys()].slice(before);
    way.set(current.inode, way.size);
    current = findInode(change, current.parent!);
  }
  return undefined;
}
