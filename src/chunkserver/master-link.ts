// This server's line to the master: it registers, reports its chunks in pages, sends heartbeats and takes their answers to keys, clock and
// leases. While the master is away, or a wrong one is in its place, it keeps trying; what is served meanwhile is bounded by leases and tokens, not by
// this file.
import type { Clock } from '../lib/clock.js';
import type { Logger } from '../lib/logger.js';
import { showSetting } from '../lib/settings.js';
import { asGfsError, GfsError, hasCode } from '../protocol/errors.js';
import type { ChunkHandle } from '../protocol/ids.js';
import { holderMs, LIMITS, recordBytesMax } from '../protocol/limits.js';
import type { Kind, Reply, Request } from '../protocol/messages.js';
import type { PeerPool } from '../rpc/types.js';
import type { ChunkStore } from './chunk-store.js';
import { Comparison } from './comparison.js';
import type { HeardStamp } from './heard-stamp.js';
import type { LeaseHolder } from './lease-holder.js';
import { LeaseReport } from './lease-report.js';
import type { MasterClock } from './master-clock.js';
import type { Pause } from './pause.js';
import type { ServerIdentity } from './server-identity.js';
import { BOUNDS, CHUNKSERVER_SETTINGS, type ChunkserverSettings } from './settings.js';
import type { TokenGate } from './token-gate.js';

export interface MasterLinkParts {
  settings: ChunkserverSettings;
  clock: Clock;
  logger: Logger;
  peers: PeerPool;
  pause: Pause;
  identity: ServerIdentity;
  tokens: TokenGate;
  masterClock: MasterClock;
  store: ChunkStore;
  leases: LeaseHolder;
  heardStamp: HeardStamp;
  /** Writes the cluster's id down. */
  join: (clusterId: string) => Promise<void>;
  address: () => string;
  failedDisks: () => Array<{ path: string; error: string }>;
  work: () => Pick<Request<'heartbeat'>, 'copiedBytes' | 'scrub'>;
}

const REGISTER_TIMEOUT_MS = 5_000;
const REPORT_TIMEOUT_MS = 10_000;
const HEARTBEAT_TIMEOUT_MS = 3_000;

export class MasterLink {
  isRegistered = false;
  /** The cluster's; meaningless before the first registration. */
  chunkSizeBytes: number = LIMITS.chunkSizeBytesDefault;
  private stopped = false;
  /** What was said in the log since the master was heard last: each once. */
  private readonly troubles = new Set<'silent' | 'refused'>();
  /** How often the one at the master's address was not the master, one after another. */
  private refusals = 0;
  /** Of the last page of a report or heartbeat that was sent. */
  private sequence = 0;

  private readonly comparison: Comparison;
  private readonly leaseReport: LeaseReport;

  constructor(private readonly parts: MasterLinkParts) {
    this.comparison = new Comparison(parts.store, parts.clock);
    this.leaseReport = new LeaseReport(parts.leases, BOUNDS.leasesReportedMax);
  }

  /**
   * The first try to register, before this server says that it is ready: a wrong address, secret or directory is found here. Rejects with WRONG_CLUSTER,
   * UNAUTHENTICATED, WRONG_DATA; when the master only does not answer, `run` goes on.
   */
  async start(): Promise<void> {
    const failure = await this.turn();
    if (!failure) return;
    if (isRefusal(failure)) throw failure;
    this.note(failure);
  }

  /** Registers, then heartbeats, until stop(). Rejects with WRONG_DATA, when a later process has taken this server's place, and USAGE. */
  async run(): Promise<void> {
    while (!this.stopped) {
      const wasRegistered = this.isRegistered;
      const failure = await this.turn();
      if (failure) this.note(failure);
      // The first heartbeat follows a registration at once: only then a restarted master knows which leases there are.
      const pauseMs = failure ? this.retryMs(failure) : wasRegistered ? this.parts.settings.heartbeat : 0;
      await this.parts.pause.sleep(pauseMs);
    }
  }

  /** One registration or heartbeat; settles with what went wrong and is tried again. Rejects with WRONG_DATA, and USAGE when a setting does not fit the cluster. */
  private async turn(): Promise<GfsError | undefined> {
    const { logger, settings } = this.parts;
    try {
      if (this.isRegistered) await this.beat();
      else await this.register();
      if (this.troubles.size > 0) logger.info({ master: settings.master }, 'the master is back');
      this.troubles.clear();
      this.refusals = 0;
      return undefined;
    } catch (error) {
      const failure = asGfsError(error);
      if (hasCode(failure, 'WRONG_DATA', 'USAGE') && !this.stopped) throw failure;
      this.refusals = isRefusal(failure) ? this.refusals + 1 : 0;
      return failure;
    }
  }

  /** Appends that need the master wait for this server, so a restarted one is found soon, and one that forgot us is told at once. */
  private retryMs(failure: GfsError): number {
    if (failure.code === 'SESSION_EXPIRED') return 0;
    const retryMs = Math.min(this.parts.settings.heartbeat, BOUNDS.masterRetryMs);
    return Math.min(BOUNDS.refusedRetryMaxMs, retryMs * 2 ** Math.min(20, Math.max(0, this.refusals - 1)));
  }

