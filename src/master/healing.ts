// Brings chunks back to their goal of current replicas: missing tails first, then new copies, then what is corrupt or too much goes (paper,
// §4.3; DESIGN 4). Driven by events, with a slow sweep for what they missed; bounded in copies at once, in all and per server.
import { asGfsError, GfsError } from '../protocol/errors.js';
import type { ChunkHandle, ServerId } from '../protocol/ids.js';
import { LIMITS } from '../protocol/limits.js';
import { chunksAfter, findChunk } from './chunks.js';
import { type HealingStep, nextStep } from './healing-plan.js';
import { isCurrent } from './locations.js';
import type { MasterContext } from './master-context.js';
import type { ChunkRecord } from './records.js';
import type { Sealing } from './sealing.js';
import { BOUNDS } from './settings.js';

/** Pause before a step that failed, or found no server to go to, is tried again. */
const RETRY_MS = 2_000;
/** A full sweep over all chunks begins this long after the last one ended. */
const SWEEP_PAUSE_MS = 30_000;
/** Chunks looked at in one step. */
const LOOKS_PER_STEP = 4_096;

export class Healing {
  /** When each chunk is to be looked at, in monotonic time. */
  private readonly queue = new Map<ChunkHandle, number>();
  /** INVARIANT: one piece of work per chunk. */
  private readonly working = new Set<ChunkHandle>();
  private readonly copiesOf = new Map<ServerId, number>();
  private copies = 0;
  private cursor: ChunkHandle | 0 = 0;
  private sweepAtMs = 0;
  /** Bytes that copies have moved since the start. */
  copiedBytes = 0;

  constructor(
    private readonly context: MasterContext,
    private readonly sealing: () => Sealing,
  ) {}

  get queuedCount(): number {
    return this.queue.size;
  }

  /** This chunk may need something: look at it, not before `afterMs`. */
  consider(handle: ChunkHandle, afterMs = 0): void {
    const dueMs = this.context.platform.clock.monotonicMs() + afterMs;
    const queuedMs = this.queue.get(handle);
    // A full queue is no loss: the sweep comes by.
    if (queuedMs === undefined && this.queue.size >= BOUNDS.healingQueueMax) return;
    this.queue.set(handle, Math.min(queuedMs ?? Number.POSITIVE_INFINITY, dueMs));
  }

  onServerDown(server: ServerId): void {
    for (const handle of this.context.locations.handlesOf(server))
      this.consider(handle, this.context.settings.rereplicateAfter);
  }

  /** A server is up: it can take what is missing elsewhere, and what it has may be behind or too much. */
  onServerUp(server: ServerId): void {
    this.sweepAtMs = 0;
    for (const handle of this.context.locations.handlesOf(server)) this.consider(handle);
  }

  /** One round: sweeps a page, looks at chunks that are due, starts work within the limits. Called regularly; does nothing in safe mode. */
  async step(): Promise<void> {
    if (this.context.safeMode.isOn) return;
    await this.sweep();
    for (const handle of this.due()) this.look(handle);
  }

  /** Chunks to look at now, those with the fewest copies first (paper, §4.3). */
  private due(): ChunkHandle[] {
    const now = this.context.platform.clock.monotonicMs();
    const byCopies: ChunkHandle[][] = [];
    for (const [handle, dueMs] of this.queue) {
      if (dueMs > now || this.working.has(handle)) continue;
      const copies = this.context.locations.get(handle).length;
      byCopies[copies] ??= [];
      byCopies[copies].push(handle);
    }
    return byCopies.flat().slice(0, LOOKS_PER_STEP);
  }

  private async sweep(): Promise<void> {
    const { store, platform } = this.context;
    const now = platform.clock.monotonicMs();
    if (now < this.sweepAtMs || this.queue.size > BOUNDS.healingQueueMax / 2) return;
    const page = await chunksAfter(store, this.cursor, BOUNDS.sweepPage);
    for (const chunk of page) if (this.plan(chunk).kind !== 'none') this.consider(chunk.handle);
    this.cursor = page.length < BOUNDS.sweepPage ? 0 : page[page.length - 1]!.handle;
    if (this.cursor === 0) this.sweepAtMs = now + SWEEP_PAUSE_MS;
  }

  private plan(chunk: ChunkRecord): HealingStep {
    const { locations, servers, settings, platform } = this.context;
    return nextStep({
      chunk,
      replicas: locations.get(chunk.handle),
      downForMs: server => servers.downForMs(server),
      rereplicateAfterMs: settings.rereplicateAfter,
      ageMs: platform.clock.wallMs() - chunk.createdMs,
      upCount: servers.upCount(),
      leastWanted: candidates =>
        candidates.reduce((worst, server) => (this.wanted(server) < this.wanted(worst) ? server : worst)),
    });
  }

  private wanted(server: ServerId): number {
    const known = this.context.servers.get(server);
    return known === undefined || known.draining ? -1 : known.space.freeBytes;
  }

