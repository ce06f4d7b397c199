// What the simulated writers append: records that say who wrote them and can be recognised wherever they stand in a file.
// It owns their bytes and finds them again; it judges nothing.
import { assert } from '../../src/lib/assert.js';

export const RECORD_BYTES_MIN = 16;
const MAGIC = 0x5245434f;

export interface RecordId {
  /** Unique in the scenario: one open file of one client process. */
  writer: number;
  sequence: number;
}

export interface StandingRecord extends RecordId {
  offset: number;
  lengthBytes: number;
}

/** The only bytes that record can have. `lengthBytes` at least RECORD_BYTES_MIN. */
export function recordBytes({ writer, sequence }: RecordId, lengthBytes: number): Buffer {
  assert(lengthBytes >= RECORD_BYTES_MIN, 'a record holds its header');
  const bytes = Buffer.allocUnsafe(lengthBytes);
  bytes.writeUInt32BE(MAGIC, 0);
  bytes.writeUInt32BE(writer, 4);
  bytes.writeUInt32BE(sequence, 8);
  bytes.writeUInt32BE(lengthBytes, 12);
  bytes.fill((writer * 31 + sequence * 7) & 0xff, RECORD_BYTES_MIN);
  return bytes;
}

/** The records of a file that holds nothing else, in order, and what stands in their way. `firstByte`: where in the file `content` begins. */
export function parseRecords(content: Buffer, firstByte = 0): { records: StandingRecord[]; problem?: string } {
  const records: StandingRecord[] = [];
  let at = 0;
  while (at < content.length) {
    if (content.length - at < RECORD_BYTES_MIN || content.readUInt32BE(at) !== MAGIC)
      return { records, problem: `no record begins at ${firstByte + at}: ${content.toString('hex', at, at + 16)}` };
    const id = { writer: content.readUInt32BE(at + 4), sequence: content.readUInt32BE(at + 8) };
    const lengthBytes = content.readUInt32BE(at + 12);
    if (lengthBytes < RECORD_BYTES_MIN || at + lengthBytes > content.length)
      return { records, problem: `record ${showRecord(id)} at ${firstByte + at} is cut short` };
    if (!content.subarray(at, at + lengthBytes).equals(recordBytes(id, lengthBytes)))
      return { records, problem: `record ${showRecord(id)} at ${firstByte + at} is torn` };
    records.push({ ...id, offset: firstByte + at, lengthBytes });
    at += lengthBytes;
  }
  return { records };
}

/** Bytes `from` up to `to` of the endless stream number `stream`: position and stream decide each byte. */
export function streamBytes(stream: number, from: number, to: number): Buffer {
  const bytes = Buffer.allocUnsafe(to - from);
  for (let i = from; i < to; i++) bytes[i - from] = (i * 131 + (i >> 8) * 29 + stream * 57) & 0xff;
  return bytes;
}

export function showRecord({ writer, sequence }: RecordId): string {
  return `w${writer}/${sequence}`;
}
