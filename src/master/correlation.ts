// How likely two places fail together, as a number from 0 to 1: derived from their distance, or as a file says (correlation-file.ts).
// It compares places only; what fails and what is stored where it does not know.
import { partsOf, sharedDepth } from './distance.js';

/** One line of a correlation file: whatever lies below `left` against whatever lies below `right`, in either order. */
export interface CorrelationRule {
  left: readonly string[];
  right: readonly string[];
  correlation: number;
}

/** A location, taken apart once. */
export interface Place {
  /** One number for each level, from the widest down: that of the whole path to it. */
  readonly path: readonly number[];
  /** The rules of which this place is one side, the narrowest first. */
  readonly sides: readonly Side[];
}

interface Side {
  /** What the other place has to lie below. */
  other: readonly number[];
  /** Levels of both sides together: how narrow the rule is. */
  depth: number;
  correlation: number;
}

/** With each level up to where two places part, failing together gets so many times less likely. */
const LEVEL_FACTOR = 4;
/** Sums of correlations that differ by less than a tenth count as equal: then room decides. */
const EQUAL_WITHIN = 1.1;
const ROUNDING = 1e-12;
const LEVELS_MAX = 64;
const BY_DISTANCE = Array.from({ length: LEVELS_MAX }, (_, levels) => LEVEL_FACTOR ** -levels);

export class Correlation {
  /** Both hold what servers said where they are, and nothing else: they are bounded by the servers that the master knows. */
  private readonly places = new Map<string, Place>();
  private readonly numbers = new Map<string, number>();
  private readonly rules: Array<{ left: readonly number[]; right: readonly number[]; correlation: number }>;

  constructor(rules: readonly CorrelationRule[] = []) {
    this.rules = rules.map(({ left, right, correlation }) => ({
      left: this.pathOf(left),
      right: this.pathOf(right),
      correlation,
    }));
  }

  /** Whether a file has its say. */
  get hasRules(): boolean {
    return this.rules.length > 0;
  }

  /** Requires a place that belongs to this object wherever places are compared. */
  place(location: string): Place {
    const known = this.places.get(location);
    if (known) return known;
    const path = this.pathOf(partsOf(location));
    const place = { path, sides: this.sidesOf(path) };
    this.places.set(location, place);
    return place;
  }

  of(a: string, b: string): number {
    return this.between(this.place(a), this.place(b));
  }

  /**
   * The narrowest rule for the two places. What distance gives counts as a rule for the narrowest place that holds both, and yields to a rule of
   * the file that is as narrow. Symmetric.
   */
  between(a: Place, b: Place): number {
    const shared = sharedDepth(a.path, b.path);
    if (a.sides.length > 0) {
      for (const { other, depth, correlation } of a.sides) {
        if (depth < 2 * shared) break;
        if (isBelow(b.path, other)) return correlation;
      }
    }
    const levels = Math.max(a.path.length, b.path.length) - shared;
    return BY_DISTANCE[Math.min(levels, LEVELS_MAX - 1)]!;
  }

  /** The sum over all pairs of a set. */
  sum(places: readonly Place[]): number {
    let sum = 0;
    for (let i = 0; i < places.length; i++) for (let j = 0; j < i; j++) sum += this.between(places[i]!, places[j]!);
    return sum;
  }

  /** Those of `items` whose correlations with `others`, summed, are least, or within a tenth of the least. */
  least<T extends { place: Place }>(items: readonly T[], others: readonly Place[]): T[] {
    const sums = new Float64Array(items.length);
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < items.length; i++) {
      let sum = 0;
      for (const other of others) sum += this.between(items[i]!.place, other);
      sums[i] = sum;
      if (sum < least) least = sum;
    }
    const limit = equalUpTo(least);
    return items.filter((_, i) => sums[i]! <= limit);
  }

  private pathOf(parts: readonly string[]): number[] {
    let name = '';
    return parts.map(part => {
      name += `/${part}`;
      const number = this.numbers.get(name) ?? this.numbers.size;
      this.numbers.set(name, number);
      return number;
    });
  }

  private sidesOf(path: readonly number[]): Side[] {
    const sides: Side[] = [];
    for (const { left, right, correlation } of this.rules) {
      const depth = left.length + right.length;
      if (isBelow(path, left)) sides.push({ other: right, depth, correlation });
      if (isBelow(path, right)) sides.push({ other: left, depth, correlation });
    }
    // Of two that are as narrow, the one that fears more.
    return sides.sort((a, b) => b.depth - a.depth || b.correlation - a.correlation);
  }
}

/** Up to where a sum of correlations counts as equal to the least one. */
export function equalUpTo(least: number): number {
  return least * EQUAL_WITHIN + ROUNDING;
}

function isBelow(path: readonly number[], prefix: readonly number[]): boolean {
  return sharedDepth(path, prefix) === prefix.length;
}
