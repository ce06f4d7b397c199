// Every message of the system in one table: number, receiver, shape of request and reply, and whether repeating it is safe. Numbers are
// never reused. Meanings beyond the shapes are in docs/protocol.md. This file never sends anything.
import type { ChunkHandle, InodeId, ServerId } from './ids.js';
import { LIMITS } from './limits.js';
import {
  bigint,
  boolean,
  bytes,
  type Infer,
  id16,
  integer,
  list,
  object,
  oneOf,
  optional,
  real,
  type Schema,
  text,
} from './schema.js';

// ---- shared shapes -----------------------------------------------------------------------------------------------------------------

const inode = integer<InodeId>(1);
const handle = integer<ChunkHandle>(1);
const handleOrHole = integer<ChunkHandle>(0);
const version = integer(0);
const size = integer(0);
const count = integer(0);
const serverId = id16<ServerId>();
const address = text(300);
const token = bytes(4096);
const path = text(LIMITS.pathBytesMax);
const xattrName = text(LIMITS.xattrNameBytesMax);

/** A place in the tree: components of `path` below inode `start`; '' is `start` itself. Never contains '.' or '..' or empty components. */
const where = object({ start: inode, path });

/** Makes a change safe to repeat: the master remembers the outcome per (client, sequence) until `ackedBelow` passes it. */
const once = object({ client: id16(), sequence: integer(1), ackedBelow: size });

const fileType = oneOf('file', 'directory', 'symlink');

const attributes = object({
  inode,
  /** Grows with every cut of readable bytes. */
  generation: count,
  type: fileType,
  mode: integer(0, 0o7777),
  uid: integer(0, 0xffffffff),
  gid: integer(0, 0xffffffff),
  nlink: count,
  /** Sealed bytes plus what the master knows to be committed of an open chunk; exact unless a `tail` beside it is leased. */
  sizeBytes: size,
  atimeNs: bigint,
  mtimeNs: bigint,
  ctimeNs: bigint,
  /** Copies wanted of each chunk. */
  goal: integer(1, LIMITS.replicasMax),
  /** Where a symlink points. */
  target: optional(path),
  /** Somebody else may be appending, of which the master hears late: the size is that of this moment, and no notice tells when it grows. */
  growing: optional(boolean),
  /** It has no extended attributes; when absent that is not known. */
  noXattrs: optional(boolean),
});

const replica = object({ server: serverId, address, location: text(255) });

/** The open chunk of a file: what is needed to ask for its length and to read it. chain[0] is the primary. */
const tail = object({
  handle,
  version,
  /** Offset in the file of the chunk's first byte. */
  base: size,
  /** Committed bytes that the master knows of; exact when not `leased`, a lower bound otherwise. */
  committedBytes: size,
  /** A primary may be acknowledging appends: ask it (tailLength) for the exact length. */
  leased: boolean,
  chain: list(replica, LIMITS.replicasMax),
  token,
});

/** What it takes to append: the open chunk under a live lease. */
const target = object({
  inode,
  generation: count,
  handle,
  version,
  base: size,
  chunkSizeBytes: size,
  chain: list(replica, LIMITS.replicasMax),
  token,
  /** How much longer the master will certainly let the lease run, from when it sent this. */
  leaseMs: count,
});

/** A run of bytes of a file: `lengthBytes` bytes at `fileOffset` are those at `chunkOffset` of chunk `handle`, or zeros when the handle is 0 (HOLE). */
const extent = object({
  fileOffset: size,
  lengthBytes: size,
  handle: handleOrHole,
  chunkOffset: size,
  version,
  replicas: list(replica, 64),
  token: optional(token),
});

/**
 * The caller's connections to the master, counted: what comes on an older one than its session has been heard on was given up, waited in a socket, and is
 * refused (SUPERSEDED). Without it the request has no order.
 */
const connection = optional(count);

const lockRange = object({
  /** Unique within the session. */
  owner: text(64),
  kind: oneOf('shared', 'exclusive'),
  startByte: size,
  /** Inclusive; 2^53-1 for "to the end". */
  endByte: size,
  /** posix: fcntl ranges; flock: whole files. The two kinds do not conflict with each other. */
  space: oneOf('posix', 'flock'),
  pid: count,
});

const chunkState = oneOf('open', 'fenced', 'sealed');

/** One replica as its chunkserver knows it. */
const chunkReport = object({
  handle,
  version,
  lengthBytes: size,
  state: chunkState,
  /** Bytes may have been lost with the machine's power (DESIGN 4): never trusted alone. */
  suspect: boolean,
  /** A checksum failed or the file is shorter than its record: not to be read. */
  corrupt: boolean,
  /** Removed since the last report. */
  gone: optional(boolean),
});

