// The keys of the master's store (DESIGN 5): one prefix byte, then fixed-width big-endian numbers, so that byte order is numeric order.
// It knows no values and reads nothing.
import { assert } from '../lib/assert.js';
import { prefixEnd } from '../lib/kv.js';
import type { ChunkHandle, InodeId, ServerId } from '../protocol/ids.js';

const NUMBER_BYTES = 8;
const INDEX_BYTES = 4;
const HIGH = 2 ** 32;

/** What a key is about, by its first byte. */
export const PREFIX = {
  /** name → facts about the cluster: identity, counters, token keys. */
  meta: 'm',
  /** parent(8) name → directory entry. */
  entry: 'd',
  /** inode(8) → inode. */
  inode: 'i',
  /** inode(8) → names of extended attributes; inode(8) name → one value. */
  xattr: 'x',
  /** inode(8) index(4) → extent. */
  extent: 'e',
  /** handle(8) → chunk. */
  chunk: 'c',
  /** due(8) inode(8) → trash. */
  trash: 't',
  /** due(8) handle(8) → garbage. */
  garbage: 'g',
  /** server id (16 hex digits) → chunkserver. */
  server: 's',
  /** 0 client(8) → what is remembered of a client; 1 client(8) sequence(8) → one reply. */
  once: 'q',
} as const;

export type KeyPrefix = keyof typeof PREFIX;

/** Every key of one kind. */
export function rangeOf(prefix: KeyPrefix): { gte: Buffer; lt: Buffer } {
  return below(Buffer.from(PREFIX[prefix], 'latin1'));
}

export function metaKey(name: string): Buffer {
  return Buffer.from(`${PREFIX.meta}${name}`, 'utf8');
}

export function entryKey(parent: InodeId, name: string): Buffer {
  return named(PREFIX.entry, parent, name);
}

export function parseEntryKey(key: Buffer): { parent: InodeId; name: string } {
  return { parent: readNumber(key, 1) as InodeId, name: key.toString('utf8', 1 + NUMBER_BYTES) };
}

const LOCK_HOLDER = 'lockHolder ';

/** A client that holds locks; a fact about the cluster, for the next master. */
export function lockHolderKey(client: string): Buffer {
  return metaKey(`${LOCK_HOLDER}${client}`);
}

export function lockHolderRange(): { gte: Buffer; lt: Buffer } {
  return below(metaKey(LOCK_HOLDER));
}

export function parseLockHolderKey(key: Buffer): string {
  return key.toString('utf8', metaKey(LOCK_HOLDER).length);
}

/** The entries of a directory whose names follow `after` ('' : all of them). */
export function entryRange(parent: InodeId, after: string): { gte: Buffer; lt: Buffer } {
  const { gte, lt } = below(numbered(PREFIX.entry, parent));
  return { gte: after === '' ? gte : successor(entryKey(parent, after)), lt };
}

export function inodeKey(inode: InodeId): Buffer {
  return numbered(PREFIX.inode, inode);
}

export function parseInodeKey(key: Buffer): InodeId {
  return readNumber(key, 1) as InodeId;
}

/** The list of an inode's attribute names. */
export function xattrNamesKey(inode: InodeId): Buffer {
  return numbered(PREFIX.xattr, inode);
}

export function xattrKey(inode: InodeId, name: string): Buffer {
  assert(name !== '', 'an extended attribute has a name');
  return named(PREFIX.xattr, inode, name);
}

export function parseXattrKey(key: Buffer): { inode: InodeId; name: string } {
  return { inode: readNumber(key, 1) as InodeId, name: key.toString('utf8', 1 + NUMBER_BYTES) };
}

export function extentKey(inode: InodeId, index: number): Buffer {
  assert(index < HIGH, 'an extent index has 32 bits');
  const key = Buffer.allocUnsafe(1 + NUMBER_BYTES + INDEX_BYTES);
  key.write(PREFIX.extent, 0, 'latin1');
  writeNumber(key, inode, 1);
  key.writeUInt32BE(index, 1 + NUMBER_BYTES);
  return key;
}

export function parseExtentKey(key: Buffer): { inode: InodeId; index: number } {
  return { inode: readNumber(key, 1) as InodeId, index: key.readUInt32BE(1 + NUMBER_BYTES) };
}

