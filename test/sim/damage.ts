// Damages what the simulated disks hold: bits, chunk files, indices, whole data directories. It knows the truth from the disks themselves and takes no byte
// of which no other good copy is left, so that whatever is lost afterwards was lost by the cluster. When and how often is not decided here.
import type { ChunkRecord } from '../../src/master/records.js';
import { LIMITS } from '../../src/protocol/limits.js';
import type { Cluster, Machine } from './cluster.js';
import type { Deletions } from './deletion-watch.js';
import type { SimRandom } from './platform/sim-random.js';
import { allChunks, isSeen, type TrueReplica, trueReplicas } from './truth.js';

const BLOCK = LIMITS.blockBytes;
/** How often a flip goes to a block of which another copy is bad already. */
const SAME_BLOCK_CHANCE = 0.5;

export interface DamageOptions {
  /** What a machine holds cannot be counted on. */
  isDoubtful: (machine: Machine) => boolean;
  /** It may lose what it has not synced, at any time. */
  isWeak: (machine: Machine) => boolean;
  deletions: Deletions;
}

interface Spot {
  chunk: ChunkRecord;
  replicas: readonly TrueReplica[];
  replica: TrueReplica;
  block: number;
}

export class Damage {
  /** What was damaged, or lost with the power, of chunks that took appends: machine and chunk. */
  private readonly harmed = new Set<string>();

  constructor(
    private readonly cluster: Cluster,
    private readonly options: DamageOptions,
  ) {}

  /** One bit of one replica. Returns the machine, or undefined when there is no byte to spare. */
  flip(random: SimRandom): Machine | undefined {
    const spare: Spot[] = [];
    const besideBad: Spot[] = [];
    this.eachChunk((chunk, replicas) => {
      for (const replica of replicas) {
        for (let block = 0; block < replica.blockCount; block++) {
          const spot = { chunk, replicas, replica, block };
          if (!replica.goodBlock(block) || !this.isSpare(spot)) continue;
          spare.push(spot);
          if (replicas.some(other => other.isSealedAs(chunk) && !other.goodBlock(block))) besideBad.push(spot);
        }
      }
    });
    const among = besideBad.length > 0 && random.chance(SAME_BLOCK_CHANCE) ? besideBad : spare;
    const spot = pick(random, among);
    if (!spot) return undefined;
    const { replica, block } = spot;
    const lengthBytes = Math.min(BLOCK, replica.chunk.recordedBytes - block * BLOCK);
    this.harmed.add(nameOf(replica.machine, replica.chunk.handle));
    replica.machine.node.disk.flipBit(replica.path, block * BLOCK + random.int(lengthBytes));
    this.noteLeft(spot);
    return replica.machine;
  }

  /** One chunk file is deleted, under the server if it runs. */
  loseFile(random: SimRandom): Machine | undefined {
    const spare: Spot[] = [];
    this.eachChunk((chunk, replicas) => {
      for (const replica of replicas)
        if (this.areSpare(chunk, replicas, [replica])) spare.push({ chunk, replicas, replica, block: 0 });
    });
    const spot = pick(random, spare);
    if (!spot) return undefined;
    const { path, machine } = spot.replica;
    this.harmed.add(nameOf(machine, spot.chunk.handle));
    machine.node.disk.loseFile(path);
    this.noteLeft(spot);
    return machine;
  }

  /** Whether the machine may lose all chunks in these data directories. */
  maySpare(machine: Machine, directories: readonly string[]): boolean {
    const process = this.cluster.serverProcesses.get(machine.name);
    if (!process || !machine.isReady || !isSeen(this.cluster, machine)) return false;
    let mayGo = this.cluster.masterProcess !== undefined;
    this.eachChunk((chunk, replicas) => {
      const isLost = ({ machine: at, chunk: { disk } }: TrueReplica): boolean =>
        at === machine && directories.includes(disk.path);
      const isMember = chunk.state === 'open' && chunk.chain.some(({ server }) => server === process.server);
      if (mayGo && (isMember || replicas.some(isLost))) mayGo = this.areSpare(chunk, replicas, replicas.filter(isLost));
    });
    return mayGo;
  }

