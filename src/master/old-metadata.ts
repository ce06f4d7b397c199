// An old copy of the metadata, when it is all there is: at an operator's word the master goes on with it. Numbers and versions move on beyond anything that can
// have been given out since; chunks that the copy does not know become files in /lost+found; nothing is deleted for it (FAULTS, promise 8).
import { asGfsError, GfsError } from '../protocol/errors.js';
import type { ChunkHandle } from '../protocol/ids.js';
import { LIMITS } from '../protocol/limits.js';
import type { Reply, Request } from '../protocol/messages.js';
import type { Rooms } from './api-context.js';
import { chunksAfter, findChunk, isOpen, putChunk } from './chunks.js';
import { count, readCounters, writeCounters } from './counters.js';
import { adoptChunk } from './lost-and-found.js';
import { addLost, isLost } from './lost-handles.js';
import { type MasterContext, momentOf } from './master-context.js';
import type { ChunkRecord } from './records.js';
import { type Stranger, Strangers } from './strangers.js';
import { postponeTrash } from './trash.js';

type MetadataReply = Reply<'recoverMetadata'>;

/** Far beyond what a cluster can have given out since the copy was made; numbers of inodes and chunks have 53 bits. */
const NUMBERS_SKIPPED = 2 ** 32;
const KEY_EPOCHS_SKIPPED = 2 ** 16;
const VERSIONS_SKIPPED = 2 ** 20;
const CHUNKS_PER_PAGE = 1_024;

/** With `accept` durable when `answerDurably` settles. Throws INVALID when there is nothing to accept. */
export async function recoverMetadata(rooms: Rooms, { accept }: Request<'recoverMetadata'>): Promise<MetadataReply> {
  const { context, garbage } = rooms;
  const { safeMode } = context;
  const facts = look(rooms);
  if (!accept) return { ...facts, accepted: false, adopted: 0 };
  if (!safeMode.isDistrusting && facts.unknownChunks === 0)
    throw new GfsError(
      'INVALID',
      'the servers hold nothing that this metadata does not explain: there is nothing to accept',
    );
  if (safeMode.isDistrusting) {
    safeMode.logAccepted();
    skipNumbers(rooms);
    await raiseOpenChunks(context);
    await postponeTrash(context.store, momentOf(context));
  }
  const { adopted, open } = adoptUnknown(rooms);
  const changed = takeNewer(rooms);
  await context.store.durable();
  garbage.strangers.newer.clear();
  safeMode.trustMetadata();
  void sealAll(rooms, [...open, ...changed]);
  return { ...facts, accepted: true, adopted };
}

function look({ context, garbage }: Rooms): Omit<MetadataReply, 'accepted' | 'adopted'> {
  const { safeMode, servers } = context;
  const unknown = adoptable(context, garbage.strangers);
  let unknownBytes = 0;
  for (const strangers of unknown.values())
    unknownBytes += Math.max(...strangers.map(({ report }) => report.lengthBytes));
  return {
    oldMetadata: safeMode.isDistrusting,
    reason: safeMode.isDistrusting ? safeMode.reason.slice(0, 500) : '',
    unknownChunks: unknown.size,
    unknownBytes,
    newerChunks: Strangers.byChunk(garbage.strangers.newer.values()).size,
    serversDown: servers.members().filter(({ state, reported }) => state === 'down' || !reported).length,
  };
}

/** Chunks on servers that lost metadata may have known. One whose handle the copy gave out itself was deleted before it was made. */
function adoptable({ store, servers }: MasterContext, { unknown }: Strangers): Map<ChunkHandle, Stranger[]> {
  const { nextHandle } = readCounters(store);
  const mayBeLost = ({ server, report }: Stranger): boolean =>
    servers.isLive(server) &&
    findChunk(store, report.handle) === undefined &&
    (report.handle >= nextHandle || isLost(store, report.handle));
  return Strangers.byChunk([...unknown.values()].filter(mayBeLost));
}

/** From now on no number is given out that the lost metadata may have given out. */
function skipNumbers({ context, garbage }: Rooms): void {
  const { store, stamp } = context;
  store.change(change => {
    stamp.goBeyond(change, NUMBERS_SKIPPED);
    const counters = readCounters(change);
    const from = counters.nextHandle;
    const before = Math.max(from, garbage.strangers.handleMax + 1) + NUMBERS_SKIPPED;
    addLost(change, { from, before });
    writeCounters(change, {
      ...counters,
      nextHandle: before,
      nextInode: counters.nextInode + NUMBERS_SKIPPED,
      keyEpoch: counters.keyEpoch + KEY_EPOCHS_SKIPPED,
    });
  });
}

