// The invariants between the rows of the store, checked by reading all of them: for tests, the simulator and fsck. It repairs nothing and knows no
// replicas.
import { AssertionError } from '../lib/assert.js';
import { HOLE, type InodeId, ROOT_INODE } from '../protocol/ids.js';
import { readCounters } from './counters.js';
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
import {
  CHUNK,
  type ChunkRecord,
  type Codec,
  ENTRY,
  EXTENT,
  GARBAGE,
  INODE,
  type InodeRecord,
  TRASH,
  XATTR_NAMES,
} from './records.js';
import type { Store } from './store.js';

const PAGE_ROWS = 1024;

/** What the rows say of an inode, beside what it says itself. */
interface Seen {
  inode: InodeRecord;
  names: number;
  children: number;
  subdirectories: number;
  extents: number;
  extentBytes: number;
  inTrash: boolean;
  xattrs: number;
  xattrNames: number;
}

interface SeenChunk {
  chunk: ChunkRecord;
  references: number;
  tails: number;
  inGarbage: boolean;
}

/** Throws AssertionError that lists what is wrong. Requires that nothing changes meanwhile. */
export async function checkInvariants(store: Store): Promise<void> {
  const problems = await findInconsistencies(store, 20);
  if (problems.length > 0) throw new AssertionError(`the metadata is inconsistent:\n  ${problems.join('\n  ')}`);
}

/** Sentences about what is wrong, at most `problemsMax`; empty when all is well. Memory is linear in the number of inodes and chunks. */
export async function findInconsistencies(store: Store, problemsMax = 1000): Promise<string[]> {
  const problems: string[] = [];
  const report = (problem: string): void => {
    if (problems.length < problemsMax) problems.push(problem);
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

type Report = (problem: string) => void;
type Inodes = Map<number, Seen>;
type Chunks = Map<number, SeenChunk>;

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
    const nothing = { names: 0, children: 0, subdirectories: 0, extents: 0, extentBytes: 0, xattrs: 0, xattrNames: 0 };
    inodes.set(parseInodeKey(key), { inode, ...nothing, inTrash: false });
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
    if (directory?.inode.type !== 'directory') report(`${what} is in no directory`);
    if (directory !== undefined) directory.children++;
    if (child === undefined) {
      report(`${what} names inode ${entry.inode}, which does not exist`);
      continue;
    }
    child.names++;
    if (child.inode.type !== entry.type)
      report(`${what} says ${entry.type}, inode ${entry.inode} is a ${child.inode.type}`);
    if (child.inode.type !== 'directory') continue;
    if (directory !== undefined) directory.subdirectories++;
    if (child.inode.parent !== parent) report(`${what} names a directory whose parent is ${child.inode.parent}`);
    if (child.inode.name !== name)
      report(`${what} names a directory that calls itself ${JSON.stringify(child.inode.name)}`);
  }
}

async function seeExtents(store: Store, inodes: Inodes, chunks: Chunks, report: Report): Promise<void> {
  for await (const [key, extent] of rows(store, 'extent', EXTENT)) {
    const { inode, index } = parseExtentKey(key);
    const what = `extent ${index} of inode ${inode}`;
    const seen = inodes.get(inode);
    if (seen === undefined) {
      report(`${what} belongs to no inode`);
    } else {
      if (seen.extents !== index) report(`${what} comes after ${seen.extents} others`);
      if (extent.fileOffset !== seen.extentBytes)
        report(`${what} is at ${extent.fileOffset}, not at ${seen.extentBytes}`);
      seen.extents++;
      seen.extentBytes += extent.lengthBytes;
    }
    if (extent.lengthBytes < 1) report(`${what} is empty`);
    if (extent.handle === HOLE) continue;
    const chunk = chunks.get(extent.handle);
    if (chunk === undefined) {
      report(`${what} names chunk ${extent.handle}, which does not exist`);
      continue;
    }
    chunk.references++;
    if (chunk.chunk.state !== 'sealed') report(`${what} names chunk ${extent.handle}, which is open`);
    if (extent.chunkOffset + extent.lengthBytes > chunk.chunk.lengthBytes) {
      report(`${what} reaches past the ${chunk.chunk.lengthBytes} bytes of chunk ${extent.handle}`);
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
      if (seen === undefined) report(`an extended attribute belongs to inode ${inode}, which does not exist`);
      else if (name === '') seen.xattrNames = XATTR_NAMES.decode(key, value).names.length;
      else seen.xattrs++;
    }
    if (page.length < PAGE_ROWS) return;
    gte = successor(page[page.length - 1]![0]);
  }
}

async function seeTrash(store: Store, inodes: Inodes, report: Report): Promise<void> {
  for await (const [key] of rows(store, 'trash', TRASH)) {
    const { dueMs, inode } = parseTrashKey(key);
    const seen = inodes.get(inode);
    if (seen?.inode.trashDueMs !== dueMs) report(`the trash holds inode ${inode} due at ${dueMs}, the inode disagrees`);
    else seen.inTrash = true;
  }
}

async function seeGarbage(store: Store, chunks: Chunks, report: Report): Promise<void> {
  for await (const [key] of rows(store, 'garbage', GARBAGE)) {
    const { dueMs, handle } = parseGarbageKey(key);
    const seen = chunks.get(handle);
    if (seen?.chunk.garbageDueMs !== dueMs) report(`chunk ${handle} is garbage due at ${dueMs}, its record disagrees`);
    else seen.inGarbage = true;
  }
}

