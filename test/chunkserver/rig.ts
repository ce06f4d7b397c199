// Real chunkservers on simulated machines, a master that only registers and listens, and a client's connections: what the tests of this folder
// stand on. The tests give the orders that a master would give.
import type { ExecutionContext } from 'ava';
import { Chunkserver } from '../../src/chunkserver/chunkserver.js';
import { CHUNKSERVER_SETTINGS, type ChunkserverSettings } from '../../src/chunkserver/settings.js';
import { crc32 } from '../../src/lib/checksum.js';
import type { Platform } from '../../src/lib/platform.js';
import { settingValues } from '../../src/lib/settings.js';
import { GfsError } from '../../src/protocol/errors.js';
import { type ChunkHandle, handleName, type ServerId } from '../../src/protocol/ids.js';
import { LIMITS } from '../../src/protocol/limits.js';
import type {
  CHUNKSERVER_TO_MASTER,
  ChunkserverKind,
  MASTER_TO_CHUNKSERVER,
  Reply,
  Request,
  WireChunkReport,
  WireStamp,
} from '../../src/protocol/messages.js';
import { KeyRing, signToken, type TokenRight } from '../../src/protocol/token.js';
import { RpcPeers } from '../../src/rpc/peer.js';
import { RpcServer } from '../../src/rpc/server.js';
import { SimNetwork } from '../sim/platform/sim-network.js';
import { SimNode } from '../sim/platform/sim-node.js';
import { Simulator } from '../sim/platform/simulator.js';

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const CHUNK = 7 as ChunkHandle;
export const W1 = '00000000000000a1';
export const W2 = '00000000000000a2';
const MASTER = 'master:9400';
const CLUSTER = 'test-cluster';
const TIMEOUT = { timeoutMs: 10_000 };
const WORK_MS_MAX = 120_000;

type OrderKind = keyof typeof MASTER_TO_CHUNKSERVER;
type AppendOptions = Partial<Omit<Request<'append'>, 'push'>> & {
  bytes: Buffer;
  token?: Buffer;
  push?: number;
  /** Send the bytes in the append itself. */
  inline?: boolean;
  to?: string;
};

export interface RigOptions {
  servers?: number;
  chunkSizeBytes?: number;
  leaseMs?: number;
  settings?: Partial<ChunkserverSettings>;
  seed?: number;
}

/** One machine with a chunkserver. */
export class Host {
  process: Chunkserver | undefined;
  id = '' as ServerId;
  epoch = 0;
  /** What onFailure was told. */
  failure: GfsError | undefined;
  /** onRoom was called: the owner would start the server anew. */
  hasRoom = false;

  constructor(
    readonly rig: Rig,
    readonly node: SimNode,
  ) {}

  get name(): string {
    return this.node.name;
  }

  get address(): string {
    return `${this.name}:9411`;
  }

  async start(settings: Partial<ChunkserverSettings> = {}): Promise<void> {
    const server = this.create(settings);
    await this.rig.do(() => server.start());
    this.process = server;
    this.id = server.server;
    this.epoch = server.epoch;
  }

  /** A process that has not started yet. */
  create(settings: Partial<ChunkserverSettings> = {}): Chunkserver {
    return new Chunkserver(this.node.boot(), {
      ...settingValues(CHUNKSERVER_SETTINGS),
      ...{ heartbeat: 200, leaseIdle: 100_000, chainTimeout: 500, scrubPeriod: 0, reserve: 64 * KiB },
      ...{ master: MASTER, listen: this.address, data: ['/data'] },
      ...this.rig.options.settings,
      ...settings,
      onFailure: error => {
        this.failure = error;
      },
      onRoom: () => {
        this.hasRoom = true;
      },
    });
  }

  async stop(): Promise<void> {
    await this.rig.do(() => this.process!.stop());
    this.node.exit();
  }

  /** Killed and started again. */
  async crash(settings: Partial<ChunkserverSettings> = {}): Promise<void> {
    this.node.kill();
    await this.start(settings);
  }

  /** The machine loses power and comes back. */
  async losePower(): Promise<void> {
    this.node.powerLoss();
    await this.start();
    // The others would find out at their next message that nobody is there any more.
    for (const other of ['client', ...this.rig.hosts.map(host => host.name)]) this.rig.network.reset(other, this.name);
    await this.rig.pass(10);
  }

