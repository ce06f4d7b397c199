// Handlers of the requests about open files: opening, reading, writing, closing, and the rarer calls on descriptors.
// Payloads pass through as lists of buffers; nothing is copied here but small writes (request.ts).
import { GfsError, hasCode } from '../../protocol/errors.js';
import { Refusal } from '../errno.js';
import type { Answer, Handler, HandlerContext } from './handler.js';
import { entryAnswer } from './handler.js';
import { child, here } from './name-handlers.js';
import type { Request } from './request.js';
import * as wire from './wire.js';

const PERMISSIONS = 0o7777;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const UINT32_MAX = 0xffff_ffff;

export function fileHandlers(context: HandlerContext) {
  const { operations } = context;
  const giveBack = (handle: number) => () => void operations.release(handle);

  const copyRange = async (request: Request): Promise<number> => {
    const values = request.take(wire.COPY_FILE_RANGE_IN);
    if (operations.copyRange === undefined) throw new Refusal('ENOSYS');
    return operations.copyRange(
      { handle: values.fhIn, offset: values.offsetIn },
      { handle: values.fhOut, offset: values.offsetOut },
      Math.min(values.len, UINT32_MAX),
    );
  };

  return {
    OPEN: async request => {
      const { flags } = request.take(wire.OPEN_IN);
      const { handle, keepCache } = await operations.open(here(request), flags, request.caller);
      return { data: [openOut(handle, keepCache)], undo: giveBack(handle) };
    },
    CREATE: async request => {
      const { flags, mode } = request.take(wire.CREATE_IN);
      const where = child(request);
      const created = await operations.create(where, flags, mode & PERMISSIONS, request.caller);
      const entry = entryAnswer(
        context,
        request,
        where,
        created.attributes,
        openOut(created.handle, created.keepCache),
      );
      const undo = (): void => {
        entry.undo?.();
        giveBack(created.handle)();
      };
      return { ...entry, undo };
    },
    READ: async request => {
      const { fh, offset, size } = request.take(wire.READ_IN);
      return { data: clip(await operations.read(fh, offset, size), size) };
    },
    WRITE: async request => {
      const { fh, offset, size } = request.take(wire.WRITE_IN);
      const written = await operations.write(fh, offset, request.giveBytes(size));
      return { data: [wire.WRITE_OUT.encode({ size: written })] };
    },
    FLUSH: async request => {
      const { fh, lockOwner } = request.take(wire.FLUSH_IN);
      await operations.flush(fh, lockOwner);
      return {};
    },
    RELEASE: async request => {
      const { fh, releaseFlags, lockOwner } = request.take(wire.RELEASE_IN);
      const endsFlock = (releaseFlags & wire.RELEASE_FLOCK_UNLOCK) !== 0;
      await operations.release(fh, endsFlock ? lockOwner : undefined);
      return {};
    },
    FSYNC: async request => {
      const { fh, flags } = request.take(wire.FSYNC_IN);
      await operations.fsync(fh, (flags & wire.FSYNC_FDATASYNC) !== 0);
      return {};
    },
    FALLOCATE: async request => {
      const { fh, mode, offset, length } = request.take(wire.FALLOCATE_IN);
      if (operations.allocate === undefined) throw new Refusal('ENOSYS');
      await operations.allocate(fh, mode, offset, length);
      return {};
    },
    LSEEK: async request => {
      const { fh, offset, whence } = request.take(wire.LSEEK_IN);
      if (operations.seek === undefined) throw new Refusal('ENOSYS');
      if (whence !== SEEK_DATA && whence !== SEEK_HOLE) throw new GfsError('INVALID', 'unknown whence of lseek');
      try {
        const found = await operations.seek(fh, offset, whence === SEEK_DATA ? 'data' : 'hole');
        return { data: [wire.LSEEK_OUT.encode({ offset: found })] };
      } catch (error) {
        throw hasCode(error, 'NOT_FOUND') ? new Refusal('ENXIO') : error;
      }
    },
    COPY_FILE_RANGE: async request => ({ data: [wire.WRITE_OUT.encode({ size: await copyRange(request) })] }),
    COPY_FILE_RANGE_64: async request => ({
      data: [wire.COPY_FILE_RANGE_OUT.encode({ bytesCopied: await copyRange(request) })],
    }),
    STATFS: async () => ({ data: [await spaceOut(context)] }),
    // With default_permissions the kernel does not ask; without, ENOSYS means that it need not ask again.
    ACCESS: refuse,
    BMAP: refuse,
    IOCTL: refuse,
    POLL: refuse,
    DESTROY: async () => ({}),
  } satisfies Record<string, Handler>;
}

async function refuse(): Promise<Answer> {
  throw new Refusal('ENOSYS');
}

function openOut(handle: number, keepCache: boolean): Buffer {
  return wire.OPEN_OUT.encode({ fh: handle, openFlags: keepCache ? wire.OPEN_FLAG.KEEP_CACHE : 0 });
}

/** The kernel refuses an answer that is longer than what it asked for. */
function clip(buffers: readonly Buffer[], sizeBytes: number): readonly Buffer[] {
  let left = sizeBytes;
  const clipped: Buffer[] = [];
  for (const buffer of buffers) {
    if (left === 0) break;
    const part = buffer.length > left ? buffer.subarray(0, left) : buffer;
    clipped.push(part);
    left -= part.length;
  }
  return clipped;
}

async function spaceOut(context: HandlerContext): Promise<Buffer> {
  const space = await context.operations.statfs();
  return wire.STATFS_OUT.encode({
    blocks: space.blocks,
    bfree: space.blocksFree,
    bavail: space.blocksAvailable,
    files: space.files,
    ffree: space.filesFree,
    bsize: space.blockSizeBytes,
    frsize: space.blockSizeBytes,
    namelen: space.nameMaxBytes,
  });
}
