// Appends of one open file: in order, several on their way, each exactly once (I3), whatever fails. It keeps rule 5 of DESIGN 4: before an append
// is sent to another chunk, the master has said for each chunk where it may stand that it does not. An append ends at its deadline, whatever is waited for.
import type { Timer } from '../lib/clock.js';
import { asGfsError, type ErrorCode, GfsError } from '../protocol/errors.js';
import { AppendDoubts } from './append-doubts.js';
import { AppendPipeline, type PipelineParts } from './append-pipeline.js';
import { AppendQueue, type Piece, type Write } from './append-queue.js';
import { Backoff } from './backoff.js';
import type { CachedTarget, InodeState } from './inode-state.js';
import type { MasterLink } from './master-link.js';
import { CLIENT_LIMITS } from './settings.js';
import type { AppendOptions } from './types.js';

export interface AppenderParts extends PipelineParts {
  link: MasterLink;
}

/** Answers after which the same chunk may be tried again without a complaint. */
const SEND_AGAIN: ReadonlySet<ErrorCode> = new Set(['PUSH_LOST', 'OVERLOADED', 'OUT_OF_ORDER', 'BAD_TOKEN']);
/** Answers that no other chunk would change. */
const REFUSED: ReadonlySet<ErrorCode> = new Set(['OFFSET_MISMATCH', 'TOO_LARGE']);

export class Appender {
  readonly #queue = new AppendQueue();
  readonly #pipeline: AppendPipeline;
  readonly #doubts: AppendDoubts;
  #isRunning = false;
  #backoff: Backoff;
  /** Failures since the last piece that landed, and how many of them were answered by sending again. */
  #failures = 0;
  #resends = 0;
  /** Set while there are writes, for the deadline of the one that was first then. */
  #watch: Timer | undefined;

  constructor(
    private readonly parts: AppenderParts,
    private readonly state: InodeState,
  ) {
    this.#backoff = new Backoff(parts, Number.POSITIVE_INFINITY);
    this.#pipeline = new AppendPipeline(parts, state, this.#queue, () => this.#onLanded());
    this.#doubts = new AppendDoubts(parts, state, this.#queue, (write, error) => this.#fail(write, error));
  }

  /** See OpenFile.append. */
  append(buffers: readonly Buffer[], options: AppendOptions, deadlineMs: number): Promise<number> {
    const landed = this.#queue.add(buffers, options, deadlineMs);
    if (this.#isRunning) this.#pipeline.wake();
    else void this.#run();
    if (!this.#watch) this.#watchHead();
    return landed;
  }

  /** Settles when no append is waiting for its outcome. */
  idle(): Promise<void> {
    return this.#queue.idle();
  }

  /** Ends the use of the writer. Requires: idle. */
  release(): void {
    this.#pipeline.release();
    this.#watch?.cancel();
    this.#watch = undefined;
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    try {
      for (let head = this.#queue.head; head; head = this.#queue.head) {
        const due = this.#queue.due(this.#now());
        if (due) this.#fail(due, this.#tooLate());
        else await this.#round(head);
      }
    } catch (error) {
      // Only a bug of ours gets here; nobody may wait for ever because of it.
      const { head } = this.#queue;
      if (head) this.#fail(head, asGfsError(error));
      throw error;
    } finally {
      this.#isRunning = false;
    }
  }

  /** While a later append is waited for, the first one ends all the same. */
  #watchHead(): void {
    const { head } = this.#queue;
    this.#watch = undefined;
    if (!head) return;
    const lateMs = head.deadlineMs - this.#now() + CLIENT_LIMITS.deadlineGraceMs;
    if (lateMs <= 0) {
      this.#fail(head, this.#tooLate());
      return;
    }
    this.#watch = this.parts.clock.setTimer(lateMs, () => this.#watchHead(), { background: true });
  }

  /** One target, as far as it goes. */
  async #round(head: Write): Promise<void> {
    const acquired = await this.#acquire(head);
    if (!acquired) return;
    const { target, isFresh } = acquired;
    const stop = await this.#pipeline.run(target, isFresh);
    switch (stop.why) {
      case 'empty':
      case 'expired':
        return;
      case 'renew':
        this.state.dropTarget(target);
        return;
      case 'filled':
        this.#failures++;
        await this.#doubts.complain(target.wire);
        this.state.dropTarget(target);
        await this.#pauseUnlessFirst();
        return;
      case 'failed':
        await this.#onFailure(target, stop.piece, stop.error);
    }
  }

