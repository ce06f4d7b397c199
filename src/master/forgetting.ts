// Forgetting a server that is gone for good, at an operator's word: whether bytes could go with it, and taking it out of the store and every table. It
// deletes no replica: should the server come back, it is a new one, and what it holds is judged like any report.
import { GfsError } from '../protocol/errors.js';
import type { ChunkHandle } from '../protocol/ids.js';
import { LIMITS } from '../protocol/limits.js';
import type { Reply, Request } from '../protocol/messages.js';
import type { Rooms } from './api-context.js';
import { countGood } from './chunk-health.js';
import { chunksAfter } from './chunks.js';
import { findServer } from './draining.js';
import { serverKey } from './keys.js';
import type { MasterContext } from './master-context.js';
import type { ChunkRecord } from './records.js';
import type { Server } from './servers.js';

type AtRisk = Reply<'forgetServer'>['atRisk'];

const CHUNKS_PER_PAGE = 1_024;

/**
 * Durable when `answerDurably` settles. Without `acceptLoss` nothing happens while a chunk's only good copy could be on the server: `forgotten` is false
 * then. Throws NOT_FOUND, INVALID (several fit), BUSY (it is up, or came back), SAFE_MODE, UNAVAILABLE (the cluster changed meanwhile).
 */
export async function forgetServer(
  rooms: Rooms,
  { server: text, acceptLoss }: Request<'forgetServer'>,
): Promise<Reply<'forgetServer'>> {
  const { context } = rooms;
  const { servers, safeMode, locations } = context;
  const server = findServer(rooms, text);
  refuseWhileUp(context, server);
  // Before everybody has said what they hold, nobody knows what this one alone has.
  if (safeMode.isOn)
    throw new GfsError(
      'SAFE_MODE',
      `in safe mode no server is forgotten (${safeMode.reason}): wait until it ends, or end it with gfs safemode leave`,
    );
  const live = liveIds(context);
  const atRisk = await findAtRisk(context, server);
  if (servers.get(server.id) !== server) throw new GfsError('NOT_FOUND', `${text}: it was forgotten already`);
  refuseWhileUp(context, server);
  if (safeMode.isOn || liveIds(context) !== live)
    throw new GfsError('UNAVAILABLE', 'another chunkserver came or went meanwhile: ask again');
  const { id, address } = server;
  const answer = { server: id, address, chunks: locations.handlesOf(id).size, atRisk };
  if (atRisk.total > 0 && !acceptLoss) return { ...answer, forgotten: false };
  forget(rooms, server, atRisk);
  return { ...answer, forgotten: true };
}

function forget({ context, healing, garbage, heartbeats }: Rooms, { id, address }: Server, atRisk: AtRisk): void {
  const { store, servers, locations, leases, platform } = context;
  store.change(change => change.del(serverKey(id)));
  servers.forget(id);
  heartbeats.forget(id);
  garbage.forgetServer(id);
  context.stamp.forgetServer(id);
  const handles = new Set([...locations.retain(id, new Set()), ...leases.ofServer(id)]);
  for (const handle of leases.ofServer(id)) leases.drop(handle);
  for (const handle of handles) healing.consider(handle);
  const { total, bytes } = atRisk;
  platform.logger.warn(
    { server: id, address, replicas: handles.size, chunksAtRisk: total, bytesAtRisk: bytes },
    'a chunkserver was forgotten by an operator',
  );
}

function refuseWhileUp({ servers, settings }: MasterContext, { id, address, state }: Server): void {
  const name = `chunkserver ${id} (${address})`;
  if (state !== 'down')
    throw new GfsError('BUSY', `${name} is ${state}: only one that is gone is forgotten; drain it and stop it first`);
  // Cut off, it could still acknowledge appends: nobody may give its chunks up before its leases are over.
  const leftMs = settings.lease - servers.downForMs(id);
  if (leftMs > 0)
    throw new GfsError(
      'BUSY',
      `${name} may still hold leases: forget it in ${Math.ceil(leftMs / 1000)} s, unless it comes back`,
    );
}

/** Who can be read from now. */
function liveIds({ servers }: MasterContext): string {
  return servers
    .all()
    .filter(({ state }) => state !== 'down')
    .map(({ id, epoch }) => `${id} ${epoch}`)
    .sort()
    .join();
}

/** Chunks of which no good copy can be reached without the server, and of which it may have one. */
async function findAtRisk(context: MasterContext, server: Server): Promise<AtRisk> {
  const atRisk: AtRisk = { total: 0, bytes: 0, handles: [] };
  for (let after: ChunkHandle | 0 = 0; ; ) {
    const page: ChunkRecord[] = await chunksAfter(context.store, after, CHUNKS_PER_PAGE);
    for (const chunk of page) {
      if (chunk.garbageDueMs !== undefined || !isAtRisk(context, chunk, server)) continue;
      atRisk.total++;
      atRisk.bytes += chunk.lengthBytes;
      if (atRisk.handles.length < LIMITS.atRiskMax) atRisk.handles.push(chunk.handle);
    }
    if (page.length < CHUNKS_PER_PAGE) return atRisk;
    after = page[page.length - 1]!.handle;
  }
}

function isAtRisk(context: MasterContext, chunk: ChunkRecord, server: Server): boolean {
  const { locations, servers } = context;
  if (chunk.state === 'sealed') {
    if (chunk.lengthBytes === 0 || countGood(context, chunk, server.id).good > 0) return false;
    // What it said is known only when it reported to this process of the master.
    const replica = locations.find(chunk.handle, server.id);
    return server.reported ? replica !== undefined && !replica.corrupt : true;
  }
  if (!chunk.chain.some(member => member.server === server.id)) return false;
  // One that may decide the seal alone (seal-decision.ts) holds every acknowledged byte.
  const canDecide = chunk.chain.some(({ server: id, epoch }) => {
    if (id === server.id || !servers.isLive(id)) return false;
    const replica = locations.find(chunk.handle, id);
    return replica ? !replica.suspect && !replica.corrupt : servers.get(id)?.epoch === epoch;
  });
  return !canDecide;
}
