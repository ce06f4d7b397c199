// What kind of cluster a seed has beside its sizes: where its servers stand, how many disks they have, and which of the master's rarer habits are on. It
// draws, and builds nothing.
import type { SimRandom } from './platform/sim-random.js';

export interface Shape {
  /** Racks that the servers are spread over. */
  racks: number;
  /** Data directories of each server. */
  disks: number;
  diskCapacityBytes: number;
  scatterWidth: number;
  /** Reads a second of a chunk that give it more copies. */
  hotReads: number;
  hotReplicas: number;
  balanceThreshold: number;
  scrubPeriod: number;
}

const MIB = 1024 * 1024;
/** Of 1000: what a server has more than another of so large a disk is soon a chunk or two. */
const BALANCED = { diskCapacityBytes: 32 * MIB, balanceThreshold: 1 };
const LEFT_ALONE = { diskCapacityBytes: 256 * MIB, balanceThreshold: 100 };

export const PLAIN: Shape = {
  ...{ racks: 1, disks: 1, scatterWidth: 0, hotReads: 1_000, hotReplicas: 8, scrubPeriod: 20_000 },
  ...LEFT_ALONE,
};

export function drawShape(random: SimRandom): Shape {
  return {
    racks: random.chance(0.4) ? 2 : 1,
    disks: random.chance(0.3) ? 2 : 1,
    scatterWidth: [0, 0, 2, 3][random.int(4)]!,
    ...(random.chance(0.3) ? { hotReads: 1 + random.int(3), hotReplicas: 3 + random.int(2) } : pick(PLAIN)),
    ...(random.chance(0.3) ? BALANCED : LEFT_ALONE),
    // Short: damage is found while faults go on. Long: mostly after them.
    scrubPeriod: random.chance(0.4) ? 4_000 : 20_000,
  };
}

function pick({ hotReads, hotReplicas }: Shape): Pick<Shape, 'hotReads' | 'hotReplicas'> {
  return { hotReads, hotReplicas };
}
