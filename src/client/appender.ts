// Appends of one open file: in order, several on their way, each exactly once (I3), whatever fails. It keeps rule 5 of DESIGN 4: before an append
// is sent to another chunk, the master has said for each chunk where it may stand that it does not.
import { type Deferred, deferred } from '../lib/deferred.js';
import { asGfsError, type ErrorCode, GfsError } from '../protocol/errors.js';
import type { Reply, WireTarget } from '../protocol/messages.js';
import { AppendQueue, type Piece, type Write } from './append-queue.js';
import type { AppendSender } from './append-sender.js';
import { Backoff } from './backoff.js';
import type { CachedTarget, InodeState } from './inode-state.js';
import type { MasterLink } from './master-link.js';
import type { ClientParts } from './parts.js';
import { CLIENT_LIMITS } from './settings.js';
import type { AppendOptions } from './types.js';
import type { Writer, Writers } from './writers.js';

export interface AppenderParts extends ClientParts {
  link: MasterLink;
  sender: AppendSender;
  writers: Writers;
  recordBytesMax: number;
}

/** A piece on its way, and its answer once that is here. */
interface Flight {
  readonly piece: Piece;
  /** It may have stood in this chunk before this attempt. */
  readonly wasInDoubt: boolean;
  answer?: { body: Reply<'append'> } | { error: GfsError };
}

/** Why the pipeline stopped, with nothing on its way any more. */
type Stop =
  | { why: 'empty' }
  | { why: 'expired' }
  /** The lease may be over, or the target may be old. */
  | { why: 'renew' }
  /** The next piece belongs into another chunk. */
  | { why: 'filled' }
  | { why: 'failed'; error: GfsError; piece: Piece };

type Next = { piece: Piece } | { stop: Stop };

/** Answers that say for certain that this attempt appended nothing. */
const NOTHING_DONE: ReadonlySet<ErrorCode> = new Set([
  'FULL',
  'OFFSET_MISMATCH',
  'OUT_OF_ORDER',
  'PUSH_LOST',
  'TOO_LARGE',
  'OVERLOADED',
  'UNREACHABLE',
]);
/** Answers after which the same chunk may be tried again without a complaint. */
const SEND_AGAIN: ReadonlySet<ErrorCode> = new Set(['PUSH_LOST', 'OVERLOADED', 'OUT_OF_ORDER', 'BAD_TOKEN']);
/** Answers that no other chunk would change. */
const REFUSED: ReadonlySet<ErrorCode> = new Set(['OFFSET_MISMATCH', 'TOO_LARGE']);

export class Appender {
  readonly #queue = new AppendQueue();
  #writer: Writer | undefined;
  #isRunning = false;
  /** Resolved when an answer or a new write arrives. */
  #changed: Deferred<void> = deferred<void>();
  /** A lower bound for the end of the chunk that was appended to last. */
  #chunkEnd: { handle: number; endByte: number } | undefined;
  #backoff: Backoff;
  /** Failures since the last piece that landed, and how many of them were answered by sending again. */
  #failures = 0;
  #resends = 0;

  constructor(
    private readonly parts: AppenderParts,
    private readonly state: InodeState,
  ) {
    this.#backoff = new Backoff(parts, Number.POSITIVE_INFINITY);
  }

