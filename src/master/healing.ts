// Brings chunks back to their goal of current replicas: missing tails first, then new copies, then what is corrupt or too much goes (paper,
// §4.3; DESIGN 4). Driven by events, with a slow sweep for what they missed; bounded by copy-limits.ts.
import { nextTurn } from '../lib/clock.js';
import { asGfsError, GfsError } from '../protocol/errors.js';
import type { ChunkHandle, ServerId } from '../protocol/ids.js';
import { goodCopies } from './chunk-health.js';
import { chunksAfter, findChunk } from './chunks.js';
import { CopyLimits } from './copy-limits.js';
import { type HealingStep, nextStep } from './healing-plan.js';
import { HealingQueue } from './healing-queue.js';
import { HotChunks } from './hot-chunks.js';
import type { MasterContext } from './master-context.js';
import { Mending } from './mending.js';
import type { ChunkRecord } from './records.js';
import { type CopyTarget, ReplicaCopies } from './replica-copies.js';
import { RunningCopies } from './running-copies.js';
import type { Sealing } from './sealing.js';
import { BOUNDS } from './settings.js';

/** Pause before a step that failed is tried again; where there is no server to go to, or the disk has failed, much is to happen first. */
const RETRY_MS = 2_000;
const NO_PLACE_RETRY_MS = 5_000;
const DISK_RETRY_MS = 600_000;
/** A full sweep over all chunks begins this long after the last one ended. */
const SWEEP_PAUSE_MS = 30_000;
/** Chunks looked at in one step, how many of them before others have their turn, and of those that find no room before the rest waits for the next step. */
const LOOKS_PER_STEP = 4_096;
const LOOKS_PER_TURN = 256;
const REFUSALS_MAX = 256;

export class Healing {
  readonly hot: HotChunks;
  readonly copies: ReplicaCopies;
  readonly limits: CopyLimits;
  readonly mending: Mending;
  private readonly running: RunningCopies;
  private readonly queue: HealingQueue;
  /** INVARIANT: one piece of work per chunk. */
  private readonly working = new Set<ChunkHandle>();
  /** Due chunks of the last step that have not had their turn, the first of them last. */
  private waiting: ChunkHandle[] = [];
  /** Of chunks that are being moved: which replica goes when there is one too many. */
  private readonly leaving = new Map<ChunkHandle, ServerId>();
  /** Servers that drain, as far as their chunks were put into the queue. */
  private draining = new Set<ServerId>();
  private deleting = 0;
  private cursor: ChunkHandle | 0 = 0;
  private sweepAtMs = 0;

  constructor(
    private readonly context: MasterContext,
    private readonly sealing: () => Sealing,
  ) {
    const { platform, settings, blocked } = context;
    this.copies = new ReplicaCopies(context, sealing);
    this.limits = new CopyLimits(platform.clock, { ...settings, bytesPerSecond: settings.copyRate });
    this.mending = new Mending(context);
    this.running = new RunningCopies(context, this.copies, this.mending, this.limits);
    this.queue = new HealingQueue(platform.clock, {
      copies: handle => goodCopies(context, handle),
      isBlocked: handle => blocked.has(handle),
    });
    const rules = { readsPerSecond: settings.hotReads, replicasMax: settings.hotReplicas };
    this.hot = new HotChunks(platform.clock, rules, handle => this.consider(handle));
  }

  get queuedCount(): number {
    return this.queue.size;
  }

  get dueCount(): number {
    return this.queue.dueCount;
  }

  get copiedBytes(): number {
    return this.copies.copiedBytes;
  }

  /** This chunk may need something: look at it, not before `afterMs`. */
  consider(handle: ChunkHandle, afterMs = 0): void {
    this.queue.add(handle, afterMs);
  }

  /** Copies that may stand beside those wanted for now: the chunk is read much, or is being moved. */
  extraCopiesOf(handle: ChunkHandle): number {
    return this.hot.extraOf(handle) + (this.leaving.has(handle) ? 1 : 0);
  }

  /** To be called while its leases are known: a chunk under lease need not have been reported by anybody yet. */
  onServerDown(server: ServerId): void {
    const { locations, leases, servers, settings } = this.context;
    const afterMs = Math.max(0, settings.rereplicateAfter - servers.downForMs(server));
    const handles = new Set([...locations.handlesOf(server), ...leases.ofServer(server)]);
    for (const handle of handles) this.consider(handle, afterMs);
  }

