// How much garbage this process lets gather before it is collected. It changes only V8's pace, never what is kept.
import { getHeapStatistics, setFlagsFromString } from 'node:v8';

const MiB = 1024 * 1024;
/**
 * A process that moves bytes has a small heap (10 MB) beside large network buffers, which V8 counts as if they were garbage in that heap: left alone
 * it marks the whole heap every 14 MiB received, a fifth of all CPU time (measured: 37 full collections for 512 MiB). With this much room there are two.
 */
const GARBAGE_BYTES_MAX = 96 * MiB;
/** A heap so small that its factor is beyond this has nothing to gain any more. */
const PERCENT_MAX = 1500;
/** Large heaps are left to V8's own judgement, which grows them by less. */
const PERCENT_MIN = 50;
const LOOK_AGAIN_MS = 10_000;

let isStarted = false;

/** Sets the pace by the size of the heap, now and every ten seconds. Calls after the first do nothing. */
export function paceGarbageCollection(): void {
  if (isStarted) return;
  isStarted = true;
  setPace();
  setInterval(setPace, LOOK_AGAIN_MS).unref();
}

function setPace(): void {
  setFlagsFromString(`--heap-growing-percent=${growingPercent(getHeapStatistics().used_heap_size)}`);
}

/** How much larger the heap may become before it is collected, in percent of what is alive; 0 leaves it to V8. */
export function growingPercent(heapBytes: number): number {
  const percent = Math.floor((100 * GARBAGE_BYTES_MAX) / Math.max(1, heapBytes));
  return percent < PERCENT_MIN ? 0 : Math.min(PERCENT_MAX, percent);
}