function checkInode(seen: Seen, chunks: Chunks, report: Report): void {
  const { inode } = seen;
  const what = `inode ${inode.inode} (${inode.type})`;
  if (inode.childCount !== seen.children) report(`${what} has ${seen.children} entries, it says ${inode.childCount}`);
  if (inode.xattrCount !== seen.xattrs) report(`${what} has ${seen.xattrs} attributes, it says ${inode.xattrCount}`);
  if (inode.xattrCount !== seen.xattrNames)
    report(`${what} lists ${seen.xattrNames} attributes of ${inode.xattrCount}`);
  if (inode.extentCount !== seen.extents) report(`${what} has ${seen.extents} extents, it says ${inode.extentCount}`);
  if (inode.sealedBytes !== seen.extentBytes)
    report(`${what} has ${seen.extentBytes} bytes, it says ${inode.sealedBytes}`);
  const isRoot = inode.inode === ROOT_INODE;
  if (inode.type === 'directory') {
    if (seen.names !== (isRoot ? 0 : 1)) report(`${what} has ${seen.names} names`);
    if (inode.nlink !== 2 + seen.subdirectories) {
      report(`${what} has ${seen.subdirectories} subdirectories and ${inode.nlink} links`);
    }
  } else {
    if (inode.nlink !== seen.names) report(`${what} has ${seen.names} names and ${inode.nlink} links`);
    if (seen.names === 0 && !seen.inTrash) report(`${what} has no name and is not in the trash`);
  }
  if (seen.inTrash !== (inode.trashDueMs !== undefined)) report(`${what} and the trash disagree`);
  if (seen.inTrash && seen.names > 0) report(`${what} has a name and is in the trash`);
  if (inode.type !== 'file' && (inode.extentCount > 0 || inode.tailHandle !== 0)) report(`${what} has content`);
  if (inode.tailHandle === 0) return;
  const tail = chunks.get(inode.tailHandle);
  if (tail === undefined) {
    report(`${what} ends in chunk ${inode.tailHandle}, which does not exist`);
    return;
  }
  tail.tails++;
  if (tail.chunk.state !== 'open') report(`${what} ends in chunk ${inode.tailHandle}, which is sealed`);
  if (tail.chunk.inode !== inode.inode)
    report(`${what} ends in chunk ${inode.tailHandle} of inode ${tail.chunk.inode}`);
}

function checkChunk({ chunk, references, tails, inGarbage }: SeenChunk, inodes: Inodes, report: Report): void {
  const what = `chunk ${chunk.handle} (${chunk.state})`;
  if (chunk.references !== references) report(`${what} is named by ${references} extents, it says ${chunk.references}`);
  if (inGarbage !== (chunk.garbageDueMs !== undefined)) report(`${what} and the garbage disagree`);
  if (inGarbage !== (references === 0 && tails === 0)) {
    report(
      `${what} has ${references} references and ${tails} files that end in it, and is ${inGarbage ? '' : 'not '}garbage`,
    );
  }
  if (tails > 1) report(`${what} is the end of ${tails} files`);
  if (chunk.state === 'sealed' && !chunk.known) report(`${what} is sealed at an unknown length`);
  if (chunk.state !== 'open') return;
  if (chunk.chain.length === 0) report(`${what} has no chain`);
  if (chunk.inode !== 0 && inodes.get(chunk.inode)?.inode.tailHandle !== chunk.handle) {
    report(`${what} belongs to inode ${chunk.inode}, which does not end in it`);
  }
}

/** Every directory is below the root. */
function checkTree(inodes: Inodes, report: Report): void {
  const below = new Set<InodeId>([ROOT_INODE]);
  for (const { inode } of inodes.values()) {
    if (inode.type !== 'directory') continue;
    const way: InodeId[] = [];
    let current: InodeRecord | undefined = inode;
    while (current !== undefined && !below.has(current.inode) && !way.includes(current.inode)) {
      way.push(current.inode);
      current = current.parent === undefined ? undefined : inodes.get(current.parent)?.inode;
    }
    if (current === undefined || !below.has(current.inode)) report(`directory ${inode.inode} is not below the root`);
    else for (const id of way) below.add(id);
  }
  if (inodes.get(ROOT_INODE)?.inode.type !== 'directory') report('there is no root directory');
}

function checkCounters(store: Store, inodes: Inodes, chunks: Chunks, report: Report): void {
  const counters = readCounters(store);
  const all = [...inodes.values()];
  const directories = all.filter(({ inode }) => inode.type === 'directory').length;
  const trash = all.filter(({ inTrash }) => inTrash).length;
  const allChunks = [...chunks.values()];
  const counted = {
    files: all.length - directories - trash,
    directories,
    trash,
    chunks: allChunks.length,
    openChunks: allChunks.filter(({ chunk }) => chunk.state === 'open').length,
    garbage: allChunks.filter(({ inGarbage }) => inGarbage).length,
  };
  for (const [name, number] of Object.entries(counted) as Array<[keyof typeof counted, number]>) {
    if (counters[name] !== number) report(`there are ${number} ${name}, the counter says ${counters[name]}`);
  }
  for (const inode of inodes.keys()) if (inode >= counters.nextInode) report(`inode ${inode} was never given out`);
  for (const handle of chunks.keys()) if (handle >= counters.nextHandle) report(`chunk ${handle} was never given out`);
}
