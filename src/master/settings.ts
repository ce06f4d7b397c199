// Everything about a serving master that can be set: name, unit, default, bounds and reason in one table. What belongs to the whole
// cluster (chunk size, replicas, least replicas) is fixed by `format` and not here.
import { countSetting, duration, type SettingValues, sizeSetting, textSetting } from '../lib/settings.js';
import { LIMITS } from '../protocol/limits.js';
import { CONNECTION_SETTINGS } from '../rpc/settings.js';

export const MASTER_SETTINGS = {
  listen: textSetting('127.0.0.1:9400', 'address to serve on', 'HOST:PORT'),
  lease: duration(60_000, 'how long a primary may acknowledge appends before it is extended (paper, §3.1)', {
    min: 200,
    max: 3_600_000,
  }),
  deadAfter: duration(10_000, 'a chunkserver that was silent this long counts as down', { min: 100, max: 3_600_000 }),
  rereplicateAfter: duration(60_000, 'a chunkserver that was down this long has its chunks copied elsewhere'),
  trash: duration(86_400_000, 'how long deleted files stay in the trash'),
  gcGrace: duration(600_000, 'how long replicas stay that nothing refers to', { min: 100 }),
  orderTimeout: duration(3_000, 'how long the master waits for a chunkserver to answer an order', {
    min: 50,
    max: 60_000,
  }),
  sealDeadline: duration(20_000, 'how long a request waits for a chunk to be sealed; sealing goes on behind it', {
    min: 100,
    max: 300_000,
  }),
  scatterWidth: countSetting(
    0,
    'on how many other servers the chunks of one server are spread, so that few sets of servers hold all copies of something; 0 for any',
    { max: 1_000 },
  ),
  correlationFile: textSetting(undefined, 'file that says which places are likely to fail together', 'FILE'),
  copyTimeout: duration(300_000, 'how long one copy of a chunk may take', { min: 1_000 }),
  copiesPerServer: countSetting(4, 'copies at once that one chunkserver takes part in', { min: 1, max: 1_000 }),
  copiesMax: countSetting(64, 'copies at once in the whole cluster', { min: 1, max: 10_000 }),
  copyRate: sizeSetting(0, 'bytes a second that all copies between chunkservers may take together; 0 without limit'),
  balanceThreshold: countSetting(
    100,
    'chunks are moved from a chunkserver that is fuller than another by more than this of 1000; 0 never',
    { max: 1000 },
  ),
  balanceCopiesMax: countSetting(2, 'chunks moved at once to even out how full chunkservers are', {
    min: 1,
    max: 1_000,
  }),
  balanceRate: sizeSetting(32 * 1024 * 1024, 'bytes a second moved to even out how full chunkservers are', {
    min: 1024,
  }),
  hotReads: countSetting(1_000, 'reads a second of one chunk above which it gets more replicas; 0 never'),
  hotReplicas: countSetting(8, 'replicas that a chunk may have because it is read much', {
    min: 1,
    max: LIMITS.replicasMax,
  }),
  spareShare: countSetting(
    50,
    'files are taken from the trash early when too few chunkservers have this much of 1000 of their space left',
    { max: 1000 },
  ),
  sessionTtl: duration(60_000, 'a client that was silent this long loses its open files and locks', { min: 500 }),
  tokenLifetime: duration(3_600_000, 'how long a token for reading or appending is good', { min: 1_000 }),
  keyRollover: duration(21_600_000, 'how often a new key for tokens is made; the last ones stay valid', {
    min: 10_000,
  }),
  cacheEntries: countSetting(200_000, 'metadata records kept in memory', { min: 100, max: 100_000_000 }),
  cacheSize: sizeSetting(64 * 1024 * 1024, 'bytes of metadata records kept in memory', { min: 64 * 1024 }),
  sessionsMax: countSetting(10_000, 'client sessions at once', { min: 1, max: 1_000_000 }),
  ...CONNECTION_SETTINGS,
  frameSize: sizeSetting(LIMITS.bodyBytesMax, 'a message that is larger ends its connection', {
    min: 512 * 1024,
    max: LIMITS.bodyBytesMax,
  }),
  safeModeShare: countSetting(999, 'chunks of 1000 that must have a replica before safe mode ends', {
    min: 0,
    max: 1000,
  }),
  safeModeMax: duration(30_000, 'safe mode ends after this long when enough servers are up, whatever is missing'),
  safeModeWait: duration(10_000, 'how long a request waits for the end of safe mode before it is refused', {
    max: 300_000,
  }),
};

export type MasterSettings = SettingValues<typeof MASTER_SETTINGS>;

/** Bounds of the master's tables and loops in memory. */
export const BOUNDS = {
  /** How often a full disk of the metadata is looked at for room, and how much it needs to be opened anew where less is not all it ever has. */
  roomCheckMs: 1_000,
  openRoomBytes: 16 * 1024 * 1024,
  /** Chunks being sealed at once. */
  sealsMax: 10_000,
  /** Pause between two attempts to seal a chunk: the first, and the longest. */
  sealRetryMs: 100,
  sealRetryMaxMs: 1_000,
  /** A seal that can be decided waits this long for the members that have not answered yet. */
  fenceGraceMs: 500,
  /** Sealing goes on this long after the last request that waited for it. */
  sealPersistMs: 120_000,
  /** A lease with less than this left is not handed out any more; also at most a tenth of a lease. */
  leaseLeftMs: 1_000,
  /** What a session is told changes about, per session; the oldest interest is given up with a notice. */
  interestsPerSessionMax: 16_384,
  /** Chunks waiting to be looked at by healing; the sweep finds the others again. */
  healingQueueMax: 100_000,
  /** Chunks that one step of the sweep looks at. */
  sweepPage: 256,
  /** Replicas deleted at once, as garbage, and as what healing does not need. */
  deletionsAtOnce: 32,
  /** Locks held, and requests that wait for one. */
  locksMax: 100_000,
  lockWaitersMax: 10_000,
  openFilesPerSessionMax: 65_536,
  /** A client that changed nothing for this long never sends an old request again. */
  onceClientsMs: 86_400_000,
  /** Bytes queued to a client above which a notice is not sent but its connection's cache is declared lost. */
  noticeQueuedBytesMax: 4 * 1024 * 1024,
} as const;
