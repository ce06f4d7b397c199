// Held locks of one file as byte ranges with their owners, split and joined as fcntl(2) has it. It decides nothing about waiting (lock-table.ts).
import { assert } from '../lib/assert.js';

export type LockKind = 'shared' | 'exclusive';

export interface HeldRange {
  session: string;
  owner: string;
  kind: LockKind;
  startByte: number;
  /** Inclusive. */
  endByte: number;
  pid: number;
}

/** The first held range of somebody else that `wanted` cannot stand beside. */
export function findConflict(held: readonly HeldRange[], wanted: HeldRange): HeldRange | undefined {
  return held.find(
    range =>
      overlaps(range, wanted) &&
      !isSameOwner(range, wanted) &&
      (range.kind === 'exclusive' || wanted.kind === 'exclusive'),
  );
}

/** `held` with `added` in place of what its owner had there; touching ranges of one kind become one. Requires that nothing conflicts. */
export function withRange(held: readonly HeldRange[], added: HeldRange): HeldRange[] {
  assert(findConflict(held, added) === undefined, 'locks that conflict are never held together');
  const joined = { ...added };
  const rest: HeldRange[] = [];
  for (const range of withoutRange(held, added)) {
    const touches = range.endByte + 1 === joined.startByte || joined.endByte + 1 === range.startByte;
    if (touches && isSameOwner(range, added) && range.kind === added.kind) {
      joined.startByte = Math.min(joined.startByte, range.startByte);
      joined.endByte = Math.max(joined.endByte, range.endByte);
    } else {
      rest.push(range);
    }
  }
  return [...rest, joined];
}

/** `held` without what the owner of `removed` had in that range; a range that reaches out on both sides is split in two. */
export function withoutRange(
  held: readonly HeldRange[],
  removed: Pick<HeldRange, 'session' | 'owner' | 'startByte' | 'endByte'>,
): HeldRange[] {
  const rest: HeldRange[] = [];
  for (const range of held) {
    if (!isSameOwner(range, removed) || !overlaps(range, removed)) {
      rest.push(range);
      continue;
    }
    if (range.startByte < removed.startByte) rest.push({ ...range, endByte: removed.startByte - 1 });
    if (range.endByte > removed.endByte) rest.push({ ...range, startByte: removed.endByte + 1 });
  }
  return rest;
}

export function isSameOwner(a: Pick<HeldRange, 'session' | 'owner'>, b: Pick<HeldRange, 'session' | 'owner'>): boolean {
  return a.session === b.session && a.owner === b.owner;
}

function overlaps(a: Pick<HeldRange, 'startByte' | 'endByte'>, b: Pick<HeldRange, 'startByte' | 'endByte'>): boolean {
  return a.startByte <= b.endByte && b.startByte <= a.endByte;
}
