// A real master over a store in memory, a clock that the test moves, and fake chunkservers that beat by themselves.
import type { ExecutionContext } from 'ava';
import { every } from '../../src/lib/clock.js';
import type { Disk } from '../../src/lib/disk.js';
import { silentLogger } from '../../src/lib/logger.js';
import type { Platform } from '../../src/lib/platform.js';
import type { Random } from '../../src/lib/random.js';
import { settingValues } from '../../src/lib/settings.js';
import { formatMaster } from '../../src/master/format.js';
import { Master, type MasterOptions } from '../../src/master/master.js';
import { MASTER_SETTINGS } from '../../src/master/settings.js';
import { type ErrorCode, GfsError } from '../../src/protocol/errors.js';
import { type InodeId, ROOT_INODE } from '../../src/protocol/ids.js';
import type { MasterKind, Reply, Request } from '../../src/protocol/messages.js';
import type { CallContext, Handler, ServerConnection } from '../../src/rpc/types.js';
import { FakePeers, FakeServer } from './fake-servers.js';
import { ManualClock } from './manual-clock.js';
import { MemoryKvStores } from './memory-kv.js';

const DATA = '/master';
export const BEAT_MS = 500;

export interface ClusterOptions {
  servers?: number;
  settings?: Partial<MasterOptions>;
  /** What the master's owner hears. */
  events?: Pick<MasterOptions, 'onRoom' | 'onFailure'>;
  /** Servers that do not register by themselves. */
  silent?: boolean;
}

export class FakeCluster {
  readonly clock = new ManualClock();
  readonly kv = new MemoryKvStores();
  /** Of the master's disk. */
  readonly space = { capacityBytes: 1e9, freeBytes: 5e8, fileSystem: 'master' };
  readonly servers: FakeServer[];
  master!: Master;
  private sequence = 0;
  private readonly beats: Array<{ stop(): void }> = [];
  private readonly platform: Platform;

  private constructor(private readonly options: ClusterOptions) {
    this.servers = Array.from({ length: options.servers ?? 3 }, (_, index) => new FakeServer(index + 1));
    const unused = undefined as never;
    this.platform = {
      clock: this.clock,
      random: seeded(1),
      transport: {
        listen: async address => ({ address, close: async () => undefined }),
        connect: async () => Promise.reject(new Error('no network here')),
      },
      disk: { space: async () => this.space } as unknown as Disk,
      kv: this.kv,
      witness: unused,
      logger: silentLogger,
    };
  }

  /** Three servers, formatted with three replicas and at least two, past safe mode unless `silent`. */
  static async start(t: ExecutionContext, options: ClusterOptions = {}): Promise<FakeCluster> {
    const cluster = new FakeCluster(options);
    await formatMaster(cluster.platform, { data: DATA, chunkSize: 65_536, replicas: 3, minReplicas: 2 });
    await cluster.startMaster();
    t.teardown(() => cluster.stop());
    if (!options.silent) await cluster.registerAll();
    return cluster;
  }

  async startMaster(): Promise<void> {
    const settings = settingValues(MASTER_SETTINGS, { rereplicateAfter: 60_000, ...this.options.settings });
    this.master = new Master(
      this.platform,
      { ...settings, ...this.options.events, data: DATA },
      new FakePeers(this.servers),
    );
    await this.clock.run(this.master.start());
  }

  /** A crash: what was not written is lost, and a new master comes up on the same store. */
  async restartMaster(options: { register?: boolean } = {}): Promise<void> {
    this.stopBeats();
    await this.clock.run(this.master.stop());
    await this.startMaster();
    if (options.register !== false) await this.registerAll();
  }

  async registerAll(): Promise<void> {
    for (const server of this.servers) if (server.isReachable) await this.register(server);
    await this.clock.advance(1_500);
  }

