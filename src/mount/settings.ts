// The settings of one mount, as a table (lib/settings.ts). It reads no command line.
import { duration, type SettingValues, sizeSetting } from '../lib/settings.js';

const KiB = 1024;
const MiB = 1024 * KiB;

export const MOUNT_SETTINGS = {
  opTimeout: duration(
    30_000,
    'every system call on the mount ends within this time, with ETIMEDOUT if need be; a write that may stand on the servers is tried for a minute at most',
    { min: 1000, max: 600_000 },
  ),
  attributeTimeout: duration(1000, 'sizes, times and names seen before may be this old', { max: 1000 }),
  writeBuffer: sizeSetting(16 * MiB, 'bytes written but not yet acknowledged, per file; a writer waits above it', {
    min: 1 * MiB,
    max: 1024 * MiB,
  }),
  appendSize: sizeSetting(1 * MiB, 'small writes are joined into appends of up to this size', {
    min: 4 * KiB,
    max: 16 * MiB,
  }),
  writeDelay: duration(50, 'a buffered write goes out after this time at the latest', { max: 1000 }),
};

export type MountSettings = SettingValues<typeof MOUNT_SETTINGS>;

/** Bounds of the mount that nobody needs to set. */
export const MOUNT_LIMITS = {
  /** Inodes and names remembered in the attribute cache, each. */
  cacheEntriesMax: 20_000,
  /** Attributes of a file that another client may be appending to are remembered this long: its growth is not told. */
  growingMs: 40,
  /** How long the kernel may keep names and attributes when it is told of changes: not longer, because a mount cut off from the master is told nothing. */
  noticedMs: 10_000,
  /** Appends of one file on their way at the same time; below LIMITS.appendsInFlightMax, which the client shares among all. */
  appendsInFlightMax: 8,
  /** Files kept open after their last close, so that `echo >>` in a loop does not open anew each time, and for how long. */
  lingeringFilesMax: 64,
  lingerMs: 1000,
  /** mknod(2) and the open that follows it in one open(2) of a new file are no further apart. */
  newFileMs: 100,
  /** A gap up to this size in front of a write is appended as zeros, which cannot cut another writer's bytes; a larger one is made by truncate. */
  zeroFillBytesMax: 1 * MiB,
  /** How long the first part of an O_APPEND write(2) waits for its rest (see mounted-file.ts). */
  holdMs: 200,
  /** One wait for a lock at the master; repeated until granted or interrupted. */
  lockWaitMs: 2000,
  /** One call of copy_file_range. */
  copyBytesMax: 4 * MiB,
  /** Files whose refused overwrites were logged. */
  loggedFilesMax: 1000,
} as const;
