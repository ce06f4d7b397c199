// Handlers of the requests about open directories: records with and without attributes, packed until the kernel's buffer is full.
// Positions 1 and 2 are '.' and '..', which the kernel expects from us; entry n of the directory has position n + 3.
import type { DirectoryEntry } from '../fuse-operations.js';
import type { Handler, HandlerContext } from './handler.js';
import { directoryType, entryValues } from './handler.js';
import type { KeepTicket } from './kernel-cache.js';
import { here } from './name-handlers.js';
import type { Request } from './request.js';
import * as wire from './wire.js';

interface Listed {
  name: string;
  inode: number;
  type: number;
  entry?: DirectoryEntry;
  /** From before the directory was asked for it. */
  ticket: KeepTicket;
}

const DOTS = 2;
/** However much the kernel offers to take in one answer. */
const BUFFER_MAX_BYTES = 1024 * 1024;

export function directoryHandlers(context: HandlerContext) {
  const { operations, directories, nodes } = context;

  const listedAt = async (handle: number, position: number, { node, ticket }: Request): Promise<Listed[]> => {
    const dots = [
      { name: '.', inode: node, type: directoryType('directory'), ticket },
      { name: '..', inode: wire.UNKNOWN_INODE, type: directoryType('directory'), ticket },
    ];
    if (position < DOTS) return dots.slice(position);
    const page = await directories.entriesAt(handle, position - DOTS);
    return page.entries.map(entry => ({
      name: entry.name,
      inode: entry.inode,
      type: directoryType(entry.type),
      entry,
      ticket: page.ticket,
    }));
  };

  const read = async (request: Request, withAttributes: boolean) => {
    const { fh, offset, size } = request.take(wire.READ_IN);
    const buffer = Buffer.alloc(Math.min(size, BUFFER_MAX_BYTES));
    const remembered: number[] = [];
    let used = 0;
    let position = offset;
    let isFull = false;
    while (!isFull) {
      const listed = await listedAt(fh, position, request);
      if (listed.length === 0) break;
      for (const item of listed) {
        const length = encodeRecord(
          context,
          buffer,
          used,
          { ...item, directory: request.node },
          position + 1,
          withAttributes,
        );
        isFull = length === 0;
        if (isFull) break;
        used += length;
        position++;
        if (withAttributes && item.entry !== undefined) remembered.push(item.inode);
      }
    }
    for (const inode of remembered) nodes.remember(inode);
    const undo = (): void => {
      for (const inode of remembered) nodes.forget(inode, 1);
    };
    return { data: [buffer.subarray(0, used)], undo };
  };

  return {
    OPENDIR: async request => {
      request.take(wire.OPEN_IN);
      const { handle } = await operations.openDirectory(here(request));
      directories.open(handle);
      const undo = (): void => {
        directories.close(handle);
        void operations.releaseDirectory(handle);
      };
      return { data: [wire.OPEN_OUT.encode({ fh: handle })], undo };
    },
    READDIR: request => read(request, false),
    READDIRPLUS: request => read(request, true),
    RELEASEDIR: async request => {
      const { fh } = request.take(wire.RELEASE_IN);
      directories.close(fh);
      await operations.releaseDirectory(fh);
      return {};
    },
    // Names are durable before the call that made them returns (DESIGN I6): there is nothing to sync.
    FSYNCDIR: async () => ({}),
  } satisfies Record<string, Handler>;
}

/** Writes one record and returns its length, or 0 when it does not fit. */
function encodeRecord(
  context: HandlerContext,
  buffer: Buffer,
  at: number,
  item: Listed & { directory: number },
  nextPosition: number,
  withAttributes: boolean,
): number {
  const nameBytes = Buffer.byteLength(item.name);
  const headBytes = withAttributes ? wire.ENTRY_OUT.sizeBytes : 0;
  const length = wire.alignRecord(headBytes + wire.DIRENT.sizeBytes + nameBytes);
  if (at + length > buffer.length) return 0;
  // For the dots the entry stays zero: node 0 tells the kernel to remember nothing.
  if (withAttributes && item.entry !== undefined) {
    const where = { start: item.directory, path: item.name };
    wire.ENTRY_OUT.encodeInto(buffer, at, entryValues(context, item.ticket, where, item.entry.attributes));
  }
  wire.DIRENT.encodeInto(buffer, at + headBytes, {
    ino: item.inode,
    off: nextPosition,
    namelen: nameBytes,
    type: item.type,
  });
  buffer.write(item.name, at + headBytes + wire.DIRENT.sizeBytes);
  return length;
}