  /** A server is up: it can take what is missing elsewhere, and what it has may be behind or too much. */
  onServerUp(server: ServerId): void {
    this.sweepAtMs = 0;
    for (const handle of this.context.locations.handlesOf(server)) this.consider(handle);
    this.stopNeedless();
  }

  onReads(reads: ReadonlyArray<{ handle: ChunkHandle; reads: number }>): void {
    this.hot.onReads(reads, handle => this.goalOf(handle));
  }

  /** One round: sweeps a page, looks at chunks that are due, starts work within the limits. Called regularly; does nothing in safe mode. */
  async step(): Promise<void> {
    if (this.context.safeMode.isOn) return;
    this.hot.step(handle => this.goalOf(handle));
    this.watchDraining();
    this.stopNeedless();
    await this.sweep();
    this.waiting = (await this.queue.due(LOOKS_PER_STEP)).reverse();
    const refused: ChunkHandle[] = [];
    while (this.go(refused)) await nextTurn(this.context.platform.clock);
    this.waiting.push(...refused.reverse());
  }

  /**
   * Copies a sealed chunk that has enough replicas from one server to another, and gives the first up. False when the chunk or the limits do not
   * allow it now; `onEnd` is called when the copy is over.
   */
  move(handle: ChunkHandle, { from, to }: { from: ServerId; to: ServerId }, onEnd: () => void): boolean {
    const chunk = findChunk(this.context.store, handle);
    if (!chunk || this.working.has(handle) || this.queue.has(handle) || this.plan(chunk).kind !== 'none') return false;
    if (chunk.state !== 'sealed' || chunk.lengthBytes === 0 || chunk.garbageDueMs !== undefined) return false;
    const work = this.running.move(chunk, to);
    if (!work) return false;
    this.leaving.set(handle, from);
    this.follow(
      chunk,
      'move',
      work.finally(() => onEnd()),
    );
    return true;
  }

  /** Lets chunks that wait have their turn, as far as there is room; those without come to `refused`. True when others are to have theirs before it goes on. */
  private go(refused: ChunkHandle[]): boolean {
    for (let looks = 0; looks < LOOKS_PER_TURN; looks++) {
      if (this.waiting.length === 0 || refused.length >= REFUSALS_MAX || this.context.safeMode.isOn) return false;
      const handle = this.waiting.pop()!;
      if (!this.queue.has(handle) || this.working.has(handle)) continue;
      if (!this.look(handle)) refused.push(handle);
    }
    return true;
  }

  private watchDraining(): void {
    const { servers, locations } = this.context;
    const now = new Set(servers.all().flatMap(({ id, draining }) => (draining ? [id] : [])));
    for (const server of now) {
      if (this.draining.has(server)) continue;
      // Its open chunks need not have been reported: the sweep finds them.
      this.sweepAtMs = 0;
      for (const handle of locations.handlesOf(server)) this.consider(handle);
    }
    this.draining = now;
  }

  /** Copies of chunks that have enough good ones by now end. What they brought is deleted then as any replica that is behind. */
  private stopNeedless(): void {
    this.running.stopNeedless(chunk => this.plan(chunk));
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
    const upCount = servers.upCount();
    const ageMs = platform.clock.wallMs() - chunk.createdMs;
    const step = nextStep({
      chunk,
      replicas: locations.get(chunk.handle),
      downForMs: server => servers.downForMs(server),
      rereplicateAfterMs: settings.rereplicateAfter,
      // The wall clock may have been set back since: not even an hour of waiting is worth a guess.
      ageMs: ageMs < 0 ? Number.POSITIVE_INFINITY : ageMs,
      upCount,
      // Copies that only serve reads are never waited for.
      goal: Math.max(chunk.goal, Math.min(chunk.goal + this.hot.extraOf(chunk.handle), upCount)),
      isDraining: server => servers.get(server)?.draining === true,
      hasRoom: (server, bytes) => (servers.get(server)?.space.freeBytes ?? 0) >= bytes,
      leastWanted: holders => this.leastWanted(chunk.handle, holders),
    });
    return step.kind === 'mend' && this.mending.isTried(chunk) ? { kind: 'none' } : step;
  }

