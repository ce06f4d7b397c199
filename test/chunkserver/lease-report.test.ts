import test from 'ava';
import type { Chunk } from '../../src/chunkserver/chunk.js';
import { LeaseHolder } from '../../src/chunkserver/lease-holder.js';
import { LeaseReport } from '../../src/chunkserver/lease-report.js';
import { BOUNDS } from '../../src/chunkserver/settings.js';
import type { ChunkHandle } from '../../src/protocol/ids.js';
import { LIMITS } from '../../src/protocol/limits.js';
import { encodeBody } from '../../src/protocol/wire-values.js';
import { ManualClock } from '../master/manual-clock.js';

/** A high number, as long on the wire as they get. */
const FIRST = 2 ** 50;

function holderOf(count: number): LeaseHolder {
  const leases = new LeaseHolder(new ManualClock(), 5_000);
  for (let i = 0; i < count; i++) {
    const chunk = { handle: (FIRST + i) as ChunkHandle, version: FIRST, disk: { isFull: false } } as Chunk;
    leases.begin(chunk, { untilMs: 60_000, committedBytes: LIMITS.chunkSizeBytesMax });
  }
  return leases;
}

function handles(report: LeaseReport): number[] {
  return report.next().map(({ handle }) => handle - FIRST);
}

test('all leases are named when they fit, and each in its turn when they do not', t => {
  const few = new LeaseReport(holderOf(3), 3);
  t.deepEqual(handles(few), [0, 1, 2]);
  t.deepEqual(handles(few), [0, 1, 2]);

  const many = new LeaseReport(holderOf(5), 3);
  t.deepEqual(handles(many), [0, 1, 2]);
  t.deepEqual(handles(many), [3, 4, 0]);
  t.deepEqual(handles(many), [1, 2, 3]);
  t.deepEqual(new LeaseReport(holderOf(0), 3).next(), []);
});

test('the largest heartbeat fits in a message', t => {
  const leases = new LeaseReport(holderOf(BOUNDS.leasesReportedMax + 1), BOUNDS.leasesReportedMax).next();
  const chunk = {
    ...{ handle: FIRST, version: FIRST, lengthBytes: LIMITS.chunkSizeBytesMax, state: 'sealed' },
    ...{ suspect: true, corrupt: true, gone: true },
  };
  const heartbeat = {
    leases,
    changed: Array.from({ length: LIMITS.chunkReportPageMax }, () => chunk),
    compared: { from: FIRST, through: FIRST, chunks: Array.from({ length: BOUNDS.comparedMax }, () => chunk) },
    reads: Array.from({ length: BOUNDS.readsReportedMax }, () => ({ handle: FIRST, reads: FIRST })),
    failedDisks: Array.from({ length: 16 }, () => ({ path: 'p'.repeat(500), error: 'e'.repeat(500) })),
  };

  t.is(leases.length, BOUNDS.leasesReportedMax);
  t.true(encodeBody(heartbeat).length < LIMITS.bodyBytesMax, `${encodeBody(heartbeat).length}`);
});
