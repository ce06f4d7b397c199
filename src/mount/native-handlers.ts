// From the calls of fuse-native to FuseOperations: paths become places, milliseconds nanoseconds, failures negative errnos.
// It owns no mount and never touches the binding; every callback is called once (answer.ts) and no native buffer is kept.
import { ERRNO, GfsError } from '../protocol/errors.js';
import type { Answerer, Reply } from './answer.js';
import type { AttributeChanges, Attributes, FileSystemSpace, FuseOperations, Where } from './fuse-operations.js';
import type { NativeTimes } from './native-times.js';
import { CAPABILITY } from './xattrs.js';

/** What fuse-native takes from a file's attributes; times in milliseconds, numbers cut to 32 bits by the binding except size and times. */
export interface NativeStat {
  mode: number;
  uid: number;
  gid: number;
  size: number;
  nlink: number;
  ino: number;
  blksize: number;
  blocks: number;
  atime: number;
  mtime: number;
  ctime: number;
}

/** fuse-native's statvfs: every field has 32 bits. */
export interface NativeSpace {
  bsize: number;
  frsize: number;
  blocks: number;
  bfree: number;
  bavail: number;
  files: number;
  ffree: number;
  favail: number;
  namemax: number;
}

/** First a negative errno, or 0, or a count of bytes; then the results. */
// biome-ignore lint/suspicious/noExplicitAny: the binding's callbacks take different results per operation
export type NativeCallback = (status: number, ...results: any[]) => void;

export type NativeHandlers = ReturnType<typeof createNativeHandlers>;

const ROOT = 1;
const UINT32_MAX = 0xffff_ffff;
/** Cut out of the space of inode numbers, since the binding keeps 32 bits of them and 0 means none. */
const INODES_SHOWN = 0xffff_fffe;
const BLOCK_SIZE_SHOWN_BYTES = 128 * 1024;
const SECTOR_BYTES = 512;
const TYPE_MASK = 0o170000;
const REGULAR = 0o100000;
const TYPE_BITS = { file: REGULAR, directory: 0o040000, symlink: 0o120000 } as const;
const NS_PER_MS = 1_000_000n;
const XATTR_CREATE = 1;
const XATTR_REPLACE = 2;

