// What must hold of each inode, each chunk, the tree and the counters, once all rows of the store were seen (check.ts): pure functions that report what is
// wrong, in words and as a kind that repair knows (contradiction.ts).
import { type InodeId, ROOT_INODE } from '../protocol/ids.js';
import type { Contradiction } from './contradiction.js';
import { readCounters } from './counters.js';
import type { ChunkRecord, InodeRecord } from './records.js';
import type { Store } from './store.js';

export type Report = (text: string, about: Omit<Contradiction, 'text'>) => void;
export type Inodes = Map<number, Seen>;
export type Chunks = Map<number, SeenChunk>;

/** What the rows say of an inode, beside what it says itself. */
export interface Seen {
  inode: InodeRecord;
  names: number;
  children: number;
  subdirectories: number;
  extents: number;
  extentBytes: number;
  inTrash: boolean;
  xattrs: string[];
  xattrNames: number;
}

export interface SeenChunk {
  chunk: ChunkRecord;
  references: number;
  tails: number;
  inGarbage: boolean;
}

export function checkInode(seen: Seen, chunks: Chunks, report: Report): void {
  const { inode } = seen;
  const what = `inode ${inode.inode} (${inode.type})`;
  const about = { inode: inode.inode };
  if (inode.childCount !== seen.children)
    report(`${what} has ${seen.children} entries, it says ${inode.childCount}`, {
      kind: 'children',
      ...about,
      is: seen.children,
    });
  const attributes = { kind: 'xattrs', ...about, names: seen.xattrs } as const;
  if (inode.xattrCount !== seen.xattrs.length)
    report(`${what} has ${seen.xattrs.length} attributes, it says ${inode.xattrCount}`, attributes);
  if (inode.xattrCount !== seen.xattrNames)
    report(`${what} lists ${seen.xattrNames} attributes of ${inode.xattrCount}`, attributes);
  const sum = { kind: inode.trashDueMs === undefined ? 'extent-sum' : 'trash-extents', ...about } as const;
  if (inode.extentCount !== seen.extents)
    report(`${what} has ${seen.extents} extents, it says ${inode.extentCount}`, sum);
  if (inode.sealedBytes !== seen.extentBytes)
    report(`${what} has ${seen.extentBytes} bytes, it says ${inode.sealedBytes}`, sum);
  const isRoot = inode.inode === ROOT_INODE;
  if (inode.type === 'directory') {
    if (seen.names !== (isRoot ? 0 : 1))
      report(`${what} has ${seen.names} names`, {
        kind: seen.names === 0 ? 'nameless' : 'entry-elsewhere',
        ...about,
      });
    if (inode.nlink !== 2 + seen.subdirectories) {
      report(`${what} has ${seen.subdirectories} subdirectories and ${inode.nlink} links`, {
        kind: 'links',
        ...about,
        is: 2 + seen.subdirectories,
      });
    }
  } else {
    if (inode.nlink !== seen.names)
      report(`${what} has ${seen.names} names and ${inode.nlink} links`, { kind: 'links', ...about, is: seen.names });
    if (seen.names === 0 && !seen.inTrash)
      report(`${what} has no name and is not in the trash`, { kind: 'nameless', ...about });
  }
  if (seen.inTrash !== (inode.trashDueMs !== undefined))
    report(`${what} and the trash disagree`, { kind: 'trash-missing', ...about });
  if (seen.inTrash && seen.names > 0)
    report(`${what} has a name and is in the trash`, { kind: 'trash-named', ...about });
  if (inode.type !== 'file' && (inode.extentCount > 0 || inode.tailHandle !== 0))
    report(`${what} has content`, { kind: 'content-of-no-file', ...about });
  if (inode.tailHandle === 0) return;
  const tail = chunks.get(inode.tailHandle);
  if (tail === undefined) {
    report(`${what} ends in chunk ${inode.tailHandle}, which does not exist`, { kind: 'tail', ...about });
    return;
  }
  tail.tails++;
  if (tail.chunk.state !== 'open')
    report(`${what} ends in chunk ${inode.tailHandle}, which is sealed`, { kind: 'tail', ...about });
  if (tail.chunk.inode !== inode.inode)
    report(`${what} ends in chunk ${inode.tailHandle} of inode ${tail.chunk.inode}`, { kind: 'tail', ...about });
}

export function checkChunk({ chunk, references, tails, inGarbage }: SeenChunk, inodes: Inodes, report: Report): void {
  const what = `chunk ${chunk.handle} (${chunk.state})`;
  const about = { handle: chunk.handle };
  if (chunk.references !== references)
    report(`${what} is named by ${references} extents, it says ${chunk.references}`, {
      kind: 'references',
      ...about,
      is: references,
    });
  if (inGarbage !== (chunk.garbageDueMs !== undefined))
    report(`${what} and the garbage disagree`, { kind: 'garbage-missing', ...about, is: references + tails });
  if (inGarbage !== (references === 0 && tails === 0)) {
    report(
      `${what} has ${references} references and ${tails} files that end in it, and is ${inGarbage ? '' : 'not '}garbage`,
      { kind: inGarbage ? 'garbage-used' : 'unused', ...about },
    );
  }
  if (tails > 1) report(`${what} is the end of ${tails} files`, { kind: 'tail', ...about });
  if (chunk.state === 'sealed' && !chunk.known)
    report(`${what} is sealed at an unknown length`, { kind: 'chunk', ...about });
  if (chunk.state !== 'open') return;
  if (chunk.chain.length === 0) report(`${what} has no chain`, { kind: 'chunk', ...about });
  if (chunk.inode !== 0 && inodes.get(chunk.inode)?.inode.tailHandle !== chunk.handle) {
    report(`${what} belongs to inode ${chunk.inode}, which does not end in it`, {
      kind: tails === 0 ? 'unused' : 'tail',
      ...about,
    });
  }
}

/** Every directory is below the root. */
export function checkTree(inodes: Inodes, report: Report): void {
  const below = new Set<InodeId>([ROOT_INODE]);
  for (const { inode } of inodes.values()) {
    if (inode.type !== 'directory') continue;
    const way: InodeId[] = [];
    let current: InodeRecord | undefined = inode;
    while (current !== undefined && !below.has(current.inode) && !way.includes(current.inode)) {
      way.push(current.inode);
      current = current.parent === undefined ? undefined : inodes.get(current.parent)?.inode;
    }
    if (current === undefined || !below.has(current.inode))
      report(`directory ${inode.inode} is not below the root`, { kind: 'not-below-root', inode: inode.inode });
    else for (const id of way) below.add(id);
  }
  if (inodes.get(ROOT_INODE)?.inode.type !== 'directory') report('there is no root directory', { kind: 'root' });
}

export function checkCounters(store: Store, inodes: Inodes, chunks: Chunks, report: Report): void {
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
    if (counters[name] !== number)
      report(`there are ${number} ${name}, the counter says ${counters[name]}`, {
        kind: 'counter',
        counter: name,
        is: number,
      });
  }
  for (const { inode } of all)
    if (inode.inode >= counters.nextInode)
      report(`inode ${inode.inode} was never given out`, {
        kind: 'next-number',
        counter: 'nextInode',
        is: inode.inode + 1,
      });
  for (const handle of chunks.keys())
    if (handle >= counters.nextHandle)
      report(`chunk ${handle} was never given out`, { kind: 'next-number', counter: 'nextHandle', is: handle + 1 });
}
