// A simulated cluster for tests of what the paper promises: clients to drive, every call between machines to look at, and the replicas on the disks.
// It injects no faults and judges nothing; tests do.
import type { ChunkStore } from '../../src/chunkserver/chunk-store.js';
import type { FileSystemClient, OpenFile } from '../../src/client/types.js';
import type { Platform } from '../../src/lib/platform.js';
import type { MasterContext } from '../../src/master/master-context.js';
import { asGfsError } from '../../src/protocol/errors.js';
import { type ChunkHandle, handleName } from '../../src/protocol/ids.js';
import type { Kind, Reply, Request, WireTarget } from '../../src/protocol/messages.js';
import { RpcPeers } from '../../src/rpc/peer.js';
import type { Role } from '../../src/rpc/types.js';
import { CHUNKSERVER_DATA, Cluster, MASTER_ADDRESS, type Machine } from '../sim/cluster.js';
import { hostName, type ObservedCall, observe } from '../sim/observer.js';
import { Simulator } from '../sim/platform/simulator.js';
import { at, NEW_FILE } from '../sim/workloads/workload.js';

const STEP_MS_MAX = 60_000;
const CALL_MS = 3_000;

/** A call that a server has received, and what came of it. */
export interface Seen<K extends Kind = Kind> {
  kind: K;
  from: string;
  to: string;
  request: Request<K>;
  payloadBytes: number;
  atMs: number;
  /** Absent while there is no answer, and when it is an error. */
  body?: Reply<K>;
  code?: string;
  answeredMs?: number;
}

export interface StoredReplica {
  server: string;
  version: number;
  state: string;
  bytes: Buffer;
}

export interface PaperClusterOptions {
  seed?: number;
  servers?: number;
  clients?: number;
  chunkSizeBytes?: number;
}

export class PaperCluster {
  readonly simulator: Simulator;
  readonly cluster: Cluster;
  readonly seen: Seen[] = [];
  private readonly clients = new Map<string, { client: FileSystemClient; platform: Platform }>();
  private readonly hosts = new WeakMap<object, string>();
  private readonly traps: Array<{ isNow: (seen: Seen) => boolean; act: () => void }> = [];

  private constructor({ seed = 1, servers = 3, clients = 2, chunkSizeBytes = 4096 }: PaperClusterOptions) {
    this.simulator = new Simulator({ seed });
    this.cluster = new Cluster(
      this.simulator,
      {
        servers,
        clients,
        chunkSizeBytes,
        logLevel: 'silent',
        driftMax: 0,
        diskCapacityBytes: 2 ** 30,
        appendTryMs: 1_200,
        // Copies that are made because a server is gone are not what these tests are about.
        rereplicateAfterMs: 3_600_000,
      },
      {
        onBoot: (platform, host) => this.hosts.set(platform, host),
        onDeath: () => undefined,
        onClient: (name, client, platform) => this.clients.set(name, { client, platform }),
      },
    );
    const open = new Map<ObservedCall, Seen>();
    observe(
      {
        onCall: call => {
          const seen: Seen = { ...call, request: call.request as Request<Kind>, atMs: this.simulator.nowMs };
          open.set(call, seen);
          this.seen.push(seen);
          this.spring(seen);
        },
        onAnswer: (call, { body, error }) => {
          const seen = open.get(call)!;
          open.delete(call);
          seen.answeredMs = this.simulator.nowMs;
          if (error) seen.code = error.code;
          else seen.body = body as Reply<Kind>;
          this.spring(seen);
        },
      },
      platform => this.hosts.get(platform as object) ?? '?',
    );
  }

  /** All machines are up and the clients are connected. */
  static async start(options: PaperClusterOptions = {}): Promise<PaperCluster> {
    const paper = new PaperCluster(options);
    paper.cluster.startServers();
    for (const machine of paper.cluster.clients) machine.start();
    await paper.until(() => paper.cluster.machines.every(machine => machine.isReady));
    await paper.pass(1_000);
    return paper;
  }

  client(name = 'c1'): FileSystemClient {
    return this.clients.get(name)!.client;
  }

  /** Another client, which has seen nothing yet. */
  async join(name: string): Promise<FileSystemClient> {
    const machine = this.cluster.addClient(name);
    await this.until(() => machine.isReady);
    return this.client(name);
  }

  get master(): MasterContext {
    return this.cluster.masterProcess!.rooms.context;
  }

  machine(name: string): Machine {
    return this.cluster.machines.find(machine => machine.name === name)!;
  }

  get names(): string[] {
    return this.cluster.machines.map(({ name }) => name);
  }

  async pass(ms: number): Promise<void> {
    await this.simulator.run(ms);
  }

  async until(isReached: () => boolean): Promise<void> {
    if (!(await this.simulator.runUntil(isReached, STEP_MS_MAX))) throw new Error('what was waited for did not come');
  }