  path(handle: ChunkHandle = CHUNK): string {
    return `/data/chunks/${handleName(handle).slice(-2)}/${handleName(handle)}`;
  }

  /** What is in the chunk's flat file. */
  file(handle: ChunkHandle = CHUNK): Buffer | undefined {
    const file = this.node.disk.file(this.path(handle));
    return file?.read(file.sizeBytes, 0);
  }
}

export class Rig {
  readonly simulator: Simulator;
  readonly network: SimNetwork;
  readonly hosts: Host[] = [];
  readonly keys = new KeyRing([{ id: 1, secret: Buffer.alloc(32, 1) }]);
  /** What the master heard. */
  readonly reports = new Map<ServerId, Map<ChunkHandle, WireChunkReport>>();
  readonly returned: Array<{ handle: ChunkHandle; version: number; lengthBytes: number }> = [];
  readonly copied: number[] = [];
  /** What its last heartbeat said of each server's scrubber. */
  readonly scrubs = new Map<ServerId, Request<'heartbeat'>['scrub']>();
  readonly space = new Map<ServerId, Request<'heartbeat'>['space']>();
  leases: Request<'heartbeat'>['leases'] = [];
  failedDisks: Request<'heartbeat'>['failedDisks'] = [];
  reads: Request<'heartbeat'>['reads'] = [];
  /** Whether heartbeats extend leases, know the servers, take leases back. */
  extends = true;
  knows = true;
  clusterId = CLUSTER;
  registrations = 0;
  /** Told with every answer; and what was named with each registration. */
  stamp: WireStamp | undefined;
  readonly named: Array<WireStamp | undefined> = [];
  private readonly registered = new Set<ServerId>();
  /** Whoever greets this has another cluster or secret than the servers. */
  private masterServer!: RpcServer<keyof typeof CHUNKSERVER_TO_MASTER>;
  private readonly master: SimNode;
  private readonly masterPlatform: Platform;
  private readonly peers: RpcPeers;

  private constructor(
    readonly t: ExecutionContext,
    readonly options: RigOptions,
  ) {
    this.simulator = new Simulator({ seed: options.seed ?? 1 });
    this.network = new SimNetwork(this.simulator, { longChance: 0 });
    this.master = new SimNode(this.simulator, this.network, 'master');
    this.masterPlatform = this.master.boot();
    const client = new SimNode(this.simulator, this.network, 'client').boot();
    this.peers = new RpcPeers(client, { role: 'client', clusterId: () => CLUSTER });
  }

  static async start(t: ExecutionContext, options: RigOptions = {}): Promise<Rig> {
    const rig = new Rig(t, options);
    await rig.do(() => rig.serveMaster());
    for (let i = 1; i <= (options.servers ?? 3); i++) {
      const host = new Host(rig, new SimNode(rig.simulator, rig.network, `s${i}`));
      rig.hosts.push(host);
      await host.start();
    }
    return rig;
  }

  /** Lets virtual time pass until `work` has settled. */
  async do<T>(work: () => Promise<T>): Promise<T> {
    let isOver = false;
    const result = work().finally(() => {
      isOver = true;
    });
    result.catch(() => undefined);
    await this.simulator.runUntil(() => isOver, WORK_MS_MAX);
    if (!isOver) throw new Error(`nothing came of it in ${WORK_MS_MAX} virtual ms`);
    for (const host of this.hosts) if (host.node.isUp) host.process?.checkInvariants();
    return result;
  }

  /** The GfsError code that `work` is refused with. */
  async refusal(work: () => Promise<unknown>): Promise<string> {
    try {
      const result = await this.do(work);
      return `no refusal: ${JSON.stringify(result)}`;
    } catch (error) {
      if (error instanceof GfsError) return error.code;
      throw error;
    }
  }

  pass(ms: number): Promise<void> {
    return this.simulator.run(ms);
  }

  host(name: string): Host {
    return this.hosts.find(host => host.name === name)!;
  }

  get masterNowMs(): number {
    return this.masterPlatform.clock.wallMs();
  }

  /** The master's clock goes this fast from now on. */
  setMasterRate(rate: number): void {
    this.master.clock.setRate(rate);
  }

