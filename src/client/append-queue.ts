// The appends of one open file in their order: writes as the caller gave them, cut into pieces as they are sent. It owns outcomes and doubts,
// and sends nothing. Invariant: pieces without an outcome stand in the order of their writes, before all bytes that are not cut yet.
import { assert } from '../lib/assert.js';
import { crc32OfAll } from '../lib/checksum.js';
import { type Deferred, deferred } from '../lib/deferred.js';
import { GfsError } from '../protocol/errors.js';
import type { ChunkHandle } from '../protocol/ids.js';
import { LIMITS } from '../protocol/limits.js';
import type { WireTarget } from '../protocol/messages.js';
import type { AppendOptions } from './types.js';

/** One append call. */
export interface Write {
  readonly buffers: readonly Buffer[];
  readonly lengthBytes: number;
  readonly options: AppendOptions;
  readonly deadlineMs: number;
  readonly done: Deferred<number>;
  cutBytes: number;
  landedBytes: number;
  /** Offset in the file of its first byte, once that stands. */
  firstOffset: number | undefined;
  hasFailed: boolean;
}

/** What becomes one contiguous piece of a chunk. */
export interface Piece {
  readonly write: Write;
  readonly writer: string;
  readonly sequence: number;
  readonly buffers: readonly Buffer[];
  readonly lengthBytes: number;
  readonly crc: number;
  /** Offset within its write. */
  readonly at: number;
  /** Chunks in which it may stand, each with the target under which it was last sent there (DESIGN 4, rule 5). */
  readonly maybe: Map<ChunkHandle, WireTarget>;
  /** When it was first sent to one of these. */
  doubtSinceMs: number;
  /** Sent with its request from now on, because pushed bytes were lost. */
  inline: boolean;
  /** A refusal that holds as soon as it is certain that the piece stands nowhere. */
  refusal: GfsError | undefined;
  isLanded: boolean;
}

export class AppendQueue {
  readonly #writes: Write[] = [];
  #pieces: Piece[] = [];
  #idle: Deferred<void> | undefined;

  /** Pieces without an outcome, in order. */
  get pieces(): readonly Piece[] {
    return this.#pieces;
  }

  get isEmpty(): boolean {
    return this.#writes.length === 0;
  }

  /** The first write without an outcome. */
  get head(): Write | undefined {
    return this.#writes[0];
  }

  /** The first write with bytes that are not cut yet. */
  get uncut(): Write | undefined {
    return this.#writes.find(write => write.cutBytes < write.lengthBytes);
  }

  /** When some write must have its outcome: the first one's deadline, or how long a piece may be asked for or sent again when servers may have it. */
  get endsMs(): number {
    let endsMs = this.head?.deadlineMs ?? Number.POSITIVE_INFINITY;
    for (const piece of this.#pieces) endsMs = Math.min(endsMs, doubtEndsMs(piece));
    return endsMs;
  }

  /** The first write that must have its outcome by now. */
  due(nowMs: number): Write | undefined {
    const { head } = this;
    if (head && nowMs >= head.deadlineMs) return head;
    return this.#pieces.find(piece => nowMs >= doubtEndsMs(piece))?.write;
  }

  has(write: Write): boolean {
    return this.#writes.includes(write);
  }

  /** Settles when no write is left. */
  idle(): Promise<void> {
    if (this.isEmpty) return Promise.resolve();
    this.#idle ??= deferred<void>();
    return this.#idle.promise;
  }

  add(buffers: readonly Buffer[], options: AppendOptions, deadlineMs: number): Promise<number> {
    const lengthBytes = buffers.reduce((sum, buffer) => sum + buffer.length, 0);
    assert(lengthBytes > 0, 'an append has bytes');
    const last = this.#writes[this.#writes.length - 1];
    assert(!last || last.deadlineMs <= deadlineMs, 'deadlines come in the order of writes');
    const write: Write = {
      buffers,
      lengthBytes,
      options,
      deadlineMs,
      done: deferred<number>(),
      cutBytes: 0,
      landedBytes: 0,
      firstOffset: undefined,
      hasFailed: false,
    };
    this.#writes.push(write);
    return write.done.promise;
  }

  /** Cuts the next piece off `write`. */
  cut(write: Write, lengthBytes: number, identity: { writer: string; sequence: number }): Piece {
    assert(lengthBytes > 0 && lengthBytes <= write.lengthBytes - write.cutBytes, 'a piece is cut from what is left');
    const buffers = slice(write.buffers, write.cutBytes, lengthBytes);
    const piece: Piece = {
      ...identity,
      write,
      buffers,
      lengthBytes,
      crc: crc32OfAll(buffers),
      at: write.cutBytes,
      maybe: new Map(),
      doubtSinceMs: 0,
      inline: false,
      refusal: undefined,
      isLanded: false,
    };
    write.cutBytes += lengthBytes;
    this.#pieces.push(piece);
    return piece;
  }

  /** The piece stands at `offset` of the file. */
  land(piece: Piece, offset: number): void {
    if (piece.isLanded) return;
    piece.isLanded = true;
    piece.maybe.clear();
    this.#pieces = this.#pieces.filter(other => other !== piece);
    const { write } = piece;
    if (write.hasFailed) return;
    if (piece.at === 0) write.firstOffset = offset;
    write.landedBytes += piece.lengthBytes;
    if (write.landedBytes < write.lengthBytes) return;
    this.#remove(write);
    write.done.resolve(write.firstOffset!);
  }

  /** Fails `write` and every later one. Returns whether some piece of them may stand nevertheless. */
  failFrom(write: Write, error: GfsError): boolean {
    const index = this.#writes.indexOf(write);
    assert(index >= 0, 'a write fails while it is queued');
    let anyDoubt = false;
    for (const failed of this.#writes.slice(index)) {
      const isInDoubt = this.#pieces.some(piece => piece.write === failed && piece.maybe.size > 0);
      anyDoubt ||= isInDoubt;
      failed.hasFailed = true;
      this.#pieces = this.#pieces.filter(piece => piece.write !== failed);
      this.#remove(failed);
      failed.done.reject(isInDoubt ? inDoubt(error) : error);
    }
    return anyDoubt;
  }

  #remove(write: Write): void {
    this.#writes.splice(this.#writes.indexOf(write), 1);
    if (!this.isEmpty) return;
    this.#idle?.resolve();
    this.#idle = undefined;
  }
}

/** The servers remember a writer for a while after it was heard; what it may have appended before cannot be told from new any more. */
function doubtEndsMs({ maybe, doubtSinceMs }: Piece): number {
  return maybe.size === 0 ? Number.POSITIVE_INFINITY : doubtSinceMs + LIMITS.appendRetryMs;
}

/** The failure of an append that may stand: its code never says that it certainly does not. */
function inDoubt(error: GfsError): GfsError {
  if (error.code === 'TIMED_OUT' || error.code === 'STOPPING') return error;
  return new GfsError('TIMED_OUT', `it is not known whether the append stands: ${error.message}`, { cause: error });
}

function slice(buffers: readonly Buffer[], from: number, length: number): Buffer[] {
  const parts: Buffer[] = [];
  let at = 0;
  for (const buffer of buffers) {
    const part = buffer.subarray(Math.max(0, from - at), Math.max(0, from + length - at));
    if (part.length > 0) parts.push(part);
    at += buffer.length;
    if (at >= from + length) break;
  }
  return parts;
}