const space = object({
  capacityBytes: size,
  usedBytes: size,
  freeBytes: size,
  chunks: count,
  /** Its file systems, each once, by a name that is the same for every server that keeps chunks there. */
  disks: optional(list(object({ fileSystem: text(255), capacityBytes: size, freeBytes: size }), 1_024)),
});
const tokenKey = object({ id: integer(1), secret: bytes(64) });
const serverState = oneOf('up', 'recovering', 'draining', 'down');
const byteRange = object({ fromByte: size, lengthBytes: integer(1) });
/** How far a scrubber's round is, and how fast it was in the last half minute. */
const scrubState = object({ roundsDone: count, checkedBytes: size, totalBytes: size, bytesPerSecond: size });
/** How far metadata has come: the number of a batch that is on the master's disk, and the start of a master that wrote it. */
const stamp = object({ start: text(16), number: size });
const none = object({});

// ---- the table ---------------------------------------------------------------------------------------------------------------------

interface Message<Q, R> {
  number: number;
  request: Schema<Q>;
  reply: Schema<R>;
  /** Sending it twice has the effect of sending it once. */
  repeatable: boolean;
  /** No answer is sent. */
  oneWay?: boolean;
}

function message<Q, R>(
  number: number,
  request: Schema<Q>,
  reply: Schema<R>,
  options?: { unsafe?: boolean; oneWay?: boolean },
): Message<Q, R> {
  return { number, request, reply, repeatable: !options?.unsafe, ...(options?.oneWay ? { oneWay: true } : {}) };
}

