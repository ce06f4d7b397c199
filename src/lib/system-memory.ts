// How much garbage this process lets gather before it is collected. It changes only V8's pace, never what is kept.
import { constants, PerformanceObserver } from 'node:perf_hooks';
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

let observer: PerformanceObserver | undefined;

/** Sets the pace by what is alive, now and after every full collection. Calls after the first do nothing. */
export function paceGarbageCollection(): void {
  if (observer) return;
  observer = new PerformanceObserver(list => {
    const kinds = list.getEntries().map(entry => (entry as { detail?: { kind?: number } }).detail?.kind);
    // Only then is the heap what is alive, without garbage.
    if (kinds.includes(constants.NODE_PERFORMANCE_GC_MAJOR)) setPace();
  });
  observer.observe({ entryTypes: ['gc'] });
  setPace();
}

function setPace(): void {
  setFlagsFromString(`--heap-growing-percent=${growingPercent(getHeapStatistics().used_heap_size)}`);
}

/** How much larger the heap may become before it is collected, in percent of what is alive; 0 leaves it to V8. */
export function growingPercent(heapBytes: number): number {
  const percent = Math.floor((100 * GARBAGE_BYTES_MAX) / Math.max(1, heapBytes));
  return percent < PERCENT_MIN ? 0 : Math.min(PERCENT_MAX, percent);
}
