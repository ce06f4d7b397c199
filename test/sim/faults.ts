// Carries out a fault plan on a cluster, and ends all faults. Each fault draws from a stream of its own, so that leaving one out changes nothing but
// its own effects. Promises that cannot be kept are not broken here: a sealed chunk keeps one good copy.
import type { Cluster, Machine } from './cluster.js';
import { CHUNKSERVER_DATA } from './cluster.js';
import type { FaultKind, PlannedFault } from './fault-plan.js';
import { NETWORK_DEFAULTS } from './platform/sim-network.js';
import type { SimRandom } from './platform/sim-random.js';

export interface FaultsOptions {
  plan: readonly PlannedFault[];
  skip: ReadonlySet<number>;
  /** Any chunkserver may lose what it has not synced; otherwise only one of them, always the same. */
  isDurable: boolean;
  onFault: (fault: FaultKind, node: string) => void;
  /** A process that stood still since then goes on now. */
  onGoOn: (node: string, sinceMs: number) => void;
}

export class Faults {
  private isOver = false;
  /** Machines whose master will die at the next sign of a seal: how long it then stays down. */
  private ambushDownMs: number | undefined;
  /** Machines whose processes must be started anew because a disk or store failed under them. */
  private readonly wounded = new Set<Machine>();
  /** Virtual time since when processes stand still. */
  private readonly stoppedSinceMs = new Map<Machine, number>();

  constructor(
    private readonly cluster: Cluster,
    private readonly options: FaultsOptions,
  ) {}

  /** Puts the whole plan into the future. */
  schedule(): void {
    const { simulator } = this.cluster;
    for (const fault of this.options.plan) {
      if (this.options.skip.has(fault.index)) continue;
      simulator.schedule(Math.max(0, fault.atMs - simulator.nowMs), () => {
        if (!this.isOver) this.inject(fault);
      });
    }
  }

  /** The master has raised a version durably and told somebody: where an ambush is laid, it dies now. */
  onVersionRaised(): void {
    const downMs = this.ambushDownMs;
    if (downMs === undefined || this.isOver) return;
    this.ambushDownMs = undefined;
    const { master, simulator } = this.cluster;
    // Not inside the event that told of it.
    simulator.schedule(0, () => {
      if (!this.isOver && master.node.isUp) this.killFor(master, downMs);
    });
  }

  /** No more faults; everything that was broken works again, every process runs. */
  heal(): void {
    this.isOver = true;
    const { network, machines } = this.cluster;
    network.heal();
    network.options = { ...NETWORK_DEFAULTS };
    for (const machine of machines) {
      this.goOn(machine);
      machine.node.disk.clearFaults();
      machine.node.kv.faults = { batchErrorRate: 0, openErrorRate: 0, slowFactor: 1 };
      machine.node.clock.setRate(1);
      if (this.wounded.has(machine)) machine.kill();
      machine.start();
    }
  }

  private inject({ kind, durationMs, index }: PlannedFault): void {
    const random = this.cluster.simulator.random(`fault ${index}`);
    const node = this.carryOut(kind, durationMs, random);
    if (node !== undefined) this.options.onFault(kind, node);
  }

  /** Returns the machines it met, or undefined when there was nothing to break. */
  private carryOut(kind: FaultKind, durationMs: number, random: SimRandom): string | undefined {
    const { cluster } = this;
    const { network, simulator, master } = cluster;
    const any = pickOf(random, cluster.machines);
    const server = pickOf(random, cluster.servers);
    // Whose unsynced bytes may be lost.
    const weak = this.options.isDurable ? server : cluster.servers[0]!;
    switch (kind) {
      case 'cut':
      case 'cut one way': {
        const other = pickOf(
          random,
          cluster.machines.filter(machine => machine !== any),
        );
        network.cut(any.name, other.name, { oneWay: kind === 'cut one way' });
        this.after(durationMs, () => network.heal(any.name, other.name));
        return `${any.name} ${other.name}`;
      }
      case 'partition': {
        const names = cluster.machines.map(({ name }) => name);
        const side = names.filter(() => random.chance(0.4));
        const others = names.filter(name => !side.includes(name));
        network.partition(side, others);
        this.after(durationMs, () => {
          for (const a of side) for (const b of others) network.heal(a, b);
        });
        return side.join(' ');
      }
      case 'reset': {
        const other = pickOf(
          random,
          cluster.machines.filter(machine => machine !== any),
        );
        network.reset(any.name, other.name);
        return `${any.name} ${other.name}`;
      }
      case 'kill chunkserver':
        return this.killFor(server, durationMs);
      case 'kill client':
        return this.killFor(pickOf(random, cluster.clients), durationMs);
      case 'kill master':
        return this.killFor(master, durationMs);
      case 'kill master in a seal':
        this.ambushDownMs = durationMs;
        return master.name;
      case 'power loss of a chunkserver':
        return this.darkFor([weak], durationMs);
      case 'power loss of a chunkserver while the others are cut off': {
        // The master finds only the one that may have lost bytes.
        const others = cluster.servers.filter(machine => machine !== weak && random.chance(0.8));
        for (const other of others) network.cut(master.name, other.name);
        this.after(durationMs, () => {
          for (const other of others) network.heal(master.name, other.name);
        });
        return this.darkFor([weak], random.between(1, 100));
      }
      case 'power loss of the master':
        return this.darkFor([master], durationMs);
      case 'power loss of all':
        return this.darkFor([master, ...cluster.servers], durationMs);
      case 'slow disk': {
        const slowFactor = random.between(5, 60);
        server.node.disk.setFaults({ slowFactor });
        server.node.kv.faults = { ...server.node.kv.faults, slowFactor };
        this.after(durationMs, () => {
          server.node.disk.clearFaults();
          server.node.kv.faults = { ...server.node.kv.faults, slowFactor: 1 };
        });
        return this.count(kind, server);
      }
      case 'slow network': {
        network.options = {
          ...NETWORK_DEFAULTS,
          latencyMsMax: random.between(1, 80),
          longChance: random.between(0, 0.4) ** 2 * 2.5,
          longMsMax: random.between(100, 1_500),
        };
        this.after(durationMs, () => {
          network.options = { ...NETWORK_DEFAULTS };
        });
        simulator.fault(kind, '');
        return 'all';
      }
      case 'disk errors': {
        this.wounded.add(weak);
        const rate = random.between(0.02, 0.4);
        weak.node.disk.setFaults({
          readErrorRate: random.chance(0.5) ? rate : 0,
          writeErrorRate: random.chance(0.5) ? rate : 0,
          syncErrorRate: random.chance(0.5) ? rate : 0,
        });
        this.after(durationMs, () => weak.node.disk.clearFaults());
        return this.count(kind, weak);
      }
      case 'store errors': {
        const victim = random.chance(0.3) ? master : weak;
        this.wounded.add(victim);
        victim.node.kv.faults = { ...victim.node.kv.faults, batchErrorRate: random.between(0.01, 0.2) };
        this.after(durationMs, () => {
          victim.node.kv.faults = { ...victim.node.kv.faults, batchErrorRate: 0 };
        });
        return this.count(kind, victim);
      }
      case 'full disk':
        server.node.disk.setFaults({ isFull: true });
        this.after(durationMs, () => server.node.disk.clearFaults());
        return this.count(kind, server);
      case 'bit flip':
        return this.flip(random);
      case 'clock jump':
        any.node.clock.jumpWall(random.between(-3_600_000, 3_600_000));
        return this.count(kind, any);
      case 'clock drift':
        any.node.clock.setRate(random.between(0.9, 1.1));
        this.after(durationMs, () => any.node.clock.setRate(1));
        return this.count(kind, any);
      case 'pause':
        return this.pauseFor(any, durationMs);
      case 'pause of the master':
        return this.pauseFor(master, durationMs);
    }
  }