/** Client → master. */
export const CLIENT_TO_MASTER = {
  // Sessions
  openSession: message(
    1,
    object({
      client: id16(),
      name: text(255),
      /** Inodes this client has open (it may have outlived a master). */
      open: list(inode, 65_536),
      /** It wants `changed` notices for what it looked at. */
      wantsChanges: boolean,
      connection,
    }),
    object({
      session: id16(),
      ttlMs: count,
      clusterId: text(64),
      chunkSizeBytes: size,
      recordBytesMax: size,
      replicas: count,
    }),
  ),
  /** `claimed`: after a start of the master, this client has claimed all locks that it held. */
  keepSession: message(2, object({ session: id16(), claimed: optional(boolean) }), none),
  closeSession: message(3, object({ session: id16() }), none),

  // Names. `session`, where given, gets a `changed` notice when another client changes what was answered.
  lookup: message(
    10,
    object({ where, follow: boolean, session: optional(id16()) }),
    object({ attributes, tail: optional(tail) }),
  ),
  readDirectory: message(
    11,
    object({ inode, after: text(255), limit: integer(1, LIMITS.directoryPageMax), session: optional(id16()) }),
    object({
      entries: list(object({ name: text(255), attributes }), LIMITS.directoryPageMax),
      end: boolean,
    }),
  ),
  createFile: message(
    12,
    object({
      once,
      where,
      mode: integer(0, 0o7777),
      uid: count,
      gid: count,
      /** Refuse an existing file (O_EXCL). */
      exclusive: boolean,
      /** Cut an existing file to nothing (O_TRUNC). */
      truncate: boolean,
      /** Register it as open in this session. */
      session: optional(id16()),
      connection,
      /** Answer with an append target as well, if that is possible at once. */
      wantTarget: boolean,
    }),
    object({ attributes, created: boolean, tail: optional(tail), target: optional(target) }),
  ),
  makeDirectory: message(
    13,
    object({ once, where, mode: integer(0, 0o7777), uid: count, gid: count }),
    object({ attributes }),
  ),
  makeSymlink: message(14, object({ once, where, target: path, uid: count, gid: count }), object({ attributes })),
  link: message(15, object({ once, existing: where, created: where }), object({ attributes })),
  unlink: message(16, object({ once, where }), none),
  removeDirectory: message(17, object({ once, where }), none),
  rename: message(18, object({ once, from: where, to: where, noReplace: boolean, exchange: boolean }), none),
  setAttributes: message(
    19,
    object({
      once,
      where,
      follow: boolean,
      mode: optional(integer(0, 0o7777)),
      uid: optional(integer(0, 0xffffffff)),
      gid: optional(integer(0, 0xffffffff)),
      /** 0 on the wire means "the master's now". */
      atimeNs: optional(bigint),
      mtimeNs: optional(bigint),
    }),
    object({ attributes, tail: optional(tail) }),
  ),
  getXattr: message(
    20,
    object({ where, follow: boolean, name: xattrName }),
    object({ value: bytes(LIMITS.xattrValueBytesMax) }),
  ),
  setXattr: message(
    21,
    object({
      once,
      where,
      follow: boolean,
      name: xattrName,
      value: bytes(LIMITS.xattrValueBytesMax),
      create: boolean,
      replace: boolean,
    }),
    none,
  ),
  listXattrs: message(
    22,
    object({ where, follow: boolean }),
    object({ names: list(xattrName, LIMITS.xattrsPerInodeMax) }),
  ),
  removeXattr: message(23, object({ once, where, follow: boolean, name: xattrName }), none),
  /** In bytes of files: what is used, what can be written now, and both with what servers that are down will have room for again. */
  statfs: message(24, none, object({ capacityBytes: size, freeBytes: size, usedBytes: size, files: count })),
  /** Copies a file's content by sharing its sealed chunks (paper, §3.4). The source's open chunk is sealed first. `to` must not exist. */
  snapshot: message(25, object({ once, from: where, to: where, uid: count, gid: count }), object({ attributes })),

  // Data
  openFile: message(30, object({ session: id16(), connection, inode }), object({ attributes, tail: optional(tail) })),
  /** `unused`: the target that came with creating the file, when this client has sent nothing there and has forgotten it. */
  closeFile: message(
    31,
    object({ session: id16(), connection, inode, unused: optional(object({ handle, version: count })) }),
    none,
  ),
  /** Cuts a file to `sizeBytes`, or extends it with a hole. */
  truncate: message(32, object({ once, inode, sizeBytes: size }), object({ attributes })),
  /** Extents that cover `fromByte` and what follows it, in order. `more`: there are further sealed extents after the last. */
  locate: message(
    33,
    object({ inode, fromByte: size, limit: integer(1, LIMITS.extentPageMax) }),
    object({ attributes, extents: list(extent, LIMITS.extentPageMax), tail: optional(tail), more: boolean }),
  ),
  /** The open chunk under a live lease; made, granted or replaced as needed. `client`: whose appends these will be. */
  appendTarget: message(34, object({ inode, client: optional(id16()) }), object({ target })),
  /**
   * "This version of this chunk does not take appends (or its primary does not answer) for me." When the version is the current one the master
   * seals the chunk. With `append` it also learns what became of that append. again: ask for the target anew, nothing was decided about the
   * append (also when it was not asked about). absent: the chunk is sealed without it. stands: at `offset` in the sealed chunk.
   */
  complain: message(
    35,
    object({ handle, version, append: optional(object({ writer: id16(), sequence: integer(1) })) }),
    object({ outcome: oneOf('again', 'absent', 'stands'), offset: optional(size) }),
  ),

  // Advisory locks; they end with the session.
  lock: message(
    40,
    object({
      session: id16(),
      connection,
      inode,
      lock: lockRange,
      /** How long the master may hold the request when the lock is taken; 0 answers at once. */
      waitMs: integer(0, 60_000),
      /** The client held it when the master before ended. Not granted: it is lost. */
      claim: optional(boolean),
      /** First ends what this owner waits for in this range: nobody waits there any more. */
      endWaits: optional(boolean),
    }),
    object({ granted: boolean, conflict: optional(lockRange) }),
  ),
  unlock: message(
    41,
    object({
      session: id16(),
      connection,
      inode,
      owner: text(64),
      startByte: size,
      endByte: size,
      space: oneOf('posix', 'flock'),
      /** As in `lock`. */
      endWaits: optional(boolean),
    }),
    none,
  ),
  testLock: message(42, object({ session: id16(), inode, lock: lockRange }), object({ conflict: optional(lockRange) })),
} as const;

const infoReplica = object({
  server: serverId,
  address,
  /** The flat file on that server, '' when unknown. */
  path: text(4096),
  version,
  lengthBytes: size,
  primary: boolean,
  state: oneOf('current', 'behind', 'suspect', 'corrupt', 'missing', 'unreachable'),
});

/** What is wrong with one chunk and its replicas. */
const finding = object({
  handle,
  state: oneOf('open', 'sealed'),
  version,
  lengthBytes: size,
  goal: count,
  /** Good copies that can be reached now. */
  good: count,
  problems: list(oneOf('unreadable', 'missing', 'behind', 'corrupt', 'suspect', 'surplus'), 8),
  replicas: list(
    object({
      server: serverId,
      address,
      state: oneOf('current', 'behind', 'suspect', 'corrupt', 'down'),
      version,
      lengthBytes: size,
    }),
    64,
  ),
});

