// Handlers of operators' questions: what a file consists of and where, and how the cluster is. They only look; asking servers is bounded.
import { type ChunkHandle, HOLE, type InodeId, type ServerId } from '../protocol/ids.js';
import type { Reply, Request } from '../protocol/messages.js';
import type { CallContext, Handlers } from '../rpc/types.js';
import { answerDurably, deadlineOf, type Rooms } from './api-context.js';
import { chunksAfter, getChunk, tailOf } from './chunks.js';
import { readCounters } from './counters.js';
import { type IndexedExtent, listExtents } from './file-extents.js';
import { getFile, sizeBytes } from './inodes.js';
import { isCurrent } from './locations.js';
import { inFile } from './mending.js';
import { resolve } from './namespace.js';
import type { ChunkRecord } from './records.js';
import { listTrash, type TrashItem } from './trash.js';

type InfoChunk = Reply<'fileInfo'>['chunks'][number];
type InfoReplica = InfoChunk['replicas'][number];

/** Replicas asked at once; chunk records read at once. */
const INSPECTIONS_AT_ONCE = 64;
const CHUNKS_PER_PAGE = 1_024;
const TRASH_PER_PAGE = 1_024;

export function adminHandlers(rooms: Rooms): Handlers<'fileInfo' | 'report'> {
  return {
    fileInfo: async (request, call) => ({ body: await answerDurably(rooms, () => fileInfo(rooms, request, call)) }),
    report: async () => ({ body: await answerDurably(rooms, () => report(rooms)) }),
  };
}

async function fileInfo(
  rooms: Rooms,
  { where, fromChunk, limit }: Request<'fileInfo'>,
  call: CallContext,
): Promise<Reply<'fileInfo'>> {
  const { store } = rooms.context;
  const deadlineMs = deadlineOf(rooms, call);
  const { inode } = resolve(store, where, true);
  const view = await rooms.views.view(inode, deadlineMs);
  const file = getFile(store, inode);
  const tail = tailOf(store, file);
  const extents = listExtents(store, file, fromChunk, limit);
  const chunks: InfoChunk[] = extents.map(extent => ({
    ...extent,
    ...chunkFacts(rooms, extent.handle),
    lengthBytes: extent.lengthBytes,
    ...lostOf(rooms, extent),
  }));
  const hasRoom = chunks.length < limit;
  if (tail && hasRoom && fromChunk <= file.extentCount)
    chunks.push({
      index: file.extentCount,
      handle: tail.handle,
      ...chunkFacts(rooms, tail.handle),
      lengthBytes: view.tail?.handle === tail.handle ? view.tail.committedBytes : tail.lengthBytes,
      fileOffset: file.sealedBytes,
      chunkOffset: 0,
    });
  await inspectAll(rooms, chunks);
  const shown = fromChunk + chunks.length;
  return { ...view, chunks, more: shown < file.extentCount + (tail ? 1 : 0) };
}

function lostOf({ context, healing }: Rooms, extent: IndexedExtent): Pick<InfoChunk, 'lost'> {
  const lost = extent.handle === HOLE ? undefined : healing.mending.lostOf(getChunk(context.store, extent.handle));
  return lost ? { lost: inFile(lost, extent) } : {};
}

function chunkFacts(
  { context }: Rooms,
  handle: ChunkHandle,
): Pick<InfoChunk, 'version' | 'state' | 'modifiedMs' | 'replicas'> {
  if (handle === HOLE) return { version: 0, state: 'hole', modifiedMs: 0, replicas: [] };
  const chunk = getChunk(context.store, handle);
  const primary = context.leases.live(handle, context.time.nowMs())?.chain[0]?.server;
  const located = context.locations.get(handle).map(({ server }) => server);
  const servers = chunk.state === 'open' ? chunk.chain.map(({ server }) => server) : located;
  return {
    version: chunk.version,
    state: chunk.state,
    modifiedMs: chunk.modifiedMs,
    replicas: servers.map(server => ({
      server,
      address: context.servers.get(server)?.address ?? '',
      path: '',
      version: 0,
      lengthBytes: 0,
      primary: server === primary,
      state: 'unreachable',
    })),
  };
}

/** Fills in what the servers say of their replicas; those that do not answer stay unreachable. */
async function inspectAll(rooms: Rooms, chunks: readonly InfoChunk[]): Promise<void> {
  const jobs = chunks.flatMap(chunk => chunk.replicas.map(replica => ({ chunk, replica })));
  const worker = async (): Promise<void> => {
    for (let job = jobs.pop(); job; job = jobs.pop()) await inspect(rooms, job.chunk.handle, job.replica);
  };
  await Promise.all(Array.from({ length: Math.min(INSPECTIONS_AT_ONCE, jobs.length) }, worker));
}