  /** See OpenFile.append. */
  append(buffers: readonly Buffer[], options: AppendOptions, deadlineMs: number): Promise<number> {
    const landed = this.#queue.add(buffers, options, deadlineMs);
    if (this.#isRunning) this.#wake();
    else void this.#run();
    return landed;
  }

  /** Settles when no append is waiting or on its way. */
  idle(): Promise<void> {
    return this.#queue.idle();
  }

  /** Ends the use of the writer. Requires: idle. */
  release(): void {
    if (this.#writer) this.parts.writers.giveBack(this.#writer);
    this.#writer = undefined;
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    try {
      for (let head = this.#queue.head; head; head = this.#queue.head) {
        if (this.#now() >= head.deadlineMs) {
          this.#fail(head, new GfsError('TIMED_OUT', 'the append found no way in time'));
          continue;
        }
        await this.#round(head);
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

  /** One target, as far as it goes. */
  async #round(head: Write): Promise<void> {
    const acquired = await this.#acquire(head);
    if (!acquired) return;
    const { target, isFresh } = acquired;
    const stop = await this.#pipeline(target, isFresh);
    switch (stop.why) {
      case 'empty':
      case 'expired':
        return;
      case 'renew':
        this.state.dropTarget(target);
        return;
      case 'filled':
        this.#failures++;
        await this.#complain(target.wire);
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
        const options = { deadlineMs: head.deadlineMs, held: true };
        const body = await this.parts.link.call('appendTarget', this.parts.link.appendRequest(state.inode), options);
        target = state.noteTarget(body.target, askedMs);
      } catch (error) {
        await this.#onNoTarget(head, asGfsError(error));
        return undefined;
      }
    }
    const { handle } = target.wire;
    const doubtful = this.#queue.pieces.filter(piece => [...piece.maybe.keys()].some(other => other !== handle));
    await Promise.all(doubtful.map(piece => this.#resolveElsewhere(piece, handle)));
    const isInDoubt = doubtful.some(piece => [...piece.maybe.keys()].some(other => other !== handle));
    if (isInDoubt) {
      state.dropTarget(target);
      await this.#backoff.pause();
      return undefined;
    }
    return this.#queue.isEmpty ? undefined : { target, isFresh };
  }

  async #onNoTarget(head: Write, error: GfsError): Promise<void> {
    // While something is in doubt, a definite refusal would be a lie: wait for certainty as long as there is time.
    const isInDoubt = this.#queue.pieces.some(piece => piece.maybe.size > 0);
    if (isInDoubt && error.retryable && error.code !== 'STOPPING' && this.#now() < head.deadlineMs) {
      await this.#complainWhereInDoubt();
      await this.#backoff.pause();
      return;
    }
    this.#fail(head, notFoundIsStale(error));
  }

  /** Sends pieces in order, as many at once as the window takes, until something stops it; settles when nothing is on its way. */
  async #pipeline(target: CachedTarget, isFresh: boolean): Promise<Stop> {
    const flights: Flight[] = [];
    let sentCount = 0;
    let stop: Stop | undefined;
    for (;;) {
      while (!stop && this.#hasWindow(flights)) {
        if (this.#now() >= target.validUntilMs && (sentCount > 0 || !isFresh)) {
          stop = { why: 'renew' };
          break;
        }
        const next = this.#next(target, flights, isFresh);
        if (!('piece' in next)) {
          if (next.stop.why !== 'empty') stop = next.stop;
          break;
        }
        flights.push(this.#send(next.piece, target.wire, flights[flights.length - 1]));
        sentCount++;
      }
      for (let first = flights[0]; first?.answer; first = flights[0]) {
        flights.shift();
        const failure = this.#settle(first, target);
        if (failure && stop?.why !== 'failed') stop = { why: 'failed', error: failure, piece: first.piece };
      }
      if (flights.length === 0) {
        if (stop) return stop;
        if (!this.#queue.uncut) return { why: 'empty' };
        continue;
      }
      await this.#changed.promise;
    }
  }

  #hasWindow(flights: readonly Flight[]): boolean {
    const { settings } = this.parts;
    if (flights.length >= settings.appendsInFlight) return false;
    const bytes = flights.reduce((sum, { piece }) => sum + piece.lengthBytes, 0);
    return flights.length === 0 || bytes < settings.appendBytesInFlight;
  }

  /** The next piece to send, cut if need be. Requires: pieces on their way are the first ones of the queue without an outcome, or landed. */
  #next(target: CachedTarget, flights: readonly Flight[], isFresh: boolean): Next {
    const flying = new Set(flights.map(({ piece }) => piece));
    const again = this.#queue.pieces.find(piece => !flying.has(piece));
    const write = again?.write ?? this.#queue.uncut;
    if (!write) return { stop: { why: 'empty' } };
    if (this.#now() >= write.deadlineMs) return { stop: { why: 'expired' } };
    // `after` orders the appends of one writer only: another one's must have answers before.
    const writer = again ? again.writer : this.#writer?.id;
    if (flights.some(({ piece }) => piece.writer !== writer)) return { stop: { why: 'empty' } };
    const { wire } = target;
    const { expectedOffset, split } = write.options;
    const at = again ? again.at : write.cutBytes;
    const position = expectedOffset === undefined ? this.#endOf(wire, flights) : expectedOffset + at - wire.base;
    if (position !== undefined && expectedOffset !== undefined && (position < 0 || position > wire.chunkSizeBytes)) {
      // Not in this chunk. An old target may mislead; a fresh one says where the file ends.
      if (!isFresh) return { stop: { why: 'renew' } };
      const error = new GfsError('OFFSET_MISMATCH', `the file does not end at ${expectedOffset + at}`);
      const piece = again ?? this.#cut(write, 1);
      return { stop: { why: 'failed', error, piece } };
    }
    if (again) return { piece: again };
    const leftBytes = write.lengthBytes - write.cutBytes;
    const roomBytes = position === undefined ? Number.POSITIVE_INFINITY : wire.chunkSizeBytes - position;
    if (split ? roomBytes <= 0 : leftBytes > roomBytes) return { stop: { why: 'filled' } };
    if (!split) return { piece: this.#cut(write, leftBytes) };
    const pieceBytesMax = Math.min(this.parts.settings.appendPieceBytes, this.parts.recordBytesMax);
    return { piece: this.#cut(write, Math.min(leftBytes, roomBytes, pieceBytesMax)) };
  }

  /** Where the chunk ends at least when all that is on its way has landed; undefined when nothing is known of it. */
  #endOf(wire: WireTarget, flights: readonly Flight[]): number | undefined {
    if (this.#chunkEnd?.handle !== wire.handle) return undefined;
    return flights.reduce((end, { piece, answer }) => (answer ? end : end + piece.lengthBytes), this.#chunkEnd.endByte);
  }

  #cut(write: Write, lengthBytes: number): Piece {
    this.#writer ??= this.parts.writers.take();
    return this.#queue.cut(write, lengthBytes, { writer: this.#writer.id, sequence: this.#writer.next() });
  }

  #send(piece: Piece, wire: WireTarget, previous: Flight | undefined): Flight {
    const flight: Flight = { piece, wasInDoubt: piece.maybe.has(wire.handle) };
    piece.maybe.set(wire.handle, wire);
    this.state.noteUse();
    piece.refusal = undefined;
    const { settings } = this.parts;
    const timeoutMs = Math.max(1, Math.min(settings.appendTryMs, piece.write.deadlineMs - this.#now()));
    const settled = this.#settledBefore(piece);
    // What was acknowledged is there; only what is on its way must not be overtaken.
    const isBehind = previous && previous.piece.writer === piece.writer && previous.piece.sequence > settled;
    const after = isBehind ? previous.piece.sequence : 0;
    this.parts.sender.send(piece, wire, { after, settled }, timeoutMs).then(
      body => {
        flight.answer = { body };
        this.#onAnswer(flight, wire);
      },
      error => {
        flight.answer = { error: asGfsError(error) };
        this.#wake();
      },
    );
    return flight;
  }

  /** The last sequence of the piece's writer up to which every append has an outcome. */
  #settledBefore(piece: Piece): number {
    const first = this.#queue.pieces.find(({ writer }) => writer === piece.writer) ?? piece;
    return first.sequence - 1;
  }

  /** An acknowledged piece stands, whatever becomes of the ones before it. */
  #onAnswer(flight: Flight, wire: WireTarget): void {
    const { piece, answer } = flight;
    if (answer && 'body' in answer) {
      const { offset } = answer.body;
      const endByte = offset + piece.lengthBytes;
      const known = this.#chunkEnd?.handle === wire.handle ? this.#chunkEnd.endByte : 0;
      this.#chunkEnd = { handle: wire.handle, endByte: Math.max(known, endByte) };
      const { writer, sequence } = piece;
      this.state.noteLanded(wire, offset, piece.lengthBytes, { writer, sequence });
      this.#queue.land(piece, wire.base + offset);
      this.#failures = 0;
      this.#resends = 0;
      this.#backoff = new Backoff(this.parts, Number.POSITIVE_INFINITY);
    }
    this.#wake();
  }

  /** Takes an answered flight out; returns its failure, if it has one. */
  #settle(flight: Flight, target: CachedTarget): GfsError | undefined {
    const { piece, wasInDoubt, answer } = flight;
    if (!answer || 'body' in answer) return undefined;
    if (!wasInDoubt && NOTHING_DONE.has(answer.error.code)) piece.maybe.delete(target.wire.handle);
    return answer.error;
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
    await this.#complain(target.wire);
    this.state.dropTarget(target);
    this.#failRefused();
    await this.#pauseUnlessFirst();
  }

  /** The first setback goes on at once: a full chunk is an everyday event. */
  async #pauseUnlessFirst(): Promise<void> {
    if (this.#failures > 1) await this.#backoff.pause();
  }

  /** Tells the master that this chunk takes no more, and learns what became of every piece that may stand in it. */
  async #complain(wire: WireTarget): Promise<void> {
    const doubtful = this.#queue.pieces.filter(piece => piece.maybe.has(wire.handle));
    if (doubtful.length > 0) {
      await Promise.all(doubtful.map(piece => this.#resolve(piece, piece.maybe.get(wire.handle)!)));
      return;
    }
    const { head } = this.#queue;
    if (!head) return;
    const witness = this.state.unsynced.get(wire.handle)?.last;
    const append = witness ? { append: { writer: witness.writer, sequence: witness.sequence } } : {};
    const { handle, version } = wire;
    const options = { deadlineMs: head.deadlineMs, held: true };
    try {
      const { outcome } = await this.parts.link.call('complain', { handle, version, ...append }, options);
      if (outcome === 'stands') this.state.unsynced.delete(handle);
      if (outcome === 'absent' && witness) {
        this.parts.logger.error({ handle, version, ...witness }, 'an acknowledged append is not in its sealed chunk');
        this.state.noteLost(handle);
      }
    } catch (error) {
      // The next target tells more: the master may know nothing of this chunk any more.
      this.parts.logger.debug({ handle, code: asGfsError(error).code }, 'a complaint was refused');
    }
  }

  async #complainWhereInDoubt(): Promise<void> {
    const doubts = this.#queue.pieces.flatMap(piece => [...piece.maybe.values()].map(wire => ({ piece, wire })));
    await Promise.all(doubts.map(({ piece, wire }) => this.#resolve(piece, wire)));
    this.#failRefused();
  }

  async #resolveElsewhere(piece: Piece, handle: number): Promise<void> {
    for (const wire of [...piece.maybe.values()]) {
      if (wire.handle !== handle && piece.maybe.has(wire.handle)) await this.#resolve(piece, wire);
    }
  }

  /** Asks the master whether `piece` stands in this chunk. Leaves the doubt when it does not know yet. */
  async #resolve(piece: Piece, wire: WireTarget): Promise<void> {
    const { handle, version } = wire;
    const { writer, sequence, write } = piece;
    const options = { deadlineMs: write.deadlineMs, held: true };
    try {
      const request = { handle, version, append: { writer, sequence } };
      const { outcome, offset } = await this.parts.link.call('complain', request, options);
      if (outcome === 'again' || piece.isLanded) return;
      if (outcome === 'absent') {
        // This says nothing of the earlier ones, which power may have taken; a sync will ask for them.
        piece.maybe.delete(handle);
        return;
      }
      if (offset === undefined) throw new GfsError('BAD_MESSAGE', 'the master did not say where the append stands');
      // What stands in a sealed chunk is on the disks, and so is all before it.
      const unsynced = this.state.unsynced.get(handle);
      if (unsynced && unsynced.endByte <= offset + piece.lengthBytes) this.state.unsynced.delete(handle);
      this.state.noteCommitted(wire.generation, wire, offset + piece.lengthBytes);
      this.#queue.land(piece, wire.base + offset);
    } catch (error) {
      const failure = asGfsError(error);
      this.parts.logger.debug({ handle, version, code: failure.code }, 'the outcome of an append is not known');
      if (failure.retryable && failure.code !== 'STOPPING') return;
      if (!write.hasFailed && !piece.isLanded) this.#fail(write, failure);
    }
  }

  /** Fails what was refused, now that it is certain that it stands nowhere. */
  #failRefused(): void {
    const refused = this.#queue.pieces.find(piece => piece.refusal && piece.maybe.size === 0);
    if (refused?.refusal) this.#fail(refused.write, refused.refusal);
  }

  #fail(write: Write, error: GfsError): void {
    const anyDoubt = this.#queue.failFrom(write, error);
    // A late arrival of a piece in doubt must find its writer past it, or be refused: a new writer begins.
    if (anyDoubt) this.#writer = undefined;
  }

  #wake(): void {
    const changed = this.#changed;
    this.#changed = deferred<void>();
    changed.resolve();
  }

  #now(): number {
    return this.parts.clock.monotonicMs();
  }
}

function notFoundIsStale(error: GfsError): GfsError {
  if (error.code !== 'NOT_FOUND') return error;
  return new GfsError('STALE', 'the file was deleted and collected', { cause: error });
}
