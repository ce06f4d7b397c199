// Places of servers, written /az/pod/rack/host or with a disk behind, and how far apart two of them are. It knows names of levels as little
// as their number: only where two places part counts.

/** The levels of a location from the widest down; the empty location is the place of all servers that were told none. */
export function partsOf(location: string): string[] {
  return location.split('/').filter(part => part !== '');
}

/** How many levels, from the widest down, two places share. */
export function sharedDepth<T extends string | number>(a: readonly T[], b: readonly T[]): number {
  const depth = Math.min(a.length, b.length);
  let shared = 0;
  while (shared < depth && a[shared] === b[shared]) shared++;
  return shared;
}

/** Levels from the leaf up to where two places part: 0 for the same place, 1 for two hosts of one rack, and so on. */
export function distance(a: string, b: string): number {
  const left = partsOf(a);
  const right = partsOf(b);
  return Math.max(left.length, right.length) - sharedDepth(left, right);
}