/** Open chunks may have been granted and sealed since, also on servers that are away: their next version is above all those. */
async function raiseOpenChunks(context: MasterContext): Promise<void> {
  const { store, leases } = context;
  for (let after: ChunkHandle | 0 = 0; ; ) {
    const page: ChunkRecord[] = await chunksAfter(store, after, CHUNKS_PER_PAGE);
    store.change(change => {
      for (const { handle } of page) {
        const chunk = findChunk(change, handle);
        if (!chunk || !isOpen(chunk)) continue;
        leases.drop(handle);
        putChunk(change, { ...chunk, version: chunk.version + VERSIONS_SKIPPED, known: false });
      }
    });
    if (page.length < CHUNKS_PER_PAGE) return;
    after = page[page.length - 1]!.handle;
  }
}

/** Makes files of chunks that the metadata does not know. Returns how many, and which of them have no end yet. */
function adoptUnknown({ context, garbage, healing }: Rooms): { adopted: number; open: ChunkHandle[] } {
  const { store, locations, platform } = context;
  const open: ChunkHandle[] = [];
  let adopted = 0;
  for (const [handle, strangers] of adoptable(context, garbage.strangers)) {
    const chunk = recordOf(context, handle, strangers);
    // Nothing was ever written to it that anybody heard of.
    if (chunk.state === 'sealed' && chunk.lengthBytes === 0) continue;
    const path = store.change(change => {
      putChunk(change, chunk);
      count(change, { chunks: 1, openChunks: chunk.state === 'open' ? 1 : 0 });
      return adoptChunk(change, chunk, momentOf(context));
    });
    adopted++;
    if (chunk.state === 'open') open.push(handle);
    for (const { server, report } of strangers) locations.report(server, report);
    healing.consider(handle);
    platform.logger.warn({ handle, path, lengthBytes: chunk.lengthBytes }, 'a chunk of lost metadata was adopted');
  }
  return { adopted, open };
}

/** What the lost metadata must have recorded of a chunk; open where no server was told its length. */
function recordOf(context: MasterContext, handle: ChunkHandle, strangers: readonly Stranger[]): ChunkRecord {
  const { cluster, servers, platform } = context;
  const newest = [...strangers].sort((a, b) => b.report.version - a.report.version);
  const sealed = newest.find(({ report }) => report.state === 'sealed')?.report;
  const now = platform.clock.wallMs();
  return {
    handle,
    state: sealed ? 'sealed' : 'open',
    version: sealed?.version ?? newest[0]!.report.version + VERSIONS_SKIPPED,
    lengthBytes: sealed?.lengthBytes ?? 0,
    known: sealed !== undefined,
    goal: cluster.replicas,
    references: 0,
    inode: 0,
    chain: newest
      .slice(0, LIMITS.replicasMax)
      .map(({ server }) => ({ server, epoch: servers.get(server)?.epoch ?? 0 })),
    createdMs: now,
    modifiedMs: now,
  };
}

/** Replicas of known chunks with newer versions: their chunks were open when the copy was made. Returns those to be sealed, at what the servers know. */
function takeNewer({ context, garbage, healing }: Rooms): ChunkHandle[] {
  const { store, locations, platform } = context;
  const open: ChunkHandle[] = [];
  for (const [handle, strangers] of Strangers.byChunk(garbage.strangers.newer.values())) {
    const chunk = findChunk(store, handle);
    if (!chunk || chunk.garbageDueMs !== undefined) continue;
    const newest = Math.max(...strangers.map(({ report }) => report.version));
    if (chunk.state === 'open') {
      const version = Math.max(chunk.version, newest + 1);
      store.change(change => putChunk(change, { ...chunk, version, known: false }));
      open.push(handle);
    } else if (strangers.every(({ report }) => report.lengthBytes === chunk.lengthBytes)) {
      store.change(change => putChunk(change, { ...chunk, version: newest }));
    } else {
      // A sealed length never changes (I5): which of the two is wrong cannot be known here.
      platform.logger.error(
        { handle, recorded: chunk.lengthBytes, newest },
        'a sealed chunk has another length: left alone',
      );
      continue;
    }
    for (const { server, report } of strangers) locations.report(server, report);
    healing.consider(handle);
  }
  return open;
}

/** Decides the ends of chunks, one after another. Whoever needs one sooner seals it himself. */
async function sealAll({ context, sealing }: Rooms, handles: readonly ChunkHandle[]): Promise<void> {
  const { platform, settings } = context;
  for (const handle of handles) {
    try {
      await sealing.seal(handle, platform.clock.monotonicMs() + settings.sealDeadline);
    } catch (error) {
      const { code, message } = asGfsError(error);
      platform.logger.warn({ handle, code, reason: message }, 'the end of a chunk is not decided yet');
      if (code === 'STOPPING') return;
    }
  }
}
