// Carries out a fault plan on a cluster, and ends all faults. Each fault draws from a stream of its own, so that leaving one out changes nothing but
// its own effects. Promises that cannot be kept are not broken here: what may be damaged is known by damage.ts.
import type { Cluster, Machine } from './cluster.js';
import { DATA_DIRECTORIES } from './cluster.js';
import { Damage } from './damage.js';
import type { Deletions } from './deletion-watch.js';
import type { FaultKind, PlannedFault } from './fault-plan.js';
import { NETWORK_DEFAULTS } from './platform/sim-network.js';
import type { SimRandom } from './platform/sim-random.js';
import { Power, type PowerHabit, pickOf } from './power.js';

/** A directory that may not be lost yet is tried again: most open chunks are soon sealed. */
const LOSS_RETRY_MS = 100;
const LOSS_TRIES_MAX = 30;
type PowerKind = 'power loss of a chunkserver' | 'power loss of a chunkserver while the others are cut off';
type InstantKind = Exclude<FaultKind, 'lost index' | 'lost data directory' | PowerKind>;

export interface FaultsOptions {
  plan: readonly PlannedFault[];
  skip: ReadonlySet<number>;
  power: PowerHabit;
  /** Data directories of each server. */
  disks: number;
  deletions: Deletions;
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

  private readonly damage: Damage;
  private readonly power: Power;
  /** Ids of servers that will never be there again: with its index a machine loses who it is. */
  readonly lostServers: string[] = [];

  constructor(
    private readonly cluster: Cluster,
    private readonly options: FaultsOptions,
  ) {
    this.power = new Power(cluster, options.power, cluster.simulator.random('power'));
    this.damage = new Damage(cluster, {
      isDoubtful: machine => this.wounded.has(machine),
      isWeak: machine => this.power.isWeak(machine),
      deletions: options.deletions,
    });
  }

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

  private inject(fault: PlannedFault): void {
    const { kind, durationMs, index } = fault;
    const random = this.cluster.simulator.random(`fault ${index}`);
    if (kind === 'lost index' || kind === 'lost data directory') {
      void this.loseDirectory(fault, random);
      return;
    }
    if (isPowerLoss(kind)) {
      void this.power.choose(this.damage, random, {
        isOver: () => this.isOver,
        cut: victims => this.options.onFault(kind, this.losePower(kind, victims, durationMs, random)),
      });
      return;
    }
    const node = this.carryOut(kind, durationMs, random);
    if (node !== undefined) this.options.onFault(kind, node);
  }

  /** Returns the machines it met, or undefined when there was nothing to break. */
  private carryOut(kind: InstantKind, durationMs: number, random: SimRandom): string | undefined {
    const { cluster } = this;
    const { network, simulator, master } = cluster;
    const any = pickOf(random, cluster.machines);
    const server = pickOf(random, cluster.servers);
    const { frail } = this.power;
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
      case 'cut off from all but clients': {
        const others = [master, ...cluster.servers.filter(other => other !== server)].map(({ name }) => name);
        network.partition([server.name], others);
        this.after(durationMs, () => {
          for (const other of others) network.heal(server.name, other);
        });
        // Whose append it was may be gone before it can send it elsewhere.
        const client = pickOf(random, cluster.clients);
        if (random.chance(0.6))
          simulator.schedule(random.between(50, 400), () => {
            if (!this.isOver && client.node.isUp) this.killFor(client, 500);
          });
        return server.name;
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
        if (!this.power.mayFail(this.damage)) return undefined;
        this.wounded.add(frail);
        const rate = random.between(0.02, 0.4);
        const faults = {
          readErrorRate: random.chance(0.5) ? rate : 0,
          writeErrorRate: random.chance(0.5) ? rate : 0,
          syncErrorRate: random.chance(0.5) ? rate : 0,
        };
        frail.node.disk.setFaults(faults, this.someDisk(random));
        this.after(durationMs, () => frail.node.disk.clearFaults());
        return this.count(kind, frail);
      }
      case 'store errors': {
        const victim = random.chance(0.3) ? master : frail;
        if (victim === frail && !this.power.mayFail(this.damage)) return undefined;
        this.wounded.add(victim);
        victim.node.kv.faults = { ...victim.node.kv.faults, batchErrorRate: random.between(0.01, 0.2) };
        this.after(durationMs, () => {
          victim.node.kv.faults = { ...victim.node.kv.faults, batchErrorRate: 0 };
        });
        return this.count(kind, victim);
      }
      case 'full disk': {
        const full = random.chance(0.25) ? master : server;
        full.node.disk.setFaults({ isFull: true }, full === master ? '' : this.someDisk(random));
        this.after(durationMs, () => full.node.disk.clearFaults());
        return this.count(kind, full);
      }
      case 'bit flip':
        return this.damage.flip(random)?.name;
      case 'lost chunk file':
        return this.damage.loseFile(random)?.name;
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

  private losePower(kind: PowerKind, victims: readonly Machine[], durationMs: number, random: SimRandom): string {
    if (kind === 'power loss of a chunkserver') return this.darkFor(victims, durationMs);
    // The master finds only those that may have lost bytes.
    const { network, master, servers } = this.cluster;
    const others = servers.filter(machine => !victims.includes(machine) && random.chance(0.8));
    for (const other of others) network.cut(master.name, other.name);
    this.after(durationMs, () => {
      for (const other of others) network.heal(master.name, other.name);
    });
    return this.darkFor(victims, random.between(1, 100));
  }

  private darkFor(machines: readonly Machine[], downMs: number): string {
    for (const machine of machines) {
      machine.powerLoss();
      this.after(downMs, () => machine.start());
    }
    return machines.map(({ name }) => name).join(' ');
  }

  /** The server loses an index, or all that is in a directory, and comes back without; not before every chunk there has a good copy elsewhere. */
  private async loseDirectory(fault: PlannedFault, random: SimRandom): Promise<void> {
    const machine = pickOf(random, this.cluster.servers);
    // The first one is never lost alone: its server is then refused until somebody moves the others away.
    const all = this.directories;
    const lost = all.length > 1 && random.chance(0.5) ? all.slice(1) : all;
    for (let tries = 0; tries < LOSS_TRIES_MAX && !this.isOver; tries++) {
      if (this.damage.maySpare(machine, lost)) {
        if (lost.length === all.length) this.lostServers.push(this.cluster.serverProcesses.get(machine.name)!.server);
        this.killFor(machine, fault.durationMs);
        for (const directory of lost) {
          if (fault.kind === 'lost data directory') machine.node.disk.wipe(directory);
          machine.node.kv.wipe(`${directory}/index`);
        }
        this.options.onFault(fault.kind, machine.name);
        return;
      }
      await this.cluster.simulator.sleep(LOSS_RETRY_MS);
    }
  }

  /** One of several disks, or all there is. */
  private someDisk(random: SimRandom): string {
    return this.options.disks > 1 ? pickOf(random, this.directories) : '';
  }

  private get directories(): readonly string[] {
    return DATA_DIRECTORIES.slice(0, this.options.disks);
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

function isPowerLoss(kind: FaultKind): kind is PowerKind {
  return kind.startsWith('power loss of a chunkserver');
}
