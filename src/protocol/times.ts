// What appends make of a file's times: one rule for the master, which records it, and for clients, which hear of an append before the master does. It
// reads no clock.

export interface FileTimes {
  mtimeNs: bigint;
  ctimeNs: bigint;
}

/**
 * The times of a file with `times` whose last append was committed at `changedMs`, by the clock of the chunk's primary. That may be a little behind the
 * master's: where nothing but bytes (or nothing at all) came before, times do not go back. Another change, such as of its mode, may have come since.
 */
export function timesAfterAppend({ mtimeNs, ctimeNs }: FileTimes, changedMs: number): FileTimes {
  const changedNs = BigInt(Math.floor(changedMs)) * 1_000_000n;
  return {
    mtimeNs: mtimeNs === ctimeNs && mtimeNs > changedNs ? mtimeNs : changedNs,
    ctimeNs: ctimeNs > changedNs ? ctimeNs : changedNs,
  };
}
