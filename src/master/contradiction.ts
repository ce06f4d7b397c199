// What can be wrong between the rows of the store: its kinds, whether one can be put right without giving up bytes, and what to do about it otherwise. It
// finds nothing (check.ts) and changes nothing (metadata-repair.ts).
import type { ChunkHandle, InodeId } from '../protocol/ids.js';

/**
 * Kinds by the round in which they are put right: rows that speak of nothing first, then what nothing speaks of, then counts. A later round looks again, since
 * an earlier one changes what it is about.
 */
export const ROUNDS = [
  // biome-ignore format: one round, one row
  ['extent-of-nothing', 'trash-extents', 'entry-outside', 'entry-of-nothing', 'entry-type', 'entry-elsewhere', 'xattr-of-nothing', 'trash-row', 'garbage-row'],
  ['nameless', 'not-below-root', 'trash-missing', 'trash-named', 'garbage-missing', 'garbage-used', 'unused'],
  ['children', 'links', 'xattrs', 'references', 'counter', 'next-number'],
] as const;

export type RepairableKind = (typeof ROUNDS)[number][number];

/** Here bytes of files are at stake, or nobody can tell which of two rows is right. */
const OLDER_COPY =
  'copy out what can be read of the file, delete it and repair again, or start the master on an older copy of its metadata';
const ADVICE = {
  'extent-order': `where bytes of the file are is not certain: ${OLDER_COPY}`,
  'extent-sum': `extents of the file are lost or doubled: ${OLDER_COPY}`,
  'extent-of-no-chunk': `bytes of the file are lost: ${OLDER_COPY}`,
  'extent-of-open': `a chunk is being written and shared at once: ${OLDER_COPY}`,
  'extent-past': `the file names bytes that its chunk has not: ${OLDER_COPY}`,
  'content-of-no-file': 'delete it, or start the master on an older copy of its metadata',
  tail: `the end of the file is not certain: ${OLDER_COPY}`,
  chunk: 'how long the chunk is, or where it is, is not recorded: start the master on an older copy of its metadata',
  root: 'start the master on an older copy of its metadata',
} as const;

export type HopelessKind = keyof typeof ADVICE;

export interface Contradiction {
  /** For people. */
  text: string;
  kind: RepairableKind | HopelessKind;
  /** What it is about, as far as the kind needs it. */
  inode?: InodeId;
  parent?: InodeId;
  name?: string;
  handle?: ChunkHandle;
  key?: Buffer;
  /** What was counted. */
  is?: number;
  names?: string[];
  counter?: string;
}

/** What to do about one that is not put right. */
export function adviceOn({ kind }: Contradiction): string {
  const advice: Partial<Record<string, string>> = ADVICE;
  return advice[kind] ?? `it depends on another one that cannot be put right: ${OLDER_COPY}`;
}

/** Where in ROUNDS a kind is; undefined: it is not put right. */
export function roundOf({ kind }: Contradiction): number | undefined {
  const round = ROUNDS.findIndex(kinds => (kinds as readonly string[]).includes(kind));
  return round < 0 ? undefined : round;
}
