// Sizes and numbers at which the product does something else (pushes, write-back, full tables), drawn anew by each seed: as they ship, or so small that
// records of a few KiB reach them. Only what the code looks up each time; what it takes when it is loaded is in small-units.ts.
import { BOUNDS } from '../../src/chunkserver/settings.js';
import { LIMITS } from '../../src/protocol/limits.js';
import type { SimRandom } from './platform/sim-random.js';

const KIB = 1024;
type Bound =
  | 'forwardAloneBytes'
  | 'writeBackBytes'
  | 'writeBytesMax'
  | 'forwardQueuedBytesMax'
  | 'stagedBytesPerConnectionMax'
  | 'stagedMs'
  | 'checksumPagesMax'
  | 'activeIdleMs'
  | 'housekeepingMs';
type Limit = 'inlineAppendBytesMax' | 'pushBytesMax' | 'writersPerChunkMax';

const SHIPPED: { bounds: Record<Bound, number>; limits: Record<Limit, number> } = {
  bounds: pick(BOUNDS, [
    'forwardAloneBytes',
    'writeBackBytes',
    'writeBytesMax',
    'forwardQueuedBytesMax',
    'stagedBytesPerConnectionMax',
    'stagedMs',
    'checksumPagesMax',
    'activeIdleMs',
    'housekeepingMs',
  ]),
  limits: pick(LIMITS, ['inlineAppendBytesMax', 'pushBytesMax', 'writersPerChunkMax']),
};

/** How often each is small. */
const SMALL_CHANCE = 0.4;
/** Every third writer of a chunk then ends it, which leaves little else to happen there. */
const FEW_WRITERS_CHANCE = 0.15;

/** Sets them in this process, for the scenario that begins. */
export function drawUnits(random: SimRandom): void {
  const small = <T>(values: readonly T[]): T | undefined =>
    random.chance(SMALL_CHANCE) ? values[random.int(values.length)] : undefined;
  const { bounds, limits } = SHIPPED;
  const pushes = small([KIB, 3 * KIB]);
  const idle = small([1_000, 4_000]);
  const staging = small([8 * KIB, 64 * KIB]);
  Object.assign(LIMITS, {
    ...limits,
    ...(pushes === undefined ? {} : { inlineAppendBytesMax: pushes, pushBytesMax: 1 + random.int(2 * KIB) }),
    ...(random.chance(FEW_WRITERS_CHANCE) ? { writersPerChunkMax: 2 + random.int(3) } : {}),
  });
  Object.assign(BOUNDS, {
    ...bounds,
    forwardAloneBytes: small([600, 3 * KIB]) ?? bounds.forwardAloneBytes,
    writeBackBytes: small([KIB, 16 * KIB]) ?? bounds.writeBackBytes,
    writeBytesMax: small([KIB, 8 * KIB]) ?? bounds.writeBytesMax,
    forwardQueuedBytesMax: small([KIB, 8 * KIB]) ?? bounds.forwardQueuedBytesMax,
    checksumPagesMax: small([1, 3]) ?? bounds.checksumPagesMax,
    ...(staging === undefined ? {} : { stagedBytesPerConnectionMax: staging, stagedMs: 1_000 }),
    ...(idle === undefined ? {} : { activeIdleMs: idle, housekeepingMs: idle / 4 }),
  });
}

function pick<T, K extends keyof T>(from: T, names: readonly K[]): Record<K, number> {
  return Object.fromEntries(names.map(name => [name, from[name]])) as unknown as Record<K, number>;
}
