// A run in which nothing but locks matters: clients that want the same ones, a master that is out of reach again and again for about as long as they wait for an
// answer, so that requests which were given up arrive after those that came later. The same seed gives the same run.
import { Actor } from './actor.js';
import { LocksExclude } from './checkers/locks.js';
import { Cluster, OPERATION_MS } from './cluster.js';
import { History, type Violation } from './history.js';
import type { SimRandom } from './platform/sim-random.js';
import { Simulator } from './platform/simulator.js';
import { Lockers } from './workloads/lockers.js';

const CLIENTS = 3;
const START_MS = 10_000;
const RUN_MS = 60_000;
/** A little longer than one attempt of a call; now and then longer than a session lives. */
const CUT_MS = [850, 1_600] as const;
const LONG_CUT_MS = [4_000, 7_000] as const;

export interface LockResult {
  violations: Violation[];
  /** What happened, by kind of event. */
  counts: Record<string, number>;
}

export async function runLockScenario(seed: number): Promise<LockResult> {
  const simulator = new Simulator({ seed });
  const random = simulator.random('locks');
  const history = new History(
    () => simulator.nowMs,
    [new LocksExclude()],
    () => undefined,
  );
  let isOver = false;
  const begin = (
    name: string,
    client: Actor['client'],
    clock: { setTimer(ms: number, fire: () => void): unknown },
  ): void => {
    const actor = new Actor({
      ...{ name, client, history, random: simulator.random(`actor ${name}`), isOver: () => isOver, isDurable: false },
      ...{ operationMs: OPERATION_MS, nextWriter: () => 1 },
      sleep: ms => new Promise(resolve => void clock.setTimer(ms, () => resolve())),
    });
    void new Lockers().run(actor);
  };
  const cluster = new Cluster(
    simulator,
    {
      ...{ servers: 2, clients: CLIENTS, chunkSizeBytes: 4_096, logLevel: 'silent', driftMax: 0.02 },
      ...{ diskCapacityBytes: 2 ** 28, appendTryMs: 1_200 },
    },
    {
      onBoot: () => undefined,
      onDeath: host => history.abandon(host),
      onClient: (name, client, { clock }) => begin(name, client, clock),
    },
  );
  cluster.startServers();
  for (const machine of cluster.clients) machine.start();
  await simulator.runUntil(() => cluster.machines.every(machine => machine.isReady), START_MS);
  const endMs = simulator.nowMs + RUN_MS;
  while (simulator.nowMs < endMs && history.violations.length === 0) await disturb(cluster, random);
  isOver = true;
  return { violations: history.violations, counts: history.counts };
}

async function disturb({ simulator, network, clients, master }: Cluster, random: SimRandom): Promise<void> {
  const { name } = clients[random.int(clients.length)]!;
  await simulator.run(random.between(500, 2_500));
  if (random.chance(0.1)) {
    master.kill();
    await simulator.run(random.between(100, 3_000));
    master.start();
    return;
  }
  network.cut(name, master.name, { oneWay: random.chance(0.5) });
  const [leastMs, mostMs] = random.chance(0.1) ? LONG_CUT_MS : CUT_MS;
  await simulator.run(random.between(leastMs, mostMs));
  network.heal();
}