async function inspect({ context }: Rooms, handle: ChunkHandle, replica: InfoReplica): Promise<void> {
  const known = context.locations.find(handle, replica.server);
  if (known) Object.assign(replica, { version: known.version, lengthBytes: known.lengthBytes });
  try {
    const { exists, report, path } = await context.orders.give(replica.server, 'inspectChunk', { handle });
    if (!exists || !report) replica.state = 'missing';
    else {
      replica.path = path;
      replica.version = report.version;
      replica.lengthBytes = report.lengthBytes;
      replica.state = stateOf(getChunk(context.store, handle), report);
    }
  } catch (error) {
    context.platform.logger.debug(
      { handle, server: replica.server, error: String(error) },
      'a replica was not inspected',
    );
  }
}

function stateOf(chunk: ChunkRecord, replica: Parameters<typeof isCurrent>[0]): InfoReplica['state'] {
  if (replica.corrupt) return 'corrupt';
  if (replica.suspect) return 'suspect';
  if (chunk.state === 'sealed') return isCurrent(replica, chunk) ? 'current' : 'behind';
  return replica.version === chunk.version && replica.lengthBytes >= chunk.lengthBytes ? 'current' : 'behind';
}

async function report({ context, sessions, healing, balancing, garbage, sealing }: Rooms): Promise<Reply<'report'>> {
  const { servers, safeMode, store, cluster, platform } = context;
  const now = platform.clock.monotonicMs();
  const chunks = await countChunks(context);
  const trashBytes = await sumTrash(context);
  const counters = readCounters(store);
  return {
    clusterId: cluster.clusterId,
    safemode: safeMode.isOn,
    safemodeReason: safeMode.reason.slice(0, 500),
    servers: servers.all().map(server => ({
      id: server.id,
      address: server.address,
      location: server.location,
      state: server.state,
      reason: reasonOf(server).slice(0, 500),
      usedBytes: server.space.usedBytes,
      capacityBytes: server.space.capacityBytes,
      freeBytes: server.space.freeBytes,
      chunks: context.locations.handlesOf(server.id).size,
      lastHeardMs: Number.isFinite(server.lastHeardMs) ? Math.max(0, Math.round(now - server.lastHeardMs)) : 0,
      behind: server.behindCount,
      copiedBytes: server.copiedBytes,
      ...(server.scrub ? { scrub: server.scrub } : {}),
    })),
    chunks,
    files: counters.files,
    directories: counters.directories,
    trash: counters.trash,
    trashBytes,
    garbage: counters.garbage,
    sessions: sessions.size,
    chunkSizeBytes: cluster.chunkSizeBytes,
    replicas: cluster.replicas,
    minReplicas: cluster.minReplicas,
    healing: {
      queued: healing.queuedCount,
      due: healing.dueCount,
      copies: healing.limits.running,
      balancing: balancing.running,
      copiedBytes: healing.copies.copiedBytes,
      copiesDone: healing.copies.copiesDone,
      deletions: garbage.deletionCount,
      hotChunks: healing.hot.count,
      sealing: sealing.count,
      bytesPerSecond: healing.copies.rate.bytesPerSecond(now),
      bytesPerSecondMax: context.settings.copyRate,
    },
  };
}

function reasonOf(server: { reason: string; failedDisks: Array<{ path: string; error: string }> }): string {
  const disks = server.failedDisks.map(({ path, error }) => `disk ${path} failed: ${error}`);
  return [server.reason, ...disks].filter(part => part !== '').join('; ');
}

/** Counts every chunk that files refer to by its good copies, reading all records in pages. */
async function countChunks(context: Rooms['context']): Promise<Reply<'report'>['chunks']> {
  const { store, servers, locations } = context;
  const counts = { total: 0, degraded: 0, lost: 0, open: 0 };
  const byCopies = new Map<number, number>();
  const isLive = (server: ServerId): boolean => servers.isLive(server);
  for (let after: ChunkHandle | 0 = 0; ; ) {
    const page: ChunkRecord[] = await chunksAfter(store, after, CHUNKS_PER_PAGE);
    for (const chunk of page) {
      if (chunk.garbageDueMs !== undefined) continue;
      const copies =
        chunk.state === 'sealed'
          ? locations.get(chunk.handle).filter(replica => isLive(replica.server) && isCurrent(replica, chunk)).length
          : chunk.chain.filter(({ server }) => isLive(server)).length;
      counts.total++;
      if (chunk.state === 'open') counts.open++;
      if (copies < chunk.goal) counts.degraded++;
      if (copies === 0) counts.lost++;
      byCopies.set(copies, (byCopies.get(copies) ?? 0) + 1);
    }
    if (page.length < CHUNKS_PER_PAGE) break;
    after = page[page.length - 1]!.handle;
  }
  const list = [...byCopies].map(([copies, chunks]) => ({ copies, chunks })).sort((a, b) => a.copies - b.copies);
  return { ...counts, byCopies: list };
}

/** Bytes of the files in the trash; chunks that they share with other files count as well. */
async function sumTrash({ store }: Rooms['context']): Promise<number> {
  let bytes = 0;
  for (let after: { dueMs: number; inode: InodeId } | undefined; ; ) {
    const page: TrashItem[] = await listTrash(store, { ...(after ? { after } : {}), limit: TRASH_PER_PAGE });
    for (const { file } of page) bytes += sizeBytes(store, file);
    const last = page[page.length - 1];
    if (!last) return bytes;
    after = last;
  }
}
