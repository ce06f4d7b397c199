// A simulated cluster: one master, some chunkservers and clients, each the real code on a machine of its own. It starts and restarts their processes,
// as a supervisor would; it injects no faults and judges nothing.
import './small-units.js';

import { partsByBlock } from '../../src/chunkserver/block-checksums.js';
import { Chunkserver } from '../../src/chunkserver/chunkserver.js';
import { CHUNKSERVER_SETTINGS } from '../../src/chunkserver/settings.js';
import { connectFileSystem } from '../../src/client/connect.js';
import type { ClientSettings } from '../../src/client/settings.js';
import type { FileSystemClient } from '../../src/client/types.js';
import { assert } from '../../src/lib/assert.js';
import type { Platform } from '../../src/lib/platform.js';
import { settingValues } from '../../src/lib/settings.js';
import { formatMaster } from '../../src/master/format.js';
import { Master } from '../../src/master/master.js';
import { MASTER_SETTINGS } from '../../src/master/settings.js';
import { asGfsError } from '../../src/protocol/errors.js';
import { LIMITS } from '../../src/protocol/limits.js';
import type { SimLogLevel } from './platform/sim-logger.js';
import { SimNetwork } from './platform/sim-network.js';
import { SimNode } from './platform/sim-node.js';
import type { Simulator } from './platform/simulator.js';
import { PLAIN, type Shape } from './shape.js';

export interface ClusterOptions extends Partial<Shape> {
  servers: number;
  clients: number;
  chunkSizeBytes: number;
  logLevel: SimLogLevel;
  /** Clocks differ in rate by up to this part. */
  driftMax: number;
  /** How long a client waits for an answer to an append before it complains. */
  appendTryMs: number;
  /** Within this an operation of a client ends; OPERATION_MS when absent. Not for clients that were added. */
  operationMs?: number;
  /** How old what a client knows of a file may be when it reads. */
  revalidateMs?: number;
  /** Clients that hear nothing of what others change. */
  deafClients?: boolean;
  /** Degraded chunks are left alone for so long. */
  rereplicateAfterMs?: number;
  /** Instead of the usual ones of this file. */
  masterTimes?: Partial<Record<keyof typeof MASTER_TIMES, number>>;
  /** Copies at once, in all and at each server, and bytes a second of them, in all and at each server; their own when absent. */
  copyLimits?: { copiesMax: number; copiesPerServer: number; copyRate: number; serverCopyRate: number };
}

assert(partsByBlock([Buffer.alloc(LIMITS.blockBytes + 1)], 0).length === 2, 'small-units.ts came first');

export const MASTER_ADDRESS = 'master:9400';
const MASTER_DATA = '/master';
/** Data directories of chunkservers, of which each has the first or more. */
export const CHUNKSERVER_DATA = '/chunks';
export const DATA_DIRECTORIES = [CHUNKSERVER_DATA, '/more'] as const;
/** A process that ended by itself is started again after this. */
const RESPAWN_MS = 400;
/** Short, so that leases run out, servers count as dead and copies are made within seconds. */
const MASTER_TIMES = {
  lease: 2_000,
  deadAfter: 1_500,
  rereplicateAfter: 1_000,
  trash: 86_400_000,
  gcGrace: 20_000,
  orderTimeout: 400,
  sealDeadline: 3_000,
  copyTimeout: 2_000,
  sessionTtl: 4_000,
  tokenLifetime: 30_000,
  keyRollover: 10_000,
  safeModeMax: 2_500,
  safeModeWait: 1_000,
};
/** Small, so that it overflows: what was pushed out has to be found in the store again. */
const MASTER_CACHE_ENTRIES = 500;
const CHUNKSERVER_TIMES = { heartbeat: 300, leaseIdle: 600, chainTimeout: 400 };
export const OPERATION_MS = 10_000;
const CLIENT_TIMES: Partial<ClientSettings> = {
  connectTimeoutMs: 5_000,
  masterTryMs: 800,
  masterHoldMs: 4_000,
  patienceMs: 4_000,
  syncTryMs: 2_000,
  readTryMs: 300,
  tailTryMs: 300,
  readPatienceMs: 5_000,
  avoidMs: 1_000,
  relocateMs: 1_000,
  retryMaxMs: 300,
};
export const LEASE_MS = MASTER_TIMES.lease;
export const SESSION_TTL_MS = MASTER_TIMES.sessionTtl;

