// What a change needs to know of time: now, and how long things that were given up are kept. Passed in, so that no table reads a clock.

export interface Moment {
  /** Wall clock. */
  nowMs: number;
  /** How long a deleted file stays in the trash, 0 or more. */
  trashMs: number;
  /** How long deleted files and unnamed chunks are kept in any case: readers and appends in doubt may still need them (DESIGN 4, rule 6). */
  graceMs: number;
}

/** The moment as inodes store times. */
export function nowNs(at: Moment): bigint {
  return BigInt(Math.floor(at.nowMs)) * 1_000_000n;
}