/** How far the draining of a server is. */
const drainState = object({
  server: serverId,
  address,
  state: serverState,
  draining: boolean,
  /** Replicas on it, and those of them whose chunks have too few good copies elsewhere. */
  chunks: count,
  waiting: count,
  waitingBytes: size,
  /** Chunks on it that still take appends. */
  open: count,
  /** It may be stopped for good. */
  safe: boolean,
  /** Why it does not come to an end, for people; '' when nothing stands in the way. */
  obstacle: text(500),
});

/** Operators' tools → master. */
export const ADMIN_TO_MASTER = {
  fileInfo: message(
    100,
    object({ where, fromChunk: count, limit: integer(1, LIMITS.extentPageMax) }),
    object({
      attributes,
      tail: optional(tail),
      chunks: list(
        object({
          index: count,
          handle: handleOrHole,
          version,
          state: oneOf('open', 'sealed', 'hole'),
          lengthBytes: size,
          fileOffset: size,
          chunkOffset: size,
          modifiedMs: real(0),
          replicas: list(infoReplica, 64),
          /** Bytes of the file that every copy that can be reached has damaged. */
          lost: optional(list(byteRange, LIMITS.lostRangesMax)),
        }),
        LIMITS.extentPageMax,
      ),
      more: boolean,
    }),
  ),
  report: message(
    101,
    none,
    object({
      clusterId: text(64),
      safemode: boolean,
      safemodeReason: text(500),
      servers: list(
        object({
          id: serverId,
          address,
          location: text(255),
          state: serverState,
          reason: text(500),
          usedBytes: size,
          capacityBytes: size,
          freeBytes: size,
          chunks: count,
          lastHeardMs: count,
          /** Replicas that are behind, while it is recovering. */
          behind: optional(count),
          copiedBytes: optional(size),
          scrub: optional(scrubState),
        }),
        10_000,
      ),
      chunks: object({
        total: count,
        degraded: count,
        lost: count,
        open: count,
        byCopies: list(object({ copies: count, chunks: count }), 64),
      }),
      files: count,
      directories: count,
      trash: count,
      garbage: count,
      sessions: count,
      chunkSizeBytes: size,
      replicas: count,
      minReplicas: count,
      /** Work in hand: chunks that wait to be looked at, copies that run, and what was done since the master's start. */
      healing: optional(
        object({
          queued: count,
          /** Of them, those that are not put off, as until a server that is away may be back. */
          due: optional(count),
          copies: count,
          balancing: count,
          copiedBytes: size,
          copiesDone: count,
          deletions: count,
          hotChunks: count,
          /** Chunks that are being sealed. */
          sealing: optional(count),
          /** Of copies, over the last half minute, and what --copy-rate allows; 0 without limit. */
          bytesPerSecond: optional(size),
          bytesPerSecondMax: optional(size),
        }),
      ),
      /** Of the files in the trash. */
      trashBytes: optional(size),
    }),
  ),
  /** Operators only (role admin), as all that follow and change something. `server`: an id, the unique beginning of one, or an address. */
  setDraining: message(102, object({ server: text(300), draining: boolean }), drainState),
  drainStatus: message(103, object({ server: text(300) }), drainState),

  listTrash: message(
    104,
    object({ after: optional(object({ dueMs: count, inode })), limit: integer(1, LIMITS.trashPageMax) }),
    object({
      items: list(object({ inode, path, sizeBytes: size, deletedMs: real(0), dueMs: count }), LIMITS.trashPageMax),
      end: boolean,
    }),
  ),
  /** Gives a file of the trash a name, which must be free. `parents`: directories missing on the way are made, for whom the file is for. */
  restoreTrash: message(105, object({ inode, to: where, parents: optional(boolean) }), object({ attributes }), {
    unsafe: true,
  }),
  /** Makes files of the trash due now. Those that are not in it (any more) are not counted. */
  purgeTrash: message(106, object({ inodes: list(inode, LIMITS.trashPageMax) }), object({ purged: count })),

  /** Copies wanted: of a file's chunks, old and new, or of what will be made in a directory. The open chunk of a file is sealed. */
  setReplication: message(
    107,
    object({ where, goal: integer(1, LIMITS.replicasMax) }),
    object({
      attributes,
      /** Chunks whose goal changed. */
      changed: count,
      /** Chunks that keep a higher goal, because another file has them too. */
      shared: count,
    }),
  ),
  safemode: message(
    108,
    object({ action: oneOf('get', 'enter', 'leave') }),
    object({
      on: boolean,
      reason: text(500),
      byOperator: boolean,
      /** It is on for good: servers hold what this metadata has never heard of. */
      oldMetadata: boolean,
    }),
  ),

  /**
   * Contradictions between the rows of the metadata. `exact`: nothing changed meanwhile; otherwise what several passes found alike. `repair` (operators only)
   * puts right what can be; the problems are those that are left then.
   */
  checkMetadata: message(
    109,
    object({ repair: optional(boolean) }),
    object({
      problems: list(text(1000), 500),
      exact: boolean,
      /** Of each problem, what a repair would do, or why none does it and what to do. */
      remedies: optional(list(object({ repairable: boolean, text: text(1000) }), 500)),
      repaired: optional(list(object({ problem: text(1000), action: text(1000) }), 500)),
    }),
  ),
  /** Files below a directory (or one file), a page at a time, with what is wrong with their chunks. `repair` has them healed. */
  checkFiles: message(
    110,
    object({
      under: inode,
      /** `next` of the page before. */
      after: optional(object({ key: bytes(300), extent: count })),
      limit: integer(1, LIMITS.checkPageMax),
      repair: boolean,
    }),
    object({
      files: count,
      findings: list(
        object({
          inode,
          /** '' for the file that was asked about. */
          path: text(65_536),
          fromByte: size,
          /** 0: the end of the file is not known. */
          lengthBytes: size,
          finding,
          /** Bytes of the file that every copy that can be reached has damaged; absent: not known, all of the piece may be. */
          lost: optional(list(byteRange, LIMITS.lostRangesMax)),
        }),
        LIMITS.checkPageMax,
      ),
      next: optional(object({ key: bytes(300), extent: count })),
    }),
  ),
  /** All chunks of the cluster, a page at a time. */
  checkChunks: message(
    111,
    object({ after: size, limit: integer(1, LIMITS.checkPageMax), repair: boolean }),
    object({ chunks: count, findings: list(finding, LIMITS.checkPageMax), next: optional(size) }),
  ),
  /** Replicas of chunks that the metadata does not know. `repair` deletes those that are certainly of deleted chunks. */
  checkOrphans: message(
    112,
    object({ repair: boolean }),
    object({
      /** `neverGiven`: of chunks that this metadata never gave out, where the others are gone from it. */
      orphans: list(object({ server: serverId, address, handle, version, neverGiven: optional(boolean) }), 1000),
      total: count,
      /** On their way to be deleted. */
      deleting: count,
      /** Replicas of a version that this metadata never gave. */
      newer: optional(list(object({ server: serverId, address, handle, version, known: version }), 1000)),
      newerTotal: optional(count),
      /** Servers that were told of change `heard` of the metadata, of which this one has what was written up to `has`. */
      ahead: optional(list(object({ server: serverId, address, heard: size, has: size }), 1000)),
      /** Who was refused at the greeting lately, as of another cluster or without the secret. */
      refused: optional(list(object({ host: address, role: text(20), reason: text(1000), times: count }), 64)),
    }),
  ),
  /** The end of a file that cannot be decided by itself (DESIGN 4, rule 8): what there is, and with `accept` sealed at the longest of it. */
  recoverFile: message(
    113,
    object({ where, accept: boolean }),
    object({
      attributes,
      /** Absent: the file has no open chunk. */
      tail: optional(
        object({
          handle,
          version,
          /** Offset in the file of the chunk's first byte. */
          base: size,
          /** Committed bytes of the chunk that the master knows of. */
          recordedBytes: size,
          /** It cannot be sealed without an operator's word. */
          stuck: boolean,
          /** What accepting would seal it at; absent when no member answers. */
          acceptBytes: optional(size),
          members: list(
            object({
              server: serverId,
              address,
              state: oneOf('good', 'suspect', 'none', 'unreachable'),
              lengthBytes: size,
            }),
            LIMITS.replicasMax,
          ),
        }),
      ),
      sealed: boolean,
    }),
    { unsafe: true },
  ),
  /** Metadata that is older than what servers hold: what it does not know, and with `accept` the word to go on with it all the same. */
  recoverMetadata: message(
    115,
    object({ accept: boolean }),
    object({
      /** It proved to be old, and nothing is appended, healed or deleted because of that. */
      oldMetadata: boolean,
      reason: text(500),
      /** Chunks on servers that it does not know, and known ones of which servers hold newer versions. */
      unknownChunks: count,
      unknownBytes: size,
      newerChunks: count,
      /** Servers that have not said what they hold. */
      serversDown: count,
      accepted: boolean,
      /** Files made of unknown chunks, in /lost+found. */
      adopted: count,
    }),
    { unsafe: true },
  ),
  /** A server that is down is gone for good. Refused (`forgotten` false) while it may hold the only good copy of a chunk, unless `acceptLoss`. */
  forgetServer: message(
    114,
    object({ server: text(300), acceptLoss: boolean }),
    object({
      server: serverId,
      address,
      forgotten: boolean,
      /** Replicas that were known to be on it. */
      chunks: count,
      /** Chunks of which no good copy can be reached now and of which the server may have one; the first of them by handle. */
      atRisk: object({ total: count, bytes: size, handles: list(handle, LIMITS.atRiskMax) }),
    }),
    { unsafe: true },
  ),
} as const;

