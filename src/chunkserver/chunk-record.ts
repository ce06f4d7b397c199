// The bytes of one chunk's record in the index: format, state, flags, numbers, checksum. It reads what it wrote and refuses anything else;
// what the fields mean is said in chunk.ts.
import { assert } from '../lib/assert.js';
import { crc32 } from '../lib/checksum.js';
import { GfsError } from '../protocol/errors.js';
import type { ChunkState } from '../protocol/messages.js';

export interface Tombstone {
  /** Epoch of this server when the first fence (or deletion) met the absent chunk. */
  epoch: number;
  /** Newest token key then: when it is gone, no token from before the tombstone is valid. */
  keyId: number;
  atMs: number;
}

export interface ChunkRecord {
  state: ChunkState;
  version: number;
  fencedVersion: number;
  lengthBytes: number;
  syncedBytes: number;
  /** Checksum of the last block's bytes up to syncedBytes; undefined where it is not known. */
  syncedCrc: number | undefined;
  createdEpoch: number;
  suspect: boolean;
  corrupt: boolean;
  settled: boolean;
  tombstone: Tombstone | undefined;
}

const FORMAT = 2;
/** Without syncedCrc. */
const FORMAT_BEFORE = 1;
const STATES: readonly ChunkState[] = ['open', 'fenced', 'sealed'];
const FLAG = { suspect: 1, corrupt: 2, settled: 4, tombstone: 8 } as const;
const NUMBERS = 9;
const NUMBERS_AT = 3;
const CRC_AT = NUMBERS_AT + NUMBERS * 8;
const RECORD_BYTES = CRC_AT + 4;

export function encodeRecord(record: ChunkRecord): Buffer {
  const bytes = Buffer.allocUnsafe(RECORD_BYTES);
  bytes[0] = FORMAT;
  bytes[1] = STATES.indexOf(record.state);
  bytes[2] =
    (record.suspect ? FLAG.suspect : 0) |
    (record.corrupt ? FLAG.corrupt : 0) |
    (record.settled ? FLAG.settled : 0) |
    (record.tombstone ? FLAG.tombstone : 0);
  const { tombstone } = record;
  const numbers = [
    record.version,
    record.fencedVersion,
    record.lengthBytes,
    record.syncedBytes,
    record.createdEpoch,
    tombstone?.epoch ?? 0,
    tombstone?.keyId ?? 0,
    Math.floor(tombstone?.atMs ?? 0),
    record.syncedCrc === undefined ? 0 : record.syncedCrc + 1,
  ];
  assert(numbers.length === NUMBERS, 'a record has all its numbers');
  numbers.forEach((number, i) => {
    writeNumber(bytes, number, NUMBERS_AT + i * 8);
  });
  bytes.writeUInt32BE(crc32(bytes.subarray(0, CRC_AT)), CRC_AT);
  return bytes;
}

/** Throws WRONG_DATA when the bytes are not a record of this format. */
export function decodeRecord(bytes: Buffer): ChunkRecord {
  const format = bytes[0];
  const crcAt = format === FORMAT_BEFORE ? CRC_AT - 8 : CRC_AT;
  const isKnown = format === FORMAT || format === FORMAT_BEFORE;
  if (!isKnown || bytes.length !== crcAt + 4 || bytes[1]! >= STATES.length)
    throw new GfsError('WRONG_DATA', 'a chunk record in the index is of another format');
  if (crc32(bytes.subarray(0, crcAt)) !== bytes.readUInt32BE(crcAt))
    throw new GfsError('WRONG_DATA', 'a chunk record in the index does not match its checksum');
  const number = (i: number): number => readNumber(bytes, NUMBERS_AT + i * 8);
  const flags = bytes[2]!;
  return {
    state: STATES[bytes[1]!]!,
    version: number(0),
    fencedVersion: number(1),
    lengthBytes: number(2),
    syncedBytes: number(3),
    syncedCrc: format === FORMAT_BEFORE || number(8) === 0 ? undefined : number(8) - 1,
    createdEpoch: number(4),
    suspect: (flags & FLAG.suspect) !== 0,
    corrupt: (flags & FLAG.corrupt) !== 0,
    settled: (flags & FLAG.settled) !== 0,
    tombstone: (flags & FLAG.tombstone) !== 0 ? { epoch: number(5), keyId: number(6), atMs: number(7) } : undefined,
  };
}

/** A whole number up to 2^53-1 in 8 big-endian bytes. */
export function writeNumber(bytes: Buffer, value: number, at: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, 'a stored number is whole and not negative');
  bytes.writeUInt32BE(Math.floor(value / 2 ** 32), at);
  bytes.writeUInt32BE(value % 2 ** 32, at + 4);
}

export function readNumber(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4);
}
