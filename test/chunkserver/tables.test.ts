// The tables of a chunk on their own: writers, checksums by block, records.
import test from 'ava';
import { partsByBlock } from '../../src/chunkserver/block-checksums.js';
import { type ChunkRecord, decodeRecord, encodeRecord } from '../../src/chunkserver/chunk-record.js';
import { decodeRow, encodeRow, type WriterRow, WriterTable } from '../../src/chunkserver/writer-table.js';
import { crc32 } from '../../src/lib/checksum.js';
import { LIMITS } from '../../src/protocol/limits.js';
import { pattern, W1, W2 } from './rig.js';

const none = () => undefined;

test('a writer table keeps the newest appends of each writer, as many as may be in work', t => {
  const table = new WriterTable(none, true);
  for (let i = 1; i <= 20; i++) table.add(W1, { sequence: i, offset: i * 10, lengthBytes: 10 }, i);

  t.is(table.find(W1, 4), undefined);
  t.deepEqual(table.find(W1, 5), { sequence: 5, offset: 50, lengthBytes: 10 });
  t.is(table.lastSequence(W1), 20);
  t.is(table.lastSequence(W2), 0);
  t.is(table.countBeyond(W1, 190), 2);
});

test('appends whose outcome the client knows leave the table, the newest never does', t => {
  const table = new WriterTable(none, true);
  for (let i = 1; i <= 5; i++) table.add(W1, { sequence: i, offset: i * 10, lengthBytes: 10 }, i);

  table.add(W1, { sequence: 6, offset: 60, lengthBytes: 10 }, 6, 3);
  t.is(table.find(W1, 3), undefined);
  t.like(table.find(W1, 4), { offset: 40 });

  table.add(W1, { sequence: 7, offset: 70, lengthBytes: 10 }, 7, 6);
  table.touch(W1);
  t.deepEqual(table.takeDirty(80), [[W1, { appends: [{ sequence: 7, offset: 70, lengthBytes: 10 }], atMs: 7 }]]);
  t.is(table.lastSequence(W1), 7);
});

test('a table that is full of young writers makes no room; old ones go', t => {
  const table = new WriterTable(none, true);
  const name = (i: number) => (i + 0x10000).toString(16).padStart(16, '0');
  for (let i = 1; i <= LIMITS.writersPerChunkMax; i++)
    table.add(name(i), { sequence: 1, offset: i, lengthBytes: 1 }, 1_000);

  t.true(table.makeRoom(name(1), 1_000, 1e6), 'it knows this one');
  t.false(table.makeRoom(W1, 1_000 + LIMITS.appendRetryMs, 1e6));
  t.false(table.makeRoom(W1, 1e9, 0), 'nothing is forgotten that is not acknowledged');
  t.true(table.makeRoom(W1, 1e9, 1e6));
  t.is(table.find(name(1), 1), undefined);
});

test('only appends within the written bytes go to the index', t => {
  const table = new WriterTable(none, true);
  table.add(W1, { sequence: 1, offset: 0, lengthBytes: 10 }, 5);
  table.add(W1, { sequence: 2, offset: 10, lengthBytes: 10 }, 6);
  table.touch(W1);

  t.deepEqual(table.takeDirty(10), [[W1, { appends: [{ sequence: 1, offset: 0, lengthBytes: 10 }], atMs: 6 }]]);
  t.deepEqual(table.takeDirty(20), [], 'it is not dirty any more');
  table.cutAt(0);
  t.deepEqual(table.takeDirty(0), [[W1, undefined]]);
});

test('rows and records survive their bytes, and damaged ones are refused', t => {
  const row: WriterRow = { appends: [{ sequence: 2 ** 53 - 1, offset: 2 ** 40, lengthBytes: 3 }], atMs: 1.5 };
  t.deepEqual(decodeRow(encodeRow(row)), row);
  t.throws(() => decodeRow(Buffer.alloc(3)), { message: /another format/ });

  const record: ChunkRecord = {
    ...{
      state: 'fenced',
      version: 7,
      fencedVersion: 7,
      lengthBytes: 2 ** 28,
      syncedBytes: 5,
      syncedCrc: 2 ** 32 - 1,
      createdEpoch: 3,
    },
    ...{ suspect: true, corrupt: false, settled: true, tombstone: { epoch: 2, keyId: 9, atMs: 77 } },
  };
  const bytes = encodeRecord(record);
  t.deepEqual(decodeRecord(bytes), record);
  bytes[10]! ^= 1;
  t.throws(() => decodeRecord(bytes), { message: /checksum/ });
});

test('the parts of an append by blocks have the checksums of their bytes, however it was cut into buffers (§5.2)', t => {
  const bytes = pattern(200_000);
  for (const offset of [0, 1, 65_535, 65_536, 100_000]) {
    const buffers = [bytes.subarray(0, 7), bytes.subarray(7, 65_540), bytes.subarray(65_540)];
    const parts = partsByBlock(buffers, offset);

    let at = 0;
    for (const { lengthBytes, crc } of parts) {
      t.is(crc, crc32(bytes.subarray(at, at + lengthBytes)));
      t.is(
        Math.floor((offset + at) / LIMITS.blockBytes),
        Math.floor((offset + at + lengthBytes - 1) / LIMITS.blockBytes),
      );
      at += lengthBytes;
    }
    t.is(at, bytes.length);
  }
});