/** Chunkserver → master. */
export const CHUNKSERVER_TO_MASTER = {
  /** First message of a chunkserver's process, and again whenever the master does not know it. Its chunks follow in reportChunks. */
  register: message(
    150,
    object({
      server: serverId,
      /** Number of this process's start, raised durably before it registers. */
      epoch: integer(1),
      /** '' when it has never belonged to a cluster. */
      clusterId: text(64),
      address,
      location: text(255),
      space,
      /** The highest that it was told by any master of its cluster. */
      stamp: optional(stamp),
    }),
    object({
      clusterId: text(64),
      keys: list(tokenKey, 8),
      masterNowMs: real(0),
      chunkSizeBytes: size,
      leaseMs: count,
      deadAfterMs: count,
      stamp: optional(stamp),
    }),
  ),
  reportChunks: message(
    151,
    object({
      server: serverId,
      epoch: integer(1),
      sequence: integer(1),
      chunks: list(chunkReport, LIMITS.chunkReportPageMax),
      last: boolean,
    }),
    none,
  ),
  heartbeat: message(
    152,
    object({
      server: serverId,
      epoch: integer(1),
      /** Counts the pages of reports and the heartbeats of this process: one that comes after a later one was overtaken and says nothing any more. */
      sequence: integer(1),
      space,
      /** Every chunk this server is primary of under a lease. */
      leases: list(
        object({ handle, version, committedBytes: size, active: boolean, changedMs: optional(count) }),
        65_536,
      ),
      /** What changed about replicas since the last heartbeat that was answered. */
      changed: list(chunkReport, LIMITS.chunkReportPageMax),
      /** Reads since then, of the most read chunks. */
      reads: list(object({ handle, reads: count }), 256),
      /** Data directories that failed, with the error. */
      failedDisks: list(object({ path: text(4096), error: text(500) }), 64),
      /** Bytes that copies brought here since the process began. */
      copiedBytes: optional(size),
      scrub: optional(scrubState),
      /** A piece of the slow comparison: all replicas with handles from `from` to `through` are these. */
      compared: optional(object({ from: size, through: size, chunks: list(chunkReport, LIMITS.chunkReportPageMax) })),
    }),
    object({
      /** false: the master does not know this server's epoch; register again. */
      registered: boolean,
      masterNowMs: real(0),
      keys: list(tokenKey, 8),
      /** Leases that go on for another leaseMs, counted from when the heartbeat was sent. */
      extended: list(object({ handle, version }), 65_536),
      /** Absent until the first safe mode of this master is over, and while it distrusts its metadata. */
      stamp: optional(stamp),
    }),
  ),
  /** The primary gave its lease up; before it asked, the whole chain synced `lengthBytes` to disk. */
  returnLease: message(
    153,
    object({ server: serverId, epoch: integer(1), handle, version, lengthBytes: size, changedMs: optional(count) }),
    none,
  ),
} as const;

