// The index of one data directory in LevelDB: who this server is, and of each chunk its record, its checksums and its writers. It owns the
// keys and values below and never touches chunk files. Numbers are 8 bytes, big-endian, so that byte order is numeric order.
//
//   m                       identity (MessagePack): format, server, disk, cluster id, epoch, clean
//   n                       number of the last batch
//   h                       highest stamp of the metadata that was heard (MessagePack)
//   c handle                record of a chunk or tombstone (chunk-record.ts)
//   k handle page(4)        CRC-32 of 64 blocks of 64 KiB, 4 bytes each
//   w handle writer         last appends of a writer (writer-table.ts)
import { assert } from '../lib/assert.js';
import { type Kv, type KvOp, prefixEnd } from '../lib/kv.js';
import { GfsError } from '../protocol/errors.js';
import type { ChunkHandle, ServerId } from '../protocol/ids.js';
import type { WireStamp } from '../protocol/messages.js';
import { boolean, integer, object, text } from '../protocol/schema.js';
import { decodeBody, encodeBody } from '../protocol/wire-values.js';
import { type ChunkRecord, decodeRecord, encodeRecord, readNumber, writeNumber } from './chunk-record.js';
import { decodeRow, encodeRow, type WriterRow } from './writer-table.js';

/** Whose data this is. */
export interface Identity {
  server: ServerId;
  /** Of this directory, to tell disks apart. */
  disk: string;
  /** '' until the first registration. */
  clusterId: string;
  epoch: number;
  /** The last process stopped after syncing everything. */
  clean: boolean;
}

const FORMAT = 1;
const identitySchema = object({
  format: integer(FORMAT, FORMAT),
  server: text<ServerId>(16),
  disk: text(16),
  clusterId: text(64),
  epoch: integer(0),
  clean: boolean,
});

const stampSchema = object({ start: text(16), number: integer() });

const IDENTITY_KEY = Buffer.from('m');
const COUNTER_KEY = Buffer.from('n');
const STAMP_KEY = Buffer.from('h');
const RECORD = 'c'.charCodeAt(0);
const PAGE = 'k'.charCodeAt(0);
const WRITER = 'w'.charCodeAt(0);
/** Entries of one scan. */
const SCAN_MAX = 1_000;

export class ChunkIndex {
  constructor(private readonly kv: Kv) {}

  /** Undefined in a fresh index. Throws WRONG_DATA when it is of another format. */
  identity(): Identity | undefined {
    const bytes = this.kv.getSync(IDENTITY_KEY);
    if (!bytes) return undefined;
    try {
      const { format: _, ...identity } = identitySchema.check(decodeBody(bytes), 'identity');
      return identity;
    } catch (error) {
      throw new GfsError('WRONG_DATA', 'the index is of another format', { cause: error });
    }
  }

  saveIdentity(identity: Identity): Promise<void> {
    const value = encodeBody({ format: FORMAT, ...identity });
    return this.kv.batch([{ type: 'put', key: IDENTITY_KEY, value }], { sync: true });
  }

  /** Undefined when none was heard. */
  stamp(): WireStamp | undefined {
    const bytes = this.kv.getSync(STAMP_KEY);
    return bytes && stampSchema.check(decodeBody(bytes), 'stamp');
  }

  saveStamp(stamp: WireStamp, options: { sync: boolean }): Promise<void> {
    return this.kv.batch([{ type: 'put', key: STAMP_KEY, value: encodeBody(stamp) }], options);
  }

  /** Number of the last batch of changes that is in the index. */
  counter(): number {
    const bytes = this.kv.getSync(COUNTER_KEY);
    return bytes ? readNumber(bytes, 0) : 0;
  }

  counterOp(counter: number): KvOp {
    const value = Buffer.alloc(8);
    writeNumber(value, counter, 0);
    return { type: 'put', key: COUNTER_KEY, value };
  }

  batch(ops: readonly KvOp[], options: { sync: boolean }): Promise<void> {
    return this.kv.batch(ops, options);
  }

