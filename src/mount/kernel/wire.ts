// The bytes of the FUSE protocol: every structure and flag used here, after the kernel's include/uapi/linux/fuse.h, protocol 7.31 to 7.45.
// Layouts only; what a request means is handlers'. The version in a comment is the one a structure got its present size with; all are older than 7.31 unless said.
import { Structure } from './structure.js';

export const PROTOCOL_MAJOR = 7;
/** Linux 5.4 (2019): max_pages, copy_file_range and cached symlinks are there. */
export const PROTOCOL_MINOR_MIN = 31;
/** What this file was written after. A newer kernel speaks this one with us. */
export const PROTOCOL_MINOR = 45;

export const ROOT_NODE = 1;
/** Where an inode number is wanted and none is known. */
export const UNKNOWN_INODE = 0xffff_ffff;

// Both directions
export const IN_HEADER = new Structure('fuse_in_header', 40, {
  len: 'u32',
  opcode: 'u32',
  unique: 'u64',
  nodeid: 'u64',
  uid: 'u32',
  gid: 'u32',
  pid: 'u32',
  /** Since 7.38, in units of 8 bytes; zero, as no extension is negotiated. */
  totalExtlen: 'u16',
  padding: 'u16',
});
export const OUT_HEADER = new Structure('fuse_out_header', 16, { len: 'u32', error: 'i32', unique: 'u64' });

/** 16 bytes are all that a kernel before 7.36 sends. */
export const INIT_IN = new Structure('fuse_init_in', 16, {
  major: 'u32',
  minor: 'u32',
  maxReadahead: 'u32',
  flags: 'u32',
});
/** 7.23; the tail was reserved then. */
export const INIT_OUT = new Structure('fuse_init_out', 64, {
  major: 'u32',
  minor: 'u32',
  maxReadahead: 'u32',
  flags: 'u32',
  maxBackground: 'u16',
  congestionThreshold: 'u16',
  maxWrite: 'u32',
  timeGran: 'u32',
  maxPages: 'u16',
  mapAlignment: 'u16',
  flags2: 'u32',
  maxStackDepth: 'u32',
  requestTimeout: 'u16',
  ...({ unused0: 'u16', unused1: 'u16', unused2: 'u16', unused3: 'u16', unused4: 'u16', unused5: 'u16' } as const),
  ...({ unused6: 'u16', unused7: 'u16', unused8: 'u16', unused9: 'u16', unused10: 'u16' } as const),
});

// Attributes
const ATTR_FIELDS = {
  ino: 'u64',
  size: 'u64',
  blocks: 'u64',
  atime: 'i64',
  mtime: 'i64',
  ctime: 'i64',
  atimensec: 'u32',
  mtimensec: 'u32',
  ctimensec: 'u32',
  mode: 'u32',
  nlink: 'u32',
  uid: 'u32',
  gid: 'u32',
  rdev: 'u32',
  blksize: 'u32',
  attrFlags: 'u32',
} as const;
export const ATTR = new Structure('fuse_attr', 88, ATTR_FIELDS);
export const ENTRY_OUT = new Structure('fuse_entry_out', 128, {
  nodeid: 'u64',
  generation: 'u64',
  entryValid: 'u64',
  attrValid: 'u64',
  entryValidNsec: 'u32',
  attrValidNsec: 'u32',
  ...ATTR_FIELDS,
});
export const ATTR_OUT = new Structure('fuse_attr_out', 104, {
  attrValid: 'u64',
  attrValidNsec: 'u32',
  dummy: 'u32',
  ...ATTR_FIELDS,
});
export const GETATTR_IN = new Structure('fuse_getattr_in', 16, { flags: 'u32', dummy: 'u32', fh: 'u64' });
export const SETATTR_IN = new Structure('fuse_setattr_in', 88, {
  valid: 'u32',
  padding: 'u32',
  fh: 'u64',
  size: 'u64',
  lockOwner: 'id',
  atime: 'i64',
  mtime: 'i64',
  ctime: 'i64',
  atimensec: 'u32',
  mtimensec: 'u32',
  ctimensec: 'u32',
  mode: 'u32',
  unused4: 'u32',
  uid: 'u32',
  gid: 'u32',
  unused5: 'u32',
});
/** 7.39, as the next. */
export const STATX_IN = new Structure('fuse_statx_in', 24, {
  flags: 'u32',
  reserved: 'u32',
  fh: 'u64',
  sxFlags: 'u32',
  sxMask: 'u32',
});
export const STATX_OUT = new Structure('fuse_statx_out', 288, {
  attrValid: 'u64',
  attrValidNsec: 'u32',
  flags: 'u32',
  ...({ spare0: 'u64', spare1: 'u64' } as const),
  mask: 'u32',
  blksize: 'u32',
  attributes: 'u64',
  nlink: 'u32',
  uid: 'u32',
  gid: 'u32',
  mode: 'u16',
  spare2: 'u16',
  ino: 'u64',
  size: 'u64',
  blocks: 'u64',
  attributesMask: 'u64',
  ...({ atime: 'i64', atimensec: 'u32', atimeReserved: 'i32' } as const),
  ...({ btime: 'i64', btimensec: 'u32', btimeReserved: 'i32' } as const),
  ...({ ctime: 'i64', ctimensec: 'u32', ctimeReserved: 'i32' } as const),
  ...({ mtime: 'i64', mtimensec: 'u32', mtimeReserved: 'i32' } as const),
  ...({ rdevMajor: 'u32', rdevMinor: 'u32', devMajor: 'u32', devMinor: 'u32' } as const),
  ...({ tail0: 'u64', tail1: 'u64', tail2: 'u64', tail3: 'u64', tail4: 'u64', tail5: 'u64', tail6: 'u64' } as const),
  ...({
    tail7: 'u64',
    tail8: 'u64',
    tail9: 'u64',
    tail10: 'u64',
    tail11: 'u64',
    tail12: 'u64',
    tail13: 'u64',
  } as const),
});