/** Master → chunkserver. Each carries an order token, made with a key that only the master and the chunkservers have. */
export const MASTER_TO_CHUNKSERVER = {
  /** Take `version` (durably) and sync; answer with what is there. Refused (SUPERSEDED) when fenced, sealed or already at this version or a newer one. */
  grant: message(
    200,
    object({ token, handle, version }),
    object({ exists: boolean, lengthBytes: size, suspect: boolean, epoch: integer(0) }),
    { unsafe: true },
  ),
  /** To the primary, after equal grants: all replicas hold `lengthBytes`; acknowledge appends under this lease. */
  adopt: message(201, object({ token, handle, version, lengthBytes: size, leaseMs: count }), none),
  /**
   * Stop taking appends, sync, answer. Recorded (synced) also where there is no such chunk; then exists is false and `epoch` is that of the first such fence.
   * `epoch` of the request is the server's when the chunk was given to it: one that does not see all its disks says only of younger chunks that there is none.
   */
  fence: message(
    202,
    object({ token, handle, version, epoch: optional(integer(0)) }),
    object({
      ...{ exists: boolean, lengthBytes: size, suspect: boolean, epoch: integer(0), fixed: boolean },
      corrupt: optional(boolean),
    }),
    { unsafe: true },
  ),
  /** Sealed at `lengthBytes`: cut what is longer; answer short when there is less (a copy will follow). */
  fix: message(
    203,
    object({ token, handle, version, lengthBytes: size }),
    object({ short: boolean, lengthBytes: size, corrupt: optional(boolean) }),
  ),
  /** Bring the replica to exactly `lengthBytes` of this sealed chunk by copying what is missing, and its writer table, from one of the sources. */
  copyChunk: message(
    204,
    object({
      token,
      handle,
      version,
      lengthBytes: size,
      sources: list(object({ server: serverId, address, token }), LIMITS.replicasMax),
      /** Distrust local bytes: drop them and copy all. */
      whole: boolean,
    }),
    object({
      copiedBytes: size,
      /** It was told to stop (stopCopy) before all was there. */
      stopped: optional(boolean),
    }),
  ),
  /** Delete the replica, unless its version is newer than `version`. An absent one is fine. */
  deleteChunk: message(205, object({ token, handle, version }), none),
  /** Whether an append stands in a chunk fixed at `lengthBytes`. NO_CHUNK when this replica is not (yet) that. */
  findAppend: message(
    206,
    object({ token, handle, lengthBytes: size, writer: id16(), sequence: integer(1) }),
    object({ offset: optional(size) }),
  ),
  /** Give the lease back now (as returnLease); the answer has the length. */
  revokeLease: message(207, object({ token, handle, version }), object({ lengthBytes: size })),
  /**
   * State of one replica. No data is read, unless `verify` is set: then every block is compared with its checksum first, at the rate of copies, and what
   * is answered is true of the bytes. `unseen`: it may be on a disk that the server could not look through.
   */
  inspectChunk: message(
    208,
    object({ token, handle, verify: optional(boolean) }),
    object({ exists: boolean, unseen: optional(boolean), report: optional(chunkReport), path: text(4096) }),
  ),
  /**
   * Check every block of this replica of a sealed chunk, fetch those that are bad from the sources (also damaged ones: any that has the block), and
   * answer which bytes stay bad, at most so many ranges (more: there are further ones behind). With none left the replica is sealed and good.
   */
  mendChunk: message(
    210,
    object({
      token,
      handle,
      version,
      lengthBytes: size,
      /** `lengthBytes`: of one that is shorter than the chunk; its token names its own version. */
      sources: list(object({ server: serverId, address, token, lengthBytes: optional(size) }), LIMITS.replicasMax),
    }),
    object({ copiedBytes: size, bad: list(byteRange, LIMITS.badRangesMax), more: optional(boolean) }),
  ),
  /** End a copy of this version that runs or waits here, at its next piece; a replica that it made goes, and copyChunk answers what moved. None running is fine. */
  stopCopy: message(209, object({ token, handle, version }), none),
} as const;