  /** Runs time until `work` settles. */
  async drive<T>(work: Promise<T>): Promise<T> {
    return await this.simulator.drive(work, STEP_MS_MAX);
  }

  /** The code that `work` rejects with; undefined when it does not. */
  async codeOf(work: Promise<unknown>): Promise<string | undefined> {
    return await this.drive(
      work.then(
        () => undefined,
        error => asGfsError(error).code,
      ),
    );
  }

  /** Opens a file, which is made when there is none. */
  async open(name: string, by = 'c1'): Promise<OpenFile> {
    return (await this.drive(this.client(by).createFile(at(name), NEW_FILE))).file;
  }

  /** Appends one record. */
  async append(file: OpenFile, record: Buffer | string): Promise<number> {
    return await this.drive(file.append([Buffer.from(record)], { split: false }));
  }

  /** The whole file. */
  async read(file: OpenFile): Promise<Buffer> {
    return Buffer.concat(await this.drive(file.read(0, 16 * 1024 * 1024)));
  }

  async locate(inode: number): Promise<Reply<'locate'>> {
    const request = { inode, fromByte: 0, limit: 100 } as Request<'locate'>;
    return (await this.drive(this.call(MASTER_ADDRESS, 'locate', request))).body;
  }

  /** A call of a client's or an operator's, past the client library. Like all of a client's work it goes on while time runs (`drive`). */
  async call<K extends Kind>(
    address: string,
    kind: K,
    request: Request<K>,
    { payload = [], role = 'client' }: { payload?: Buffer[]; role?: Role } = {},
  ): Promise<{ body: Reply<K>; payload: Buffer[] }> {
    const { platform } = this.clients.get('c1')!;
    const peers = new RpcPeers(platform, { role, clusterId: () => '', secret: undefined });
    try {
      return await peers.get(address).call(kind, request, { timeoutMs: CALL_MS, payload });
    } finally {
      await peers.close();
    }
  }

  /** A message of a client's that nobody answers, past the client library. */
  async send<K extends Kind>(address: string, kind: K, request: Request<K>, payload: Buffer[]): Promise<void> {
    const { platform } = this.clients.get('c1')!;
    const peers = new RpcPeers(platform, { role: 'client', clusterId: () => '', secret: undefined });
    peers.get(address).send(kind, request, payload);
    await this.pass(100);
    await this.drive(peers.close());
  }

  calls<K extends Kind>(kind: K): Array<Seen<K>> {
    return this.seen.filter(seen => seen.kind === kind) as unknown as Array<Seen<K>>;
  }

  /** Does something at the first call or answer like this from now on, before anything else happens. */
  once(isNow: (seen: Seen) => boolean, act: () => void): void {
    this.traps.push({ isNow, act });
  }

  /** Where the master last told somebody to append to this file. */
  targetOf({ inode }: OpenFile): WireTarget {
    const targets = this.seen.map(({ body }) => (body as { target?: WireTarget } | undefined)?.target);
    return targets.findLast(target => target?.inode === inode)!;
  }

  /** Hosts of the chain of the last target, primary first. */
  chainOf(file: OpenFile): string[] {
    return this.targetOf(file).chain.map(({ address }) => hostName(address));
  }

  /** What stands on the disks of servers that run, whatever anybody would be shown of it. */
  replicasOf(handle: ChunkHandle): StoredReplica[] {
    const replicas: StoredReplica[] = [];
    for (const { name, node } of this.cluster.servers) {
      // The store is nobody's business outside, and the only one that knows what is there.
      const { running } = (this.cluster.serverProcesses.get(name) ?? {}) as unknown as {
        running?: { store: ChunkStore };
      };
      const chunk = running?.store.existing(handle);
      if (!chunk) continue;
      const bytes = node.disk.file(pathOf(handle))?.read(chunk.writtenBytes, 0) ?? Buffer.alloc(0);
      replicas.push({ server: name, version: chunk.version, state: chunk.state, bytes });
    }
    return replicas;
  }

  private spring(seen: Seen): void {
    const index = this.traps.findIndex(({ isNow }) => isNow(seen));
    if (index < 0) return;
    const [trap] = this.traps.splice(index, 1);
    // Not inside the event that set it off.
    this.simulator.schedule(0, trap!.act);
  }
}

/** The flat file of a chunk on a server. */
export function pathOf(handle: ChunkHandle): string {
  const name = handleName(handle);
  return `${CHUNKSERVER_DATA}/chunks/${name.slice(-2)}/${name}`;
}

/** A record that can be told from all others, byte by byte. */
export function recordOf(writer: string, number: number, lengthBytes = 100): Buffer {
  return Buffer.from(`[${writer}/${number} `.padEnd(lengthBytes - 1, `${writer}${number}`).concat(']'));
}
