// The invariants between the rows of the store, checked by reading all of them: for tests, the simulator and fsck. It repairs nothing and knows no
// replicas. What is asked of an inode and a chunk once all rows were seen stands in check-rules.ts.
import { AssertionError } from '../lib/assert.js';
import { HOLE } from '../protocol/ids.js';
import {
  type Chunks,
  checkChunk,
  checkCounters,
  checkInode,
  checkTree,
  type Inodes,
  type Report,
} from './check-rules.js';
import type { Contradiction } from './contradiction.js';
import {
  type KeyPrefix,
  parseChunkKey,
  parseEntryKey,
  parseExtentKey,
  parseGarbageKey,
  parseInodeKey,
  parseTrashKey,
  parseXattrKey,
  rangeOf,
  successor,
} from './keys.js';
import { CHUNK, type Codec, ENTRY, EXTENT, GARBAGE, INODE, TRASH, XATTR_NAMES } from './records.js';
import type { Store } from './store.js';

const PAGE_ROWS = 1024;

/** Throws AssertionError that lists what is wrong. Requires that nothing changes meanwhile. */
export async function checkInvariants(store: Store): Promise<void> {
  const problems = await findInconsistencies(store, 20);
  if (problems.length > 0) throw new AssertionError(`the metadata is inconsistent:\n  ${problems.join('\n  ')}`);
}

/** Sentences about what is wrong, at most `problemsMax`; empty when all is well. */
export async function findInconsistencies(store: Store, problemsMax = 1000): Promise<string[]> {
  return (await findContradictions(store, problemsMax)).map(({ text }) => text);
}

/** What is wrong, at most `problemsMax`; memory is linear in the number of inodes and chunks. Throws WRONG_DATA when a row is damaged. */
export async function findContradictions(store: Store, problemsMax: number): Promise<Contradiction[]> {
  const problems: Contradiction[] = [];
  const report: Report = (text, about) => {
    if (problems.length < problemsMax) problems.push({ text, ...about });
  };
  const inodes = await readInodes(store);
  const chunks = await readChunks(store);
  await seeEntries(store, inodes, report);
  await seeExtents(store, inodes, chunks, report);
  await seeXattrs(store, inodes, report);
  await seeTrash(store, inodes, report);
  await seeGarbage(store, chunks, report);
  for (const seen of inodes.values()) checkInode(seen, chunks, report);
  for (const seen of chunks.values()) checkChunk(seen, inodes, report);
  checkTree(inodes, report);
  checkCounters(store, inodes, chunks, report);
  return problems;
}

async function* rows<T>(store: Store, prefix: KeyPrefix, codec: Codec<T>): AsyncGenerator<[Buffer, T]> {
  let { gte, lt } = rangeOf(prefix);
  for (;;) {
    const page = await store.scan({ gte, lt, limit: PAGE_ROWS });
    for (const [key, value] of page) yield [key, codec.decode(key, value)];
    if (page.length < PAGE_ROWS) return;
    gte = successor(page[page.length - 1]![0]);
  }
}

async function readInodes(store: Store): Promise<Inodes> {
  const inodes: Inodes = new Map();
  for await (const [key, inode] of rows(store, 'inode', INODE)) {
    const nothing = { names: 0, children: 0, subdirectories: 0, extents: 0, extentBytes: 0, xattrNames: 0 };
    inodes.set(parseInodeKey(key), { inode, ...nothing, xattrs: [], inTrash: false });
  }
  return inodes;
}

async function readChunks(store: Store): Promise<Chunks> {
  const chunks: Chunks = new Map();
  for await (const [key, chunk] of rows(store, 'chunk', CHUNK)) {
    chunks.set(parseChunkKey(key), { chunk, references: 0, tails: 0, inGarbage: false });
  }
  return chunks;
}