// Names
export const FORGET_IN = new Structure('fuse_forget_in', 8, { nlookup: 'u64' });
export const BATCH_FORGET_IN = new Structure('fuse_batch_forget_in', 8, { count: 'u32', dummy: 'u32' });
export const FORGET_ONE = new Structure('fuse_forget_one', 16, { nodeid: 'u64', nlookup: 'u64' });
export const MKNOD_IN = new Structure('fuse_mknod_in', 16, { mode: 'u32', rdev: 'u32', umask: 'u32', padding: 'u32' });
export const MKDIR_IN = new Structure('fuse_mkdir_in', 8, { mode: 'u32', umask: 'u32' });
export const RENAME_IN = new Structure('fuse_rename_in', 8, { newdir: 'u64' });
export const RENAME2_IN = new Structure('fuse_rename2_in', 16, { newdir: 'u64', flags: 'u32', padding: 'u32' });
export const LINK_IN = new Structure('fuse_link_in', 8, { oldnodeid: 'u64' });

// Open files and directories
export const OPEN_IN = new Structure('fuse_open_in', 8, { flags: 'u32', openFlags: 'u32' });
export const CREATE_IN = new Structure('fuse_create_in', 16, {
  flags: 'u32',
  mode: 'u32',
  umask: 'u32',
  openFlags: 'u32',
});
export const OPEN_OUT = new Structure('fuse_open_out', 16, { fh: 'u64', openFlags: 'u32', backingId: 'i32' });
export const RELEASE_IN = new Structure('fuse_release_in', 24, {
  fh: 'u64',
  flags: 'u32',
  releaseFlags: 'u32',
  lockOwner: 'id',
});
export const FLUSH_IN = new Structure('fuse_flush_in', 24, {
  fh: 'u64',
  unused: 'u32',
  padding: 'u32',
  lockOwner: 'id',
});
/** READ, READDIR and READDIRPLUS. */
export const READ_IN = new Structure('fuse_read_in', 40, {
  fh: 'u64',
  offset: 'u64',
  size: 'u32',
  readFlags: 'u32',
  lockOwner: 'id',
  flags: 'u32',
  padding: 'u32',
});
export const WRITE_IN = new Structure('fuse_write_in', 40, {
  fh: 'u64',
  offset: 'u64',
  size: 'u32',
  writeFlags: 'u32',
  lockOwner: 'id',
  flags: 'u32',
  padding: 'u32',
});
/** WRITE and COPY_FILE_RANGE. */
export const WRITE_OUT = new Structure('fuse_write_out', 8, { size: 'u32', padding: 'u32' });
export const FSYNC_IN = new Structure('fuse_fsync_in', 16, { fh: 'u64', flags: 'u32', padding: 'u32' });
export const FALLOCATE_IN = new Structure('fuse_fallocate_in', 32, {
  fh: 'u64',
  offset: 'u64',
  length: 'u64',
  mode: 'u32',
  padding: 'u32',
});
export const LSEEK_IN = new Structure('fuse_lseek_in', 24, {
  fh: 'u64',
  offset: 'u64',
  whence: 'u32',
  padding: 'u32',
});
export const LSEEK_OUT = new Structure('fuse_lseek_out', 8, { offset: 'u64' });
export const COPY_FILE_RANGE_IN = new Structure('fuse_copy_file_range_in', 56, {
  fhIn: 'u64',
  offsetIn: 'u64',
  nodeidOut: 'u64',
  fhOut: 'u64',
  offsetOut: 'u64',
  len: 'u64',
  flags: 'u64',
});
/** 7.45, the answer to COPY_FILE_RANGE_64. */
export const COPY_FILE_RANGE_OUT = new Structure('fuse_copy_file_range_out', 8, { bytesCopied: 'u64' });
export const DIRENT = new Structure('fuse_dirent', 24, { ino: 'u64', off: 'u64', namelen: 'u32', type: 'u32' });