/** The table of operations that fuse-native is given. `create` is absent on purpose: the binding loses its flags, and the kernel then uses mknod and open. */
export function createNativeHandlers(operations: FuseOperations, answerer: Answerer) {
  /** Answers 0, or a negative errno. */
  const done = (name: string, callback: NativeCallback, work: () => Promise<unknown>): void =>
    answerer.run(name, work, errno => callback(-errno));
  /** Answers 0 and a value, or a negative errno. */
  const give = <T>(name: string, callback: NativeCallback, work: () => Promise<T>): void =>
    answerer.run(name, work, (errno, value) => (errno === 0 ? callback(0, value) : callback(-errno)));
  /** Answers a count of bytes (0 or more) as status, or a negative errno. */
  const count = (errno: number, value: number | undefined, callback: NativeCallback): void =>
    callback(errno === 0 ? (value as number) : -errno);

  const readWholeDirectory = async (path: string): Promise<[string[], NativeStat[]]> => {
    const { handle } = await operations.openDirectory(placeOf(path));
    try {
      const names = ['.', '..'];
      const stats = [{ ...NO_STAT }, { ...NO_STAT }];
      let afterName = '';
      for (;;) {
        const entries = await operations.readDirectory(handle, afterName);
        const last = entries.at(-1);
        if (last === undefined) return [names, stats];
        for (const entry of entries) {
          names.push(entry.name);
          stats.push(nativeStat(entry.attributes));
        }
        afterName = last.name;
      }
    } finally {
      await operations.releaseDirectory(handle);
    }
  };

  return {
    getattr: (path: string, callback: NativeCallback): void =>
      give('getattr', callback, async () => nativeStat(await operations.getAttributes(placeOf(path)))),
    /** Not among fuse-native's: it drops the handle (FUSE.md), so the subclass in fuse-native.ts calls this one. */
    fgetattr: (path: string, handle: number, callback: NativeCallback): void =>
      give('fgetattr', callback, async () =>
        packStat(nativeStat(await operations.getAttributes(placeOf(path), handle === 0 ? undefined : handle))),
      ),
    statfs: (_path: string, callback: NativeCallback): void =>
      give('statfs', callback, async () => nativeSpace(await operations.statfs())),
    readlink: (path: string, callback: NativeCallback): void =>
      give('readlink', callback, () => operations.readLink(placeOf(path))),
    readdir: (path: string, callback: NativeCallback): void =>
      answerer.run(
        'readdir',
        () => readWholeDirectory(path),
        (errno, value) => (value === undefined ? callback(-errno) : callback(0, ...value)),
      ),

    mknod: (path: string, mode: number, _device: number, callback: NativeCallback): void =>
      done('mknod', callback, async () => {
        const type = mode & TYPE_MASK;
        if (type !== REGULAR && type !== 0) {
          throw new GfsError('NOT_PERMITTED', `only regular files can be made with mknod, not ${path}`);
        }
        await operations.makeNode(placeOf(path), mode & 0o7777);
      }),
    mkdir: (path: string, mode: number, callback: NativeCallback): void =>
      done('mkdir', callback, async () => operations.makeDirectory(placeOf(path), mode & 0o7777)),
    symlink: (target: string, path: string, callback: NativeCallback): void =>
      done('symlink', callback, async () => operations.symlink(placeOf(path), validText(target))),
    link: (existing: string, created: string, callback: NativeCallback): void =>
      done('link', callback, async () => operations.link(placeOf(existing), placeOf(created))),
    unlink: (path: string, callback: NativeCallback): void =>
      done('unlink', callback, async () => operations.unlink(placeOf(path))),
    rmdir: (path: string, callback: NativeCallback): void =>
      done('rmdir', callback, async () => operations.removeDirectory(placeOf(path))),
    rename: (from: string, to: string, callback: NativeCallback): void =>
      done('rename', callback, async () =>
        operations.rename(placeOf(from), placeOf(to), { noReplace: false, exchange: false }),
      ),

    chmod: (path: string, mode: number, callback: NativeCallback): void =>
      done('chmod', callback, async () => operations.setAttributes(placeOf(path), { mode: mode & 0o7777 })),
    chown: (path: string, uid: number, gid: number, callback: NativeCallback): void =>
      done('chown', callback, async () => {
        const changes: AttributeChanges = {};
        if (uid !== UINT32_MAX) changes.uid = uid;
        if (gid !== UINT32_MAX) changes.gid = gid;
        await operations.setAttributes(placeOf(path), changes);
      }),
    /** Called by the subclass, which gets hold of both. libfuse calls it only where both are set: not for `touch -m` and `tar x` (docs/semantics.md). */
    utimens: (path: string, { atimeMs, mtimeMs }: NativeTimes, callback: NativeCallback): void =>
      done('utimens', callback, async () => {
        const times = { atimeNs: BigInt(atimeMs) * NS_PER_MS, mtimeNs: BigInt(mtimeMs) * NS_PER_MS };
        await operations.setAttributes(placeOf(path), times);
      }),
    truncate: (path: string, sizeBytes: number, callback: NativeCallback): void =>
      done('truncate', callback, async () => operations.setAttributes(placeOf(path), { sizeBytes })),
    ftruncate: (path: string, handle: number, sizeBytes: number, callback: NativeCallback): void =>
      done('ftruncate', callback, async () =>
        operations.setAttributes(placeOf(path), { sizeBytes }, handle === 0 ? undefined : handle),
      ),

    open: (path: string, flags: number, callback: NativeCallback): void =>
      answerer.run(
        'open',
        async () => (await operations.open(placeOf(path), flags)).handle,
        (errno, handle) => (errno === 0 ? callback(0, handle) : callback(-errno)),
        { onLate: handle => void operations.release(handle) },
      ),
    read: (
      _path: string,
      handle: number,
      target: Buffer,
      length: number,
      offset: number,
      callback: NativeCallback,
    ): void =>
      answerer.run(
        'read',
        () => operations.read(handle, offset, length),
        (errno, buffers) => count(errno, errno === 0 ? copyInto(target, buffers as Buffer[]) : undefined, callback),
      ),
    write: (
      _path: string,
      handle: number,
      data: Buffer,
      length: number,
      offset: number,
      callback: NativeCallback,
    ): void =>
      answerer.run(
        'write',
        // The memory is libfuse's and is detached with the answer: a copy goes on.
        () => operations.write(handle, offset, Buffer.from(data.subarray(0, length))),
        (errno, written) => count(errno, written, callback),
      ),
    flush: (_path: string, handle: number, callback: NativeCallback): void =>
      done('flush', callback, () => operations.flush(handle)),
    fsync: (_path: string, dataOnly: number, handle: number, callback: NativeCallback): void =>
      done('fsync', callback, () => operations.fsync(handle, dataOnly !== 0)),
    release: (_path: string, handle: number, callback: NativeCallback): void =>
      done('release', callback, () => operations.release(handle)),
    fsyncdir: (_path: string, _dataOnly: number, _handle: number, callback: NativeCallback): void =>
      done('fsyncdir', callback, async () => undefined),

    setxattr: (
      path: string,
      name: string,
      value: Buffer,
      _position: number,
      flags: number,
      callback: NativeCallback,
    ): void =>
      done('setxattr', callback, () =>
        operations.setExtendedAttribute(placeOf(path), validText(name), Buffer.from(value), {
          create: (flags & XATTR_CREATE) !== 0,
          replace: (flags & XATTR_REPLACE) !== 0,
        }),
      ),
    /** Called by the subclass with libfuse's own buffer: of size 0 the caller only asks for the length. */
    getxattr: (path: string, name: string, target: Buffer, callback: NativeCallback): void => {
      // Asked for before every write(2): the shortest way to the answer that it always has.
      if (name === CAPABILITY) callback(-ERRNO.ENODATA);
      else
        replyBytes('getxattr', target, callback, () => operations.getExtendedAttribute(placeOf(path), validText(name)));
    },
    listxattr: (path: string, target: Buffer, callback: NativeCallback): void =>
      replyBytes('listxattr', target, callback, async () => {
        const names = await operations.listExtendedAttributes(placeOf(path));
        return Buffer.from(names.map(name => `${name}\0`).join(''));
      }),
    removexattr: (path: string, name: string, callback: NativeCallback): void =>
      done('removexattr', callback, async () => operations.removeExtendedAttribute(placeOf(path), validText(name))),
  };

  function replyBytes(name: string, target: Buffer, callback: NativeCallback, work: () => Promise<Buffer>): void {
    const reply: Reply<Buffer> = (errno, value) =>
      count(errno, errno === 0 ? copyInto(target, [value as Buffer], (value as Buffer).length) : undefined, callback);
    answerer.run(
      name,
      async () => {
        const value = await work();
        if (target.length > 0 && value.length > target.length) throw new GfsError('ATTRIBUTE_TOO_LARGE');
        return value;
      },
      reply,
    );
  }
}