  private pauseFor(machine: Machine, durationMs: number): string | undefined {
    if (!machine.node.stop()) return undefined;
    this.stoppedSinceMs.set(machine, this.cluster.simulator.nowMs);
    this.after(durationMs, () => this.goOn(machine));
    return machine.name;
  }

  private goOn(machine: Machine): void {
    const sinceMs = this.stoppedSinceMs.get(machine);
    if (sinceMs === undefined) return;
    this.stoppedSinceMs.delete(machine);
    // Told first: what happens next is judged with it.
    if (machine.node.isStopped) this.options.onGoOn(machine.name, sinceMs);
    machine.node.goOn();
  }

  private killFor(machine: Machine, downMs: number): string | undefined {
    if (!machine.node.isUp) return undefined;
    machine.kill();
    this.after(downMs, () => machine.start());
    return machine.name;
  }

  private darkFor(machines: readonly Machine[], downMs: number): string {
    for (const machine of machines) {
      machine.powerLoss();
      this.after(downMs, () => machine.start());
    }
    return machines.map(({ name }) => name).join(' ');
  }

  /** One bit of one stored copy of a sealed chunk that has another good copy. */
  private flip(random: SimRandom): string | undefined {
    const context = this.cluster.masterProcess?.rooms.context;
    if (!context) return undefined;
    const copies: Array<{ machine: Machine; path: string }> = [];
    for (const machine of this.cluster.servers) {
      const others = this.cluster.servers.filter(other => other !== machine);
      for (const path of machine.node.disk.filePaths(`${CHUNKSERVER_DATA}/chunks/`)) {
        // Where a copy was flipped before, or is being made, nobody can say which ones are good: only chunks with full untouched copies elsewhere.
        if (this.flipped.has(path) || !this.isSealed(path)) continue;
        const size = machine.node.disk.file(path)?.sizeBytes ?? 0;
        const good = others.filter(
          other => (other.node.disk.file(path)?.sizeBytes ?? -1) >= size && this.isSafe(other),
        );
        if (size > 0 && good.length >= 1) copies.push({ machine, path });
      }
    }
    if (copies.length === 0) return undefined;
    const { machine, path } = pickOf(random, copies);
    this.flipped.add(path);
    machine.node.disk.flipBit(path);
    return machine.name;
  }

  /** Paths of chunk files of which some copy was damaged here. */
  readonly flipped = new Set<string>();

  private isSafe(machine: Machine): boolean {
    return machine.isReady && !this.wounded.has(machine);
  }

  /** Whether the master has this chunk as sealed and current on at least two servers. */
  private isSealed(path: string): boolean {
    const rooms = this.cluster.masterProcess?.rooms;
    if (!rooms) return false;
    const handle = Number.parseInt(path.slice(path.lastIndexOf('/') + 1), 16);
    return this.sealedCopies(rooms, handle) >= 2;
  }

  private sealedCopies(rooms: NonNullable<Cluster['masterProcess']>['rooms'], handle: number): number {
    const { locations } = rooms.context;
    return locations
      .get(handle as never)
      .filter(({ state, corrupt, suspect }) => state === 'sealed' && !corrupt && !suspect).length;
  }

  private count(kind: FaultKind, machine: Machine): string {
    this.cluster.simulator.fault(kind, machine.name);
    return machine.name;
  }

  private after(durationMs: number, undo: () => void): void {
    this.cluster.simulator.schedule(durationMs, () => {
      if (!this.isOver) undo();
    });
  }
}

function pickOf<T>(random: SimRandom, items: readonly T[]): T {
  return items[random.int(items.length)]!;
}
