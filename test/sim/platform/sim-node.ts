// A simulated machine and the one process that may run on it. Owns what survives a process (disk, stores, memory, hardware clock)
// and what ends it: death of the process, loss of power. Who runs in the process is the caller's business: boot() hands out a Platform, no more.
import { assert } from '../../../src/lib/assert.js';
import type { Platform } from '../../../src/lib/platform.js';
import { SimClock, SimMachineClock } from './sim-clock.js';
import { SimDisk } from './sim-disk.js';
import { SimDiskStore } from './sim-disk-store.js';
import { SimKvStores } from './sim-kv.js';
import { SimKvStore } from './sim-kv-store.js';
import { SimLogger, type SimLogLevel } from './sim-logger.js';
import type { SimNetwork } from './sim-network.js';
import { type ProcessEnd, SimProcess } from './sim-process.js';
import type { SimRandom } from './sim-random.js';
import { SimTransport } from './sim-transport.js';
import { SimWitness } from './sim-witness.js';
import type { Simulator } from './simulator.js';

export interface SimNodeOptions {
  diskCapacityBytes?: number;
  /** Directories at the top are disks of their own when there are more than one, each of that capacity. */
  disks?: number;
  /** Clocks differ in rate by up to this part, chosen per machine. */
  driftMax?: number;
  logLevel?: SimLogLevel;
}

const DRIFT_MAX_DEFAULT = 0.001;
const WALL_OFFSET_MS_MAX = 5_000;
/** A machine has been up for at most this long when its first process starts. */
const UPTIME_MS_MAX = 10_000_000;

export class SimNode {
  readonly name: string;
  readonly disk: SimDiskStore;
  readonly kv: SimKvStore;
  readonly #simulator: Simulator;
  readonly #network: SimNetwork;
  readonly #random: SimRandom;
  readonly #driftMax: number;
  readonly #logLevel: SimLogLevel;
  #clock: SimMachineClock;
  #memory = new Map<string, number>();
  #process: SimProcess | undefined;
  #incarnation = 0;

  constructor(simulator: Simulator, network: SimNetwork, name: string, options: SimNodeOptions = {}) {
    this.name = name;
    this.#simulator = simulator;
    this.#network = network;
    this.#random = simulator.random(`${name}/node`);
    this.#driftMax = options.driftMax ?? DRIFT_MAX_DEFAULT;
    this.#logLevel = options.logLevel ?? 'warn';
    this.disk = new SimDiskStore(simulator, name, {
      ...(options.diskCapacityBytes === undefined ? {} : { capacityBytes: options.diskCapacityBytes }),
      isDivided: (options.disks ?? 1) > 1,
    });
    this.kv = new SimKvStore(simulator, name);
    this.#clock = this.#newClock();
    network.powerOn(name);
  }

  /** The machine's clock: setRate and jumpWall are faults. A loss of power replaces it. */
  get clock(): SimMachineClock {
    return this.#clock;
  }

  get isUp(): boolean {
    return this.#process !== undefined;
  }

  get isStopped(): boolean {
    return this.#process?.isStopped ?? false;
  }

  /** How many processes this machine has started. */
  get incarnation(): number {
    return this.#incarnation;
  }

  /** Starts a process (and the machine, when it had lost power). Requires that none runs. */
  boot(): Platform {
    assert(this.#process === undefined, 'one process runs on a node at a time');
    const process = new SimProcess(this.#simulator, this.name, ++this.#incarnation);
    this.#process = process;
    this.#network.powerOn(this.name);
    this.#simulator.trace(`${process.name} boots`);
    return {
      clock: new SimClock(process, this.#clock),
      random: this.#simulator.random(`${process.name}/random`),
      transport: new SimTransport(process, this.#network),
      disk: new SimDisk(process, this.disk),
      kv: new SimKvStores(process, this.kv, this.disk),
      witness: new SimWitness(process, this.#memory),
      logger: new SimLogger(process, this.#logLevel),
    };
  }

  /** The process dies at whatever it was waiting for; what the operating system holds stays. */
  kill(): void {
    if (this.#process === undefined) return;
    this.#simulator.fault('kill', this.#process.name);
    this.#end('killed');
  }

  /** SIGSTOP and SIGCONT: false when there is no process, or it stands already as it should. */
  stop(): boolean {
    if (this.#process === undefined || this.#process.isStopped) return false;
    this.#simulator.fault('pause', this.#process.name);
    this.#process.stop();
    return true;
  }

  goOn(): boolean {
    const process = this.#process;
    if (!process?.isStopped) return false;
    this.#simulator.trace(`${process.name} goes on`);
    process.goOn();
    this.#network.onGoOn(process);
    return true;
  }

  /** The machine loses power, with a process on it or without: what was not synced is gone, peers are told nothing. */
  powerLoss(): void {
    this.#simulator.fault('power-loss', this.name);
    // A machine without a process still has to fall silent.
    this.#process ??= this.#idleProcess();
    this.#end('powerLost');
    this.disk.losePower();
    this.kv.losePower();
    this.#memory = new Map();
    this.#clock = this.#newClock();
  }

  /** An orderly end that the process itself brought about: as kill, without counting as a fault. */
  exit(): void {
    if (this.#process === undefined) return;
    this.#simulator.trace(`${this.#process.name} exits`);
    this.#end('killed');
  }

  #end(end: ProcessEnd): void {
    const process = this.#process;
    this.#process = undefined;
    process?.end(end);
  }

  #idleProcess(): SimProcess {
    const process = new SimProcess(this.#simulator, this.name, this.#incarnation);
    process.onEnd(end => this.#network.onProcessEnd(process, end));
    return process;
  }

  #newClock(): SimMachineClock {
    return new SimMachineClock(this.#simulator, {
      rate: 1 + this.#random.between(-this.#driftMax, this.#driftMax),
      startMs: this.#random.between(0, UPTIME_MS_MAX),
      wallOffsetMs: this.#random.between(-WALL_OFFSET_MS_MAX, WALL_OFFSET_MS_MAX),
    });
  }
}
