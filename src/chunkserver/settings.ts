// Everything about a chunkserver that can be set: name, unit, default, bounds and reason in one table; and the bounds of its tables and
// queues. What belongs to the whole cluster (chunk size, lease time) comes from the master when it registers.
import { countSetting, duration, type SettingValues, sizeSetting, textSetting } from '../lib/settings.js';
import type { GfsError } from '../protocol/errors.js';
import { LIMITS } from '../protocol/limits.js';
import { CONNECTION_SETTINGS } from '../rpc/settings.js';
import type { Carried } from './carried.js';

const KiB = 1024;
const MiB = 1024 * KiB;

export const CHUNKSERVER_SETTINGS = {
  master: textSetting('127.0.0.1:9400', 'address of the master', 'HOST:PORT'),
  listen: textSetting('127.0.0.1:9411', 'address to serve on', 'HOST:PORT'),
  advertise: textSetting(
    undefined,
    'address that others reach this server at, when it is not the one listened on',
    'HOST:PORT',
  ),
  location: textSetting('', 'place of this server, such as /az/pod/rack/host; near and far are told from it', 'PATH'),
  heartbeat: duration(1_000, 'how often the master hears of this server', { min: 20, max: 60_000 }),
  leaseIdle: duration(
    5_000,
    'a lease without appends for this long is given back (never more than a third of a lease)',
    {
      min: 10,
    },
  ),
  chainTimeout: duration(3_000, 'how long a replica of the chain may take before the chunk is given up', {
    min: 50,
    max: 300_000,
  }),
  scrubPeriod: duration(86_400_000, 'every stored byte is read and checked once in this time; 0 never'),
  copyRate: sizeSetting(
    128 * MiB,
    'bytes a second that all copies of chunks to this server may take, and as many those from it; 0 without limit',
  ),
  reserve: sizeSetting(16 * MiB, 'space that appends leave free on each disk'),
  inFlight: sizeSetting(256 * MiB, 'bytes of appends in work; more are refused until some are done', { min: 1 * MiB }),
  openFiles: countSetting(512, 'chunk files held open', { min: 8, max: 100_000 }),
  ...CONNECTION_SETTINGS,
  frameSize: sizeSetting(
    LIMITS.payloadBytesMax,
    'a message with more bytes of files ends its connection; at least a record of the cluster, a quarter of its chunk size',
    { min: 1 * MiB, max: LIMITS.payloadBytesMax },
  ),
};

export type ChunkserverSettings = SettingValues<typeof CHUNKSERVER_SETTINGS> & {
  /** Data directories, one a disk. */
  data: readonly string[];
  /** Shared by all processes of the cluster, where it has one. */
  secret?: Buffer | undefined;
  /** Called once when this server cannot go on after it had started, as when the master is of another cluster; the owner stops it. */
  onFailure?: (error: GfsError) => void;
  /**
   * Called once when a disk that was full has room again, and then this server goes on as it is: its owner stops it and starts another one on the
   * same directories, which takes from the disk what is true.
   */
  onRoom?: () => void;
  /** Kept by the owner from one server to the next. */
  carried?: Carried;
};

/** Bounds of the chunkserver's tables, queues and loops. */
export const BOUNDS = {
  /** Pause before a master that did not answer is called again, where a heartbeat is not more often anyway. */
  masterRetryMs: 250,
  /** The same doubles up to this while another cluster's master is in its place. */
  refusedRetryMaxMs: 5_000,
  /** Pause between two notes of how far the metadata has come. */
  stampSaveMs: 2_000,
  /** One write to a chunk file takes queued appends up to about this many bytes. */
  writeBytesMax: 8 * MiB,
  /** Appended bytes of a chunk that may be on their way to the disk only in the operating system's cache before they are sent on. */
  writeBackBytes: 8 * MiB,
  /** Blocks at the end of a chunk that a fence reads: small appends that did not reach every replica lie there. */
  fenceVerifiedBlocks: 2,
  /** A batch of small appends goes on to the next replica when as many have gathered as were there lately, this many, or after this time. */
  forwardBatchMax: 64,
  forwardPatienceMs: 1,
  /** Appends of this size go on without waiting for others. */
  forwardAloneBytes: 128 * KiB,
  /** Replicated bytes in work, as a multiple of the setting inFlight: the primaries have bounds of their own. */
  replicateFactor: 4,
  /** Pushed bytes that wait for their append: of one connection, and of all. */
  stagedBytesPerConnectionMax: 128 * MiB,
  stagedBytesMax: 512 * MiB,
  pushesPerConnectionMax: 4_096,
  /** Pushed bytes whose append did not come for this long are dropped. */
  stagedMs: 30_000,
  /** Bytes queued to the next replica above which pushed parts are not sent ahead any more. */
  forwardQueuedBytesMax: 64 * MiB,
  /** Added to the chain timeout for each replica behind the next, so that the nearest one to a failure reports it. */
  hopMs: 500,
  /** Pages of checksums kept in memory (each 64 blocks, 256 bytes). */
  checksumPagesMax: 32_768,
  /** An open chunk that nobody appended to for this long forgets its queue and its writers in memory. */
  activeIdleMs: 120_000,
  housekeepingMs: 10_000,
  /** Young tombstones are kept so long, and in any case until all token keys of their time are gone. */
  tombstoneMs: 86_400_000,
  /** Chunks verified at once at a start. */
  startChecksMax: 8,
  /** Bytes that a copy or the scrubber reads at a time. */
  pieceBytes: 1 * MiB,
  /** Chunks whose reads are told in a heartbeat. */
  readsReportedMax: 256,
  /** Leases named in one heartbeat, the others in the next ones: all of it has to fit in a message. */
  leasesReportedMax: 8_192,
  /** Replicas in one page of a report: the master reads the record of each, and answers others between two pages. */
  reportPage: 512,
  /** Replicas in one piece of the slow comparison with the master, one piece a heartbeat; pause after all were compared. */
  comparedMax: 128,
  comparePauseMs: 600_000,
  /** How often a full disk is looked at for room, and how much it needs to be opened anew where less is not all it ever has. */
  roomCheckMs: 1_000,
  openRoomBytes: 8 * MiB,
  /** A clean stop gives leases back and syncs for this long at most, each. */
  stopLeasesMs: 800,
  stopSyncMs: 800,
} as const;
