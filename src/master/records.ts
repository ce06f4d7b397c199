// The values of the master's store: their fields and their bytes (format version, CRC-32, MessagePack). A record that does not match its
// checksum or its key is refused as WRONG_DATA, never repaired here.
import { crc32 } from '../lib/checksum.js';
import { GfsError } from '../protocol/errors.js';
import type { ChunkHandle, InodeId, ServerId } from '../protocol/ids.js';
import { decodeBody, encodeBody } from '../protocol/wire-values.js';

export type FileType = 'file' | 'directory' | 'symlink';

/** What the cluster is; written once by format. */
export interface ClusterRecord {
  clusterId: string;
  /** Of the whole store; a master refuses one that it does not know. */
  formatVersion: number;
  chunkSizeBytes: number;
  /** Copies wanted of each chunk unless a file or directory says otherwise. */
  replicas: number;
  /** With fewer servers up, appends are refused. */
  minReplicas: number;
  createdMs: number;
}

/** Numbers that rise, and counts of what there is. Exact: written in the same change as what they count. */
export interface CountersRecord {
  /** Next numbers to give out; every number ever given out is smaller. */
  nextInode: number;
  nextHandle: number;
  keyEpoch: number;
  /** Inodes with a name: files and symlinks; directories (with the root). */
  files: number;
  directories: number;
  /** Files in the trash. */
  trash: number;
  /** Chunk records, and those of them that are open or garbage. */
  chunks: number;
  openChunks: number;
  garbage: number;
}

export interface EntryRecord {
  inode: InodeId;
  type: FileType;
}

export interface InodeRecord {
  inode: InodeId;
  type: FileType;
  /** Grows with every cut of readable bytes. */
  generation: number;
  mode: number;
  uid: number;
  gid: number;
  /** Names of a file or symlink, 0 in the trash; 2 + subdirectories of a directory. */
  nlink: number;
  atimeNs: bigint;
  mtimeNs: bigint;
  ctimeNs: bigint;
  /** INVARIANT: the sum of the lengths of all extents. The open chunk, if any, begins here. */
  sealedBytes: number;
  extentCount: number;
  /** The open chunk, 0 when there is none. */
  tailHandle: ChunkHandle | 0;
  /** Of a symlink. */
  target?: string;
  /** INVARIANT: the number of entries of a directory. */
  childCount: number;
  /** Copies wanted of each chunk; new children inherit it. */
  goal: number;
  /** Of a directory: where its one name is. The root is its own parent, under the name ''. */
  parent?: InodeId;
  name?: string;
  /** Only in the trash: the time in its trash key. */
  trashDueMs?: number;
  xattrCount: number;
}

export interface ExtentRecord {
  fileOffset: number;
  lengthBytes: number;
  /** 0 (HOLE): zeros. */
  handle: ChunkHandle;
  chunkOffset: number;
}

export interface ChainMember {
  server: ServerId;
  /** Registration epoch at the allocation or the last grant (DESIGN 4, rules 2 and 4). */
  epoch: number;
}

export interface ChunkRecord {
  handle: ChunkHandle;
  state: 'open' | 'sealed';
  version: number;
  /** Sealed: the length for ever. Open: committed bytes that the master knows of; the chunk is never sealed shorter. */
  lengthBytes: number;
  /** Open: lengthBytes is exact, because the lease was returned and none given since. Sealed: true. */
  known: boolean;
  goal: number;
  /** INVARIANT: how many extents name it. */
  references: number;
  /** Open: the file whose tail it is, 0 when that file is gone. Sealed: the file it was written for, which may be gone. */
  inode: InodeId | 0;
  /** Where it was allocated, primary first; fixed while it is open (DESIGN 4, rule 1). */
  chain: ChainMember[];
  createdMs: number;
  /** When the master last learned that it grew. */
  modifiedMs: number;
  /** Only of garbage: the time in its garbage key. */
  garbageDueMs?: number;
}

export interface TrashRecord {
  inode: InodeId;
  deletedMs: number;
  /** Where the last name was. The parent may be gone; the path is as it stood then, without a leading slash. */
  parent: InodeId;
  name: string;
  path: string;
}