  private look(handle: ChunkHandle): void {
    const chunk = findChunk(this.context.store, handle);
    const step: HealingStep = chunk ? this.plan(chunk) : { kind: 'none' };
    if (!chunk || step.kind === 'none') {
      this.queue.delete(handle);
      return;
    }
    if (step.kind === 'later') {
      this.queue.set(handle, this.context.platform.clock.monotonicMs() + step.afterMs);
      return;
    }
    const work = this.start(chunk, step);
    // No room: it stays in the queue for the next round.
    if (!work) return;
    this.queue.delete(handle);
    this.working.add(handle);
    work.then(
      () => {
        this.working.delete(handle);
        this.consider(handle);
      },
      error => {
        this.working.delete(handle);
        this.consider(handle, RETRY_MS);
        const { code, message } = asGfsError(error);
        this.context.platform.logger.debug({ handle, step: step.kind, code, reason: message }, 'healing was put off');
      },
    );
  }

  /** Begins a step, unless the limits forbid it now. */
  private start(chunk: ChunkRecord, step: HealingStep): Promise<void> | undefined {
    const { platform, settings } = this.context;
    if (step.kind === 'seal') {
      platform.logger.info({ handle: chunk.handle }, 'sealing an open chunk because a server of its chain is gone');
      return this.sealing().seal(chunk.handle, platform.clock.monotonicMs() + settings.sealDeadline);
    }
    if (step.kind === 'delete') return this.remove(chunk, step);
    if (step.kind !== 'repair' && step.kind !== 'copy') return undefined;
    const target = step.kind === 'repair' ? { server: step.server, whole: false } : this.findTarget(chunk, step);
    if (!target) return Promise.reject(new GfsError('TOO_FEW_SERVERS', 'no other server can take a replica'));
    const sources = this.sourcesOf(chunk, target.server);
    const busy = [target.server, ...sources.slice(0, 1)];
    if (this.copies >= settings.copiesMax || busy.some(server => this.copiesAt(server) >= settings.copiesPerServer))
      return undefined;
    this.occupy(busy, 1);
    return this.bring(chunk, { ...target, sources, tryFix: step.kind === 'repair' }).finally(() =>
      this.occupy(busy, -1),
    );
  }

  private findTarget(
    chunk: ChunkRecord,
    step: Extract<HealingStep, { kind: 'copy' }>,
  ): { server: ServerId; whole: boolean } | undefined {
    const { servers, placer } = this.context;
    const beside = step.holders.flatMap(server => servers.candidate(server) ?? []);
    try {
      const free = servers.candidates(1).filter(({ id }) => !step.holders.includes(id));
      const { goal: replicas, lengthBytes: bytes } = chunk;
      const [chosen] = placer.choose(free, { goal: 1, least: 1, bytes, beside, replicas });
      return { server: chosen!.id, whole: false };
    } catch (error) {
      // That there is no place for one chunk must not keep the others waiting.
      if (!(error instanceof GfsError)) throw error;
      const bad = step.corrupt[0];
      if (bad === undefined) return undefined;
      return { server: bad, whole: true };
    }
  }

  /** Makes the replica on `server` current: by cutting or taking the length over, else by copying what is missing. */
  private async bring(
    chunk: ChunkRecord,
    { server, whole, sources, tryFix }: { server: ServerId; whole: boolean; sources: ServerId[]; tryFix: boolean },
  ): Promise<void> {
    const { servers, tokens, orders, locations, settings, platform } = this.context;
    const { handle, version, lengthBytes } = chunk;
    if (tryFix && (await this.sealing().fix(chunk, server))) return;
    if (sources.length === 0) throw new GfsError('UNAVAILABLE', `no current replica of chunk ${handle} to copy from`);
    const startMs = platform.clock.monotonicMs();
    const { copiedBytes } = await orders.give(
      server,
      'copyChunk',
      {
        handle,
        version,
        lengthBytes,
        sources: sources.map(source => ({
          server: source,
          address: servers.get(source)?.address ?? '',
          token: tokens.copy(handle, version, source),
        })),
        whole,
      },
      settings.copyTimeout,
    );
    this.copiedBytes += copiedBytes;
    platform.logger.info(
      { handle, server, copiedBytes, lengthBytes, ms: Math.round(platform.clock.monotonicMs() - startMs) },
      'replica copied',
    );
    // The chunk may have been given up while it was copied; its deletion reaches this replica when the server reports it.
    if (!findChunk(this.context.store, handle)) return;
    locations.put(handle, { server, version, lengthBytes, state: 'sealed', suspect: false, corrupt: false });
    servers.noteAllocation(server);
  }

  private async remove(chunk: ChunkRecord, step: Extract<HealingStep, { kind: 'delete' }>): Promise<void> {
    const { orders, locations, platform } = this.context;
    const { handle, version } = chunk;
    await orders.give(step.server, 'deleteChunk', { handle, version });
    locations.remove(handle, step.server);
    platform.logger.info({ handle, server: step.server, why: step.why }, 'replica deleted');
  }

  private sourcesOf(chunk: ChunkRecord, target: ServerId): ServerId[] {
    const { locations, servers } = this.context;
    return locations
      .get(chunk.handle)
      .filter(replica => isCurrent(replica, chunk) && replica.server !== target && servers.isLive(replica.server))
      .map(({ server }) => server)
      .sort((a, b) => this.copiesAt(a) - this.copiesAt(b))
      .slice(0, LIMITS.replicasMax);
  }

  private copiesAt(server: ServerId): number {
    return this.copiesOf.get(server) ?? 0;
  }

  private occupy(servers: readonly ServerId[], change: 1 | -1): void {
    this.copies += change;
    for (const server of servers) {
      const count = this.copiesAt(server) + change;
      if (count === 0) this.copiesOf.delete(server);
      else this.copiesOf.set(server, count);
    }
  }
}