  private leastWanted(handle: ChunkHandle, holders: readonly ServerId[]): ServerId {
    const leaving = this.leaving.get(handle);
    if (leaving !== undefined && holders.includes(leaving)) return leaving;
    const { servers, placer } = this.context;
    return placer.leastUseful(holders.flatMap(server => servers.candidate(server) ?? []))?.id ?? holders[0]!;
  }

  private goalOf(handle: ChunkHandle): number | undefined {
    const chunk = findChunk(this.context.store, handle);
    return chunk?.state === 'sealed' && chunk.garbageDueMs === undefined ? chunk.goal : undefined;
  }

  /** Does what the chunk needs next; false when there is no room for it now. */
  private look(handle: ChunkHandle): boolean {
    const chunk = findChunk(this.context.store, handle);
    const step: HealingStep = chunk ? this.plan(chunk) : { kind: 'none' };
    if (!chunk || step.kind === 'none') {
      this.queue.delete(handle);
      this.leaving.delete(handle);
      return true;
    }
    if (step.kind === 'later') {
      this.queue.putOff(handle, step.afterMs);
      return true;
    }
    const work = this.start(chunk, step);
    if (!work) return false;
    this.queue.delete(handle);
    this.follow(chunk, step.kind, work);
    return true;
  }

  private follow({ handle }: ChunkRecord, kind: string, work: Promise<void>): void {
    this.working.add(handle);
    const end = (afterMs: number): void => {
      this.working.delete(handle);
      this.consider(handle, afterMs);
      if (afterMs === 0) this.waiting.push(handle);
      const refused: ChunkHandle[] = [];
      this.go(refused);
      this.waiting.push(...refused.reverse());
    };
    work.then(
      () => end(0),
      error => {
        const { code, message } = asGfsError(error);
        this.context.platform.logger.debug({ handle, step: kind, code, reason: message }, 'healing was put off');
        end(code === 'DISK_FAILED' ? DISK_RETRY_MS : code === 'TOO_FEW_SERVERS' ? NO_PLACE_RETRY_MS : RETRY_MS);
      },
    );
  }

  /** Begins a step, unless the limits forbid it now. */
  private start(chunk: ChunkRecord, step: HealingStep): Promise<void> | undefined {
    const { platform, settings } = this.context;
    if (step.kind === 'seal') {
      platform.logger.info({ handle: chunk.handle }, 'sealing an open chunk because of a server of its chain');
      return this.sealing().seal(chunk.handle, platform.clock.monotonicMs() + settings.sealDeadline);
    }
    if (step.kind === 'delete') return this.startDeletion(chunk, step);
    if (step.kind !== 'repair' && step.kind !== 'copy' && step.kind !== 'mend') return undefined;
    // Not even worth choosing a place.
    if (this.limits.isFull) return undefined;
    if (step.kind === 'mend') return this.running.mend(chunk, step.servers);
    const target = step.kind === 'repair' ? { server: step.server, whole: false } : this.findTarget(chunk, step);
    if (!target) return Promise.reject(new GfsError('TOO_FEW_SERVERS', 'no other server can take a replica'));
    // In place of a damaged one its good blocks stay, and only the others travel.
    const mendable = step.kind === 'copy' && target.whole ? this.mendable(chunk, step.corrupt) : [];
    if (mendable.length > 0) return this.running.mend(chunk, mendable);
    return this.running.start(chunk, target, { tryFix: step.kind === 'repair' });
  }

  /** Of damaged replicas those that lack no bytes. */
  private mendable({ handle, lengthBytes }: ChunkRecord, corrupt: readonly ServerId[]): ServerId[] {
    return corrupt.filter(server => this.context.locations.find(handle, server)?.lengthBytes === lengthBytes);
  }

  private startDeletion(
    chunk: ChunkRecord,
    { server, why }: Extract<HealingStep, { kind: 'delete' }>,
  ): Promise<void> | undefined {
    if (this.deleting >= BOUNDS.deletionsAtOnce) return undefined;
    this.deleting++;
    return this.copies.remove(chunk, server, why).finally(() => {
      this.deleting--;
    });
  }

  private findTarget(chunk: ChunkRecord, step: Extract<HealingStep, { kind: 'copy' }>): CopyTarget | undefined {
    const { servers, placer } = this.context;
    const staying = step.holders.filter(server => !servers.get(server)?.draining && !step.corrupt.includes(server));
    const beside = staying.flatMap(server => servers.candidate(server) ?? []);
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
}