export interface GarbageRecord {
  handle: ChunkHandle;
  sinceMs: number;
}

export interface ServerRecord {
  id: ServerId;
  location: string;
  address: string;
  state: 'up' | 'draining';
}

/** A client that held locks when this was written. */
export interface LockHolderRecord {
  client: string;
}

/** From the first to before the last: given out, perhaps, by metadata that is lost. */
export interface LostHandlesRecord {
  ranges: Array<{ from: number; before: number }>;
}

/** There were sessions when this was written. */
export interface SessionTraceRecord {
  sessions: number;
}

export interface XattrNamesRecord {
  names: string[];
}

export interface XattrRecord {
  value: Buffer;
}

export interface OnceClientRecord {
  /** Sequences below it were answered and forgotten. */
  ackedBelow: number;
  /** INVARIANT: those with a reply row. */
  sequences: number[];
  /** When it last changed something. */
  lastMs: number;
}

export interface OnceReplyRecord {
  reply: unknown;
}

export interface Codec<T> {
  encode(key: Buffer, record: T): Buffer;
  /** Throws WRONG_DATA when the value is damaged, was stored under another key, or has a newer format. */
  decode(key: Buffer, value: Buffer): T;
}

const VERSION_BYTES = 1;
const HEAD_BYTES = VERSION_BYTES + 4;

/** A value remembers what was encoded to it or decoded from it: within a moment the same few are asked for again and again. */
const RECORD = Symbol('record');
type Value = Buffer & { [RECORD]?: { key: Buffer; record: object } };

/**
 * Makes the codec of a kind of record. The CRC covers the key, so that a value cannot pass for another's. Callers may change the fields of what they
 * get, but nothing inside of them.
 */
export function codec<T extends object>(kind: string, version = 1): Codec<T> {
  return {
    encode(key, record) {
      const body = encodeBody(record);
      const value: Value = Buffer.allocUnsafe(HEAD_BYTES + body.length);
      value[RECORD] = { key, record: { ...record } };
      value[0] = version;
      body.copy(value, HEAD_BYTES);
      value.writeUInt32BE(checksum(key, value), VERSION_BYTES);
      return value;
    },
    decode(key, value) {
      const known = (value as Value)[RECORD];
      if (known && (known.key === key || known.key.equals(key))) return { ...known.record } as T;
      if (value.length <= HEAD_BYTES || value.readUInt32BE(VERSION_BYTES) !== checksum(key, value)) {
        throw new GfsError('WRONG_DATA', `the ${kind} record ${key.toString('hex')} is damaged`);
      }
      if (value[0] !== version) {
        throw new GfsError(
          'WRONG_DATA',
          `the ${kind} record ${key.toString('hex')} has format ${value[0]}, not ${version}`,
        );
      }
      const record = decodeBody(value.subarray(HEAD_BYTES)) as T;
      (value as Value)[RECORD] = { key, record };
      return { ...record };
    },
  };
}

function checksum(key: Buffer, value: Buffer): number {
  return crc32(value.subarray(HEAD_BYTES), crc32(value.subarray(0, VERSION_BYTES), crc32(key)));
}

export const CLUSTER = codec<ClusterRecord>('cluster');
export const COUNTERS = codec<CountersRecord>('counters');
export const ENTRY = codec<EntryRecord>('directory entry');
export const INODE = codec<InodeRecord>('inode');
export const EXTENT = codec<ExtentRecord>('extent');
export const CHUNK = codec<ChunkRecord>('chunk');
export const TRASH = codec<TrashRecord>('trash');
export const GARBAGE = codec<GarbageRecord>('garbage');
export const SERVER = codec<ServerRecord>('chunkserver');
export const LOCK_HOLDER = codec<LockHolderRecord>('lock holder');
export const SESSION_TRACE = codec<SessionTraceRecord>('session trace');
export const LOST_HANDLES = codec<LostHandlesRecord>('lost handles');
export const XATTR_NAMES = codec<XattrNamesRecord>('extended attribute names');
export const XATTR = codec<XattrRecord>('extended attribute');
export const ONCE_CLIENT = codec<OnceClientRecord>('client');
export const ONCE_REPLY = codec<OnceReplyRecord>('reply');
