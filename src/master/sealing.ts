// Seals chunks: fence the members of the chain, choose the length, record it durably, fix it at the members (DESIGN 4, Seal). Keeps I4 and
// I5 at the master; an interrupted seal is simply begun again. Callers wait up to a deadline, the work goes on behind them.
import { within } from '../lib/deadline.js';
import type { Deferred } from '../lib/deferred.js';
import { deferred } from '../lib/deferred.js';
import { asGfsError, GfsError, hasCode } from '../protocol/errors.js';
import type { ChunkHandle } from '../protocol/ids.js';
import { findChunk, isOpen, raiseVersion, sealChunk } from './chunks.js';
import { enough, firstTrue } from './deadline.js';
import { type MasterContext, momentOf, noteGrowth } from './master-context.js';
import type { ChunkRecord } from './records.js';
import { type FenceAnswer, lengthToAccept, lengthToSeal } from './seal-decision.js';
import type { Servers } from './servers.js';
import { BOUNDS } from './settings.js';

interface Job {
  readonly done: Deferred<void>;
  /** Monotonic time after which nobody is interested any more. */
  untilMs: number;
}

export class Sealing {
  /** INVARIANT: at most one job per chunk, so that all complaints about it share one seal. */
  private readonly jobs = new Map<ChunkHandle, Job>();
  /** Chunks whose members that are left may decide, whatever they are worth: an operator said so. */
  private readonly accepted = new Set<ChunkHandle>();
  /** Monotonic time since when only damaged members have answered; of at most `sealsMax` chunks, the last ones. */
  private readonly damagedSinceMs = new Map<ChunkHandle, number>();
  private isStopped = false;

  constructor(
    private readonly context: MasterContext,
    /** A chunk is sealed: its replicas may need copies. */
    private readonly onSealed: (chunk: ChunkRecord) => void,
  ) {}

  /** Chunks that are being sealed. */
  get count(): number {
    return this.jobs.size;
  }

  isSealing(handle: ChunkHandle): boolean {
    return this.jobs.has(handle);
  }

  /**
   * Settles once the chunk is not open any more, durably. Throws UNAVAILABLE at `deadlineMs` (monotonic); sealing goes on. Throws NO_SPACE when full disks
   * keep all who are left from recording it. Many callers share one seal.
   */
  seal(handle: ChunkHandle, deadlineMs: number): Promise<void> {
    const { clock } = this.context.platform;
    const untilMs = Math.min(deadlineMs, clock.monotonicMs() + 300_000) + BOUNDS.sealPersistMs;
    let job = this.jobs.get(handle);
    if (job) job.untilMs = Math.max(job.untilMs, untilMs);
    else {
      if (this.jobs.size >= BOUNDS.sealsMax)
        return Promise.reject(new GfsError('OVERLOADED', 'too many chunks are being sealed'));
      job = { done: deferred<void>(), untilMs };
      this.jobs.set(handle, job);
      void this.run(handle, job);
    }
    return within(
      clock,
      job.done.promise,
      deadlineMs,
      () => new GfsError('UNAVAILABLE', `no trustworthy replica of chunk ${handle} can be reached to seal it`),
    );
  }

  /** As `seal`, at an operator's word with whatever members answer, the suspect ones too (DESIGN 4, rule 8). */
  async sealAccepting(handle: ChunkHandle, deadlineMs: number): Promise<void> {
    this.accepted.add(handle);
    try {
      // A seal that is under way may be pausing.
      this.context.servers.changed.ring();
      await this.seal(handle, deadlineMs);
    } finally {
      this.accepted.delete(handle);
    }
  }

  stop(): void {
    this.isStopped = true;
    this.context.servers.changed.ring();
  }

  private async run(handle: ChunkHandle, job: Job): Promise<void> {
    // Whoever waits has its own copy of the promise; a failure that nobody waits for is logged here.
    job.done.promise.catch(() => undefined);
    try {
      await this.untilSealed(handle, job);
      this.jobs.delete(handle);
      this.damagedSinceMs.delete(handle);
      job.done.resolve();
    } catch (error) {
      this.jobs.delete(handle);
      this.context.platform.logger.warn({ handle, code: asGfsError(error).code }, 'sealing was given up');
      job.done.reject(asGfsError(error));
    }
  }

  private async untilSealed(handle: ChunkHandle, job: Job): Promise<void> {
    const { clock, random } = this.context.platform;
    let pauseMs: number = BOUNDS.sealRetryMs;
    while (!this.isStopped) {
      const chunk = findChunk(this.context.store, handle);
      if (!chunk || !isOpen(chunk)) return await this.context.store.durable();
      if (this.canAsk(chunk) && (await this.attempt(chunk))) return;
      if (clock.monotonicMs() >= job.untilMs)
        throw new GfsError('UNAVAILABLE', `no trustworthy replica of chunk ${handle} answered`);
      await this.context.servers.changed.wait(pauseMs * (0.75 + 0.5 * random.float()));
      pauseMs = Math.min(pauseMs * 2, BOUNDS.sealRetryMaxMs);
    }
    throw new GfsError('STOPPING');
  }