  /** A target for which no piece is in doubt elsewhere; undefined after a setback that was dealt with. */
  async #acquire(head: Write): Promise<{ target: CachedTarget; isFresh: boolean } | undefined> {
    const { state } = this;
    let target = state.target;
    const isFresh = !target || this.#now() >= target.validUntilMs;
    if (!target || isFresh) {
      const askedMs = this.#now();
      try {
        const options = { deadlineMs: this.#queue.endsMs, held: true };
        const body = await this.parts.link.call('appendTarget', this.parts.link.appendRequest(state.inode), options);
        target = state.noteTarget(body.target, askedMs);
      } catch (error) {
        await this.#onNoTarget(head, asGfsError(error));
        return undefined;
      }
    }
    const { handle } = target.wire;
    await this.#doubts.resolveElsewhere(handle);
    if (this.#doubts.isAnyElsewhere(handle)) {
      state.dropTarget(target);
      await this.#backoff.pause();
      return undefined;
    }
    return this.#queue.isEmpty ? undefined : { target, isFresh };
  }

  #tooLate(): GfsError {
    if (this.#doubts.isAny && this.#doubts.lacksSpace)
      return new GfsError('NO_SPACE', 'no server had room in time to say what became of the append');
    return new GfsError('TIMED_OUT', 'the append had no answer in time');
  }

  async #onNoTarget(head: Write, error: GfsError): Promise<void> {
    // While something is in doubt, a definite refusal would be a lie: wait for certainty as long as there is time.
    const due = this.#queue.due(this.#now());
    if (!due && this.#doubts.isAny && error.retryable && error.code !== 'STOPPING') {
      await this.#doubts.resolveAll();
      this.#failRefused();
      await this.#backoff.pause();
      return;
    }
    this.#fail(due ?? head, notFoundIsStale(error));
  }

  async #onFailure(target: CachedTarget, piece: Piece, error: GfsError): Promise<void> {
    const { handle, version } = target.wire;
    this.parts.logger.debug({ handle, version, code: error.code, reason: error.message }, 'an append failed');
    this.#failures++;
    if (REFUSED.has(error.code)) {
      if (piece.maybe.size === 0) {
        this.#fail(piece.write, error);
        return;
      }
      piece.refusal = error;
    } else if (SEND_AGAIN.has(error.code) && this.#resends < CLIENT_LIMITS.resendsMax) {
      this.#resends++;
      if (error.code === 'PUSH_LOST') piece.inline = true;
      if (error.code === 'BAD_TOKEN') this.state.dropTarget(target);
      await this.#backoff.pause();
      return;
    }
    await this.#doubts.complain(target.wire);
    this.state.dropTarget(target);
    this.#failRefused();
    await this.#pauseUnlessFirst();
  }

  /** The first setback goes on at once: a full chunk is an everyday event. */
  async #pauseUnlessFirst(): Promise<void> {
    if (this.#failures > 1) await this.#backoff.pause();
  }

  /** Fails what was refused, now that it is certain that it stands nowhere. */
  #failRefused(): void {
    const refused = this.#queue.pieces.find(piece => piece.refusal && piece.maybe.size === 0);
    if (refused?.refusal) this.#fail(refused.write, refused.refusal);
  }

  #fail(write: Write, error: GfsError): void {
    // It may have ended while something else was waited for.
    if (!this.#queue.has(write)) return;
    if (this.#queue.failFrom(write, error)) this.#pipeline.changeWriter();
  }

  #onLanded(): void {
    this.#failures = 0;
    this.#resends = 0;
    this.#doubts.lacksSpace = false;
    this.#backoff = new Backoff(this.parts, Number.POSITIVE_INFINITY);
  }

  #now(): number {
    return this.parts.clock.monotonicMs();
  }
}

function notFoundIsStale(error: GfsError): GfsError {
  if (error.code !== 'NOT_FOUND') return error;
  return new GfsError('STALE', 'the file was deleted and collected', { cause: error });
}
