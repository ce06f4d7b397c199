// What a chunkserver has found out about its disks that they do not tell, for the one that takes its place in the same process when a full disk has
// room again. A new process begins without it. It decides nothing.
import type { GfsError } from '../protocol/errors.js';
import type { ChunkHandle } from '../protocol/ids.js';

export class Carried {
  /** Replicas whose bytes a failed sync may have lost, which could not be recorded: reading shows them all the same. */
  readonly distrusted = new Set<ChunkHandle>();
  /** Data directories that failed, by path: they are not opened again. */
  readonly failedDisks = new Map<string, GfsError>();
}