  /** The server registers, reports, and beats from now on. */
  async register(server: FakeServer): Promise<void> {
    const { stamp } = await this.clock.run(
      this.call('register', {
        server: server.id,
        epoch: server.epoch,
        clusterId: '',
        address: server.address,
        location: server.location,
        space: server.space,
        ...(server.stamp ? { stamp: server.stamp } : {}),
      }),
    );
    server.hear(stamp);
    await this.report(server);
    await this.beat(server);
    this.beats.push(
      every(this.clock, BEAT_MS, async () => {
        if (server.isReachable) await this.beat(server);
      }),
    );
  }

  async report(server: FakeServer): Promise<void> {
    const { id, epoch } = server;
    await this.call('reportChunks', {
      ...{ server: id, epoch, sequence: ++server.sequence },
      ...{ chunks: server.reports(), last: true },
    });
  }

  async beat(server: FakeServer, more: Partial<Request<'heartbeat'>> = {}): Promise<Reply<'heartbeat'>> {
    const reply = await this.call('heartbeat', {
      server: server.id,
      epoch: server.epoch,
      sequence: ++server.sequence,
      space: server.space,
      leases: [],
      changed: server.takeChanges(),
      reads: [],
      failedDisks: [],
      ...more,
    });
    server.hear(reply.stamp);
    return reply;
  }

  /** Sends a message as if over the wire; the caller moves the clock. */
  async call<K extends MasterKind>(
    kind: K,
    request: Request<K>,
    connection: ServerConnection = fakeConnection(),
  ): Promise<Reply<K>> {
    const context: CallContext = {
      payload: [],
      connection,
      deadlineMs: this.clock.monotonicMs() + 30_000,
    } as unknown as CallContext;
    const handler = this.master.handlers[kind] as unknown as Handler<K>;
    return (await handler(request, context)).body;
  }

  /** As `call`, moving the clock until it settles. */
  ask<K extends MasterKind>(kind: K, request: Request<K>, connection?: ServerConnection): Promise<Reply<K>> {
    return this.clock.run(this.call(kind, request, connection));
  }

  once(client = 'c'.repeat(16)): Request<'unlink'>['once'] {
    return { client, sequence: ++this.sequence, ackedBelow: 0 };
  }

  async createFile(path: string): Promise<InodeId> {
    const { attributes } = await this.ask('createFile', {
      once: this.once(),
      where: { start: ROOT_INODE, path },
      mode: 0o644,
      uid: 0,
      gid: 0,
      exclusive: false,
      truncate: false,
      wantTarget: false,
    });
    return attributes.inode;
  }

  async target(inode: InodeId): Promise<Reply<'appendTarget'>['target']> {
    return (await this.ask('appendTarget', { inode })).target;
  }

  /** The servers of a chain, primary first. */
  chainOf(target: { chain: Array<{ server: string }> }): FakeServer[] {
    return target.chain.map(({ server }) => this.servers.find(({ id }) => id === server)!);
  }

  stopBeats(): void {
    for (const beat of this.beats.splice(0)) beat.stop();
  }

  private async stop(): Promise<void> {
    this.stopBeats();
    await this.clock.run(this.master.stop());
  }
}

export function fakeConnection(): ServerConnection & { notices: unknown[]; close(): void } {
  const notices: unknown[] = [];
  const callbacks: Array<() => void> = [];
  return {
    id: 1,
    remoteAddress: 'test:1',
    role: 'client',
    queuedBytes: 0,
    notify: (_kind, body) => void notices.push(body),
    onClose: callback => void callbacks.push(callback),
    notices,
    close: () => {
      for (const callback of callbacks) callback();
    },
  };
}

export async function throwsCode(t: ExecutionContext, work: Promise<unknown>, code: ErrorCode): Promise<void> {
  const error = await t.throwsAsync(work, { instanceOf: GfsError });
  t.is(error?.code, code, error?.message);
}

/** A small generator (mulberry32), so that a test is the same every time. */
export function seeded(seed: number): Random {
  let state = seed;
  const float = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
  return { float, bytes: count => Buffer.from(Array.from({ length: count }, () => Math.floor(float() * 256))) };
}