export function chunkKey(handle: ChunkHandle): Buffer {
  return numbered(PREFIX.chunk, handle);
}

export function parseChunkKey(key: Buffer): ChunkHandle {
  return readNumber(key, 1) as ChunkHandle;
}

export function trashKey(dueMs: number, inode: InodeId): Buffer {
  return numbered(PREFIX.trash, dueMs, inode);
}

export function parseTrashKey(key: Buffer): { dueMs: number; inode: InodeId } {
  return { dueMs: readNumber(key, 1), inode: readNumber(key, 1 + NUMBER_BYTES) as InodeId };
}

export function garbageKey(dueMs: number, handle: ChunkHandle): Buffer {
  return numbered(PREFIX.garbage, dueMs, handle);
}

export function parseGarbageKey(key: Buffer): { dueMs: number; handle: ChunkHandle } {
  return { dueMs: readNumber(key, 1), handle: readNumber(key, 1 + NUMBER_BYTES) as ChunkHandle };
}

/** The trash or garbage whose time has come at `nowMs`. */
export function dueRange(prefix: 'trash' | 'garbage', nowMs: number): { gte: Buffer; lt: Buffer } {
  return { gte: Buffer.from(PREFIX[prefix], 'latin1'), lt: numbered(PREFIX[prefix], Math.floor(nowMs) + 1) };
}

export function serverKey(id: ServerId): Buffer {
  return Buffer.from(`${PREFIX.server}${id}`, 'latin1');
}

/** What is remembered of a client of the once table. `client`: 16 hex digits. */
export function onceClientKey(client: string): Buffer {
  return Buffer.concat([Buffer.from(`${PREFIX.once}\0`, 'latin1'), clientBytes(client)]);
}

/** Every client of the once table that follows `after` ('' : all of them). */
export function onceClientRange(after: string): { gte: Buffer; lt: Buffer } {
  const { gte, lt } = below(Buffer.from(`${PREFIX.once}\0`, 'latin1'));
  return { gte: after === '' ? gte : successor(onceClientKey(after)), lt };
}

export function parseOnceClientKey(key: Buffer): string {
  return key.toString('hex', 2);
}

export function onceReplyKey(client: string, sequence: number): Buffer {
  const key = Buffer.allocUnsafe(2 + 2 * NUMBER_BYTES);
  key.write(`${PREFIX.once}\x01`, 0, 'latin1');
  clientBytes(client).copy(key, 2);
  writeNumber(key, sequence, 2 + NUMBER_BYTES);
  return key;
}

/** The smallest key above `key`. */
export function successor(key: Buffer): Buffer {
  return Buffer.concat([key, Buffer.alloc(1)]);
}

function below(prefix: Buffer): { gte: Buffer; lt: Buffer } {
  return { gte: prefix, lt: prefixEnd(prefix) };
}

function numbered(prefix: string, ...numbers: number[]): Buffer {
  const key = Buffer.allocUnsafe(1 + NUMBER_BYTES * numbers.length);
  key.write(prefix, 0, 'latin1');
  for (let i = 0; i < numbers.length; i++) writeNumber(key, numbers[i]!, 1 + i * NUMBER_BYTES);
  return key;
}

function named(prefix: string, inode: InodeId, name: string): Buffer {
  const nameBytes = Buffer.byteLength(name, 'utf8');
  const key = Buffer.allocUnsafe(1 + NUMBER_BYTES + nameBytes);
  key.write(prefix, 0, 'latin1');
  writeNumber(key, inode, 1);
  key.write(name, 1 + NUMBER_BYTES, 'utf8');
  return key;
}

function clientBytes(client: string): Buffer {
  const bytes = Buffer.from(client, 'hex');
  assert(bytes.length === NUMBER_BYTES, 'a client id is 16 hex digits');
  return bytes;
}

function writeNumber(key: Buffer, value: number, position: number): void {
  assert(Number.isSafeInteger(value), 'a number in a key is whole');
  assert(value >= 0, 'a number in a key is not negative');
  key.writeUInt32BE(Math.floor(value / HIGH), position);
  key.writeUInt32BE(value % HIGH, position + INDEX_BYTES);
}

function readNumber(key: Buffer, position: number): number {
  return key.readUInt32BE(position) * HIGH + key.readUInt32BE(position + INDEX_BYTES);
}