/** For '.' and '..', of which the kernel only wants the type. */
const NO_STAT: NativeStat = {
  mode: TYPE_BITS.directory,
  uid: 0,
  gid: 0,
  size: 0,
  nlink: 1,
  ino: UINT32_MAX,
  blksize: 0,
  blocks: 0,
  atime: 0,
  mtime: 0,
  ctime: 0,
};

/** Throws NAME_INVALID for a path with bytes that are no UTF-8, of which the binding has made U+FFFD. */
function placeOf(path: string): Where {
  return { start: ROOT, path: validText(path.replace(/^\/+/, '')) };
}

function validText(text: string): string {
  if (text.includes('\ufffd')) throw new GfsError('NAME_INVALID', `not valid UTF-8: ${text}`);
  return text;
}

/** Copies as much as fits and returns the count, or `count` when given. */
function copyInto(target: Buffer, buffers: readonly Buffer[], count?: number): number {
  let at = 0;
  for (const buffer of buffers) at += buffer.copy(target, at);
  return count ?? at;
}

function nativeStat(attributes: Attributes): NativeStat {
  return {
    mode: TYPE_BITS[attributes.type] | attributes.mode,
    uid: attributes.uid,
    gid: attributes.gid,
    size: attributes.sizeBytes,
    nlink: attributes.nlink,
    ino: ((attributes.inode - 1) % INODES_SHOWN) + 1,
    blksize: BLOCK_SIZE_SHOWN_BYTES,
    blocks: Math.ceil(attributes.sizeBytes / SECTOR_BYTES),
    atime: milliseconds(attributes.atimeNs),
    mtime: milliseconds(attributes.mtimeNs),
    ctime: milliseconds(attributes.ctimeNs),
  };
}

/** The 18 numbers the native side reads; 64-bit ones as low and high half. */
function packStat(stat: NativeStat): Uint32Array {
  const halves = (value: number): [number, number] => [value % 2 ** 32, Math.floor(value / 2 ** 32)];
  return Uint32Array.of(
    ...[stat.mode, stat.uid, stat.gid, ...halves(stat.size), 0, stat.nlink, stat.ino, 0, stat.blksize],
    ...[...halves(stat.blocks), ...halves(stat.atime), ...halves(stat.mtime), ...halves(stat.ctime)],
  );
}

/** Times before 1970 cannot pass the binding. */
function milliseconds(timeNs: bigint): number {
  return timeNs < 0n ? 0 : Number(timeNs / NS_PER_MS);
}

/** Blocks grow until their count fits 32 bits. */
function nativeSpace(space: FileSystemSpace): NativeSpace {
  let factor = 1;
  while (space.blocks / factor > UINT32_MAX) factor *= 2;
  return {
    bsize: space.blockSizeBytes * factor,
    frsize: space.blockSizeBytes * factor,
    blocks: Math.floor(space.blocks / factor),
    bfree: Math.floor(space.blocksFree / factor),
    bavail: Math.floor(space.blocksAvailable / factor),
    files: Math.min(space.files, UINT32_MAX),
    ffree: Math.min(space.filesFree, UINT32_MAX),
    favail: Math.min(space.filesFree, UINT32_MAX),
    namemax: space.nameMaxBytes,
  };
}
