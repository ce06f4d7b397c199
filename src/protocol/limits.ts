// The bounds that all processes agree on: sizes on the wire, in names and in tables. Settings of one process stand with its role, not here.
import { assert } from '../lib/assert.js';

const KiB = 1024;
const MiB = 1024 * KiB;

export const LIMITS = {
  /** Version of the protocol; a peer with another one is refused in the greeting. */
  protocolVersion: 1,
  /** A frame's body (the message without payload). */
  bodyBytesMax: 1 * MiB,
  /** A frame's payload: a record at the largest chunk size, or a read. */
  payloadBytesMax: 64 * MiB,
  /** One component of a path, in bytes of UTF-8 (POSIX NAME_MAX). */
  nameBytesMax: 255,
  /** A whole path or symlink target, in bytes (POSIX PATH_MAX). */
  pathBytesMax: 4096,
  /** Symbolic links followed while resolving one path (as Linux). */
  symlinksMax: 40,
  /** Hard links of one file (as ext4). */
  linksMax: 65_000,
  /** Extended attributes (as Linux: XATTR_NAME_MAX, XATTR_SIZE_MAX) and how many one inode may have. */
  xattrNameBytesMax: 255,
  xattrValueBytesMax: 64 * KiB,
  xattrsPerInodeMax: 256,
  /** Entries of one page of a directory, of extents, of chunks in a report. */
  directoryPageMax: 1024,
  extentPageMax: 1024,
  chunkReportPageMax: 4096,
  /** Files of one page of the trash; files and findings of one page of a check. */
  trashPageMax: 128,
  checkPageMax: 128,
  /** Chunks named when a server is to be forgotten that may hold the only good copy of them. */
  atRiskMax: 10_000,
  /** The unit of checksums in a chunk (paper, §5.2). */
  blockBytes: 64 * KiB,
  chunkSizeBytesMin: 4 * KiB,
  chunkSizeBytesMax: 256 * MiB,
  chunkSizeBytesDefault: 64 * MiB,
  /** A record is at most a quarter of the chunk size (paper, §3.3). */
  recordFraction: 4,
  /** One read request. */
  readBytesMax: 4 * MiB,
  /** An append up to this size carries its bytes itself; a larger one has them pushed ahead. Streams send many of these at once, so nothing waits for a whole one. */
  inlineAppendBytesMax: 1 * MiB,
  /** Payload of one push frame: what a hop holds before it forwards. */
  pushBytesMax: 256 * KiB,
  /** Appends of one writer to one chunk that may be unanswered; the writer table keeps this many per writer. */
  appendsInFlightMax: 16,
  /** Writers remembered per chunk; a table full of young ones seals the chunk. */
  writersPerChunkMax: 1024,
  /** How long a client may send an append again, or ask for it, once it may stand somewhere; writer tables remember at least this long. */
  appendRetryMs: 60_000,
  /** Damaged ranges of one replica that its server tells one by one, and of one piece of a file that the master does. */
  badRangesMax: 1024,
  lostRangesMax: 16,
  /** Replicas of a chunk. */
  replicasMax: 10,
  /** How much the clocks of two machines may differ in rate: whoever holds something for a time gives it up this share of it early. */
  driftShare: 0.05,
} as const;

/** How long a holder counts on what it was given for `ms`, by its own clock from the moment at which it sent its question. */
export function holderMs(ms: number): number {
  return ms * (1 - LIMITS.driftShare);
}

/** The largest record for a chunk size, in bytes. */
export function recordBytesMax(chunkSizeBytes: number): number {
  return Math.floor(chunkSizeBytes / LIMITS.recordFraction);
}

assert(LIMITS.chunkSizeBytesMax / LIMITS.recordFraction <= LIMITS.payloadBytesMax, 'a record fits in a frame');
assert(LIMITS.readBytesMax <= LIMITS.payloadBytesMax, 'a read fits in a frame');
