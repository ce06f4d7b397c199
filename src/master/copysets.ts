// A table of copysets: the few sets of servers that may hold all replicas of a chunk, so that few combinations of failures lose data (Cidon et
// al., Copysets, USENIX ATC 2013; dealt one by one as in Tiered Replication, ATC 2015). Which set a chunk gets it does not decide.
import { assert } from '../lib/assert.js';
import { type Random, randomInt } from '../lib/random.js';
import type { ServerId } from '../protocol/ids.js';
import { type Correlation, equalUpTo, type Place } from './correlation.js';

export interface CopysetMember {
  id: ServerId;
  location: string;
}

export interface CopysetOptions {
  /** Servers in a set. At least 2. */
  replicas: number;
  /** On how many others the chunks of one server are to be. Less than `replicas` - 1 means that. */
  scatterWidth: number;
  correlation: Correlation;
  /** The same numbers and the same servers give the same sets. */
  random: Random;
}

interface Member {
  /** Where it stands in the list of members. */
  index: number;
  readonly id: ServerId;
  readonly location: string;
  readonly place: Place;
  readonly sets: Set<Copyset>;
  /** Who shares how many sets with it; their number is its scatter width. */
  readonly neighbours: Map<Member, number>;
  /** Sets that were dealt for its sake since the servers changed last. */
  started: number;
}

interface Copyset {
  members: Member[];
}

/** More than a server is in sets: makes of two scores one. */
const SETS_SCALE = 1e6;

/** How many sets one server of even surroundings is in: as many as permutations in the paper. */
export function setsPerServer(replicas: number, scatterWidth: number): number {
  return Math.max(1, Math.ceil(scatterWidth / (replicas - 1)));
}

/**
 * The most sets a table has. Where servers are spread evenly it has about 1 / replicas of that, the paper's number; lopsided racks, whose few
 * servers have to be in many sets, can need it.
 */
export function copysetsMax(options: { servers: number; replicas: number; scatterWidth: number }): number {
  return options.servers * setsPerServer(options.replicas, options.scatterWidth);
}

export class CopysetTable {
  private readonly members = new Map<ServerId, Member>();
  /** The same members as a list: dealing looks at all of them for every set. */
  private list: Member[] = [];
  /** INVARIANT: each has `replicas` different members, and no two are the same. */
  private readonly sets = new Set<Copyset>();
  /** Sets with a member that left; another takes its place before the set is used again. */
  private readonly torn = new Set<Copyset>();
  /** Nobody needs another set: until somebody joins or leaves. */
  private isDealt = true;

  constructor(private readonly options: CopysetOptions) {
    assert(options.replicas >= 2, 'a copyset has two members at least');
  }

  get count(): number {
    return this.sets.size;
  }

  /** On how many others the chunks of this server may be. */
  scatterWidthOf(id: ServerId): number {
    return this.members.get(id)?.neighbours.size ?? 0;
  }

  /** The whole sets with this server in them. */
  setsOf(id: ServerId): ServerId[][] {
    const sets = [...(this.members.get(id)?.sets ?? [])];
    return sets.filter(set => !this.torn.has(set)).map(({ members }) => members.map(member => member.id));
  }

  /** All whole sets. */
  all(): ServerId[][] {
    return [...this.sets].filter(set => !this.torn.has(set)).map(({ members }) => members.map(({ id }) => id));
  }

  /** Takes over which servers there are. Sets are torn where one left; `deal` mends them and adds what is missing. */
  follow(servers: readonly CopysetMember[]): void {
    if (servers.length === this.members.size && servers.every(server => this.isKnown(server))) return;
    const present = new Set(servers.filter(server => this.isKnown(server)).map(({ id }) => id));
    for (const member of [...this.members.values()]) {
      if (!present.has(member.id)) this.leave(member);
      member.started = 0;
    }
    const joining = servers.filter(({ id }) => !present.has(id)).sort((a, b) => (a.id < b.id ? -1 : 1));
    for (const { id, location } of joining) {
      const place = this.options.correlation.place(location);
      this.members.set(id, { index: 0, id, location, place, sets: new Set(), neighbours: new Map(), started: 0 });
    }
    this.list = [...this.members.values()];
    for (const [index, member] of this.list.entries()) member.index = index;
    this.isDealt = false;
  }

  /**
   * Mends torn sets, then deals new ones until every server has its scatter width, or as much of it as is possible without putting more replicas
   * close together. Stops after about `pairsMax` comparisons of two servers, to go on at the next call. True when nothing is left to do.
   */
  deal(pairsMax = Number.POSITIVE_INFINITY): boolean {
    const pairsPerSet = this.members.size * this.options.replicas ** 2;
    for (let pairs = 0; !this.isDealt && pairs < pairsMax; pairs += pairsPerSet) this.isDealt = !this.step();
    return this.isDealt;
  }

  /** Throws when the table contradicts itself; for tests. */
  checkInvariants(): void {
    const names = new Set<string>();
    for (const set of this.sets) {
      const ids = set.members.map(({ id }) => id);
      assert(new Set(ids).size === this.options.replicas, 'a set has as many different members as replicas');
      if (this.torn.has(set)) continue;
      names.add(ids.sort().join(' '));
      for (const member of set.members) {
        assert(this.members.get(member.id) === member, 'members of whole sets are present');
        assert(member.sets.has(set), 'a member knows its sets');
      }
    }
    assert(names.size === this.sets.size - this.torn.size, 'no two sets are the same');
    assert(!this.isDealt || names.size <= this.setsMax, 'there are no more sets than the bound');
    for (const member of this.members.values()) {
      let shared = 0;
      for (const count of member.neighbours.values()) shared += count;
      assert(shared === member.sets.size * (this.options.replicas - 1), 'neighbours are those of the sets');
    }
  }