// Extended attributes, space, locks, interrupts
/** The 8 bytes that stand without FUSE_SETXATTR_EXT, which is not asked for. */
export const SETXATTR_IN = new Structure('fuse_setxattr_in', 8, { size: 'u32', flags: 'u32' });
/** GETXATTR and LISTXATTR. */
export const GETXATTR_IN = new Structure('fuse_getxattr_in', 8, { size: 'u32', padding: 'u32' });
export const GETXATTR_OUT = new Structure('fuse_getxattr_out', 8, { size: 'u32', padding: 'u32' });
export const STATFS_OUT = new Structure('fuse_statfs_out', 80, {
  blocks: 'u64',
  bfree: 'u64',
  bavail: 'u64',
  files: 'u64',
  ffree: 'u64',
  bsize: 'u32',
  namelen: 'u32',
  frsize: 'u32',
  padding: 'u32',
  ...({ spare0: 'u32', spare1: 'u32', spare2: 'u32', spare3: 'u32', spare4: 'u32', spare5: 'u32' } as const),
});
const FILE_LOCK_FIELDS = { start: 'id', end: 'id', type: 'u32', pid: 'u32' } as const;
export const LK_IN = new Structure('fuse_lk_in', 48, {
  fh: 'u64',
  owner: 'id',
  ...FILE_LOCK_FIELDS,
  lkFlags: 'u32',
  padding: 'u32',
});
export const LK_OUT = new Structure('fuse_lk_out', 24, FILE_LOCK_FIELDS);
export const INTERRUPT_IN = new Structure('fuse_interrupt_in', 8, { unique: 'u64' });

// Unasked messages to the kernel
export const NOTIFY_INVAL_INODE_OUT = new Structure('fuse_notify_inval_inode_out', 24, {
  ino: 'u64',
  off: 'i64',
  len: 'i64',
});
export const NOTIFY_INVAL_ENTRY_OUT = new Structure('fuse_notify_inval_entry_out', 16, {
  parent: 'u64',
  namelen: 'u32',
  flags: 'u32',
});
/** Since 7.38; an older kernel takes it for padding and drops the name altogether. */
export const INVAL_ENTRY_EXPIRE_ONLY = 1;
export const NOTIFY = { INVAL_INODE: 2, INVAL_ENTRY: 3 } as const;

export const INIT_FLAG = {
  ASYNC_READ: 1 << 0,
  POSIX_LOCKS: 1 << 1,
  ATOMIC_O_TRUNC: 1 << 3,
  BIG_WRITES: 1 << 5,
  FLOCK_LOCKS: 1 << 10,
  AUTO_INVAL_DATA: 1 << 12,
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  PARALLEL_DIROPS: 1 << 18,
  MAX_PAGES: 1 << 22,
  CACHE_SYMLINKS: 1 << 23,
} as const;
export const SETATTR_VALID = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  FH: 1 << 6,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
} as const;
export const OPEN_FLAG = { KEEP_CACHE: 1 << 1 } as const;
export const GETATTR_FH = 1;
export const RELEASE_FLOCK_UNLOCK = 1 << 1;
export const FSYNC_FDATASYNC = 1;
export const LK_FLOCK = 1;
/** statx(2): the eleven fields of stat(2). */
export const STATX_BASIC_STATS = 0x7ff;

/** Directory records start at multiples of 8. */
export function alignRecord(sizeBytes: number): number {
  return Math.ceil(sizeBytes / 8) * 8;
}
