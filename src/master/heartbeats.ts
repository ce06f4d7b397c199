// Takes in what chunkservers say: registrations, chunk reports, heartbeats, returned leases; and answers with keys, time and extended leases
// (DESIGN 5, paper §2.4). It decides what a report means for the tables; healing and deleting are done elsewhere.
import { assert } from '../lib/assert.js';
import { GfsError } from '../protocol/errors.js';
import type { ChunkHandle, ServerId } from '../protocol/ids.js';
import type { Reply, Request, WireChunkReport, WireStamp } from '../protocol/messages.js';
import type { AppendTargets } from './append-targets.js';
import type { CatchingUp } from './catching-up.js';
import { findChunk } from './chunks.js';
import type { Garbage } from './garbage.js';
import type { Healing } from './healing.js';
import { serverKey } from './keys.js';
import { isCurrent } from './locations.js';
import type { MasterContext } from './master-context.js';
import { SERVER } from './records.js';
import { ReportComparison } from './report-comparison.js';
import type { Server } from './servers.js';

/** Heartbeats go out several times within deadAfter; a server that is down may already be replaced. */
export class Heartbeats {
  /** Of servers whose report is under way: what it named so far. */
  private readonly reports = new Map<ServerId, Set<ChunkHandle>>();

  private readonly comparison: ReportComparison;

  constructor(
    private readonly context: MasterContext,
    private readonly rooms: { targets: AppendTargets; healing: Healing; garbage: Garbage; catchingUp: CatchingUp },
  ) {
    this.comparison = new ReportComparison(context, (id, report) => {
      const server = context.servers.get(id);
      if (server) this.take(server, report);
      if (report.gone) rooms.healing.consider(report.handle);
    });
  }

  /** Durable when it settles. Throws WRONG_CLUSTER, WRONG_DATA. */
  async onRegister(request: Request<'register'>): Promise<Reply<'register'>> {
    const { store, servers, tokens, time, settings, cluster, platform, leases } = this.context;
    const { isReadOnly } = store;
    if (request.clusterId !== '' && request.clusterId !== cluster.clusterId)
      throw this.refuse(
        request,
        'WRONG_CLUSTER',
        `chunkserver ${request.server} holds data of cluster ${request.clusterId}, this is ${cluster.clusterId}`,
      );
    const known = servers.get(request.server);
    // Its epoch is in the same store as its index: a lower one is an old copy of the index, which lacks what was appended since.
    if (known && known.epoch > request.epoch)
      throw this.refuse(
        request,
        'WRONG_DATA',
        `chunkserver ${request.server} comes with epoch ${request.epoch} after ${known.epoch}: its data directory is an old copy`,
      );
    if (known && known.epoch > 0 && known.address !== request.address) this.noteMove(known, request);
    const server = servers.register(request);
    if (request.stamp) this.compareStamp(server.id, request.stamp);
    this.rooms.garbage.onRegister(server.id);
    // Leases of its earlier process are void: the chain would refuse their tokens (DESIGN 4, rule 2).
    leases.dropOtherEpochs(server.id, server.epoch);
    this.reports.set(server.id, new Set());
    if (!isReadOnly) {
      this.remember(server);
      await store.durable();
    }
    platform.logger.info(
      { server: server.id, epoch: server.epoch, address: server.address, location: server.location },
      'chunkserver registered',
    );
    return {
      clusterId: cluster.clusterId,
      keys: tokens.list(),
      masterNowMs: time.nowMs(),
      chunkSizeBytes: cluster.chunkSizeBytes,
      leaseMs: settings.lease,
      deadAfterMs: settings.deadAfter,
      ...this.stampToTell(),
    };
  }

  private compareStamp(server: ServerId, named: WireStamp): void {
    const { stamp, safeMode } = this.context;
    const end = stamp.lacking(server, named);
    if (end === undefined) return;
    safeMode.distrustMetadata(
      `chunkserver ${server} was told of change ${named.number} of the metadata, this metadata has what was written up to change ${end}: it is an old copy`,
    );
  }

  /** Not before its servers had their say: whoever goes on from a copy that is out of use must not hand its numbers out as the cluster's. */
  private stampToTell(): { stamp?: WireStamp } {
    const { stamp, safeMode } = this.context;
    return safeMode.hasTrusted ? { stamp: stamp.durable } : {};
  }

  /** Its data directory stands elsewhere. Tokens name servers, so nobody reads one server's chunks at another's address. */
  private noteMove({ id, address: before }: Server, { address }: Request<'register'>): void {
    const { servers, platform } = this.context;
    const other = servers.all().find(server => server.id !== id && server.address === address);
    const fields = { server: id, before, address, ...(other ? { inPlaceOf: other.id } : {}) };
    if (other) platform.logger.warn(fields, "a chunkserver's data directory is in the place of another's");
    else platform.logger.info(fields, 'a chunkserver has another address than before');
  }

