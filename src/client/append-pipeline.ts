// Appends on their way to one chunk: sends pieces in order, several at once, cut as they go, and takes the answers. It asks the master nothing and decides
// nothing about failures; whoever runs it hears why it stopped. It owns the writer under whose name pieces are cut.
import { type Deferred, deferred } from '../lib/deferred.js';
import { asGfsError, type ErrorCode, GfsError } from '../protocol/errors.js';
import type { Reply, WireTarget } from '../protocol/messages.js';
import type { AppendQueue, Piece, Write } from './append-queue.js';
import type { AppendSender } from './append-sender.js';
import type { CachedTarget, InodeState } from './inode-state.js';
import type { ClientParts } from './parts.js';
import type { Writer, Writers } from './writers.js';

export interface PipelineParts extends ClientParts {
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
export type Stop =
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
  'NO_SPACE',
]);

export class AppendPipeline {
  #writer: Writer | undefined;
  /** Resolved when an answer or a new write arrives. */
  #changed: Deferred<void> = deferred<void>();
  /** A lower bound for the end of the chunk that was appended to last. */
  #chunkEnd: { handle: number; endByte: number } | undefined;

  constructor(
    private readonly parts: PipelineParts,
    private readonly state: InodeState,
    private readonly queue: AppendQueue,
    /** Called when a piece was acknowledged. */
    private readonly onLanded: () => void,
  ) {}

  /** There is more to send. */
  wake(): void {
    const changed = this.#changed;
    this.#changed = deferred<void>();
    changed.resolve();
  }

  /** The next piece is cut under another name: a late arrival of one in doubt must find its writer past it, or be refused. */
  changeWriter(): void {
    this.#writer = undefined;
  }

  /** Ends the use of the writer. Requires that the queue is empty. */
  release(): void {
    if (this.#writer) this.parts.writers.giveBack(this.#writer);
    this.#writer = undefined;
  }

  /** Sends pieces in order, as many at once as the window takes, until something stops it; settles when nothing is on its way. */
  async run(target: CachedTarget, isFresh: boolean): Promise<Stop> {
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
        if (!this.queue.uncut) return { why: 'empty' };
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
    const again = this.queue.pieces.find(piece => !flying.has(piece));
    const write = again?.write ?? this.queue.uncut;
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
    return this.queue.cut(write, lengthBytes, { writer: this.#writer.id, sequence: this.#writer.next() });
  }

  #send(piece: Piece, wire: WireTarget, previous: Flight | undefined): Flight {
    const flight: Flight = { piece, wasInDoubt: piece.maybe.has(wire.handle) };
    if (piece.maybe.size === 0) piece.doubtSinceMs = this.#now();
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
        this.wake();
      },
    );
    return flight;
  }

  /** The last sequence of the piece's writer up to which every append has an outcome. */
  #settledBefore(piece: Piece): number {
    const first = this.queue.pieces.find(({ writer }) => writer === piece.writer) ?? piece;
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
      const { lengthBytes } = piece;
      this.state.noteLanded(wire, { offset, lengthBytes, committed: answer.body }, { writer, sequence });
      this.queue.land(piece, wire.base + offset);
      this.onLanded();
    }
    this.wake();
  }

  /** Takes an answered flight out; returns its failure, if it has one. */
  #settle(flight: Flight, target: CachedTarget): GfsError | undefined {
    const { piece, wasInDoubt, answer } = flight;
    if (!answer || 'body' in answer) return undefined;
    if (!wasInDoubt && NOTHING_DONE.has(answer.error.code)) piece.maybe.delete(target.wire.handle);
    return answer.error;
  }

  #now(): number {
    return this.parts.clock.monotonicMs();
  }
}
