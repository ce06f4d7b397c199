// Checks the whole cluster, or a part of its tree, in pages: chunks with their replicas, servers with the metadata (the metadata with itself:
// metadata-repair.ts). It changes nothing; what is asked to be repaired is handed to healing and garbage, which know what is safe.
import { GfsError } from '../protocol/errors.js';
import { type ChunkHandle, HOLE, type InodeId, type ServerId } from '../protocol/ids.js';
import type { Reply, Request } from '../protocol/messages.js';
import type { Rooms } from './api-context.js';
import { type Finding, findProblems } from './chunk-health.js';
import { chunksAfter, findChunk, tailOf } from './chunks.js';
import { readCounters } from './counters.js';
import { type IndexedExtent, listExtents } from './file-extents.js';
import { findInode, getDirectory, getInode } from './inodes.js';
import { parseEntryKey, rangeOf, successor } from './keys.js';
import { inFile } from './mending.js';
import { ENTRY, type InodeRecord } from './records.js';
import { isWithin, pathOf } from './resolve.js';

type FilesPage = Reply<'checkFiles'>;
type FileFinding = FilesPage['findings'][number];

/** Extents looked at in one page. */
const EXTENTS_PER_PAGE = 8_192;
const CHUNKS_PER_PAGE = 2_048;
/** Rows of directory entries read at once. */
const ENTRIES_PER_SCAN = 512;
/** Replicas and servers of one kind that are named. */
const UNEXPLAINED_SHOWN = 1_000;
/** Whoever is refused tries again within seconds. */
const REFUSED_LATELY_MS = 30_000;
/** Of a path that is longer, the end is shown. */
const PATH_LENGTH_MAX = 2_000;

/** A page of the chunks with handles above `after`. Throws SAFE_MODE (repair). */
export async function checkChunks(
  rooms: Rooms,
  { after, limit, repair }: Request<'checkChunks'>,
): Promise<Reply<'checkChunks'>> {
  const { context } = rooms;
  const page = await chunksAfter(context.store, after as ChunkHandle | 0, CHUNKS_PER_PAGE);
  const findings: Finding[] = [];
  let chunks = 0;
  let last = after;
  for (const chunk of page) {
    if (findings.length >= limit) break;
    chunks++;
    last = chunk.handle;
    const finding = findProblems(context, chunk, rooms.healing.extraCopiesOf(chunk.handle));
    if (!finding) continue;
    findings.push(finding);
    if (repair) repairChunk(rooms, chunk.handle);
  }
  const isEnd = chunks === page.length && page.length < CHUNKS_PER_PAGE;
  return { chunks, findings, ...(isEnd ? {} : { next: last }) };
}

/** A page of the files below `under`, or `under` itself when it is a file. Throws STALE, SAFE_MODE (repair). */
export async function checkFiles(rooms: Rooms, request: Request<'checkFiles'>): Promise<FilesPage> {
  const { store } = rooms.context;
  const page = new FilePage(rooms, request);
  const root = getInode(store, request.under);
  if (root.type !== 'directory') {
    const extent = page.look(root, '', request.after?.extent ?? 0);
    return page.answer(extent === undefined ? undefined : { key: Buffer.alloc(0), extent });
  }
  const isBelow = memo((parent: InodeId) => isWithin(store, getDirectory(store, parent), root.inode));
  const { gte, lt } = rangeOf('entry');
  const rows = await store.scan({ gte: request.after?.key ?? gte, lt, limit: ENTRIES_PER_SCAN });
  let fromExtent = request.after?.extent ?? 0;
  for (const [key, value] of rows) {
    if (page.isFull) return page.answer({ key, extent: fromExtent });
    const entry = parseEntryKey(key);
    const { inode } = ENTRY.decode(key, value);
    const file = findInode(store, inode);
    // Removed since the scan, or its directory.
    const isThere = file?.type === 'file' && findInode(store, entry.parent) !== undefined;
    const extent = isThere && isBelow(entry.parent) ? page.look(file, pathOf(store, entry), fromExtent) : undefined;
    if (extent !== undefined) return page.answer({ key, extent });
    fromExtent = 0;
  }
  const last = rows[rows.length - 1];
  return page.answer(rows.length < ENTRIES_PER_SCAN || !last ? undefined : { key: successor(last[0]), extent: 0 });
}

