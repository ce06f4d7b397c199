// Which faults a seed brings, and when: drawn ahead of time, so that one can be left out without moving the others. It touches nothing.
import type { SimRandom } from './platform/sim-random.js';

export const FAULT_KINDS = [
  'cut one way',
  'cut',
  'partition',
  'reset',
  'kill chunkserver',
  'kill client',
  'kill master',
  'kill master in a seal',
  'power loss of a chunkserver',
  'power loss of a chunkserver while the others are cut off',
  'power loss of the master',
  'power loss of all',
  'slow disk',
  'slow network',
  'disk errors',
  'store errors',
  'full disk',
  'bit flip',
  'lost chunk file',
  'lost index',
  'lost data directory',
  'clock jump',
  'clock drift',
  'pause',
  'pause of the master',
  'cut off from all but clients',
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

export interface PlannedFault {
  index: number;
  kind: FaultKind;
  atMs: number;
  /** How long until it is over; a killed process is started again then. */
  durationMs: number;
}

/** How often each kind comes on average, as parts of all; and how long it lasts. */
const HABITS: Record<FaultKind, { share: number; durationMs: readonly [number, number] }> = {
  'cut one way': { share: 10, durationMs: [50, 3_000] },
  cut: { share: 10, durationMs: [50, 5_000] },
  partition: { share: 8, durationMs: [100, 6_000] },
  reset: { share: 8, durationMs: [0, 0] },
  'kill chunkserver': { share: 14, durationMs: [10, 2_500] },
  'kill client': { share: 3, durationMs: [50, 1_000] },
  'kill master': { share: 6, durationMs: [20, 1_000] },
  'kill master in a seal': { share: 8, durationMs: [20, 800] },
  'power loss of a chunkserver': { share: 10, durationMs: [5, 3_000] },
  'power loss of a chunkserver while the others are cut off': { share: 9, durationMs: [500, 5_000] },
  'power loss of the master': { share: 3, durationMs: [50, 1_500] },
  'power loss of all': { share: 1, durationMs: [50, 1_500] },
  'slow disk': { share: 4, durationMs: [200, 3_000] },
  'slow network': { share: 4, durationMs: [200, 4_000] },
  'disk errors': { share: 2, durationMs: [100, 1_000] },
  'store errors': { share: 2, durationMs: [100, 1_000] },
  'full disk': { share: 3, durationMs: [200, 3_000] },
  'bit flip': { share: 8, durationMs: [0, 0] },
  'lost chunk file': { share: 4, durationMs: [0, 0] },
  'lost index': { share: 2, durationMs: [50, 3_000] },
  'lost data directory': { share: 4, durationMs: [50, 3_000] },
  'clock jump': { share: 2, durationMs: [0, 0] },
  'clock drift': { share: 2, durationMs: [500, 5_000] },
  pause: { share: 8, durationMs: [100, 10_000] },
  // Leases run out while their primaries and clients are well.
  'pause of the master': { share: 5, durationMs: [1_000, 10_000] },
  // A primary writes what nobody else has, and goes on serving it.
  'cut off from all but clients': { share: 10, durationMs: [500, 5_000] },
};

export interface FaultPlanOptions {
  fromMs: number;
  untilMs: number;
  /**
   * An acknowledgement without fsync survives the loss of power of all machines but one of a chain, one with fsync of all (FAULTS, promise 1). So only
   * where workloads wait for fsync may all machines go dark.
   */
  isDurable: boolean;
}

/** A seed makes each of its kinds more or less common by up to this factor. */
const SHARE_FACTOR = 4;

/** Some seeds bring no faults, most bring some kinds and not others, all in all at a rate of their own, and each kind at one of its own. */
export function planFaults(random: SimRandom, { fromMs, untilMs, isDurable }: FaultPlanOptions): PlannedFault[] {
  const meanGapMs = [0, 2_500, 1_200, 600, 300][random.int(5)]!;
  const kinds = FAULT_KINDS.filter(kind => random.chance(0.6) && (isDurable || kind !== 'power loss of all'));
  const shares = new Map(kinds.map(kind => [kind, HABITS[kind].share * SHARE_FACTOR ** random.between(-1, 1)]));
  const total = [...shares.values()].reduce((sum, share) => sum + share, 0);
  if (meanGapMs === 0 || total === 0) return [];
  const plan: PlannedFault[] = [];
  for (let atMs = fromMs + random.between(0, meanGapMs); atMs < untilMs; atMs += random.between(0, 2 * meanGapMs)) {
    const kind = drawKind(random.between(0, total), shares);
    const [low, high] = HABITS[kind].durationMs;
    // Short ones are as likely as long ones.
    const durationMs = low === high ? low : Math.exp(random.between(Math.log(low), Math.log(high)));
    plan.push({ index: plan.length, kind, atMs, durationMs });
  }
  return plan;
}

/** The kind in whose share `draw` falls, when the shares lie one behind the other. */
function drawKind(draw: number, shares: ReadonlyMap<FaultKind, number>): FaultKind {
  let end = 0;
  for (const [kind, share] of shares) {
    end += share;
    if (draw < end) return kind;
  }
  return [...shares.keys()][0]!;
}
