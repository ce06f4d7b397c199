// The settings of the client library, as a table (lib/settings.ts), and the bounds that nobody needs to set. It reads no command line.
import { countSetting, duration, type SettingValues, sizeSetting, textSetting } from '../lib/settings.js';
import { LIMITS } from '../protocol/limits.js';

const KiB = 1024;
const MiB = 1024 * KiB;

export const CLIENT_SETTINGS = {
  opTimeoutMs: duration(
    30_000,
    'every operation ends within this time; an append that may stand already, within a minute of when it was first sent',
    { min: 100, max: 600_000 },
  ),
  connectTimeoutMs: duration(4_000, 'how long connecting to the cluster may take', { min: 100, max: 600_000 }),
  masterTryMs: duration(5_000, 'one attempt of a call to the master; repeated until the operation times out', {
    min: 50,
  }),
  masterHoldMs: duration(
    12_000,
    'the same for calls that the master may hold while chunks are sealed or servers report',
    {
      min: 50,
    },
  ),
  patienceMs: duration(10_000, 'how long an append waits for the end of safe mode or for servers to come up'),
  appendTryMs: duration(3_000, 'one attempt of an append; then its chunk is given up for the next', { min: 50 }),
  syncTryMs: duration(10_000, 'one attempt to bring a chunk to the disks', { min: 50 }),
  readTryMs: duration(2_000, 'one attempt to read from one replica; then the next is asked', { min: 20 }),
  tailTryMs: duration(1_000, 'one attempt to ask a primary for the length of a chunk', { min: 20 }),
  readPatienceMs: duration(15_000, 'how long a read waits for a readable replica before it fails'),
  avoidMs: duration(5_000, 'a chunkserver that failed a read is asked last for this long'),
  revalidateMs: duration(1_000, 'what is known of a file that is read may be this old'),
  relocateMs: duration(15_000, 'places of chunks that are read are asked for again, beside reading, when this old', {
    min: 100,
  }),
  retryFirstMs: duration(20, 'pause before the first repetition; it doubles, with jitter', { min: 1 }),
  retryMaxMs: duration(500, 'longest pause between repetitions', { min: 1 }),
  appendsInFlight: countSetting(LIMITS.appendsInFlightMax, 'appends of one open file that may be unanswered', {
    min: 1,
    max: LIMITS.appendsInFlightMax,
  }),
  appendBytesInFlight: sizeSetting(16 * MiB, 'bytes of appends of one open file that may be unanswered', {
    min: 64 * KiB,
    max: 1024 * MiB,
  }),
  appendPieceBytes: sizeSetting(1 * MiB, 'a stream write travels in pieces of this size', {
    min: 4 * KiB,
    max: 16 * MiB,
  }),
  readRequestBytes: sizeSetting(2 * MiB, 'largest single read request', {
    min: LIMITS.blockBytes,
    max: LIMITS.readBytesMax,
  }),
  readAheadBytes: sizeSetting(8 * MiB, 'read ahead of a sequential reader, at most half of the cache', {
    max: 256 * MiB,
  }),
  cacheBytes: sizeSetting(64 * MiB, 'cache of bytes read, over all files; 0 for none', { max: 64 * 1024 * MiB }),
  location: textSetting(
    undefined,
    'where this client is, as /az/pod/rack/host: near replicas are read first',
    'LOCATION',
  ),
};

export type ClientSettings = SettingValues<typeof CLIENT_SETTINGS>;

export const CLIENT_LIMITS = {
  /** Files whose sizes and chunk maps are remembered besides the open ones. */
  inodesMax: 16_384,
  /** Extents remembered of one file; a longer map is forgotten and asked again page by page. */
  extentsPerFileMax: 65_536,
  /** Extents asked for at once. */
  extentPage: 256,
  /** Places are asked for again after up to this much more than relocateMs, so that clients which began together do not ask together. */
  relocateJitter: 1,
  /** Attempts in one chunk without asking the master, for answers that mean "send it again". */
  resendsMax: 3,
  /** What ends late by so much is given up, without the reason that may be told at the deadline. */
  deadlineGraceMs: 50,
  /** Times one call may find its session ended. */
  sessionRetriesMax: 3,
  /** Servers remembered as failing. */
  avoidedServersMax: 1024,
  /** Open files that a new session can be told of. */
  openFilesMax: 65_536,
  /** Ranges of locks of which it is not known whether the master gave them, remembered to be given back. */
  lockDoubtsMax: 4_096,
  /** One wait for a lock at the master. */
  lockWaitMs: 10_000,
  /** Longest interval between two signs of life to the master. */
  keepAliveMaxMs: 15_000,
  /** Writer ids kept for the next open file. */
  idleWritersMax: 256,
} as const;