/** What servers hold and know that the metadata does not explain. Throws SAFE_MODE (repair). */
export function checkOrphans(
  { context, garbage, refusals }: Rooms,
  { repair }: Request<'checkOrphans'>,
): Reply<'checkOrphans'> {
  if (repair) refuseInSafeMode(context);
  const { store, servers, stamp, platform } = context;
  const at = (server: ServerId) => ({ server, address: servers.get(server)?.address ?? '' });
  const { nextHandle } = readCounters(store);
  const unclear = garbage.unclearReplicas();
  const orphans = unclear.slice(0, UNEXPLAINED_SHOWN).map(({ server, handle, version }) => ({
    ...{ ...at(server), handle, version },
    ...(handle >= nextHandle ? { neverGiven: true } : {}),
  }));
  if (repair) garbage.deleteUnclear();
  const newer = garbage.newerReplicas();
  const ahead = [...stamp.serversAhead()].map(([server, numbers]) => ({ ...at(server), ...numbers }));
  const refused = refusals.since(platform.clock.monotonicMs() - REFUSED_LATELY_MS);
  return {
    orphans,
    total: unclear.length,
    deleting: garbage.deletionCount,
    newer: newer.slice(0, UNEXPLAINED_SHOWN).map(({ server, ...replica }) => ({ ...at(server), ...replica })),
    newerTotal: newer.length,
    ahead: ahead.slice(0, UNEXPLAINED_SHOWN),
    refused: refused.map(({ host, role, reason, count }) => ({ host, role, reason, times: count })),
  };
}

/** What one call looked at and found, within its bounds. */
class FilePage {
  private readonly findings: FileFinding[] = [];
  private files = 0;
  private extentsLeft = EXTENTS_PER_PAGE;

  constructor(
    private readonly rooms: Rooms,
    private readonly request: Pick<Request<'checkFiles'>, 'limit' | 'repair'>,
  ) {
    if (request.repair) refuseInSafeMode(rooms.context);
  }

  get isFull(): boolean {
    return this.extentsLeft <= 0 || this.findings.length >= this.request.limit;
  }

  /** Looks at a file from an extent on. Returns the extent to go on from when the page is full before its end. */
  look(file: InodeRecord, path: string, fromExtent: number): number | undefined {
    const { store } = this.rooms.context;
    if (fromExtent === 0) this.files++;
    let index = fromExtent;
    while (index < file.extentCount) {
      if (this.isFull) return index;
      // In pieces: a damaged file fills the page soon, a good one of many extents does not.
      const piece = Math.min(128, this.request.limit - this.findings.length, this.extentsLeft);
      for (const extent of listExtents(store, file, index, piece)) {
        if (extent.handle !== HOLE) this.judge({ inode: file.inode, path }, extent);
        index++;
      }
      this.extentsLeft -= piece;
    }
    const tail = tailOf(store, file);
    this.extentsLeft--;
    if (!tail) return undefined;
    if (this.findings.length >= this.request.limit) return index;
    const { handle, lengthBytes } = tail;
    this.judge({ inode: file.inode, path }, { fileOffset: file.sealedBytes, chunkOffset: 0, lengthBytes, handle });
    return undefined;
  }

  answer(next: FilesPage['next']): FilesPage {
    const { files, findings } = this;
    return { files, findings, ...(next ? { next } : {}) };
  }

  private judge({ inode, path }: Pick<FileFinding, 'inode' | 'path'>, piece: Omit<IndexedExtent, 'index'>): void {
    const { context, healing } = this.rooms;
    const chunk = findChunk(context.store, piece.handle);
    const finding = chunk && findProblems(context, chunk, healing.extraCopiesOf(chunk.handle));
    if (!finding) return;
    const { fileOffset: fromByte, lengthBytes } = piece;
    const lost = healing.mending.lostOf(chunk);
    this.findings.push({
      ...{ inode, path: clipPath(path), fromByte, lengthBytes, finding },
      ...(lost ? { lost: inFile(lost, piece) } : {}),
    });
    if (this.request.repair) repairChunk(this.rooms, piece.handle);
  }
}

/** Healing looks at it at once, instead of when its sweep comes by. */
function repairChunk({ context, healing }: Rooms, handle: ChunkHandle): void {
  refuseInSafeMode(context);
  healing.mending.tryAgain(handle);
  healing.consider(handle);
}

export function refuseInSafeMode({ safeMode }: Rooms['context']): void {
  if (safeMode.isOn) throw new GfsError('SAFE_MODE', `nothing is repaired in safe mode: ${safeMode.reason}`);
}

export function clipPath(path: string): string {
  return path.length <= PATH_LENGTH_MAX ? path : `…${path.slice(-PATH_LENGTH_MAX)}`;
}

function memo<T, R>(compute: (value: T) => R): (value: T) => R {
  const known = new Map<T, R>();
  return value => {
    if (!known.has(value)) known.set(value, compute(value));
    return known.get(value)!;
  };
}
