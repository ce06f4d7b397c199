// Chooses servers for the master: freely by placement.ts, or among copysets where a scatter width is set. It keeps the tables of copysets, one for
// each number of replicas, and knows no chunk.
import type { Logger } from '../lib/logger.js';
import { pickWeighted, type Random } from '../lib/random.js';
import { SeededRandom } from '../lib/seeded-random.js';
import type { ServerId } from '../protocol/ids.js';
import { type CopysetMember, CopysetTable } from './copysets.js';
import { type Correlation, equalUpTo } from './correlation.js';
import { type Candidate, chainOrder, type PlacementNeeds, roomFor, spread, weightOf } from './placement.js';

export interface PlacerOptions {
  random: Random;
  correlation: Correlation;
  /** On how many others the chunks of one server may be; 0 for any. */
  scatterWidth: number;
  /** A master that starts again deals the same sets to the same servers: old and new chunks share them. */
  seed: string;
  /** The servers that sets are made of: also those that are down for a moment. */
  members: () => CopysetMember[];
  logger: Logger;
}

/** Comparisons of two servers that dealing copysets may take in one choice: a few milliseconds. */
const DEAL_PAIRS_MAX = 200_000;
/** Servers drawn in the hope of a whole set with room, before all sets are looked at. */
const DRAWS_MAX = 8;

export class Placer {
  private readonly tables = new Map<number, CopysetTable>();
  private isFree = false;
  /** New chunks that went where no copyset is. */
  freeCount = 0;

  constructor(private readonly options: PlacerOptions) {}

  /** The servers for a chunk, in the order of the chain. Throws TOO_FEW_SERVERS and NO_SPACE as `choose` does. */
  choose(candidates: readonly Candidate[], needs: PlacementNeeds): Candidate[] {
    const { random, correlation } = this.options;
    const roomy = roomFor(candidates, needs);
    const chosen = this.fromCopysets(roomy, needs) ?? spread(random, roomy, needs, correlation);
    return chainOrder(random, chosen);
  }

  /** Of the servers that hold a chunk, the one without which the others are the least likely to fail together; among equals that with the least room. */
  leastUseful(holders: readonly Candidate[]): Candidate | undefined {
    const { correlation } = this.options;
    const without = holders.map(candidate => ({
      candidate,
      sum: correlation.sum(
        holders.filter(other => other !== candidate).map(({ location }) => correlation.place(location)),
      ),
    }));
    const least = equalUpTo(Math.min(...without.map(({ sum }) => sum)));
    const equals = without.filter(({ sum }) => sum <= least).map(({ candidate }) => candidate);
    return equals.reduce<Candidate | undefined>(
      (fullest, candidate) => (fullest && fullest.freeBytes <= candidate.freeBytes ? fullest : candidate),
      undefined,
    );
  }

  /** Whether a copy on `chosen` is as safe beside the others as one on the best of `all`, and in a copyset where there are any. */
  keepsSpread(chosen: Candidate, beside: readonly Candidate[], all: readonly Candidate[], replicas: number): boolean {
    const { correlation } = this.options;
    const places = beside.map(({ location }) => correlation.place(location));
    const others = all.filter(({ id }) => !beside.some(holder => holder.id === id));
    const placed = others.map(candidate => ({ candidate, place: correlation.place(candidate.location) }));
    if (!correlation.least(placed, places).some(({ candidate }) => candidate.id === chosen.id)) return false;
    const table = this.table(replicas);
    if (!table || beside.length === 0) return true;
    return table.setsOf(chosen.id).some(set => beside.every(({ id }) => set.includes(id)));
  }

  /** The table for this number of replicas, as far as it is dealt; undefined where copysets are off. */
  table(replicas: number): CopysetTable | undefined {
    const { scatterWidth, correlation, members, seed } = this.options;
    if (scatterWidth === 0 || replicas < 2) return undefined;
    let table = this.tables.get(replicas);
    if (!table) {
      table = new CopysetTable({
        replicas,
        scatterWidth,
        correlation,
        random: new SeededRandom(`${seed} ${replicas}`),
      });
      this.tables.set(replicas, table);
    }
    table.follow(members());
    table.deal(DEAL_PAIRS_MAX);
    return table;
  }

  private fromCopysets(roomy: readonly Candidate[], needs: PlacementNeeds): Candidate[] | undefined {
    const beside = needs.beside ?? [];
    const replicas = needs.replicas ?? needs.goal + beside.length;
    const table = this.table(replicas);
    if (!table) return undefined;
    const chosen = beside.length > 0 ? this.joined(table, roomy, replicas, needs) : this.whole(table, roomy);
    if (beside.length === 0) this.note(chosen === undefined, replicas);
    return chosen;
  }

  /** A whole copyset with room: that of a server drawn by its room, as in the paper the first replica's server. */
  private whole(table: CopysetTable, roomy: readonly Candidate[]): Candidate[] | undefined {
    const byId = new Map(roomy.map(candidate => [candidate.id, candidate]));
    for (let draws = 0; draws < Math.min(DRAWS_MAX, roomy.length); draws++) {
      const first = pickWeighted(this.options.random, roomy, weightOf);
      const sets = candidatesOf(table.setsOf(first.id), byId);
      if (sets.length > 0) return this.roomiest(sets);
    }
    const sets = candidatesOf(table.all(), byId);
    return sets.length > 0 ? this.roomiest(sets) : undefined;
  }

  /** Whoever completes a copyset of those that hold the chunk already. */
  private joined(
    table: CopysetTable,
    roomy: readonly Candidate[],
    replicas: number,
    needs: PlacementNeeds,
  ): Candidate[] | undefined {
    const holders = new Set((needs.beside ?? []).map(({ id }) => id));
    const wanted = Math.min(holders.size, replicas - 1);
    const sets = [...holders]
      .flatMap(id => table.setsOf(id))
      .filter(set => set.filter(id => holders.has(id)).length >= wanted)
      .map(set => set.filter(id => !holders.has(id)).slice(0, needs.goal))
      .filter(set => set.length === needs.goal);
    const fitting = candidatesOf(sets, new Map(roomy.map(candidate => [candidate.id, candidate])));
    return fitting.length > 0 ? this.roomiest(fitting) : undefined;
  }

  /** By chance, weighed with the room of the member that has least. */
  private roomiest(sets: Candidate[][]): Candidate[] {
    return pickWeighted(this.options.random, sets, set => Math.min(...set.map(weightOf)));
  }

  /** Says once when copysets cannot be kept to, and once when they can again. */
  private note(isFree: boolean, replicas: number): void {
    const { logger, scatterWidth } = this.options;
    if (isFree) this.freeCount++;
    if (isFree === this.isFree) return;
    this.isFree = isFree;
    if (isFree)
      logger.warn({ replicas, scatterWidth }, 'no copyset is up as a whole and has room: new chunks go to any servers');
    else logger.info({ replicas, scatterWidth }, 'new chunks go to copysets again');
  }
}

/** The sets all of whose members are candidates. */
function candidatesOf(sets: readonly ServerId[][], byId: ReadonlyMap<ServerId, Candidate>): Candidate[][] {
  return sets.flatMap(set => {
    const members = set.flatMap(id => byId.get(id) ?? []);
    return members.length === set.length ? [members] : [];
  });
}
