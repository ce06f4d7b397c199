// What a chunkserver does beside appends and reads, as far as it needs no cluster: the rate of copies, the slow comparison with the master.
import test from 'ava';
import type { ChunkStore } from '../../src/chunkserver/chunk-store.js';
import { Comparison } from '../../src/chunkserver/comparison.js';
import { Pause } from '../../src/chunkserver/pause.js';
import { RateLimit } from '../../src/chunkserver/rate-limit.js';
import { Scrubber } from '../../src/chunkserver/scrubber.js';
import { BOUNDS } from '../../src/chunkserver/settings.js';
import { silentLogger } from '../../src/lib/logger.js';
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

test('the scrubber reads all that is stored once in its period, and in no window more than its share of it and one piece', async t => {
  const clock = new ManualClock();
  const chunkBytes = 3 * BOUNDS.pieceBytes + 1_000;
  const chunks = Array.from({ length: 8 }, (_, i) => ({
    ...{ handle: i as ChunkHandle, state: 'sealed', recordedBytes: chunkBytes },
    ...{ isIdle: true, corrupt: false, gone: false, failure: undefined, lastUseMs: 0 },
    disk: { files: { drop: async () => undefined } },
  }));
  const reads: Array<{ atMs: number; bytes: number }> = [];
  const store = {
    all: () => chunks,
    existing: (handle: ChunkHandle) => chunks[handle],
    reader: {
      read: async (_chunk: unknown, _offset: number, bytes: number) =>
        void reads.push({ atMs: clock.monotonicMs(), bytes }),
    },
  } as unknown as ChunkStore;
  const pause = new Pause(clock);
  const scrubber = new Scrubber(store, clock, silentLogger, pause, 60_000);
  const running = scrubber.run();
  const startMs = clock.monotonicMs();

  await clock.advance(30_000);
  const half = scrubber.progress()!;
  await clock.advance(152_000);
  const after = scrubber.progress()!;
  scrubber.stop();
  pause.end();
  await running;

  const total = 8 * chunkBytes;
  t.like(half, { roundsDone: 0, totalBytes: total });
  t.true(Math.abs(half.checkedBytes - total / 2) <= BOUNDS.pieceBytes, `${half.checkedBytes}`);
  t.true(Math.abs(half.bytesPerSecond - total / 60) < BOUNDS.pieceBytes / 30, `${half.bytesPerSecond}`);
  t.is(after.roundsDone, 3);
  for (let fromMs = startMs; fromMs < startMs + 170_000; fromMs += 500) {
    const inWindow = reads.filter(({ atMs }) => atMs >= fromMs && atMs < fromMs + 10_000);
    const bytes = inWindow.reduce((sum, read) => sum + read.bytes, 0);
    t.true(bytes <= (10 * total) / 60 + BOUNDS.pieceBytes, `${bytes} bytes in 10 s`);
  }
});

test('a chunk that grows while a round goes on does not hold the scrubber up: the next round reads what is new', async t => {
  const clock = new ManualClock();
  const chunk = {
    ...{ handle: 0 as ChunkHandle, state: 'sealed', recordedBytes: 1 },
    ...{ isIdle: true, corrupt: false, gone: false, failure: undefined, lastUseMs: 0 },
    // It grows before it is read.
    disk: {
      files: {
        drop: async (): Promise<void> => {
          chunk.recordedBytes = BOUNDS.pieceBytes;
        },
      },
    },
  };
  const ends: number[] = [];
  const store = {
    all: () => [chunk],
    existing: () => chunk,
    reader: { read: async (_chunk: unknown, offset: number, bytes: number) => void ends.push(offset + bytes) },
  } as unknown as ChunkStore;
  const pause = new Pause(clock);
  const scrubber = new Scrubber(store, clock, silentLogger, pause, 60_000);
  const running = scrubber.run();

  await clock.advance(190_000);
  const { roundsDone } = scrubber.progress()!;
  scrubber.stop();
  pause.end();
  await running;

  t.deepEqual(ends.slice(0, 2), [1, BOUNDS.pieceBytes]);
  t.true(roundsDone >= 2, `${roundsDone} rounds`);
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
