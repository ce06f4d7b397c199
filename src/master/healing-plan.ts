// What one chunk needs, from what is recorded and where its replicas are: a pure function that names one next step. It orders nothing and
// knows no limits (paper, §4.3).
import type { ServerId } from '../protocol/ids.js';
import { isCurrent, type Replica } from './locations.js';
import type { ChunkRecord } from './records.js';

export type HealingStep =
  | { kind: 'none' }
  /** Look again after this long: a server that holds a replica may come back by itself. */
  | { kind: 'later'; afterMs: number }
  /** An open chunk with too few members, or one that is gone or is to go: it cannot be copied before it is sealed. */
  | { kind: 'seal' }
  /** Bring a replica that is behind, or longer than the chunk, to the recorded length. */
  | { kind: 'repair'; server: ServerId }
  /** Every copy is damaged: these may be made whole from one another, block by block. */
  | { kind: 'mend'; servers: ServerId[] }
  /** Another server is to hold a replica; in place of a corrupt one, where no other server is left. */
  | { kind: 'copy'; holders: ServerId[]; corrupt: ServerId[] }
  | { kind: 'delete'; server: ServerId; why: 'corrupt' | 'behind' | 'surplus' };

export interface HealingFacts {
  chunk: ChunkRecord;
  replicas: readonly Replica[];
  /** 0: live. Infinity: unknown. */
  downForMs: (server: ServerId) => number;
  rereplicateAfterMs: number;
  /** Since the chunk was allocated. */
  ageMs: number;
  /** Servers that may hold replicas. */
  upCount: number;
  /** Copies wanted now: the chunk's goal, and more while it is read much. */
  goal: number;
  /** What is on it does not count, but can be copied from. */
  isDraining: (server: ServerId) => boolean;
  /** Whether so many bytes more go there. */
  hasRoom: (server: ServerId, bytes: number) => boolean;
  /** Of the surplus ones, which to give up. */
  leastWanted: (servers: readonly ServerId[]) => ServerId;
}

export function nextStep(facts: HealingFacts): HealingStep {
  const { chunk, replicas, downForMs, rereplicateAfterMs, goal, isDraining, hasRoom } = facts;
  if (chunk.garbageDueMs !== undefined) return { kind: 'none' };
  if (chunk.state === 'open') return openStep(facts);
  if (chunk.lengthBytes === 0) return { kind: 'none' };

  const live = replicas.filter(({ server }) => downForMs(server) === 0);
  const current = live.filter(replica => isCurrent(replica, chunk));
  const kept = current.filter(({ server }) => !isDraining(server));
  const corrupt = live.filter(replica => replica.corrupt);
  // The longest first: it may need nothing but the recorded length, and is then what the others are copied from.
  const behind = live
    .filter(replica => !replica.corrupt && !isCurrent(replica, chunk))
    .sort((a, b) => b.lengthBytes - a.lengthBytes);
  // Enough good ones: what is not good goes, then what is too much.
  if (kept.length >= goal) {
    if (corrupt[0]) return { kind: 'delete', server: corrupt[0].server, why: 'corrupt' };
    if (behind[0]) return { kind: 'delete', server: behind[0].server, why: 'behind' };
    const leaving = current.find(({ server }) => isDraining(server));
    if (leaving) return { kind: 'delete', server: leaving.server, why: 'surplus' };
    if (kept.length === goal) return { kind: 'none' };
    return { kind: 'delete', server: facts.leastWanted(kept.map(({ server }) => server)), why: 'surplus' };
  }
  const mendable = corrupt.filter(({ lengthBytes }) => lengthBytes === chunk.lengthBytes).map(({ server }) => server);
  const canBeFixed = behind[0] !== undefined && behind[0].lengthBytes >= chunk.lengthBytes;
  if (current.length === 0 && mendable.length > 0 && !canBeFixed) return { kind: 'mend', servers: mendable };
  // A tail travels sooner than a chunk, and a server that comes back should soon be whole again; where it finds no room the chunk goes elsewhere.
  const isWorthwhile = ({ server, lengthBytes }: Replica): boolean =>
    !isDraining(server) && (lengthBytes >= chunk.lengthBytes || hasRoom(server, chunk.lengthBytes - lengthBytes));
  const repairable = current.length === 0 ? behind[0] : behind.find(isWorthwhile);
  if (repairable) return { kind: 'repair', server: repairable.server };
  if (current.length === 0) return { kind: 'none' };

  const away = new Set([...replicas.map(({ server }) => server), ...chunk.chain.map(({ server }) => server)]);
  // What comes back on a draining server does not count.
  const mayReturn = [...away]
    .filter(server => !isDraining(server))
    .map(downForMs)
    .filter(ms => ms > 0 && ms < rereplicateAfterMs);
  if (mayReturn.length > 0 && kept.length + mayReturn.length >= goal)
    return { kind: 'later', afterMs: Math.min(...mayReturn.map(ms => rereplicateAfterMs - ms)) };
  return { kind: 'copy', holders: live.map(({ server }) => server), corrupt: corrupt.map(({ server }) => server) };
}

function openStep(facts: HealingFacts): HealingStep {
  const { chunk, downForMs, rereplicateAfterMs, ageMs, upCount, isDraining } = facts;
  if (hasBadMember(facts)) return { kind: 'seal' };
  // Its file goes on in a chunk elsewhere; what is sealed can be moved.
  if (upCount > 0 && chunk.chain.some(({ server }) => isDraining(server))) return { kind: 'seal' };
  const downMs = Math.max(...chunk.chain.map(({ server }) => downForMs(server)));
  if (downMs >= rereplicateAfterMs) return { kind: 'seal' };
  if (downMs > 0) return { kind: 'later', afterMs: rereplicateAfterMs - downMs };
  // Made with what there was (DESIGN 4, Too few servers): with more servers up its file goes on in a better one.
  const couldHaveMore = chunk.chain.length < Math.min(chunk.goal, upCount);
  if (!couldHaveMore) return { kind: 'none' };
  return ageMs >= rereplicateAfterMs ? { kind: 'seal' } : { kind: 'later', afterMs: rereplicateAfterMs - ageMs };
}

/** A member has lost or damaged bytes, and another, or all together, can say how long the chunk is (DESIGN 4, rule 3): sealed at that, it can be healed. */
function hasBadMember({ chunk, replicas, downForMs }: HealingFacts): boolean {
  const members = replicas.filter(
    ({ server }) => downForMs(server) === 0 && chunk.chain.some(member => member.server === server),
  );
  const isBad = ({ corrupt, suspect }: Replica): boolean => corrupt || suspect;
  // Damaged bytes leave the recorded length as it was. After a loss of power of all of them each is suspect, and they decide once all are back.
  const areAllUp = chunk.chain.every(({ server }) => downForMs(server) === 0);
  return members.some(isBad) && (areAllUp || members.some(({ suspect }) => !suspect));
}
