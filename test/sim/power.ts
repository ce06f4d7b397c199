// Decides which chunkservers lose power, so that what FAULTS promises can be kept: an acknowledgement survives that of all machines of its chain but one, and
// one with fsync that of all. It knows nothing of how long they stay dark.
import type { Cluster, Machine } from './cluster.js';
import type { Damage } from './damage.js';
import type { SimRandom } from './platform/sim-random.js';

/**
 * all: appends count when they are on the disks. one: only one server, always the same, at any moment. all but one: any, also several at once, as long as of
 * every chunk one member keeps its bytes.
 */
export type PowerHabit = 'all' | 'one' | 'all but one';

/** Most of the time some chunk has been met lately and is not sealed yet. */
const RETRY_MS = 40;
const TRIES_MAX = 50;

export class Power {
  /** The one of which disks fail, and the only one that loses power where that is the habit. */
  readonly frail: Machine;

  constructor(
    private readonly cluster: Cluster,
    private readonly habit: PowerHabit,
    random: SimRandom,
  ) {
    this.frail = cluster.servers[random.int(cluster.servers.length)]!;
  }

  /** Whether the machine may lose what it has not synced whatever the others have lost. */
  isWeak(machine: Machine): boolean {
    return this.habit === 'all' || (this.habit === 'one' && machine === this.frail);
  }

  /** Calls `cut` with those that are to lose power, at once or a little later; never when there is none to spare. */
  async choose(
    damage: Damage,
    random: SimRandom,
    { isOver, cut }: { isOver: () => boolean; cut: (victims: readonly Machine[]) => void },
  ): Promise<void> {
    const { servers, simulator } = this.cluster;
    if (this.habit !== 'all but one') return cut([this.habit === 'all' ? pickOf(random, servers) : this.frail]);
    const most = random.chance(0.5) ? 1 : servers.length - 1;
    const order = shuffled(random, servers);
    for (let tries = 0; tries < TRIES_MAX && !isOver(); tries++) {
      const victims: Machine[] = [];
      for (const server of order)
        if (victims.length < most && damage.mayLosePower([...victims, server])) victims.push(server);
      if (victims.length > 0) {
        damage.onPowerLoss(victims);
        return cut(victims);
      }
      await simulator.sleep(RETRY_MS);
    }
  }

  /** Whether the disk of the frail one may begin to fail: from then on nothing there can be counted on. */
  mayFail(damage: Damage): boolean {
    return this.habit !== 'all but one' || damage.mayLosePower([this.frail]);
  }
}

export function pickOf<T>(random: SimRandom, items: readonly T[]): T {
  return items[random.int(items.length)]!;
}

function shuffled<T>(random: SimRandom, items: readonly T[]): T[] {
  const rest = [...items];
  return items.map(() => rest.splice(random.int(rest.length), 1)[0]!);
}
