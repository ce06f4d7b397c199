// Handlers of the requests about names and attributes: looking up, making, linking, removing, renaming, stat and its changes.
// They decode, call one operation and encode; what names and attributes mean is the operations' business.
import { GfsError } from '../../protocol/errors.js';
import type { AttributeChanges, Where } from '../fuse-operations.js';
import type { Handler, HandlerContext } from './handler.js';
import { attributesAnswer, attributeValues, entryAnswer, joinNs, splitMs } from './handler.js';
import type { Request } from './request.js';
import * as wire from './wire.js';

const TYPE_MASK = 0o170000;
const REGULAR = 0o100000;
const PERMISSIONS = 0o7777;
const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;

export function nameHandlers(context: HandlerContext) {
  const { operations, cache } = context;

  const rename = async (request: Request, newDirectory: number, options: { noReplace: boolean; exchange: boolean }) => {
    const [from, to] = twoNames(request, newDirectory);
    await operations.rename(from, to, options);
    cache.entryMoved(to);
    if (options.exchange) cache.entryMoved(from);
    return {};
  };

  return {
    LOOKUP: async request => {
      const where = child(request);
      return entryAnswer(context, request, where, await operations.getAttributes(where));
    },
    GETATTR: async request => {
      const { flags, fh } = request.take(wire.GETATTR_IN);
      const handle = (flags & wire.GETATTR_FH) !== 0 ? fh : undefined;
      return attributesAnswer(context, request, await operations.getAttributes(here(request), handle));
    },
    STATX: async request => {
      const { flags, fh } = request.take(wire.STATX_IN);
      const handle = (flags & wire.GETATTR_FH) !== 0 ? fh : undefined;
      const attributes = await operations.getAttributes(here(request), handle);
      const valid = splitMs(context.cache.keepAttributes(request.ticket, attributes));
      const values = { attrValid: valid.seconds, attrValidNsec: valid.nanoseconds, ...attributeValues(attributes) };
      return { data: [wire.STATX_OUT.encode({ mask: wire.STATX_BASIC_STATS, ...values })] };
    },
    SETATTR: async request => {
      const values = request.take(wire.SETATTR_IN);
      const handle = (values.valid & wire.SETATTR_VALID.FH) !== 0 ? values.fh : undefined;
      const attributes = await operations.setAttributes(here(request), changesOf(values), handle);
      return attributesAnswer(context, request, attributes);
    },
    READLINK: async request => ({ data: [Buffer.from(await operations.readLink(here(request)))] }),
    SYMLINK: async request => {
      const where = child(request);
      return entryAnswer(context, request, where, await operations.symlink(where, request.takeText(), request.caller));
    },
    MKNOD: async request => {
      const { mode } = request.take(wire.MKNOD_IN);
      const where = child(request);
      if ((mode & TYPE_MASK) !== REGULAR) throw new GfsError('NOT_PERMITTED', 'only regular files can be made here');
      return entryAnswer(context, request, where, await operations.makeNode(where, mode & PERMISSIONS, request.caller));
    },
    MKDIR: async request => {
      const { mode } = request.take(wire.MKDIR_IN);
      const where = child(request);
      return entryAnswer(
        context,
        request,
        where,
        await operations.makeDirectory(where, mode & PERMISSIONS, request.caller),
      );
    },
    UNLINK: async request => {
      await operations.unlink(child(request));
      return {};
    },
    RMDIR: async request => {
      await operations.removeDirectory(child(request));
      return {};
    },
    RENAME: async request => {
      const { newdir } = request.take(wire.RENAME_IN);
      return rename(request, newdir, { noReplace: false, exchange: false });
    },
    RENAME2: async request => {
      const { newdir, flags } = request.take(wire.RENAME2_IN);
      if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) !== 0) throw new GfsError('INVALID', 'unknown rename flag');
      return rename(request, newdir, {
        noReplace: (flags & RENAME_NOREPLACE) !== 0,
        exchange: (flags & RENAME_EXCHANGE) !== 0,
      });
    },
    LINK: async request => {
      const { oldnodeid } = request.take(wire.LINK_IN);
      const created = child(request);
      return entryAnswer(context, request, created, await operations.link({ start: oldnodeid, path: '' }, created));
    },
  } satisfies Record<string, Handler>;
}

/** The inode a request is about. */
export function here(request: Request): Where {
  return { start: request.node, path: '' };
}

/** The name in the directory a request is about. */
export function child(request: Request): Where {
  return { start: request.node, path: request.takeName() };
}

function twoNames(request: Request, newDirectory: number): [Where, Where] {
  const from = child(request);
  return [from, { start: newDirectory, path: request.takeName() }];
}

function changesOf(values: ReturnType<typeof wire.SETATTR_IN.decode>): AttributeChanges {
  const has = (bit: keyof typeof wire.SETATTR_VALID): boolean => (values.valid & wire.SETATTR_VALID[bit]) !== 0;
  const changes: AttributeChanges = {};
  if (has('MODE')) changes.mode = values.mode & PERMISSIONS;
  if (has('UID')) changes.uid = values.uid;
  if (has('GID')) changes.gid = values.gid;
  if (has('SIZE')) changes.sizeBytes = values.size;
  if (has('ATIME')) changes.atimeNs = has('ATIME_NOW') ? 'now' : joinNs(values.atime, values.atimensec);
  if (has('MTIME')) changes.mtimeNs = has('MTIME_NOW') ? 'now' : joinNs(values.mtime, values.mtimensec);
  return changes;
}
