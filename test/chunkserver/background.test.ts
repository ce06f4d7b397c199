// What a chunkserver does beside appends and reads, as far as it needs no cluster: the rate of copies, the slow comparison with the master.
import test from 'ava';
import type { ChunkStore } from '../../src/chunkserver/chunk-store.js';
import { Comparison } from '../../src/chunkserver/comparison.js';
import { RateLimit } from '../../src/chunkserver/rate-limit.js';
import { BOUNDS } from '../../src/chunkserver/settings.js';
import type { ChunkHandle } from '../../src/protocol/ids.js';
import { ManualClock } from '../master/manual-clock.js';

test('copies keep to the rate of their server together, after a short burst', async t => {
  const clock = new ManualClock();
  const limit = new RateLimit(clock, 1_000);
  const waits: number[] = [];
  const wait = async (ms: number): Promise<void> => void waits.push(ms);

  for (let i = 0; i < 4; i++) await limit.take(250, wait);

  // The first is within the burst of a quarter of a second.
  t.deepEqual(waits, [250, 500, 750]);
  await new RateLimit(clock, 0).take(10 ** 9, wait);
  t.is(waits.length, 3);
});

test('the slow comparison names every replica once a round, in pieces without gaps', async t => {
  const clock = new ManualClock();
  const handles = Array.from({ length: BOUNDS.comparedMax * 2 + 5 }, (_, i) => (3 * i + 1) as ChunkHandle);
  const store = {
    all: () => handles.map(handle => ({ handle, exists: true })).reverse(),
    reportOf: (page: ChunkHandle[]) => page.map(handle => ({ handle })),
  } as unknown as ChunkStore;
  const comparison = new Comparison(store, clock, 1_000);
  t.is(comparison.next(), undefined);

  await clock.advance(1_000);
  const pieces = [comparison.next()!, comparison.next()!, comparison.next()!];

  t.is(comparison.next(), undefined);
  t.deepEqual(
    pieces.flatMap(({ chunks }) => chunks.map(({ handle }) => handle)),
    handles,
  );
  t.is(pieces[0]!.from, 0);
  t.is(pieces[1]!.from, pieces[0]!.through + 1);
  t.is(pieces[2]!.through, Number.MAX_SAFE_INTEGER);
  await clock.advance(1_000);
  t.is(comparison.next()?.from, 0);
});