  private note(failure: GfsError): void {
    const { logger, settings } = this.parts;
    const trouble = isRefusal(failure) ? 'refused' : 'silent';
    if (this.stopped || this.troubles.has(trouble)) return;
    this.troubles.add(trouble);
    const fields = { master: settings.master, code: failure.code, reason: failure.message };
    if (trouble === 'silent') logger.warn(fields, 'the master does not answer');
    else
      logger.error(
        fields,
        'another master is in the place of the right one: this server keeps its data and goes on trying; start the right one there',
      );
  }

  stop(): void {
    this.stopped = true;
  }

  async returnLease(lease: Omit<Request<'returnLease'>, 'server' | 'epoch'>): Promise<void> {
    await this.call('returnLease', { ...this.me(), ...lease }, HEARTBEAT_TIMEOUT_MS);
  }

  private async register(): Promise<void> {
    const { identity, store, settings, clock, masterClock, tokens, leases, logger, heardStamp } = this.parts;
    const { clusterId, server, epoch } = identity;
    const stamp = heardStamp.highest;
    const space = await store.space();
    const sentMs = clock.monotonicMs();
    const reply = await this.call(
      'register',
      {
        ...this.me(),
        clusterId,
        address: this.parts.address(),
        location: settings.location ?? '',
        space,
        ...(stamp ? { stamp } : {}),
      },
      REGISTER_TIMEOUT_MS,
    );
    this.checkFrameSize(reply.chunkSizeBytes);
    await this.parts.join(reply.clusterId);
    masterClock.heard(reply.masterNowMs, sentMs);
    tokens.useKeys(reply.keys);
    leases.leaseMs = reply.leaseMs;
    this.chunkSizeBytes = reply.chunkSizeBytes;
    await heardStamp.hear(reply.stamp);
    await this.reportAll();
    this.isRegistered = true;
    logger.info({ server, epoch, clusterId: reply.clusterId, chunks: store.count }, 'registered with the master');
  }

  /** A record travels in one message, at least between servers. */
  private checkFrameSize(chunkSizeBytes: number): void {
    const shown = (bytes: number): string => showSetting(CHUNKSERVER_SETTINGS.frameSize, bytes);
    const { frameSize } = this.parts.settings;
    const needed = recordBytesMax(chunkSizeBytes);
    if (frameSize < needed)
      throw new GfsError(
        'USAGE',
        `--frame-size ${shown(frameSize)}: a record of this cluster may have ${shown(needed)}, so give at least that`,
      );
  }

  /** All replicas, a page at a time; what changes meanwhile follows with the heartbeats. */
  private async reportAll(): Promise<void> {
    const { store } = this.parts;
    const handles: ChunkHandle[] = [];
    for (const chunk of store.all()) if (chunk.exists) handles.push(chunk.handle);
    for (let at = 0; at === 0 || at < handles.length; at += BOUNDS.reportPage) {
      const page = handles.slice(at, at + BOUNDS.reportPage);
      const last = at + page.length >= handles.length;
      await this.call(
        'reportChunks',
        { ...this.me(), sequence: ++this.sequence, chunks: store.reportOf(page), last },
        REPORT_TIMEOUT_MS,
      );
    }
  }

  private async beat(): Promise<void> {
    const { store, clock, leases, tokens, masterClock, heardStamp } = this.parts;
    const space = await store.space();
    const changed = store.takeChanges(LIMITS.chunkReportPageMax);
    const compared = this.comparison.next();
    const sentMs = clock.monotonicMs();
    let reply: Reply<'heartbeat'>;
    try {
      reply = await this.call(
        'heartbeat',
        {
          ...this.me(),
          sequence: ++this.sequence,
          space,
          leases: this.leaseReport.next(),
          changed: changed.map(chunk => chunk.report()),
          reads: store.takeReads(),
          failedDisks: this.parts.failedDisks(),
          ...this.parts.work(),
          ...(compared ? { compared } : {}),
        },
        HEARTBEAT_TIMEOUT_MS,
      );
    } catch (error) {
      for (const chunk of changed) store.noteChange(chunk);
      throw error;
    }
    masterClock.heard(reply.masterNowMs, sentMs);
    tokens.useKeys(reply.keys);
    if (!reply.registered) {
      this.isRegistered = false;
      throw new GfsError('SESSION_EXPIRED', 'the master does not know this server (any more)');
    }
    for (const { handle, version } of reply.extended) leases.extend(handle, version, sentMs + holderMs(leases.leaseMs));
    await heardStamp.hear(reply.stamp);
    await store.dropTombstones(tokens.oldestKeyId, masterClock.nowMs());
  }

  private me(): { server: ServerIdentity['server']; epoch: number } {
    const { server, epoch } = this.parts.identity;
    return { server, epoch };
  }

  private async call<K extends Kind>(kind: K, request: Request<K>, timeoutMs: number): Promise<Reply<K>> {
    const { peers, settings } = this.parts;
    const { body } = await peers.get(settings.master ?? '').call(kind, request, { timeoutMs });
    return body;
  }
}

/** Who answers at the master's address is not the master of this server's data, or does not know its secret. */
function isRefusal({ code }: GfsError): boolean {
  return code === 'WRONG_CLUSTER' || code === 'UNAUTHENTICATED';
}