  token(
    options: {
      right?: TokenRight;
      handle?: ChunkHandle;
      version?: number;
      chain?: Array<{ server: ServerId; epoch: number; address: string }>;
      leaseMs?: number;
      expiresMs?: number;
      keys?: KeyRing;
    } = {},
  ): Buffer {
    const { right = 'append', handle = CHUNK, version = 1, leaseMs = 3_600_000 } = options;
    const chain = options.chain ?? this.chain();
    const leaseUntilMs = this.masterNowMs + leaseMs;
    const expiresMs = options.expiresMs ?? this.masterNowMs + 3_600_000;
    return signToken({ right, handle, version, chain, leaseUntilMs, expiresMs }, options.keys ?? this.keys);
  }

  chain(hosts: readonly Host[] = this.hosts): Array<{ server: ServerId; epoch: number; address: string }> {
    return hosts.map(({ id, epoch, address }) => ({ server: id, epoch, address }));
  }

  /** Sends an append to the primary, with its bytes inside. */
  append(options: AppendOptions): Promise<Reply<'append'>> {
    const { bytes, push, inline = push === undefined } = options;
    const { token = this.token(), writer = W1, sequence = 1, after = sequence - 1, expectedOffset, settled } = options;
    const { lengthBytes = bytes.length, crc = crc32(bytes) } = options;
    const body = {
      ...{ token, writer, sequence, after, lengthBytes, crc },
      ...(expectedOffset === undefined ? {} : { expectedOffset }),
      ...(settled === undefined ? {} : { settled }),
      ...(push === undefined ? {} : { push }),
    };
    const peer = this.peers.get(options.to ?? this.hosts[0]!.address);
    return peer.call('append', body, { ...TIMEOUT, ...(inline ? { payload: [bytes] } : {}) }).then(({ body }) => body);
  }

  /** Sends the bytes of an append ahead. */
  push(push: number, bytes: Buffer, options: { token?: Buffer; skip?: number } = {}): void {
    const peer = this.peers.get(this.hosts[0]!.address);
    for (let part = 0, at = 0; at < bytes.length; part++, at += LIMITS.pushBytesMax) {
      if (part === options.skip) continue;
      const body = { token: options.token ?? this.token(), push, part, position: 0 };
      peer.send('push', body, [bytes.subarray(at, at + LIMITS.pushBytesMax)]);
    }
  }

  /** A number of appends of one writer in order, as many at once as may be in work. */
  async appendAll(
    records: readonly Buffer[],
    options: { writer?: string; token?: Buffer; from?: number; settles?: boolean } = {},
  ): Promise<number[]> {
    const { from = 1, settles = false, ...rest } = options;
    const offsets: number[] = [];
    for (let at = 0; at < records.length; at += LIMITS.appendsInFlightMax) {
      const some = records.slice(at, at + LIMITS.appendsInFlightMax);
      const append = (bytes: Buffer, i: number): Promise<Reply<'append'>> => {
        const sequence = from + at + i;
        // What was answered before, as a client says it.
        const settled = settles ? { settled: from + at - 1 } : {};
        return this.append({ ...rest, ...settled, bytes, sequence, after: at + i === 0 ? 0 : sequence - 1 });
      };
      const answers = await this.do(() => Promise.all(some.map(append)));
      for (const { offset } of answers) offsets.push(offset);
    }
    return offsets;
  }

  async read(host: Host, offset: number, lengthBytes: number, token = this.token({ right: 'read' })): Promise<Buffer> {
    const result = await this.peers.get(host.address).call('read', { token, offset, lengthBytes }, TIMEOUT);
    return Buffer.concat(result.payload);
  }

  async call<K extends ChunkserverKind>(host: Host, kind: K, request: Request<K>): Promise<Reply<K>> {
    return (await this.peers.get(host.address).call(kind, request, TIMEOUT)).body;
  }

  /** An order of the master to one server. */
  order<K extends OrderKind>(
    host: Host,
    kind: K,
    body: Omit<Request<K>, 'token' | 'handle'> & { handle?: ChunkHandle },
  ): Promise<Reply<K>> {
    const token = this.token({ right: 'order', handle: 0 as ChunkHandle, chain: this.chain([host]) });
    return this.call(host, kind, { token, handle: CHUNK, ...body } as unknown as Request<K>);
  }