async function seeEntries(store: Store, inodes: Inodes, report: Report): Promise<void> {
  for await (const [key, entry] of rows(store, 'entry', ENTRY)) {
    const { parent, name } = parseEntryKey(key);
    const what = `the entry ${JSON.stringify(name)} of directory ${parent}`;
    const directory = inodes.get(parent);
    const child = inodes.get(entry.inode);
    if (directory?.inode.type !== 'directory')
      report(`${what} is in no directory`, { kind: 'entry-outside', parent, name });
    if (directory !== undefined) directory.children++;
    if (child === undefined) {
      report(`${what} names inode ${entry.inode}, which does not exist`, { kind: 'entry-of-nothing', parent, name });
      continue;
    }
    child.names++;
    if (child.inode.type !== entry.type)
      report(`${what} says ${entry.type}, inode ${entry.inode} is a ${child.inode.type}`, {
        kind: 'entry-type',
        parent,
        name,
      });
    if (child.inode.type !== 'directory') continue;
    if (directory !== undefined) directory.subdirectories++;
    const elsewhere = { kind: 'entry-elsewhere', parent, name } as const;
    if (child.inode.parent !== parent)
      report(`${what} names a directory whose parent is ${child.inode.parent}`, elsewhere);
    if (child.inode.name !== name)
      report(`${what} names a directory that calls itself ${JSON.stringify(child.inode.name)}`, elsewhere);
  }
}

async function seeExtents(store: Store, inodes: Inodes, chunks: Chunks, report: Report): Promise<void> {
  for await (const [key, extent] of rows(store, 'extent', EXTENT)) {
    const { inode, index } = parseExtentKey(key);
    const what = `extent ${index} of inode ${inode}`;
    const seen = inodes.get(inode);
    // Of a deleted file nobody misses bytes any more.
    const isDeleted = seen?.inode.trashDueMs !== undefined;
    const broken = (kind: Contradiction['kind']) => ({ kind: isDeleted ? 'trash-extents' : kind, inode }) as const;
    if (seen === undefined) {
      report(`${what} belongs to no inode`, { kind: 'extent-of-nothing', inode });
    } else {
      if (seen.extents !== index) report(`${what} comes after ${seen.extents} others`, broken('extent-order'));
      if (extent.fileOffset !== seen.extentBytes)
        report(`${what} is at ${extent.fileOffset}, not at ${seen.extentBytes}`, broken('extent-order'));
      seen.extents++;
      seen.extentBytes += extent.lengthBytes;
    }
    if (extent.lengthBytes < 1) report(`${what} is empty`, broken('extent-order'));
    if (extent.handle === HOLE) continue;
    const chunk = chunks.get(extent.handle);
    if (chunk === undefined) {
      report(`${what} names chunk ${extent.handle}, which does not exist`, broken('extent-of-no-chunk'));
      continue;
    }
    chunk.references++;
    if (chunk.chunk.state !== 'sealed')
      report(`${what} names chunk ${extent.handle}, which is open`, broken('extent-of-open'));
    if (extent.chunkOffset + extent.lengthBytes > chunk.chunk.lengthBytes) {
      report(`${what} reaches past the ${chunk.chunk.lengthBytes} bytes of chunk ${extent.handle}`, {
        kind: 'extent-past',
      });
    }
  }
}

async function seeXattrs(store: Store, inodes: Inodes, report: Report): Promise<void> {
  // Both kinds of rows share a prefix: the list of names has the empty name.
  let { gte, lt } = rangeOf('xattr');
  for (;;) {
    const page = await store.scan({ gte, lt, limit: PAGE_ROWS });
    for (const [key, value] of page) {
      const { inode, name } = parseXattrKey(key);
      const seen = inodes.get(inode);
      if (seen === undefined)
        report(`an extended attribute belongs to inode ${inode}, which does not exist`, {
          kind: 'xattr-of-nothing',
          key,
        });
      else if (name === '') seen.xattrNames = XATTR_NAMES.decode(key, value).names.length;
      else seen.xattrs.push(name);
    }
    if (page.length < PAGE_ROWS) return;
    gte = successor(page[page.length - 1]![0]);
  }
}

async function seeTrash(store: Store, inodes: Inodes, report: Report): Promise<void> {
  for await (const [key] of rows(store, 'trash', TRASH)) {
    const { dueMs, inode } = parseTrashKey(key);
    const seen = inodes.get(inode);
    if (seen?.inode.trashDueMs !== dueMs)
      report(`the trash holds inode ${inode} due at ${dueMs}, the inode disagrees`, { kind: 'trash-row', key });
    else seen.inTrash = true;
  }
}

async function seeGarbage(store: Store, chunks: Chunks, report: Report): Promise<void> {
  for await (const [key] of rows(store, 'garbage', GARBAGE)) {
    const { dueMs, handle } = parseGarbageKey(key);
    const seen = chunks.get(handle);
    if (seen?.chunk.garbageDueMs !== dueMs)
      report(`chunk ${handle} is garbage due at ${dueMs}, its record disagrees`, { kind: 'garbage-row', key });
    else seen.inGarbage = true;
  }
}
