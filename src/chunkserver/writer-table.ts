// The writers of one chunk: of each, its last appends with their places, so that a repeated append answers with its recorded offset (I3).
// It is the truth while a chunk takes appends; the index holds what was written of it. It decides nothing about order or refusal.
import { assert } from '../lib/assert.js';
import { GfsError } from '../protocol/errors.js';
import { LIMITS } from '../protocol/limits.js';
import { readNumber, writeNumber } from './chunk-record.js';

export interface AppendEntry {
  sequence: number;
  offset: number;
  lengthBytes: number;
}

export interface WriterRow {
  /** In order of their offsets, the newest last; at most appendsInFlightMax. */
  appends: AppendEntry[];
  /** Time of the newest, by the master's clock. */
  atMs: number;
}

/** A writer stays remembered twice as long as it may retry. */
const YOUNG_MS = 2 * LIMITS.appendRetryMs;
/** Old writers forgotten at a time, when the table is full. */
const EVICTIONS_MAX = 64;

export class WriterTable {
  private readonly rows = new Map<string, WriterRow>();
  /** Rows that differ from the index. */
  private readonly dirty = new Set<string>();

  /** `load` reads a row that is not here yet; `complete` says that there is none besides those in `rows`. */
  constructor(
    private readonly load: (writer: string) => WriterRow | undefined,
    readonly complete: boolean,
    rows: Iterable<[string, WriterRow]> = [],
  ) {
    for (const [writer, row] of rows) this.rows.set(writer, row);
  }

  get size(): number {
    return this.rows.size;
  }

  row(writer: string): WriterRow | undefined {
    let row = this.rows.get(writer);
    if (!row && !this.complete) {
      row = this.load(writer);
      if (row) this.rows.set(writer, row);
    }
    return row;
  }

  find(writer: string, sequence: number): AppendEntry | undefined {
    return this.row(writer)?.appends.find(entry => entry.sequence === sequence);
  }

  /** Highest sequence of this writer that is in the table; 0 when none is. */
  lastSequence(writer: string): number {
    let last = 0;
    for (const entry of this.row(writer)?.appends ?? []) last = Math.max(last, entry.sequence);
    return last;
  }

  /** How many appends of this writer end beyond `lengthBytes`. */
  countBeyond(writer: string, lengthBytes: number): number {
    let count = 0;
    for (const entry of this.row(writer)?.appends ?? []) if (entry.offset + entry.lengthBytes > lengthBytes) count++;
    return count;
  }

  /** Whether `writer` can be added; forgets old writers to make room, never young ones, nor one with bytes beyond `settledBytes`. */
  makeRoom(writer: string, nowMs: number, settledBytes: number): boolean {
    if (this.row(writer)) return true;
    // Nobody knows how many there are.
    if (!this.complete) return false;
    if (this.rows.size < LIMITS.writersPerChunkMax) return true;
    let evicted = 0;
    for (const [name, row] of this.rows) {
      if (evicted >= EVICTIONS_MAX) break;
      if (nowMs - row.atMs < YOUNG_MS || endOf(row) > settledBytes) continue;
      this.rows.delete(name);
      this.dirty.add(name);
      evicted++;
    }
    return evicted > 0;
  }

  /** Enters an append, and forgets those of its writer up to `settled`, which nobody will ask for again. */
  add(writer: string, entry: AppendEntry, nowMs: number, settled = 0): void {
    let row = this.row(writer);
    if (!row) {
      row = { appends: [], atMs: 0 };
      this.rows.set(writer, row);
    }
    assert(endOf(row) <= entry.offset, 'appends of a writer are entered in the order of their offsets');
    if (row.appends[0] && row.appends[0].sequence <= settled)
      row.appends = row.appends.filter(({ sequence }) => sequence > settled);
    row.appends.push(entry);
    if (row.appends.length > LIMITS.appendsInFlightMax) row.appends.shift();
    row.atMs = Math.max(row.atMs, nowMs);
  }

  /** The row of `writer` is to be written to the index. */
  touch(writer: string): void {
    this.dirty.add(writer);
  }

  /** Forgets appends that end beyond `lengthBytes`: their bytes are not there. */
  cutAt(lengthBytes: number): void {
    for (const [writer, row] of this.rows) {
      const kept = row.appends.filter(entry => entry.offset + entry.lengthBytes <= lengthBytes);
      if (kept.length === row.appends.length) continue;
      row.appends = kept;
      if (kept.length === 0) this.rows.delete(writer);
      this.dirty.add(writer);
    }
  }

  /** Takes the changed rows, with only those appends that end within `writtenBytes`; undefined stands for a row to delete. */
  takeDirty(writtenBytes: number): Array<[string, WriterRow | undefined]> {
    const taken: Array<[string, WriterRow | undefined]> = [];
    for (const writer of this.dirty) {
      const row = this.rows.get(writer);
      const appends = row?.appends.filter(entry => entry.offset + entry.lengthBytes <= writtenBytes) ?? [];
      taken.push([writer, row && appends.length > 0 ? { appends, atMs: row.atMs } : undefined]);
    }
    this.dirty.clear();
    return taken;
  }
}

function endOf(row: WriterRow): number {
  const last = row.appends[row.appends.length - 1];
  return last ? last.offset + last.lengthBytes : 0;
}

const FORMAT = 1;
const HEAD_BYTES = 10;
const ENTRY_BYTES = 24;

export function encodeRow(row: WriterRow): Buffer {
  assert(row.appends.length <= LIMITS.appendsInFlightMax, 'a row is bounded');
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + row.appends.length * ENTRY_BYTES);
  bytes[0] = FORMAT;
  bytes[1] = row.appends.length;
  bytes.writeDoubleBE(row.atMs, 2);
  row.appends.forEach((entry, i) => {
    writeNumber(bytes, entry.sequence, HEAD_BYTES + i * ENTRY_BYTES);
    writeNumber(bytes, entry.offset, HEAD_BYTES + i * ENTRY_BYTES + 8);
    writeNumber(bytes, entry.lengthBytes, HEAD_BYTES + i * ENTRY_BYTES + 16);
  });
  return bytes;
}

/** Throws WRONG_DATA when the bytes are not a row of this format. */
export function decodeRow(bytes: Buffer): WriterRow {
  if (bytes.length < HEAD_BYTES || bytes[0] !== FORMAT || bytes.length !== HEAD_BYTES + bytes[1]! * ENTRY_BYTES)
    throw new GfsError('WRONG_DATA', 'a row of a writer table is of another format');
  const appends: AppendEntry[] = [];
  for (let at = HEAD_BYTES; at < bytes.length; at += ENTRY_BYTES) {
    appends.push({
      sequence: readNumber(bytes, at),
      offset: readNumber(bytes, at + 8),
      lengthBytes: readNumber(bytes, at + 16),
    });
  }
  return { appends, atMs: bytes.readDoubleBE(2) };
}