  /** Throws BAD_TOKEN-free STALE when the server has to register first. */
  onReportChunks(request: Request<'reportChunks'>): void {
    const server = this.context.servers.known(request.server, request.epoch);
    const named = this.reports.get(request.server);
    if (!server || !named) throw new GfsError('STALE', 'register before reporting chunks');
    if (!this.context.servers.isNews(server, request.sequence))
      throw new GfsError('STALE', 'a later report came before');
    this.context.servers.hear(server);
    for (const chunk of request.chunks) {
      named.add(chunk.handle);
      this.take(server, chunk);
    }
    if (!request.last) return;
    this.reports.delete(server.id);
    const { healing, catchingUp } = this.rooms;
    for (const handle of this.context.locations.retain(server.id, named)) healing.consider(handle);
    catchingUp.begin(server.id);
    this.context.servers.reportComplete(server);
    this.context.platform.logger.info({ server: server.id, chunks: named.size }, 'chunkserver reported its chunks');
    this.context.safeMode.judge();
    healing.onServerUp(server.id);
  }

  onHeartbeat(request: Request<'heartbeat'>): Reply<'heartbeat'> {
    const { servers, tokens, time, platform } = this.context;
    const { targets, healing, catchingUp } = this.rooms;
    const server = servers.known(request.server, request.epoch);
    const answer = { masterNowMs: time.nowMs(), keys: tokens.list(), ...this.stampToTell() };
    if (!server) return { ...answer, registered: false, extended: [] };
    // It waited on a connection that was given up, and replicas have changed since.
    if (!servers.isNews(server, request.sequence)) return { ...answer, registered: true, extended: [] };
    const wasDown = server.state === 'down';
    if (wasDown && this.rooms.garbage.mustReport(server.id)) return { ...answer, registered: false, extended: [] };
    for (const { path, error } of request.failedDisks)
      if (!server.failedDisks.some(disk => disk.path === path))
        platform.logger.error({ server: server.id, path, error }, 'a disk of a chunkserver failed');
    for (const chunk of request.changed) {
      // A full report that is under way began before this change.
      this.reports.get(server.id)?.add(chunk.handle);
      this.take(server, chunk);
    }
    const extended = targets.onLeases(server.id, request.leases);
    healing.onReads(request.reads);
    servers.beat(server, request);
    const isDown = server.state === 'down';
    if (wasDown && !isDown) {
      platform.logger.info({ server: server.id }, 'chunkserver is back');
      if (server.reported) catchingUp.begin(server.id);
      healing.onServerUp(server.id);
    } else if (isDown && !wasDown) {
      platform.logger.error({ server: server.id, reason: server.reason }, 'chunkserver is of no use any more');
      healing.onServerDown(server.id);
      for (const handle of this.context.leases.ofServer(server.id)) this.context.leases.drop(handle);
    }
    if (request.compared && server.reported) void this.comparison.compare(server.id, request.compared);
    return { ...answer, registered: true, extended };
  }

  async onReturnLease(request: Request<'returnLease'>): Promise<void> {
    const server = this.context.servers.known(request.server, request.epoch);
    if (!server) throw new GfsError('STALE', 'register before returning a lease');
    await this.rooms.targets.onReturnLease(request);
  }

  /** The server is gone for good; it has to register before it can report. */
  forget(server: ServerId): void {
    this.reports.delete(server);
  }

  private refuse(request: Request<'register'>, code: 'WRONG_CLUSTER' | 'WRONG_DATA', reason: string): GfsError {
    this.context.platform.logger.error({ server: request.server, address: request.address, reason }, 'refused');
    this.context.servers.refuse(request, reason);
    return new GfsError(code, reason);
  }

  /** One replica as its server says it is. */
  private take(server: Server, report: WireChunkReport): void {
    const { locations, store } = this.context;
    const chunk = findChunk(store, report.handle);
    if (!chunk) {
      // Not in the locations: nothing may ever be read from it.
      if (!report.gone) this.rooms.garbage.onUnknownReplica(server.id, report);
      return;
    }
    if (report.version > chunk.version && !report.gone) {
      this.rooms.garbage.onNewerReplica(server.id, report, chunk.version);
      return;
    }
    locations.report(server.id, report);
    const isFine = !report.gone && chunk.state === 'sealed' && this.isFine(server.id, report.handle, chunk);
    const isSurplus = isFine && locations.get(report.handle).length > chunk.goal;
    const isOpen = !report.gone && !report.corrupt && !report.suspect && chunk.state === 'open';
    if (isSurplus || !(isFine || isOpen)) this.rooms.healing.consider(report.handle);
  }

  private isFine(server: ServerId, handle: ChunkHandle, chunk: { version: number; lengthBytes: number }): boolean {
    const replica = this.context.locations.find(handle, server);
    assert(replica, 'a reported replica has a location');
    return isCurrent(replica, chunk);
  }

  /** Writes down who it is, so that a restarted master knows whom to wait for. */
  private remember(server: Server): void {
    const { store } = this.context;
    const key = serverKey(server.id);
    const value = store.get(key);
    const old = value === undefined ? undefined : SERVER.decode(key, value);
    if (old && old.address === server.address && old.location === server.location) return;
    const state = server.draining ? 'draining' : 'up';
    store.change(change =>
      change.put(key, SERVER.encode(key, { id: server.id, address: server.address, location: server.location, state })),
    );
  }
}
