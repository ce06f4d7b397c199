// What the rooms of the master share: the durable store, the tables in memory, the doors to time and servers. Made once by master.ts; it
// has no behaviour of its own beyond the moment of a change.
import type { Platform } from '../lib/platform.js';
import type { InodeId } from '../protocol/ids.js';
import type { BlockedChunks } from './blocked-chunks.js';
import type { LeaseTable } from './lease-table.js';
import type { Locations } from './locations.js';
import type { MasterClock } from './master-clock.js';
import type { MetadataStamp } from './metadata-stamp.js';
import type { Moment } from './moment.js';
import type { Notices } from './notices.js';
import type { Orders } from './orders.js';
import type { Placer } from './placer.js';
import type { ClusterRecord } from './records.js';
import type { SafeMode } from './safe-mode.js';
import type { Servers } from './servers.js';
import type { MasterSettings } from './settings.js';
import type { Store } from './store.js';
import type { TokenMaker } from './token-maker.js';

export interface MasterContext {
  readonly platform: Platform;
  readonly settings: MasterSettings;
  readonly cluster: ClusterRecord;
  readonly store: Store;
  readonly stamp: MetadataStamp;
  readonly time: MasterClock;
  readonly servers: Servers;
  readonly locations: Locations;
  readonly placer: Placer;
  readonly blocked: BlockedChunks;
  readonly leases: LeaseTable;
  readonly tokens: TokenMaker;
  readonly orders: Orders;
  readonly notices: Notices;
  readonly safeMode: SafeMode;
  /** Monotonic time of the start. */
  readonly startedMs: number;
  /** nextHandle of the store as it was opened: unknown handles below it were deleted, none at or above it was ever given out. */
  readonly firstHandle: number;
}

/** Now, for a change of the store. */
export function momentOf(context: Pick<MasterContext, 'platform' | 'settings'>): Moment {
  return {
    nowMs: context.platform.clock.wallMs(),
    trashMs: context.settings.trash,
    graceMs: context.settings.gcGrace,
  };
}

/** Readers of a file learn that its size grew by appends, which do not pass the master. */
export function noteGrowth(context: Pick<MasterContext, 'notices'>, inode: InodeId | 0): void {
  if (inode !== 0) context.notices.inodeChanged(inode);
}