  /** Every record, in the order of the handles. */
  async *records(): AsyncGenerator<[ChunkHandle, ChunkRecord]> {
    let gte: Buffer = Buffer.from([RECORD]);
    const lt = prefixEnd(gte);
    for (;;) {
      const entries = await this.kv.scan({ gte, lt, limit: SCAN_MAX });
      for (const [key, value] of entries) yield [readNumber(key, 1) as ChunkHandle, decodeRecord(value)];
      if (entries.length < SCAN_MAX) return;
      gte = after(entries[entries.length - 1]![0]);
    }
  }

  recordOp(handle: ChunkHandle, record: ChunkRecord): KvOp {
    return { type: 'put', key: chunkKey(RECORD, handle), value: encodeRecord(record) };
  }

  checksumPage(handle: ChunkHandle, page: number): Buffer | undefined {
    return this.kv.getSync(pageKey(handle, page));
  }

  pageOp(handle: ChunkHandle, page: number, crcs: Buffer): KvOp {
    // The page goes on changing while the batch is on its way.
    return { type: 'put', key: pageKey(handle, page), value: Buffer.from(crcs) };
  }

  writer(handle: ChunkHandle, writer: string): WriterRow | undefined {
    const bytes = this.kv.getSync(writerKey(handle, writer));
    return bytes ? decodeRow(bytes) : undefined;
  }

  writerOp(handle: ChunkHandle, writer: string, row: WriterRow | undefined): KvOp {
    const key = writerKey(handle, writer);
    return row ? { type: 'put', key, value: encodeRow(row) } : { type: 'del', key };
  }

  /** Up to `limit` writers of a chunk in order, from the one behind `afterWriter` ('' for the first). */
  async writersPage(handle: ChunkHandle, afterWriter: string, limit: number): Promise<Array<[string, WriterRow]>> {
    const first = chunkKey(WRITER, handle);
    const gte = afterWriter === '' ? first : after(writerKey(handle, afterWriter));
    const entries = await this.kv.scan({ gte, lt: prefixEnd(first), limit });
    return entries.map(([key, value]) => [key.subarray(9).toString('hex'), decodeRow(value)]);
  }

  /** All writers of a chunk. */
  async writers(handle: ChunkHandle): Promise<Array<[string, WriterRow]>> {
    const all: Array<[string, WriterRow]> = [];
    for (;;) {
      const page = await this.writersPage(handle, all[all.length - 1]?.[0] ?? '', SCAN_MAX);
      all.push(...page);
      if (page.length < SCAN_MAX) return all;
    }
  }

  /** What it takes to remove all of a chunk but its record. */
  async removalOps(handle: ChunkHandle): Promise<KvOp[]> {
    const ops: KvOp[] = [];
    for (const kind of [PAGE, WRITER]) {
      let gte = chunkKey(kind, handle);
      const lt = prefixEnd(gte);
      for (;;) {
        const entries = await this.kv.scan({ gte, lt, limit: SCAN_MAX });
        for (const [key] of entries) ops.push({ type: 'del', key });
        if (entries.length < SCAN_MAX) break;
        gte = after(entries[entries.length - 1]![0]);
      }
    }
    return ops;
  }

  removeRecordOp(handle: ChunkHandle): KvOp {
    return { type: 'del', key: chunkKey(RECORD, handle) };
  }

  close(): Promise<void> {
    return this.kv.close();
  }
}

function chunkKey(kind: number, handle: ChunkHandle): Buffer {
  const key = Buffer.alloc(9);
  key[0] = kind;
  writeNumber(key, handle, 1);
  return key;
}

function pageKey(handle: ChunkHandle, page: number): Buffer {
  const key = Buffer.alloc(13);
  key[0] = PAGE;
  writeNumber(key, handle, 1);
  key.writeUInt32BE(page, 9);
  return key;
}

function writerKey(handle: ChunkHandle, writer: string): Buffer {
  const id = Buffer.from(writer, 'hex');
  assert(id.length === 8, 'a writer is 16 hex digits');
  return Buffer.concat([chunkKey(WRITER, handle), id]);
}

/** The smallest key behind `key`. */
function after(key: Buffer): Buffer {
  return Buffer.concat([key, Buffer.alloc(1)]);
}
