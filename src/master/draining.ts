// Draining a server at an operator's word: finds the server that was meant, records the wish durably, and says how far it is and when the server
// may be stopped. Copies are made by healing, which does not count what stands on a draining server.
import { sleep } from '../lib/clock.js';
import { GfsError } from '../protocol/errors.js';
import type { ChunkHandle } from '../protocol/ids.js';
import type { Reply } from '../protocol/messages.js';
import type { Rooms } from './api-context.js';
import { countGood } from './chunk-health.js';
import { findChunk } from './chunks.js';
import { serverKey } from './keys.js';
import { SERVER } from './records.js';
import type { Server } from './servers.js';

export type DrainState = Reply<'drainStatus'>;

/** Chunks counted before others get their turn. */
const CHUNKS_PER_TURN = 2_000;
/** A beginning of an id has at least this many digits. */
const PREFIX_MIN = 4;

/** The server with this id or address, or the only one whose id begins so. Throws NOT_FOUND, INVALID (several). */
export function findServer({ context }: Rooms, text: string): Server {
  const all = context.servers.all();
  const exact = all.filter(({ id, address }) => id === text || address === text);
  // Where an address has gone to another server, the one that answers there is meant; where none does, nobody can tell.
  const found = exact.find(({ state }) => state !== 'down') ?? exact[0];
  if (found?.state === 'down' && exact.length > 1)
    throw new GfsError(
      'INVALID',
      `${text}: ${exact.length} chunkservers had this address and all are down; name one by its id: ${exact.map(({ id }) => id).join(', ')}`,
    );
  if (found) return found;
  const begun = text.length < PREFIX_MIN ? [] : all.filter(({ id }) => id.startsWith(text));
  if (begun.length > 1)
    throw new GfsError('INVALID', `${text}: ${begun.length} chunkservers have an id that begins so; write more of it`);
  if (begun[0]) return begun[0];
  throw new GfsError('NOT_FOUND', `${text}: no chunkserver has this id or address; gfs report lists them`);
}

/** From now on, also after a restart, the server gets no new chunks and its chunks are moved; or it is a server like the others again. Durable when it settles. */
export async function setDraining(rooms: Rooms, text: string, draining: boolean): Promise<DrainState> {
  const { store, servers, locations, leases, platform } = rooms.context;
  const server = findServer(rooms, text);
  if (server.draining !== draining) {
    const key = serverKey(server.id);
    const { id, address, location } = server;
    const state = draining ? 'draining' : 'up';
    store.change(change => change.put(key, SERVER.encode(key, { id, address, location, state })));
    await store.durable();
    servers.setDraining(server, draining);
    platform.logger.info({ server: id, draining }, draining ? 'a chunkserver is drained' : 'draining was called off');
    for (const handle of new Set([...locations.handlesOf(id), ...leases.ofServer(id)])) rooms.healing.consider(handle);
  }
  return await drainState(rooms, server);
}

/** How far the draining of a server is. */
export async function drainState(rooms: Rooms, server: Server): Promise<DrainState> {
  const { context } = rooms;
  const { store, servers, locations, leases, safeMode, platform } = context;
  const handles = new Set<ChunkHandle>([...locations.handlesOf(server.id), ...leases.ofServer(server.id)]);
  const seen = { chunks: 0, waiting: 0, waitingBytes: 0, open: 0, goalMax: 0 };
  let turn = 0;
  for (const handle of handles) {
    turn++;
    if (turn % CHUNKS_PER_TURN === 0) await sleep(platform.clock, 0);
    const chunk = findChunk(store, handle);
    if (!chunk || chunk.garbageDueMs !== undefined) continue;
    if (chunk.state === 'open') {
      if (!chunk.chain.some(({ server: id }) => id === server.id)) continue;
      seen.open++;
    } else {
      if (!locations.find(handle, server.id) || chunk.lengthBytes === 0) continue;
      seen.chunks++;
      if (countGood(context, chunk, server.id).lasting >= chunk.goal) continue;
      seen.waiting++;
      seen.waitingBytes += chunk.lengthBytes;
    }
    seen.goalMax = Math.max(seen.goalMax, chunk.goal);
  }
  const others = servers.all().filter(({ id, state }) => id !== server.id && state === 'up').length;
  const isLeft = seen.waiting > 0 || seen.open > 0;
  const isKnown = server.reported && server.beaten;
  const obstacle = obstacleOf({ reason: safeMode.reason, isKnown, isLeft, others, goalMax: seen.goalMax });
  const { chunks, waiting, waitingBytes, open } = seen;
  const { id, address, state, draining } = server;
  return {
    ...{ server: id, address, state, draining, chunks, waiting, waitingBytes, open },
    safe: draining && isKnown && !isLeft && !safeMode.isOn,
    obstacle: obstacle.slice(0, 500),
  };
}

/** What keeps the draining from its end, for people. */
function obstacleOf(facts: {
  reason: string;
  isKnown: boolean;
  isLeft: boolean;
  others: number;
  goalMax: number;
}): string {
  const { reason, isKnown, isLeft, others, goalMax } = facts;
  if (reason !== '') return `the master is in safe mode: ${reason}`;
  if (!isKnown) return 'the chunkserver has not said what it holds since the master started';
  if (!isLeft || others >= goalMax) return '';
  return `chunks want up to ${goalMax} copies and ${others} other servers are up: start another, or ask for fewer copies with gfs setrep`;
}