/** Client → chunkserver; `token` names handle, version, chain and rights. */
export const CLIENT_TO_CHUNKSERVER = {
  /**
   * To the primary. The payload (or what was pushed under `push`) becomes one contiguous piece of the chunk. `after`: this writer's append that
   * must already be in the chunk (0: none). `expectedOffset`: offset in the chunk where it must land. The same (writer, sequence) again answers the
   * recorded offset. Errors: FULL, FENCED, BROKEN, OFFSET_MISMATCH, OUT_OF_ORDER, ALREADY_PAST, PUSH_LOST, BAD_TOKEN, TOO_LARGE, NO_SPACE.
   * After FULL, FENCED, BROKEN the chunk takes no more appends in this version.
   */
  append: message(
    220,
    object({
      token,
      writer: id16(),
      sequence: integer(1),
      after: integer(0),
      /** Up to here the client knows what became of this writer's appends: it will never send or ask for one of them again. */
      settled: optional(integer(0)),
      expectedOffset: optional(size),
      lengthBytes: size,
      push: optional(integer(1)),
      /** CRC-32 of all bytes of the append. */
      crc: integer(0, 0xffffffff),
    }),
    object({ offset: size, committedBytes: size, changedMs: optional(count) }),
  ),
  /** A part of a large append, sent ahead on the same connection; each hop passes it on as it arrives. Dropped with the connection. */
  push: message(221, object({ token, push: integer(1), part: count, position: integer(0, LIMITS.replicasMax) }), none, {
    oneWay: true,
  }),
  /** `lengthBytes` bytes at `offset`, all of them or an error (NO_CHUNK when this replica has less, CORRUPT, BAD_TOKEN). The reply's payload has them. */
  read: message(
    222,
    object({ token, offset: size, lengthBytes: integer(1, LIMITS.readBytesMax) }),
    object({ lengthBytes: size }),
  ),
  /** To the primary: how many bytes are committed. FENCED when it does not hold the lease of this version. */
  tailLength: message(223, object({ token }), object({ committedBytes: size, changedMs: optional(count) })),
  /** To the primary of an open chunk: everything up to `lengthBytes` reaches the disk of every replica of the chain. */
  syncChunk: message(224, object({ token, lengthBytes: size }), none),
} as const;

