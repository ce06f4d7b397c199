// What every handler of the kernel's requests has in common: its shape, its surroundings, and the answers that carry attributes.
// Handlers take everything from the request before their first await, since its memory is used again afterwards.
import type { Attributes, FuseOperations, Where } from '../fuse-operations.js';
import type { DirectoryReaders } from './directory-readers.js';
import type { KeepTicket, KernelCache } from './kernel-cache.js';
import type { NodeTable } from './node-table.js';
import type { Request } from './request.js';
import { ATTR_OUT, ENTRY_OUT } from './wire.js';

export interface Answer {
  /** What follows the header; nothing for plain success. */
  data?: readonly Buffer[];
  /** Called when the answer could not be delivered: gives back what it handed out. */
  undo?: () => void;
}

export type Handler = (request: Request) => Promise<Answer>;

export interface HandlerContext {
  operations: FuseOperations;
  nodes: NodeTable;
  directories: DirectoryReaders;
  cache: KernelCache;
}

/** stat(2) shows it as the preferred size of reads and writes. */
const BLOCK_SIZE_SHOWN_BYTES = 128 * 1024;
const SECTOR_BYTES = 512;
const TYPE_BITS = { file: 0o100000, directory: 0o040000, symlink: 0o120000 } as const;
const NS_PER_SECOND = 1_000_000_000n;

/** The inode at a place, which the kernel learns by this answer: it counts as remembered until forgotten or undone. */
export function entryAnswer(
  context: HandlerContext,
  request: Request,
  where: Where,
  attributes: Attributes,
  ...more: Buffer[]
): Answer {
  context.nodes.remember(attributes.inode);
  return {
    data: [ENTRY_OUT.encode(entryValues(context, request.ticket, where, attributes)), ...more],
    undo: () => context.nodes.forget(attributes.inode, 1),
  };
}

/** The generation on the wire stays 0: inode numbers are never used again. */
export function entryValues(
  { cache }: Pick<HandlerContext, 'cache'>,
  ticket: KeepTicket,
  where: Where,
  attributes: Attributes,
) {
  const entry = splitMs(cache.keepEntry(ticket, where));
  const attr = splitMs(cache.keepAttributes(ticket, attributes));
  return {
    nodeid: attributes.inode,
    entryValid: entry.seconds,
    entryValidNsec: entry.nanoseconds,
    attrValid: attr.seconds,
    attrValidNsec: attr.nanoseconds,
    ...attributeValues(attributes),
  };
}

export function attributesAnswer(context: HandlerContext, request: Request, attributes: Attributes): Answer {
  const { seconds, nanoseconds } = splitMs(context.cache.keepAttributes(request.ticket, attributes));
  return {
    data: [ATTR_OUT.encode({ attrValid: seconds, attrValidNsec: nanoseconds, ...attributeValues(attributes) })],
  };
}

export function attributeValues(attributes: Attributes) {
  const atime = splitNs(attributes.atimeNs);
  const mtime = splitNs(attributes.mtimeNs);
  const ctime = splitNs(attributes.ctimeNs);
  return {
    ino: attributes.inode,
    size: attributes.sizeBytes,
    blocks: Math.ceil(attributes.sizeBytes / SECTOR_BYTES),
    atime: atime.seconds,
    mtime: mtime.seconds,
    ctime: ctime.seconds,
    atimensec: atime.nanoseconds,
    mtimensec: mtime.nanoseconds,
    ctimensec: ctime.nanoseconds,
    mode: TYPE_BITS[attributes.type] | attributes.mode,
    nlink: attributes.nlink,
    uid: attributes.uid,
    gid: attributes.gid,
    blksize: BLOCK_SIZE_SHOWN_BYTES,
  };
}

/** The type as directory entries show it, DT_… of readdir(3). */
export function directoryType(type: Attributes['type']): number {
  return TYPE_BITS[type] >> 12;
}

export function splitMs(timeoutMs: number): { seconds: number; nanoseconds: number } {
  const seconds = Math.floor(timeoutMs / 1000);
  return { seconds, nanoseconds: Math.floor((timeoutMs - seconds * 1000) * 1_000_000) };
}

function splitNs(timeNs: bigint): { seconds: number; nanoseconds: number } {
  const rest = timeNs % NS_PER_SECOND;
  const nanoseconds = rest < 0n ? rest + NS_PER_SECOND : rest;
  return { seconds: Number((timeNs - nanoseconds) / NS_PER_SECOND), nanoseconds: Number(nanoseconds) };
}

/** The inverse of what attributes show. */
export function joinNs(seconds: number, nanoseconds: number): bigint {
  return BigInt(seconds) * NS_PER_SECOND + BigInt(nanoseconds);
}
