// Chooses the chunkservers of a new replica: distinct, far apart, with room, not all the load on one (paper, §4.2). A pure function of
// what it is given; it knows no chunk and keeps no state.
import { type Random, shuffled } from '../lib/random.js';
import { GfsError } from '../protocol/errors.js';
import type { ServerId } from '../protocol/ids.js';

export interface Candidate {
  id: ServerId;
  /** Like /az/pod/rack/host. */
  location: string;
  freeBytes: number;
  /** Allocations of the last seconds, decayed: what the next heartbeat's free space does not show yet. */
  recentAllocations: number;
}

export interface PlacementNeeds {
  /** How many to choose. */
  goal: number;
  /** Fewer than this many: refused. */
  least: number;
  /** Room a server must have. */
  bytes: number;
  /** Servers that already hold a replica: the new ones are chosen far from these and never among them. */
  beside?: readonly Candidate[];
}

/** Levels from the leaf up to where two places part: 0 for the same place, 1 for two hosts of one rack, and so on. */
export function distance(a: string, b: string): number {
  const left = parts(a);
  const right = parts(b);
  const depth = Math.max(left.length, right.length);
  let same = 0;
  while (same < depth && left[same] === right[same]) same++;
  return depth - same;
}

/**
 * The servers for a new chunk, in the order of the chain. Throws TOO_FEW_SERVERS when fewer than `least` candidates are up, NO_SPACE when
 * fewer than that have room. May return fewer than the goal: the chunk is then degraded (DESIGN 4, Too few servers).
 */
export function choose(random: Random, candidates: readonly Candidate[], needs: PlacementNeeds): Candidate[] {
  const beside = needs.beside ?? [];
  const others = candidates.filter(candidate => !beside.some(({ id }) => id === candidate.id));
  if (others.length < needs.least)
    throw new GfsError(
      'TOO_FEW_SERVERS',
      `${others.length} chunkservers are up, at least ${needs.least} are needed to append; start more chunkservers`,
    );
  const roomy = others.filter(candidate => candidate.freeBytes >= needs.bytes);
  if (roomy.length < needs.least)
    throw new GfsError('NO_SPACE', `${roomy.length} of ${others.length} chunkservers have room for a chunk`);
  const chosen: Candidate[] = [];
  while (chosen.length < needs.goal && roomy.length > 0) {
    const next = draw(random, roomy, [...beside, ...chosen]);
    chosen.push(next);
    roomy.splice(roomy.indexOf(next), 1);
  }
  return chainOrder(random, chosen);
}

/** One of the candidates that are farthest from `others`, by chance weighed with free space over recent allocations. */
function draw(random: Random, candidates: readonly Candidate[], others: readonly Candidate[]): Candidate {
  const nearest = candidates.map(({ location }) =>
    others.reduce((least, other) => Math.min(least, distance(location, other.location)), Number.POSITIVE_INFINITY),
  );
  const farthest = Math.max(...nearest);
  const best = candidates.filter((_, index) => nearest[index] === farthest);
  const weights = best.map(candidate => (candidate.freeBytes + 1) / (1 + candidate.recentAllocations));
  let point = random.float() * weights.reduce((sum, weight) => sum + weight, 0);
  for (let index = 0; index < best.length; index++) {
    point -= weights[index]!;
    if (point < 0) return best[index]!;
  }
  return best[best.length - 1]!;
}

/** The primary by chance, then always the nearest of the rest, so that bytes travel short ways (paper, §3.2). */
function chainOrder(random: Random, servers: readonly Candidate[]): Candidate[] {
  const rest = shuffled(random, servers);
  const chain = rest.splice(0, 1);
  while (rest.length > 0) {
    const last = chain[chain.length - 1]!;
    const next = rest.reduce((best, server) =>
      distance(last.location, server.location) < distance(last.location, best.location) ? server : best,
    );
    chain.push(next);
    rest.splice(rest.indexOf(next), 1);
  }
  return chain;
}

function parts(location: string): string[] {
  return location.split('/').filter(part => part !== '');
}