  /** One round of fencing. Returns whether the chunk is sealed now. */
  private async attempt(before: ChunkRecord): Promise<boolean> {
    const { store, leases, locations, platform } = this.context;
    const { handle } = before;
    const startMs = platform.clock.monotonicMs();
    leases.drop(handle);
    const { version } = store.change(change => raiseVersion(change, handle));
    await store.durable();
    const { answers, lacksSpace } = await this.fence(before, version);
    // The world may have changed while the servers were asked: the file may be gone.
    const chunk = findChunk(store, handle);
    if (!chunk || !isOpen(chunk) || chunk.version !== version) return false;
    const lengthBytes = this.decide(chunk, answers);
    if (lengthBytes === undefined) {
      if (lengthToSeal(chunk, answers) !== undefined) this.noteDamaged(handle);
      platform.logger.warn(
        { handle, version, answers: answers.map(describe), recordedBytes: chunk.lengthBytes },
        'the chunk cannot be sealed yet: those that answered may not decide alone',
      );
      if (answers.length === 0 && lacksSpace)
        throw new GfsError('NO_SPACE', `the disks of the servers that hold chunk ${handle} are full: free some space`);
      return false;
    }
    const sealed = store.change(change => sealChunk(change, handle, lengthBytes, momentOf(this.context)));
    if (lengthBytes > chunk.lengthBytes) noteGrowth(this.context, chunk.inode);
    await store.durable();
    platform.logger.info(
      {
        handle,
        version,
        lengthBytes,
        replicas: answers.length,
        ms: Math.round(platform.clock.monotonicMs() - startMs),
      },
      'chunk sealed',
    );
    for (const answer of answers) if (!answer.exists) locations.remove(handle, answer.server);
    // Readers find nothing before one replica is fixed; the others follow in the background, and only then is it seen who needs a copy.
    const fixes = lengthBytes === 0 ? [] : answers.filter(answer => answer.exists);
    const fixing = fixes.map(answer => this.fix(sealed, answer.server));
    void Promise.allSettled(fixing).then(() => this.onSealed(sealed));
    await firstTrue(fixing);
    return true;
  }

  /** Somebody may answer, or an operator decides without anybody. */
  private canAsk(chunk: ChunkRecord): boolean {
    const { servers } = this.context;
    if (chunk.chain.some(({ server }) => servers.isLive(server))) return true;
    return this.accepted.has(chunk.handle) && isDeserted(chunk, servers);
  }

  /** The length to seal at, or undefined when those that answered may not decide. */
  private decide(chunk: ChunkRecord, answers: readonly FenceAnswer[]): number | undefined {
    const lengthBytes = lengthToSeal(chunk, answers, { patient: this.isPatient(chunk) });
    if (lengthBytes !== undefined || !this.accepted.has(chunk.handle)) return lengthBytes;
    if (isDeserted(chunk, this.context.servers)) return chunk.lengthBytes;
    return lengthToAccept(chunk, answers);
  }

  private noteDamaged(handle: ChunkHandle): void {
    if (this.damagedSinceMs.has(handle)) return;
    for (const oldest of this.damagedSinceMs.keys()) {
      if (this.damagedSinceMs.size < BOUNDS.sealsMax) break;
      this.damagedSinceMs.delete(oldest);
    }
    this.damagedSinceMs.set(handle, this.context.platform.clock.monotonicMs());
  }

  /** Sound members may still come back, as healing waits for them before it makes copies. */
  private isPatient({ handle }: ChunkRecord): boolean {
    const { settings, platform } = this.context;
    const sinceMs = this.damagedSinceMs.get(handle);
    return sinceMs === undefined || platform.clock.monotonicMs() < sinceMs + settings.rereplicateAfter;
  }

  /** What the members answer. Once they can decide, those that are silent get a short time more: a stopped machine must not hold up its file. */
  private async fence(chunk: ChunkRecord, version: number): Promise<{ answers: FenceAnswer[]; lacksSpace: boolean }> {
    const { orders, servers, platform } = this.context;
    const silent = new Set(chunk.chain.map(({ server }) => server));
    let lacksSpace = false;
    const asked = chunk.chain.map(async ({ server, epoch }) => {
      try {
        const answer = await orders.give(server, 'fence', { handle: chunk.handle, version, epoch });
        return { server, ...answer };
      } catch (error) {
        lacksSpace ||= hasCode(error, 'NO_SPACE');
        throw error;
      } finally {
        silent.delete(server);
      }
    });
    // Where any answer will do, all are heard that can be.
    const patient = this.isPatient(chunk);
    const canDecide = (answers: readonly FenceAnswer[]): boolean =>
      lengthToSeal(chunk, answers, { patient }) !== undefined;
    const answers = await enough(platform.clock, asked, canDecide, BOUNDS.fenceGraceMs);
    for (const server of silent) servers.doubt(server);
    return { answers, lacksSpace };
  }

  /** Tells one member the recorded length. Returns whether its replica is current now. */
  async fix(chunk: ChunkRecord, server: ChunkRecord['chain'][number]['server']): Promise<boolean> {
    const { handle, version, lengthBytes } = chunk;
    const answer = await this.context.orders.give(server, 'fix', { handle, version, lengthBytes });
    this.context.locations.put(handle, {
      server,
      version,
      lengthBytes: answer.lengthBytes,
      state: answer.short ? 'fenced' : 'sealed',
      suspect: false,
      corrupt: answer.corrupt === true,
    });
    return !answer.short;
  }
}

/** An operator had all its members forgotten: nobody will ever answer. */
export function isDeserted({ chain }: ChunkRecord, servers: Pick<Servers, 'get'>): boolean {
  return chain.every(({ server }) => servers.get(server) === undefined);
}

function describe(answer: FenceAnswer): string {
  if (!answer.exists) return `${answer.server}: none (epoch ${answer.epoch})`;
  return `${answer.server}: ${answer.lengthBytes}${answer.suspect ? ' suspect' : ''}`;
}
