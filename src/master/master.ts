// The master: builds its rooms over the store, serves, keeps the clocks of the background running, and takes all down again. Decisions are
// made in the rooms.
import type { Platform } from '../lib/platform.js';
import type { GfsError } from '../protocol/errors.js';
import type { ServerId } from '../protocol/ids.js';
import type { MasterKind } from '../protocol/messages.js';
import { RpcPeers } from '../rpc/peer.js';
import { Refusals } from '../rpc/refusals.js';
import { RpcServer } from '../rpc/server.js';
import type { Handlers, PeerPool } from '../rpc/types.js';
import { masterHandlers } from './api.js';
import type { Rooms } from './api-context.js';
import { type SessionRoom, sessionRoom } from './api-sessions.js';
import { AppendTargets } from './append-targets.js';
import { Background } from './background.js';
import { Balancing } from './balancing.js';
import { BlockedChunks } from './blocked-chunks.js';
import { CatchingUp } from './catching-up.js';
import { Complaints } from './complaints.js';
import { Correlation } from './correlation.js';
import { readCorrelationFile } from './correlation-file.js';
import { readCounters } from './counters.js';
import { FileViews } from './file-views.js';
import { openCluster } from './format.js';
import { Garbage } from './garbage.js';
import { Healing } from './healing.js';
import { Heartbeats } from './heartbeats.js';
import { rangeOf } from './keys.js';
import { LeaseTable } from './lease-table.js';
import { Locations } from './locations.js';
import { LockClaims } from './lock-claims.js';
import { LockTable } from './lock-table.js';
import { MasterClock } from './master-clock.js';
import type { MasterContext } from './master-context.js';
import { MetadataStamp } from './metadata-stamp.js';
import { Notices } from './notices.js';
import { purgeClients } from './once-table.js';
import { Orders } from './orders.js';
import { Placer } from './placer.js';
import { type ClusterRecord, SERVER } from './records.js';
import { SafeMode } from './safe-mode.js';
import { Sealing } from './sealing.js';
import { Servers } from './servers.js';
import { SessionTrace } from './session-trace.js';
import { SessionTable } from './sessions.js';
import { BOUNDS, type MasterSettings } from './settings.js';
import type { Store } from './store.js';
import { TokenMaker } from './token-maker.js';
import { UnusedChunks } from './unused-chunks.js';

export type MasterOptions = MasterSettings & {
  /** The data directory that `formatMaster` filled. */
  data: string;
  /** What all processes of the cluster must know. */
  secret?: Buffer | undefined;
  /** Called once when the store can no longer be written: the process should stop. */
  onFailure?: (error: GfsError) => void;
  /**
   * Called once when the disk of the store was full, so that nothing could be changed, and has room again: the owner stops this master, which only
   * shows what was written before, and starts another one.
   */
  onRoom?: () => void;
};

const SERVERS_MAX = 10_000;
const ONCE_CLIENTS_PER_STEP = 256;
const ONCE_PURGE_MS = 3_600_000;

export class Master {
  private running: Running | undefined;

  constructor(
    readonly platform: Platform,
    readonly options: MasterOptions,
    /** Instead of connections of its own, for tests. */
    private readonly peers?: PeerPool,
  ) {}

  /** Opens the store and serves; settles with the address bound. Rejects with USAGE, WRONG_DATA, IN_USE, NO_SPACE, FAILED; nothing is left open then. */
  async start(): Promise<string> {
    const { platform, options } = this;
    const file = options.correlationFile;
    const correlation = new Correlation(file === undefined ? [] : await readCorrelationFile(platform.disk, file));
    const stamp = new MetadataStamp();
    const { store, cluster } = await openCluster(platform.kv, options.data, {
      cacheEntriesMax: options.cacheEntries,
      cacheBytesMax: options.cacheSize,
      logger: platform.logger,
      onFailure: error => options.onFailure?.(error),
      batchRow: stamp,
    });
    const running = new Running(platform, options, { store, stamp, cluster, correlation }, this.peers);
    try {
      const address = await running.start();
      this.running = running;
      platform.logger.info({ address, clusterId: cluster.clusterId }, 'master started');
      return address;
    } catch (error) {
      await running.stop();
      throw error;
    }
  }

  /** What the parts know, for tests and tools in the same process. Requires a started master. */
  get rooms(): Rooms {
    return this.running!.rooms;
  }

  /** The answers it gives, for callers in the same process. Requires a started master. */
  get handlers(): Handlers<MasterKind> {
    return this.running!.handlers;
  }

  /** Ends connections and background work, writes what is applied, closes the store. May be called twice. */
  async stop(): Promise<void> {
    await this.running?.stop();
  }
}

