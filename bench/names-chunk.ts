// What a chunk costs in the master's memory, weighed in this process.
import { Locations } from '../src/master/locations.js';
import type { ChunkHandle, ServerId } from '../src/protocol/ids.js';

const CHUNKS_WEIGHED = 100_000;

/** Bytes that the master keeps in memory for one chunk with three replicas; undefined where node was not started with --expose-gc. */
export function bytesPerChunk(): number | undefined {
  const { gc } = globalThis;
  if (!gc) return undefined;
  const servers = ['a', 'b', 'c', 'd'].map(digit => digit.repeat(16) as ServerId);
  gc();
  const before = process.memoryUsage().heapUsed;
  const locations = new Locations();
  for (let handle = 1; handle <= CHUNKS_WEIGHED; handle++)
    for (const offset of [0, 1, 2])
      locations.report(servers[(handle + offset) % servers.length]!, {
        ...{ handle: handle as ChunkHandle, version: 1, lengthBytes: 100 + handle, state: 'sealed' },
        ...{ suspect: false, corrupt: false, gone: false },
      });
  gc();
  const bytes = (process.memoryUsage().heapUsed - before) / CHUNKS_WEIGHED;
  // Still needed here, so that it was not collected before.
  return locations.handleCount === CHUNKS_WEIGHED ? bytes : undefined;
}