  private get setsMax(): number {
    return copysetsMax({ ...this.options, servers: this.members.size });
  }

  private isKnown({ id, location }: CopysetMember): boolean {
    return this.members.get(id)?.location === location;
  }

  private leave(member: Member): void {
    this.members.delete(member.id);
    for (const set of member.sets) this.torn.add(set);
  }

  /** One set mended or dealt; false when there is nothing to do. */
  private step(): boolean {
    if (this.members.size < this.options.replicas) return false;
    const [torn] = this.torn;
    if (torn) {
      this.mend(torn);
      return true;
    }
    const [oldest] = this.sets;
    if (oldest && this.sets.size > this.setsMax) {
      this.drop(oldest);
      return true;
    }
    const starter = this.neediest();
    if (!starter) return false;
    const members = this.complete([starter]);
    const isWider = members.some(member => member !== starter && !starter.neighbours.has(member));
    // Nobody new is far enough away: it stays with what it has until the next change.
    if (!isWider) starter.started = this.startsMax;
    else {
      starter.started++;
      this.add({ members });
    }
    return true;
  }

  /** Others take the places of those who left, so that the chunks of the set all move to the same server and remain one set. */
  private mend(set: Copyset): void {
    this.torn.delete(set);
    this.drop(set);
    const stayed = set.members.filter(member => this.members.get(member.id) === member);
    if (stayed.length === 0 || this.sets.size >= this.setsMax) return;
    const members = this.complete(stayed);
    const isThere = [...members[0]!.sets].some(other => members.every(member => other.members.includes(member)));
    if (!isThere) this.add({ members });
  }

  private get startsMax(): number {
    return setsPerServer(this.options.replicas, this.options.scatterWidth);
  }

  /** The server with the least scatter width of those that need more. */
  private neediest(): Member | undefined {
    if (this.sets.size >= this.setsMax) return undefined;
    const { replicas, scatterWidth, random } = this.options;
    const wanted = Math.min(Math.max(scatterWidth, replicas - 1), this.list.length - 1);
    const { startsMax } = this;
    return pickBest(random, this.list, ({ neighbours, started }) =>
      neighbours.size < wanted && started < startsMax ? -neighbours.size : Number.NEGATIVE_INFINITY,
    );
  }

  /**
   * Fills a set up: always one of the least correlated with those in it; of these the one with most new neighbours there, the first member above
   * all; of these one that is in few sets.
   */
  private complete(start: readonly Member[]): Member[] {
    const { replicas, random } = this.options;
    const chosen = [...start];
    const sums = new Float64Array(this.list.length);
    const known = new Uint8Array(this.list.length);
    for (const member of chosen) this.weighIn(member, sums, known, member === chosen[0] ? replicas : 1);
    while (chosen.length < replicas) {
      let least = Number.POSITIVE_INFINITY;
      for (let i = 0; i < sums.length; i++) if (sums[i]! < least) least = sums[i]!;
      const limit = equalUpTo(least);
      const next = pickBest(random, this.list, ({ index, sets }) =>
        sums[index]! <= limit ? -known[index]! * SETS_SCALE - sets.size : Number.NEGATIVE_INFINITY,
      )!;
      chosen.push(next);
      this.weighIn(next, sums, known, 1);
    }
    return chosen;
  }

  /** Adds a chosen member's correlations with all others to `sums`, and `weight` to `known` where somebody shares a set with it. */
  private weighIn(member: Member, sums: Float64Array, known: Uint8Array, weight: number): void {
    const { correlation } = this.options;
    for (let i = 0; i < this.list.length; i++) sums[i]! += correlation.between(member.place, this.list[i]!.place);
    sums[member.index] = Number.POSITIVE_INFINITY;
    for (const neighbour of member.neighbours.keys())
      if (this.list[neighbour.index] === neighbour) known[neighbour.index]! += weight;
  }

  private add(set: Copyset): void {
    this.sets.add(set);
    for (const member of set.members) {
      member.sets.add(set);
      for (const other of set.members)
        if (other !== member) member.neighbours.set(other, (member.neighbours.get(other) ?? 0) + 1);
    }
  }

  private drop(set: Copyset): void {
    this.sets.delete(set);
    for (const member of set.members) {
      member.sets.delete(set);
      for (const other of set.members) {
        if (other === member) continue;
        const count = member.neighbours.get(other)! - 1;
        if (count === 0) member.neighbours.delete(other);
        else member.neighbours.set(other, count);
      }
    }
  }
}

/** One of the items with the greatest score by chance, or undefined when all have minus infinity. */
function pickBest<T>(random: Random, items: readonly T[], scoreOf: (item: T) => number): T | undefined {
  const scores = new Float64Array(items.length);
  let greatest = Number.NEGATIVE_INFINITY;
  let count = 0;
  for (let i = 0; i < items.length; i++) {
    const score = scoreOf(items[i]!);
    scores[i] = score;
    if (score > greatest) [greatest, count] = [score, 0];
    if (score === greatest) count++;
  }
  if (greatest === Number.NEGATIVE_INFINITY) return undefined;
  let skip = randomInt(random, count);
  for (let i = 0; i < items.length; i++) if (scores[i] === greatest && skip-- === 0) return items[i];
  return undefined;
}