/** What runs on a machine, started anew for each process. `fail` ends the process, as its own supervisor would. */
type Program = (platform: Platform, fail: (error: unknown) => void) => Promise<void>;

export class Machine {
  private respawn: { run: (() => void) | undefined } | undefined;
  /** The process that has started and serves, by its incarnation. */
  private ready = 0;

  constructor(
    private readonly simulator: Simulator,
    readonly node: SimNode,
    private readonly program: Program,
    private readonly onBoot: (platform: Platform, host: string) => void,
    private readonly onDeath: () => void,
  ) {}

  get name(): string {
    return this.node.name;
  }

  get isReady(): boolean {
    return this.node.isUp && this.ready === this.node.incarnation;
  }

  /** Starts the process; nothing happens when one runs. A start that fails is repeated. */
  start(): void {
    if (this.node.isUp) return;
    this.cancelRespawn();
    const platform = this.node.boot();
    const { incarnation } = this.node;
    this.onBoot(platform, this.name);
    const fail = (error: unknown): void => {
      if (this.node.isUp && this.node.incarnation === incarnation) this.end(error);
    };
    this.program(platform, fail).then(() => {
      this.ready = incarnation;
    }, fail);
  }

  kill(): void {
    this.cancelRespawn();
    if (!this.node.isUp) return;
    this.node.kill();
    this.onDeath();
  }

  powerLoss(): void {
    this.cancelRespawn();
    this.node.powerLoss();
    this.onDeath();
  }

  private end(error: unknown): void {
    const { code, message } = asGfsError(error);
    this.simulator.trace(`${this.name} gives up: ${code} ${message}`);
    this.node.exit();
    this.onDeath();
    this.respawn = this.simulator.schedule(RESPAWN_MS, () => this.start());
  }

  private cancelRespawn(): void {
    if (this.respawn) this.respawn.run = undefined;
    this.respawn = undefined;
  }
}

export interface ClusterEvents {
  onBoot: (platform: Platform, host: string) => void;
  onDeath: (host: string) => void;
  /** A client process has connected. */
  onClient: (name: string, client: FileSystemClient, platform: Platform) => void;
}

export class Cluster {
  readonly network: SimNetwork;
  readonly master: Machine;
  readonly servers: Machine[] = [];
  readonly clients: Machine[] = [];
  /** The objects of the processes that run now. */
  masterProcess: Master | undefined;
  readonly serverProcesses = new Map<string, Chunkserver>();
  private readonly options: ClusterOptions & Shape;

  constructor(
    readonly simulator: Simulator,
    options: ClusterOptions,
    private readonly events: ClusterEvents,
  ) {
    this.options = { ...PLAIN, ...options };
    this.network = new SimNetwork(simulator);
    this.master = this.machine('master', (platform, fail) => this.runMaster(platform, fail));
    for (let i = 1; i <= options.servers; i++) {
      const name = `cs${i}`;
      this.servers.push(this.machine(name, (platform, fail) => this.runServer(name, platform, fail)));
    }
    for (let i = 1; i <= options.clients; i++) {
      const name = `c${i}`;
      this.clients.push(this.machine(name, (platform, fail) => this.runClient(name, platform, fail)));
    }
  }

  get machines(): Machine[] {
    return [this.master, ...this.servers, ...this.clients];
  }

  startServers(): void {
    this.master.start();
    for (const server of this.servers) server.start();
  }

  /** Another client machine, not part of the faults. */
  addClient(name: string): Machine {
    const machine = this.machine(name, (platform, fail) => this.runClient(name, platform, fail));
    machine.start();
    return machine;
  }

