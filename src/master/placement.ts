// Chooses the chunkservers of a new replica: distinct, unlikely to fail together, with room, not all the load on one (paper, §4.2). Pure
// functions of what they are given; copysets are placer.ts.
import { pickWeighted, type Random, shuffled } from '../lib/random.js';
import { GfsError } from '../protocol/errors.js';
import type { ServerId } from '../protocol/ids.js';
import { Correlation } from './correlation.js';
import { distance } from './distance.js';

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
  /** Copies that the chunk is to have in all, for the choice of a copyset; `goal` and those beside when absent. */
  replicas?: number;
}

/** What is drawn for the first replica decides little where distance counts; where a file does, the best of so many draws is taken. */
const DRAWS_WITH_RULES = 4;
const BY_DISTANCE = new Correlation();

/**
 * The servers for a new chunk, in the order of the chain. Throws TOO_FEW_SERVERS when fewer than `least` candidates are up, NO_SPACE when
 * fewer than that have room. May return fewer than the goal: the chunk is then degraded (DESIGN 4, Too few servers).
 */
export function choose(
  random: Random,
  candidates: readonly Candidate[],
  needs: PlacementNeeds,
  correlation = BY_DISTANCE,
): Candidate[] {
  return chainOrder(random, spread(random, roomFor(candidates, needs), needs, correlation));
}

/** The candidates that may be chosen. Throws TOO_FEW_SERVERS, NO_SPACE. */
export function roomFor(candidates: readonly Candidate[], needs: PlacementNeeds): Candidate[] {
  const beside = new Set((needs.beside ?? []).map(({ id }) => id));
  const others = candidates.filter(({ id }) => !beside.has(id));
  if (others.length < needs.least)
    throw new GfsError(
      'TOO_FEW_SERVERS',
      `${others.length} chunkservers are up, at least ${needs.least} are needed to append; start more chunkservers`,
    );
  const roomy = others.filter(candidate => candidate.freeBytes >= needs.bytes);
  if (roomy.length < needs.least)
    throw new GfsError('NO_SPACE', `${roomy.length} of ${others.length} chunkservers have room for a chunk`);
  return roomy;
}

/** How gladly a server is chosen among equals: by its free space over its recent allocations. */
export function weightOf(candidate: Candidate): number {
  return (candidate.freeBytes + 1) / (1 + candidate.recentAllocations);
}

/** The set of the least summed correlation, with those beside it; all that are there when they are fewer than the goal. */
export function spread(
  random: Random,
  roomy: readonly Candidate[],
  needs: PlacementNeeds,
  correlation: Correlation,
): Candidate[] {
  const placed = roomy.map(candidate => ({ candidate, place: correlation.place(candidate.location) }));
  const beside = (needs.beside ?? []).map(({ location }) => correlation.place(location));
  let best: typeof placed = [];
  let least = Number.POSITIVE_INFINITY;
  for (let draws = correlation.hasRules ? DRAWS_WITH_RULES : 1; draws > 0; draws--) {
    const set = drawSet();
    const sum = correlation.sum([...beside, ...set.map(({ place }) => place)]);
    if (sum < least) [best, least] = [set, sum];
  }
  return best.map(({ candidate }) => candidate);

  /** One after the other, each from those least correlated with all before, by chance weighed with room. */
  function drawSet(): typeof placed {
    const chosen: typeof placed = [];
    while (chosen.length < Math.min(needs.goal, placed.length)) {
      const others = chosen.length === 0 ? placed : placed.filter(one => !chosen.includes(one));
      const far = correlation.least(others, [...beside, ...chosen.map(({ place }) => place)]);
      chosen.push(pickWeighted(random, far, ({ candidate }) => weightOf(candidate)));
    }
    return chosen;
  }
}

/** The primary by chance, then always the nearest of the rest, so that bytes travel short ways (paper, §3.2). */
export function chainOrder(random: Random, servers: readonly Candidate[]): Candidate[] {
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
