// What is wrong with one chunk: its record beside what the servers said of its replicas. It only looks; healing decides what is done about it
// (healing-plan.ts), and nothing is read from disks here.
import type { ChunkHandle, ServerId } from '../protocol/ids.js';
import type { ADMIN_TO_MASTER } from '../protocol/messages.js';
import type { Infer } from '../protocol/schema.js';
import { findChunk } from './chunk-table.js';
import { isCurrent, type Replica } from './locations.js';
import type { MasterContext } from './master-context.js';
import type { ChunkRecord } from './records.js';

export type Finding = Infer<(typeof ADMIN_TO_MASTER)['checkChunks']['reply']>['findings'][number];
type FoundReplica = Finding['replicas'][number];
type Tables = Pick<MasterContext, 'locations' | 'servers' | 'leases' | 'time'>;

/** Replicas listed of one chunk. */
const REPLICAS_MAX = 64;

/**
 * What is wrong, or undefined when nothing is: garbage, or all copies wanted are there and good, and none besides. `extraCopies` more than wanted are
 * fine.
 */
export function findProblems(tables: Tables, chunk: ChunkRecord, extraCopies = 0): Finding | undefined {
  if (chunk.garbageDueMs !== undefined) return undefined;
  if (chunk.state === 'sealed' && chunk.lengthBytes === 0) return undefined;
  const { problems, replicas, good } =
    chunk.state === 'open' ? lookAtOpen(tables, chunk) : lookAtSealed(tables, chunk, extraCopies);
  if (problems.length === 0) return undefined;
  const { handle, state, version, lengthBytes, goal } = chunk;
  return { handle, state, version, lengthBytes, goal, good, problems, replicas: replicas.slice(0, REPLICAS_MAX) };
}

/** Good copies of a sealed chunk that can be reached, without those on `except`, and how many of them are to stay where they are. */
export function countGood(tables: Tables, chunk: ChunkRecord, except?: ServerId): { good: number; lasting: number } {
  const good = tables.locations
    .get(chunk.handle)
    .filter(replica => replica.server !== except && tables.servers.isLive(replica.server))
    .filter(replica => isCurrent(replica, chunk));
  const lasting = good.filter(({ server }) => !tables.servers.get(server)?.draining);
  return { good: good.length, lasting: lasting.length };
}

/**
 * Good copies that can be reached, for the order in which chunks are healed. The record is read only where replicas differ or are not sealed: nearly all
 * chunks that a lost server leaves behind are alike, and there may be a hundred thousand.
 */
export function goodCopies(tables: Tables & Pick<MasterContext, 'store'>, handle: ChunkHandle): number {
  const replicas = tables.locations.get(handle);
  const [first] = replicas;
  if (!first) return 0;
  const live = replicas.filter(({ server }) => tables.servers.isLive(server));
  if (first.state === 'sealed' && replicas.every(replica => isCurrent(replica, first))) return live.length;
  const chunk = findChunk(tables.store, handle);
  if (chunk?.state === 'sealed') return live.filter(replica => isCurrent(replica, chunk)).length;
  return live.filter(({ corrupt, suspect }) => !corrupt && !suspect).length;
}

type Look = Pick<Finding, 'problems' | 'replicas' | 'good'>;

function lookAtSealed(tables: Tables, chunk: ChunkRecord, extraCopies: number): Look {
  const { locations, servers } = tables;
  const replicas = locations.get(chunk.handle).map(replica => describe(tables, chunk, replica));
  const { good, lasting } = countGood(tables, chunk);
  const problems: Finding['problems'] = [];
  if (good === 0) problems.push('unreadable');
  if (good < chunk.goal) problems.push('missing');
  for (const state of ['corrupt', 'suspect', 'behind'] as const)
    if (replicas.some(replica => replica.state === state)) problems.push(state);
  // While a server is drained, more copies than wanted are meant to be there.
  const isDrained = locations.get(chunk.handle).some(({ server }) => servers.get(server)?.draining);
  if (lasting > chunk.goal + extraCopies && !isDrained) problems.push('surplus');
  return { problems, replicas, good };
}

/** An open chunk is well while its chain is: its replicas are compared with one another when it is sealed, not here. */
function lookAtOpen(tables: Tables, chunk: ChunkRecord): Look {
  const { locations, servers, leases, time } = tables;
  const replicas = chunk.chain.map(({ server }): FoundReplica => {
    const known = locations.find(chunk.handle, server);
    if (known) return describe(tables, chunk, known);
    const state = servers.isLive(server) ? 'current' : 'down';
    return { server, address: servers.get(server)?.address ?? '', state, version: 0, lengthBytes: 0 };
  });
  const good = replicas.filter(({ state }) => state === 'current').length;
  const problems: Finding['problems'] = [];
  const hasLease = leases.live(chunk.handle, time.nowMs()) !== undefined;
  const isSilent = replicas.some(({ state }) => state === 'down');
  if (good === 0 && !hasLease && isSilent) problems.push('unreadable');
  if (good < chunk.goal) problems.push('missing');
  for (const state of ['corrupt', 'suspect'] as const)
    if (replicas.some(replica => replica.state === state)) problems.push(state);
  return { problems, replicas, good };
}

function describe(tables: Tables, chunk: ChunkRecord, replica: Replica): FoundReplica {
  const { server, version, lengthBytes } = replica;
  const address = tables.servers.get(server)?.address ?? '';
  return { server, address, state: stateOf(tables, chunk, replica), version, lengthBytes };
}

function stateOf({ servers }: Tables, chunk: ChunkRecord, replica: Replica): FoundReplica['state'] {
  if (!servers.isLive(replica.server)) return 'down';
  if (replica.corrupt) return 'corrupt';
  if (chunk.state === 'open') return replica.suspect ? 'suspect' : 'current';
  if (isCurrent(replica, chunk)) return 'current';
  return replica.suspect ? 'suspect' : 'behind';
}