/** Chunkserver → chunkserver. */
export const CHUNKSERVER_TO_CHUNKSERVER = {
  /** An append on its way down the chain; `position` is the receiver's index in it. Acknowledged when the receiver and all behind it hold it. */
  replicate: message(
    240,
    object({
      token,
      position: integer(1, LIMITS.replicasMax),
      offset: size,
      writer: id16(),
      sequence: integer(1),
      settled: optional(integer(0)),
      lengthBytes: size,
      /** What the primary has acknowledged. */
      committedBytes: size,
      push: optional(integer(1)),
      crc: integer(0, 0xffffffff),
    }),
    none,
    { unsafe: true },
  ),
  replicaSync: message(241, object({ token, position: integer(1, LIMITS.replicasMax), lengthBytes: size }), none),
  /** The writer table of a sealed chunk, a page at a time, for a copy. */
  readWriters: message(
    242,
    object({ token, after: text(16) }),
    object({
      writers: list(
        object({
          writer: id16(),
          /** The newest last. */
          appends: list(object({ sequence: integer(1), offset: size, lengthBytes: size }), LIMITS.appendsInFlightMax),
          atMs: real(0),
        }),
        256,
      ),
      end: boolean,
    }),
  ),
} as const;

/** Master → client, on the client's connection, unasked. */
export const MASTER_TO_CLIENT = {
  /**
   * Another client changed these; what was cached of them is void. `forgotten`: nothing changed, but nobody will tell when they do: what is cached of them
   * is to be forgotten, too.
   */
  changed: message(
    260,
    object({
      inodes: list(inode, 1024),
      entries: list(object({ parent: inode, name: text(255) }), 1024),
      forgotten: optional(boolean),
    }),
    none,
    { oneWay: true },
  ),
} as const;

export const MESSAGES = {
  ...CLIENT_TO_MASTER,
  ...ADMIN_TO_MASTER,
  ...CHUNKSERVER_TO_MASTER,
  ...MASTER_TO_CHUNKSERVER,
  ...CLIENT_TO_CHUNKSERVER,
  ...CHUNKSERVER_TO_CHUNKSERVER,
  ...MASTER_TO_CLIENT,
} as const;

export type Kind = keyof typeof MESSAGES;
export type Request<K extends Kind> = Infer<(typeof MESSAGES)[K]['request']>;
export type Reply<K extends Kind> = Infer<(typeof MESSAGES)[K]['reply']>;

export type MasterKind =
  | keyof typeof CLIENT_TO_MASTER
  | keyof typeof ADMIN_TO_MASTER
  | keyof typeof CHUNKSERVER_TO_MASTER;
export type ChunkserverKind =
  | keyof typeof MASTER_TO_CHUNKSERVER
  | keyof typeof CLIENT_TO_CHUNKSERVER
  | keyof typeof CHUNKSERVER_TO_CHUNKSERVER;
export type ClientKind = keyof typeof MASTER_TO_CLIENT;

export type WireWhere = Infer<typeof where>;
export type WireAttributes = Infer<typeof attributes>;
export type WireReplica = Infer<typeof replica>;
export type WireTail = Infer<typeof tail>;
export type WireTarget = Infer<typeof target>;
export type WireExtent = Infer<typeof extent>;
export type WireOnce = Infer<typeof once>;
export type WireLockRange = Infer<typeof lockRange>;
export type WireChunkReport = Infer<typeof chunkReport>;
export type WireSpace = Infer<typeof space>;
export type WireStamp = Infer<typeof stamp>;
export type WireTokenKey = Infer<typeof tokenKey>;
export type ChunkState = Infer<typeof chunkState>;
export type ServerState = Infer<typeof serverState>;

/** The kind with this number, or undefined. */
export function kindOf(number: number): Kind | undefined {
  return KIND_BY_NUMBER.get(number);
}

const KIND_BY_NUMBER = new Map<number, Kind>(
  (Object.keys(MESSAGES) as Kind[]).map(kind => [MESSAGES[kind].number, kind]),
);