  /** Fences and fixes everywhere, as a seal does. */
  async seal(version: number, hosts: readonly Host[] = this.hosts): Promise<number> {
    const answers = await this.do(() => Promise.all(hosts.map(host => this.order(host, 'fence', { version }))));
    const lengthBytes = Math.max(...answers.map(answer => answer.lengthBytes));
    await this.do(() => Promise.all(hosts.map(host => this.order(host, 'fix', { version, lengthBytes }))));
    return lengthBytes;
  }

  copy(
    host: Host,
    from: readonly Host[],
    order: { version: number; lengthBytes: number; whole?: boolean },
  ): Promise<Reply<'copyChunk'>> {
    const sources = from.map(source => ({
      server: source.id,
      address: source.address,
      token: this.token({ right: 'copy', version: order.version, chain: this.chain([source]) }),
    }));
    return this.order(host, 'copyChunk', { whole: false, ...order, sources });
  }

  mend(
    host: Host,
    from: readonly Host[],
    order: { version: number; lengthBytes: number; handle?: ChunkHandle },
    /** One of them that has less than the others. */
    behind?: { host: Host; version: number; lengthBytes: number },
  ): Promise<Reply<'mendChunk'>> {
    const sources = from.map(source => {
      const isBehind = source === behind?.host;
      const version = isBehind ? behind.version : order.version;
      return {
        server: source.id,
        address: source.address,
        token: this.token({ right: 'copy', version, chain: this.chain([source]) }),
        ...(isBehind ? { lengthBytes: behind.lengthBytes } : {}),
      };
    });
    return this.order(host, 'mendChunk', { ...order, sources });
  }

  report(host: Host, handle: ChunkHandle = CHUNK): WireChunkReport | undefined {
    return this.reports.get(host.id)?.get(handle);
  }

  private async serveMaster(): Promise<void> {
    const keys = () => this.keys.list().map(key => ({ ...key }));
    const stamp = () => (this.stamp ? { stamp: this.stamp } : {});
    const leaseMs = this.options.leaseMs ?? 3_600_000;
    const server = new RpcServer<keyof typeof CHUNKSERVER_TO_MASTER>(this.masterPlatform, {
      clusterId: () => this.clusterId,
      handlers: {
        register: request => {
          this.registrations++;
          this.named.push(request.stamp);
          this.knows = true;
          this.registered.add(request.server);
          this.reports.set(request.server, new Map());
          const chunkSizeBytes = this.options.chunkSizeBytes ?? 4 * MiB;
          const { clusterId, masterNowMs } = this;
          return {
            body: { clusterId, keys: keys(), masterNowMs, chunkSizeBytes, leaseMs, deadAfterMs: 5_000, ...stamp() },
          };
        },
        reportChunks: request => {
          for (const report of request.chunks) this.hear(request.server, report);
          return { body: {} };
        },
        heartbeat: request => {
          for (const report of request.changed) this.hear(request.server, report);
          this.failedDisks = request.failedDisks;
          this.space.set(request.server, request.space);
          this.scrubs.set(request.server, request.scrub);
          if (request.leases.length > 0) this.leases = request.leases;
          if (request.reads.length > 0) this.reads = request.reads;
          const extended = this.extends ? request.leases.filter(lease => lease.active) : [];
          const registered = this.knows && this.registered.has(request.server);
          return { body: { registered, masterNowMs: this.masterNowMs, keys: keys(), extended, ...stamp() } };
        },
        returnLease: ({ handle, version, lengthBytes }) => {
          this.returned.push({ handle: handle as ChunkHandle, version, lengthBytes });
          return { body: {} };
        },
      },
    });
    await server.listen(MASTER);
    this.masterServer = server;
  }

  /** Another master is at the master's address from now on, or the right one again. */
  replaceMaster({ clusterId = CLUSTER, secret }: { clusterId?: string; secret?: Buffer } = {}): void {
    this.clusterId = clusterId;
    this.masterServer.options.secret = secret;
    this.registered.clear();
    for (const { name } of this.hosts) this.network.reset(name, 'master');
  }

  private hear(server: ServerId, report: WireChunkReport): void {
    this.reports.get(server)?.set(report.handle as ChunkHandle, report);
  }
}

/** Bytes that differ from one another everywhere. */
export function pattern(lengthBytes: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(lengthBytes);
  let state = (seed * 2_654_435_761 + 1) >>> 0;
  for (let i = 0; i < lengthBytes; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}