  /** A machine for what operators do, not part of the faults; `run` ends it. */
  addOperator(name: string, run: (platform: Platform) => Promise<void>): void {
    this.machine(name, async (platform, fail) => {
      await run(platform).catch(fail);
    }).start();
  }

  private machine(name: string, program: Program): Machine {
    const { logLevel, driftMax, diskCapacityBytes, disks } = this.options;
    const node = new SimNode(this.simulator, this.network, name, { logLevel, driftMax, diskCapacityBytes, disks });
    return new Machine(this.simulator, node, program, this.events.onBoot, () => {
      if (name === 'master') this.masterProcess = undefined;
      this.serverProcesses.delete(name);
      this.events.onDeath(name);
    });
  }

  private async runMaster(platform: Platform, fail: (error: unknown) => void): Promise<void> {
    if (this.master.node.kv.get(`${MASTER_DATA}/meta`) === undefined) {
      const { chunkSizeBytes, servers } = this.options;
      const replicas = Math.min(3, servers);
      await formatMaster(platform, { data: MASTER_DATA, chunkSize: chunkSizeBytes, replicas, minReplicas: 2 });
    }
    const { rereplicateAfterMs: rereplicateAfter = MASTER_TIMES.rereplicateAfter, copyLimits } = this.options;
    const { scatterWidth, hotReads, hotReplicas, balanceThreshold } = this.options;
    const { copiesMax, copiesPerServer, copyRate } = copyLimits ?? settingValues(MASTER_SETTINGS);
    const settings = {
      ...settingValues(MASTER_SETTINGS),
      ...MASTER_TIMES,
      ...this.options.masterTimes,
      ...{ copiesMax, copiesPerServer, copyRate, scatterWidth, hotReads, hotReplicas, balanceThreshold },
      rereplicateAfter,
      cacheEntries: MASTER_CACHE_ENTRIES,
      listen: MASTER_ADDRESS,
    };
    const onRoom = (): void => fail(new Error('the full disk has room again'));
    const master = new Master(platform, { ...settings, data: MASTER_DATA, onFailure: fail, onRoom });
    await master.start();
    this.masterProcess = master;
  }

  private async runServer(name: string, platform: Platform, fail: (error: unknown) => void): Promise<void> {
    const { copyLimits, racks, disks, scrubPeriod } = this.options;
    const settings = {
      ...settingValues(CHUNKSERVER_SETTINGS),
      ...CHUNKSERVER_TIMES,
      scrubPeriod,
      ...(copyLimits ? { copyRate: copyLimits.serverCopyRate } : {}),
      master: MASTER_ADDRESS,
      listen: `${name}:9411`,
      location: `/az/pod/rack${racks === 1 ? '' : Number(name.slice(2)) % racks}/${name}`,
      reserve: 64 * 1024,
      data: DATA_DIRECTORIES.slice(0, disks),
    };
    const onRoom = (): void => fail(new Error('a full disk has room again'));
    const server = new Chunkserver(platform, { ...settings, onFailure: fail, onRoom });
    await server.start();
    this.serverProcesses.set(name, server);
  }

  private async runClient(name: string, platform: Platform, _fail: (error: unknown) => void): Promise<void> {
    const { appendTryMs, operationMs, revalidateMs = 300, deafClients = false } = this.options;
    const isAdded = !this.clients.some(machine => machine.name === name);
    const opTimeoutMs = isAdded ? OPERATION_MS : (operationMs ?? OPERATION_MS);
    const client = await connectFileSystem(platform, {
      master: MASTER_ADDRESS,
      name,
      wantsChanges: !deafClients,
      settings: { ...CLIENT_TIMES, opTimeoutMs, appendTryMs, revalidateMs, ...cacheOf(name) },
    });
    this.events.onClient(name, client, platform);
  }
}

/** Every other client asks the servers each time: the cache would show for ever what it once read, whatever became of the copies. */
function cacheOf(name: string): Partial<ClientSettings> {
  return /[02468]$/.test(name) ? { cacheBytes: 0 } : {};
}
