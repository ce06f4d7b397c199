// Chance as an interface, so that a run can be replayed from a seed. Nothing else in src/ asks the platform for randomness.

export interface Random {
  /** A number in [0, 1). */
  float(): number;
  /** `count` random bytes; unguessable in production. */
  bytes(count: number): Buffer;
}

/** An integer in [0, bound). */
export function randomInt(random: Random, bound: number): number {
  return Math.floor(random.float() * bound);
}

/** One element of a non-empty list. */
export function pick<T>(random: Random, items: readonly T[]): T {
  return items[randomInt(random, items.length)] as T;
}

/** One element of a non-empty list, each as likely as its weight says. Requires weights above 0. */
export function pickWeighted<T>(random: Random, items: readonly T[], weightOf: (item: T) => number): T {
  let sum = 0;
  for (const item of items) sum += weightOf(item);
  let point = random.float() * sum;
  for (const item of items) {
    point -= weightOf(item);
    if (point < 0) return item;
  }
  // Rounding may leave a crumb behind the last.
  return items[items.length - 1] as T;
}

/** A new list with the same elements in random order. */
export function shuffled<T>(random: Random, items: readonly T[]): T[] {
  const list = items.slice();
  for (let i = list.length - 1; i > 0; i--) {
    const j = randomInt(random, i + 1);
    [list[i], list[j]] = [list[j] as T, list[i] as T];
  }
  return list;
}

/** 16 hexadecimal digits: a fresh id for a server, a writer, a session, a client. */
export function randomId(random: Random): string {
  return random.bytes(8).toString('hex');
}