/** Everything of one start. */
class Running {
  readonly rooms: Rooms;
  readonly handlers: Handlers<MasterKind>;
  private readonly server: RpcServer<MasterKind>;
  private readonly peers: PeerPool;
  private readonly background: Background;
  private readonly store: Store;
  private readonly sessions: SessionRoom;
  private readonly tokens: TokenMaker;
  private readonly catchingUp: CatchingUp;
  private stopping: Promise<void> | undefined;
  private onceCursor: string | undefined = '';
  private oncePurgeAtMs = 0;
  private isRoomTold = false;

  constructor(
    private readonly platform: Platform,
    private readonly options: MasterOptions,
    opened: { store: Store; stamp: MetadataStamp; cluster: ClusterRecord; correlation: Correlation },
    peers: PeerPool | undefined,
  ) {
    const { store, stamp, cluster, correlation } = opened;
    this.store = store;
    const { clock } = platform;
    this.peers =
      peers ?? new RpcPeers(platform, { role: 'master', clusterId: () => cluster.clusterId, secret: options.secret });
    const time = new MasterClock(clock);
    const servers = new Servers(clock, options.deadAfter);
    const locations = new Locations();
    const leases = new LeaseTable();
    this.tokens = new TokenMaker(servers, time, options.tokenLifetime);
    const chunksWithBytes = countChunksWithBytes(store);
    const safeMode = new SafeMode(
      clock,
      { minReplicas: cluster.minReplicas, sharePerMille: options.safeModeShare, maxMs: options.safeModeMax },
      () => {
        const all = servers.members();
        return {
          chunks: chunksWithBytes,
          located: locations.handleCount,
          serversUp: servers.servingCount(),
          serversKnown: all.length,
          serversReported: all.filter(server => server.reported).length,
        };
      },
      platform.logger,
    );
    const context: MasterContext = {
      platform,
      settings: options,
      cluster,
      store,
      stamp,
      time,
      servers,
      locations,
      placer: new Placer({
        random: platform.random,
        correlation,
        scatterWidth: options.scatterWidth,
        seed: cluster.clusterId,
        members: () => servers.lasting(options.rereplicateAfter),
        logger: platform.logger,
      }),
      blocked: new BlockedChunks(clock),
      leases,
      tokens: this.tokens,
      orders: new Orders(this.peers, servers, this.tokens, options.orderTimeout),
      notices: new Notices(BOUNDS),
      safeMode,
      startedMs: clock.monotonicMs(),
      firstHandle: readCounters(store).nextHandle,
    };
    const sessions = new SessionTable({
      ttlMs: options.sessionTtl,
      sessionsMax: options.sessionsMax,
      openFilesPerSessionMax: BOUNDS.openFilesPerSessionMax,
    });
    const healing: Healing = new Healing(context, () => sealing);
    const sealing: Sealing = new Sealing(context, chunk => healing.consider(chunk.handle));
    const targets = new AppendTargets(context, sealing);
    this.catchingUp = new CatchingUp(context, {
      onRecovered: server => healing.onServerUp(server),
      soon: work => this.background.soon('catching up', work),
    });
    const trace = new SessionTrace(store);
    const garbage = new Garbage(
      context,
      inode => sessions.isOpen(inode),
      () => trace.isAwaiting(clock.monotonicMs()),
    );
    this.rooms = {
      context,
      sealing,
      targets,
      unusedChunks: new UnusedChunks(context, handle => targets.isSettling(handle)),
      views: new FileViews(context, targets),
      complaints: new Complaints(context, sealing),
      heartbeats: new Heartbeats(context, { targets, healing, garbage, catchingUp: this.catchingUp }),
      healing,
      balancing: new Balancing(context, healing),
      garbage,
      sessions,
      trace,
      refusals: new Refusals(),
      claims: new LockClaims(store, platform.logger),
      locks: new LockTable({ locksMax: BOUNDS.locksMax, waitersMax: BOUNDS.lockWaitersMax }),
    };
    this.sessions = sessionRoom(this.rooms);
    this.handlers = masterHandlers(this.rooms, this.sessions);
    this.server = new RpcServer(platform, {
      handlers: this.handlers,
      clusterId: () => cluster.clusterId,
      secret: options.secret,
      refusals: this.rooms.refusals,
      connectionsMax: options.connectionsMax,
      idleTimeoutMs: options.idleTimeout,
      frameTimeoutMs: options.frameTimeout,
      bodyBytesMax: options.frameSize,
      // Bytes of files never come this way.
      payloadBytesMax: 0,
    });
    this.background = new Background(platform, () => store.isReadOnly);
  }

  async start(): Promise<string> {
    const { store, platform, options } = this;
    for (const known of await readServers(store)) this.rooms.context.servers.remember(known);
    this.tokens.load(store, platform.random, platform.clock.wallMs());
    const sessionsEndMs = platform.clock.monotonicMs() + options.sessionTtl;
    this.rooms.trace.load(sessionsEndMs);
    await this.rooms.claims.load(sessionsEndMs);
    await store.durable();
    await this.beginStamp();
    this.keepTime();
    return await this.server.listen(options.listen ?? '127.0.0.1:9400');
  }

