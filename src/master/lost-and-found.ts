// The directory /lost+found: names for what nothing names any more, so that people can look at it and decide. It gives names to inodes and makes files
// of chunks; it never takes anything away.
import { GfsError } from '../protocol/errors.js';
import { handleName, type InodeId, ROOT_INODE } from '../protocol/ids.js';
import { getChunk, putChunk } from './chunk-table.js';
import { count } from './counters.js';
import { addEntry, findEntry } from './entries.js';
import { appendExtent } from './file-extents.js';
import { makeInode, putInode } from './inodes.js';
import type { Moment } from './moment.js';
import { makeDirectory } from './namespace.js';
import type { ChunkRecord, InodeRecord } from './records.js';
import type { Change } from './store.js';

const NAME = 'lost+found';
/** Tries with a number behind a name that is taken. */
const NAMES_MAX = 1_000;
const OWNER = { uid: 0, gid: 0 };

/** Names an inode that has no name there, and counts the link of a file. Returns its path. */
export function adoptInode(change: Change, inode: InodeRecord, at: Moment): string {
  if (inode.type !== 'directory') inode.nlink = 1;
  delete inode.trashDueMs;
  putInode(change, inode);
  return nameIt(change, inode, `inode-${inode.inode}`, at);
}

/** Makes a file of a chunk that no file has: all its bytes when it is sealed, else the chunk is its end. Returns the path. */
export function adoptChunk(change: Change, { handle, state, goal, lengthBytes }: ChunkRecord, at: Moment): string {
  const file = makeInode(change, { type: 'file', mode: 0o600, ...OWNER, goal }, at);
  const chunk = getChunk(change, handle);
  chunk.inode = file.inode;
  putChunk(change, chunk);
  if (state === 'sealed') appendExtent(change, file, { handle, chunkOffset: 0, lengthBytes });
  else file.tailHandle = handle;
  putInode(change, file);
  count(change, { files: 1 });
  return nameIt(change, file, `chunk-${handleName(handle)}`, at);
}

function nameIt(change: Change, inode: InodeRecord, base: string, at: Moment): string {
  const { directory, path } = place(change, at);
  const name = freeName(base, candidate => findEntry(change, directory, candidate) === undefined);
  addEntry(change, { parent: directory, name, inode }, at);
  return `${path}/${name}`;
}

/** The directory, made when it is missing; beside it where its name is taken by something else. */
function place(change: Change, at: Moment): { directory: InodeId; path: string } {
  const usable = (name: string): boolean => {
    const entry = findEntry(change, ROOT_INODE, name);
    return entry === undefined || entry.type === 'directory';
  };
  const name = freeName(NAME, usable);
  const entry = findEntry(change, ROOT_INODE, name);
  const directory =
    entry?.inode ??
    makeDirectory(change, { where: { start: ROOT_INODE, path: name }, mode: 0o700, ...OWNER }, at).inode;
  return { directory, path: `/${name}` };
}

function freeName(base: string, isFree: (name: string) => boolean): string {
  for (let i = 0; i < NAMES_MAX; i++) {
    const name = i === 0 ? base : `${base}.${i}`;
    if (isFree(name)) return name;
  }
  throw new GfsError('EXISTS', `/${NAME} holds ${NAMES_MAX} names like ${base}: move them elsewhere first`);
}
