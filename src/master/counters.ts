// The cluster's rising numbers and its counts, in one row that every change may touch. Numbers are given out one by one and durably with what
// they name, never in blocks: a master started on an old copy of its store must be able to tell a handle that it deleted from one that it never
// gave out (FAULTS, promise 8), and the row shares the batch of the change anyway.
import { assert } from '../lib/assert.js';
import type { ChunkHandle, InodeId } from '../protocol/ids.js';
import { metaKey } from './keys.js';
import { COUNTERS, type CountersRecord } from './records.js';
import type { Change, Reader } from './store.js';

const KEY = metaKey('counters');

/** Counts of what there is, without the rising numbers. */
export type Counts = Omit<CountersRecord, 'nextInode' | 'nextHandle' | 'keyEpoch'>;

export function readCounters(reader: Reader): CountersRecord {
  const value = reader.get(KEY);
  assert(value !== undefined, 'a formatted store has counters');
  return COUNTERS.decode(KEY, value);
}

export function writeCounters(change: Change, counters: CountersRecord): void {
  change.put(KEY, COUNTERS.encode(KEY, counters));
}

/** Adds to counts; none may become negative. */
export function count(change: Change, deltas: Partial<Counts>): void {
  const counters = readCounters(change);
  for (const [name, delta] of Object.entries(deltas) as Array<[keyof Counts, number]>) {
    counters[name] += delta;
    assert(counters[name] >= 0, `the count of ${name} is not negative`);
  }
  writeCounters(change, counters);
}

/** An inode number that was never given out before. */
export function allocateInode(change: Change): InodeId {
  return raise(change, 'nextInode') as InodeId;
}

/** A chunk handle that was never given out before. */
export function allocateHandle(change: Change): ChunkHandle {
  return raise(change, 'nextHandle') as ChunkHandle;
}

/** A number for a new token key. */
export function allocateKeyEpoch(change: Change): number {
  return raise(change, 'keyEpoch');
}

function raise(change: Change, name: 'nextInode' | 'nextHandle' | 'keyEpoch'): number {
  const counters = readCounters(change);
  const number = counters[name];
  counters[name]++;
  assert(Number.isSafeInteger(counters[name]), 'numbers have not run out');
  writeCounters(change, counters);
  return number;
}