  /** On a full disk the start is not written down: it serves what changes nothing, and tells nothing new. */
  private async beginStamp(): Promise<void> {
    const { store, platform, rooms } = this;
    rooms.context.stamp.begin(store, platform.random);
    try {
      await store.durable();
    } catch (error) {
      if (!store.isReadOnly) throw error;
    }
  }

  stop(): Promise<void> {
    this.stopping ??= this.takeDown();
    return this.stopping;
  }

  private async takeDown(): Promise<void> {
    this.rooms.sealing.stop();
    await this.background.stop();
    await this.server.close();
    await this.peers.close();
    await this.store.close();
  }

  /** Everything that happens without being asked for. */
  private keepTime(): void {
    const { options, background, rooms, platform } = this;
    const { context } = rooms;
    const { servers, leases, safeMode, time, locations } = context;
    background.every('liveness', clamp(options.deadAfter / 8, 25, 1_000), () => {
      for (const server of servers.expire()) this.onServerDown(server.id);
      leases.expire(time.nowMs());
      if (safeMode.judge())
        platform.logger.info({ chunks: locations.handleCount }, 'appends, healing and deletion begin');
    });
    background.every('healing', clamp(options.rereplicateAfter / 4, 50, 500), async () => {
      this.catchingUp.step();
      await rooms.healing.step();
    });
    background.every('balancing', 1_000, () => rooms.balancing.step());
    background.every('garbage', clamp(options.gcGrace / 8, 50, 2_000), () => rooms.garbage.step());
    background.every('sessions', clamp(options.sessionTtl / 8, 50, 2_000), () => this.sessions.expire());
    background.every('notices', 100, async () => {
      await this.store.durable();
      context.notices.flush();
    });
    background.every('unused chunks', 100, () => rooms.unusedChunks.step());
    background.every('token keys', clamp(options.keyRollover / 8, 1_000, 60_000), () => this.rollKeys());
    background.every('once table', 10_000, () => this.purgeOnce());
    background.every('room', BOUNDS.roomCheckMs, () => this.lookForRoom());
  }

  private async lookForRoom(): Promise<void> {
    const { store, platform, options } = this;
    if (!store.isReadOnly || this.isRoomTold) return;
    const { freeBytes, capacityBytes } = await platform.disk.space(options.data);
    if (freeBytes < Math.min(BOUNDS.openRoomBytes, capacityBytes / 8) || this.isRoomTold) return;
    this.isRoomTold = true;
    platform.logger.info({ freeBytes }, 'the disk of the metadata has room again: it is opened anew');
    options.onRoom?.();
  }

  private onServerDown(server: ServerId): void {
    const { context, healing } = this.rooms;
    const handles = context.leases.ofServer(server);
    this.platform.logger.warn({ server, leases: handles.length }, 'chunkserver is down');
    healing.onServerDown(server);
    // Whoever asks for these files next gets a chunk without it, instead of a lease that cannot be used.
    for (const handle of handles) context.leases.drop(handle);
  }

  private async rollKeys(): Promise<void> {
    const { random, clock } = this.platform;
    // The newest key may not have been written down.
    if (this.store.isReadOnly) return;
    const ageMs = clock.wallMs() - this.tokens.newestSinceMs;
    if (ageMs >= this.options.keyRollover) {
      this.tokens.roll(this.store, random, clock.wallMs());
      await this.store.durable();
    } else if (ageMs > this.options.deadAfter) this.tokens.signWithNewest();
  }

  private async purgeOnce(): Promise<void> {
    const { clock } = this.platform;
    if (clock.monotonicMs() < this.oncePurgeAtMs) return;
    this.onceCursor = await purgeClients(this.store, {
      beforeMs: clock.wallMs() - BOUNDS.onceClientsMs,
      after: this.onceCursor ?? '',
      limit: ONCE_CLIENTS_PER_STEP,
    });
    if (this.onceCursor === undefined) this.oncePurgeAtMs = clock.monotonicMs() + ONCE_PURGE_MS;
  }
}

async function readServers(
  store: Store,
): Promise<Array<{ id: ServerId; address: string; location: string; draining: boolean }>> {
  const rows = await store.scan({ ...rangeOf('server'), limit: SERVERS_MAX });
  return rows
    .map(([key, value]) => SERVER.decode(key, value))
    .map(({ id, address, location, state }) => ({ id, address, location, draining: state === 'draining' }));
}

/** Sealed chunks that files refer to, at least: each of them must have a replica somewhere. */
function countChunksWithBytes(store: Store): number {
  const { chunks, openChunks, garbage } = readCounters(store);
  // An open chunk without a file is in both.
  return Math.max(0, chunks - openChunks - garbage);
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}
