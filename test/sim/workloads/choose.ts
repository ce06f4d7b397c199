// Which workloads the clients of a seed run: appenders always, the others by chance.
import type { SimRandom } from '../platform/sim-random.js';
import { Claimers } from './claimers.js';
import { Cutters } from './cutters.js';
import { Followers } from './followers.js';
import { Lockers } from './lockers.js';
import { RecordAppenders } from './record-appenders.js';
import { Renamers } from './renamers.js';
import { StreamWriters } from './stream-writers.js';
import type { Workload } from './workload.js';

/** For each client, what it does. */
export function chooseWorkloads(
  random: SimRandom,
  clients: number,
  { isDurable }: { isDurable: boolean },
): Workload[][] {
  const paths = ['shared-1', 'shared-2'].slice(0, 1 + random.int(2));
  const pauseMs = [60, 150, 400][random.int(3)]!;
  const hasClaimers = random.chance(0.25);
  const chosen = Array.from({ length: clients }, (_, client) => {
    const mine: Workload[] = [];
    const inFlight = random.chance(0.5) ? 1 : 2 + random.int(10);
    // The last client may only watch.
    if (client < 2 || random.chance(0.5))
      mine.push(new RecordAppenders({ paths, inFlight, pauseMs, reads: !isDurable }));
    // Readers may see bytes that no fsync has confirmed and a loss of power takes.
    if (isDurable) return mine;
    if (hasClaimers && (client < 2 || random.chance(0.5))) mine.push(new Claimers(pauseMs));
    if (random.chance(0.3)) mine.push(new StreamWriters());
    if (random.chance(0.6) || mine.length === 0) mine.push(new Followers());
    if (random.chance(0.25)) mine.push(new Cutters());
    if (random.chance(0.25)) mine.push(new Renamers());
    if (random.chance(0.2)) mine.push(new Lockers());
    return mine;
  });
  // Locks tell most when all clients want them.
  if (!isDurable && random.chance(0.25))
    for (const mine of chosen) if (!mine.some(({ name }) => name === 'lockers')) mine.push(new Lockers());
  return chosen;
}