  /**
   * Whether these machines may lose what they have not synced: of every chunk that takes appends another member keeps it all, of every sealed one there are
   * good bytes without them. Without a master nobody knows.
   */
  mayLosePower(machines: readonly Machine[]): boolean {
    let mayGo = this.cluster.masterProcess !== undefined;
    const ids = machines.map(({ name }) => this.cluster.serverProcesses.get(name)?.server);
    const hasUnseen = machines.some(machine => !isSeen(this.cluster, machine));
    this.eachChunk((chunk, replicas) => {
      if (!mayGo) return;
      if (chunk.state !== 'open') {
        // What stands as it was sealed is synced. One that is behind may have the last good bytes of what is damaged there.
        const behind = replicas.filter(replica => machines.includes(replica.machine) && !replica.isSealedAs(chunk));
        if (behind.length > 0 || hasUnseen) mayGo = this.areSpare(chunk, replicas, behind);
        return;
      }
      const isMet = ids.includes(undefined) || chunk.chain.some(({ server }) => ids.includes(server));
      const keeps = (replica: TrueReplica): boolean =>
        !machines.includes(replica.machine) && this.counts(chunk, replica);
      if (isMet && !replicas.some(keeps)) mayGo = false;
    });
    return mayGo;
  }

  /** They lose it now. */
  onPowerLoss(machines: readonly Machine[]): void {
    this.eachChunk(({ state, handle }) => {
      if (state === 'open') for (const machine of machines) this.harmed.add(nameOf(machine, handle));
    });
  }

  private areSpare(chunk: ChunkRecord, replicas: readonly TrueReplica[], lost: readonly TrueReplica[]): boolean {
    const others = replicas.filter(replica => !lost.includes(replica) && this.counts(chunk, replica));
    if (chunk.state === 'open') return hasAll(others, lost);
    for (let at = 0; at < chunk.lengthBytes; at += BLOCK)
      if (!others.some(other => other.goodBlock(at / BLOCK))) return false;
    return true;
  }

  /** Counted, so that it can be seen that chunks do come down to one good copy. */
  private noteLeft({ chunk, replicas, block }: Spot): void {
    if (chunk.state !== 'sealed') return;
    const left = replicas.filter(replica => replica.isSealedAs(chunk) && replica.goodBlock(block));
    if (left.length === 1)
      this.cluster.simulator.fault('one-good-copy-left', `${left[0]!.machine.name}:${left[0]!.path} block ${block}`);
  }

  private isSpare({ chunk, replicas, replica, block }: Spot): boolean {
    const others = replicas.filter(other => other !== replica && this.counts(chunk, other));
    if (chunk.state === 'open') return hasAll(others, [replica]);
    return others.some(other => other.goodBlock(block));
  }

  /** Whether what this replica has of the chunk will still be there, unless it is damaged here. */
  private counts(chunk: ChunkRecord, replica: TrueReplica): boolean {
    const { isDoubtful, isWeak, deletions } = this.options;
    const { machine, chunk: here } = replica;
    const server = this.cluster.serverProcesses.get(machine.name)?.server;
    if (server === undefined || !machine.isReady || isDoubtful(machine) || here.failure) return false;
    if (chunk.state === 'sealed') return replica.isSealedAs(chunk) && !deletions.has(chunk.handle, server);
    // It has to be able to say alone, and later, what was acknowledged.
    const isMember = chunk.chain.some(member => member.server === server);
    const isWhole = !here.suspect && !here.corrupt && !this.harmed.has(nameOf(machine, chunk.handle));
    return isMember && isWhole && !isWeak(machine);
  }

  private eachChunk(look: (chunk: ChunkRecord, replicas: readonly TrueReplica[]) => void): void {
    const store = this.cluster.masterProcess?.rooms.context.store;
    if (!store) return;
    const replicas = trueReplicas(this.cluster);
    for (const chunk of allChunks(store))
      if (chunk.garbageDueMs === undefined) look(chunk, replicas.get(chunk.handle) ?? []);
  }
}

/** Whether one of them is whole and lacks nothing of `lost`, whose last bytes may not be acknowledged and yet stand: the chunk may be sealed with them. */
function hasAll(others: readonly TrueReplica[], lost: readonly TrueReplica[]): boolean {
  const endBytes = Math.max(1, ...lost.map(({ chunk }) => chunk.endBytes));
  return others.some(other => other.chunk.recordedBytes >= endBytes && other.goodBytes() !== undefined);
}

function nameOf(machine: Machine, handle: number): string {
  return `${machine.name} ${handle}`;
}

function pick<T>(random: SimRandom, items: readonly T[]): T | undefined {
  return items[random.int(Math.max(1, items.length))];
}
