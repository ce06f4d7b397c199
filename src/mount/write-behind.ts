// The unacknowledged appends of one file, in the order of the writes: it joins small ones, keeps several on their way, and bounds what waits.
// It never reorders, never splits a record, and drops nothing silently: every segment lands or fails, and both are told.
import { assert } from '../lib/assert.js';
import type { Clock, Timer } from '../lib/clock.js';
import { type Deferred, deferred } from '../lib/deferred.js';
import { asGfsError, GfsError } from '../protocol/errors.js';

/** Bytes that go out as one append. */
export interface Segment<Writer> {
  readonly writer: Writer;
  /** undefined: wherever the file ends (O_APPEND). Else the offset where the bytes must land. */
  readonly expectedOffset: number | undefined;
  /** The bytes may be cut at the ends of chunks. */
  readonly split: boolean;
  readonly buffers: Buffer[];
  bytes: number;
  /** Its last bytes may be the first part of a write(2) whose rest arrives in the next request. */
  isOpen: boolean;
}

export interface PendingWrite<Writer> {
  writer: Writer;
  data: Buffer;
  /** Absent for O_APPEND. */
  expectedOffset?: number;
  /** For O_APPEND: the rest of the same write(2) may follow, so the bytes wait for it a moment. */
  mayGoOn?: boolean;
  /** For O_APPEND: these may be that rest. */
  continues?: boolean;
}

export interface WriteBehindOptions<Writer> {
  clock: Clock;
  append(data: readonly Buffer[], options: { split: boolean; expectedOffset?: number }): Promise<number>;
  /** Called for each segment that stands in the file, before anybody who waits for it goes on. */
  onLanded(segment: Segment<Writer>, offset: number): void;
  /** Called for each segment that failed, or that was queued behind one that did. */
  onFailed(segment: Segment<Writer>, error: GfsError): void;
  /** The largest append that is never split. */
  recordBytesMax: number;
  bufferBytesMax: number;
  appendBytesMax: number;
  appendsInFlightMax: number;
  delayMs: number;
  /** How long the first part of a write(2) waits for the rest. */
  holdMs: number;
}

/** A hold that ends this much later than it should begins anew. */
const HOLD_LATE_MS = 20;

export class WriteBehind<Writer> {
  private readonly options: WriteBehindOptions<Writer>;
  private readonly queue: Array<Segment<Writer>> = [];
  /** Every segment that neither landed nor failed, queued or on its way. */
  private readonly outstanding = new Map<Segment<Writer>, Deferred<void>>();
  private inFlight = 0;
  private bytes = 0;
  /** This many segments at the head of the queue go out without waiting for company. */
  private urgent = 0;
  private delay: Timer | undefined;
  /** Runs while the last segment waits for the rest of a write(2). */
  private hold: Timer | undefined;
  private readonly waitingForRoom: Array<{ bytes: number; grant: Deferred<void>; timer: Timer }> = [];

  constructor(options: WriteBehindOptions<Writer>) {
    this.options = options;
  }

  /** Bytes added and neither acknowledged nor failed. */
  get pendingBytes(): number {
    return this.bytes;
  }

  /** Settles when `bytes` more may be added; rejects with TIMED_OUT after `timeoutMs`. One write larger than the bound passes alone. */
  room(bytes: number, timeoutMs: number): Promise<void> {
    if (this.waitingForRoom.length === 0 && this.fits(bytes)) return Promise.resolve();
    const grant = deferred<void>();
    const timer = this.options.clock.setTimer(
      timeoutMs,
      () => {
        const index = this.waitingForRoom.findIndex(waiting => waiting.grant === grant);
        if (index >= 0) this.waitingForRoom.splice(index, 1);
        grant.reject(new GfsError('TIMED_OUT', `written bytes could not be sent within ${timeoutMs} ms`));
      },
      { background: true },
    );
    this.waitingForRoom.push({ bytes, grant, timer });
    return grant.promise;
  }

  /** Queues bytes after all earlier ones. The caller waited for room. Settles when they landed or failed; never rejects. */
  add(write: PendingWrite<Writer>): Promise<void> {
    assert(write.data.length > 0, 'an append has bytes');
    this.bytes += write.data.length;
    const last = this.queue[this.queue.length - 1];
    const joined = last !== undefined && this.joins(last, write);
    const segment = joined ? last : this.newSegment(write);
    segment.buffers.push(write.data);
    segment.bytes += write.data.length;
    segment.isOpen = write.mayGoOn === true;
    this.hold?.cancel();
    this.hold = undefined;
    this.pump();
    if (this.queue.length > 0 && !this.delay) this.startDelay();
    if (segment.isOpen) this.startHold();
    return this.outstanding.get(segment)?.promise ?? Promise.resolve();
  }

  /**
   * Settles when everything that was added up to now landed or failed; never rejects. A first part waits for its rest here too: whoever closes the
   * file need not be the process whose write(2) is under way, also on the same open file (`{ one & two & } >> log`).
   */
  async settle(): Promise<void> {
    if (this.outstanding.size === 0) return;
    const all = [...this.outstanding.values()].map(done => done.promise);
    this.hurry(false);
    await Promise.all(all);
  }

  private newSegment(write: PendingWrite<Writer>): Segment<Writer> {
    const segment: Segment<Writer> = {
      writer: write.writer,
      expectedOffset: write.expectedOffset,
      split: write.expectedOffset !== undefined || write.data.length > this.options.recordBytesMax,
      buffers: [],
      bytes: 0,
      isOpen: false,
    };
    this.queue.push(segment);
    this.outstanding.set(segment, deferred());
    return segment;
  }

  /** Stream writes join when they continue each other; O_APPEND writes of one handle join into one record, so that each stays whole. */
  private joins(last: Segment<Writer>, write: PendingWrite<Writer>): boolean {
    const { appendBytesMax, recordBytesMax } = this.options;
    const joinedBytes = last.bytes + write.data.length;
    if (last.writer !== write.writer) return false;
    if (last.expectedOffset !== undefined)
      return write.expectedOffset === last.expectedOffset + last.bytes && joinedBytes <= appendBytesMax;
    if (write.expectedOffset !== undefined || last.split || joinedBytes > recordBytesMax) return false;
    // A request at its limit behind a first part is a page larger than an append should be.
    if (last.isOpen) return write.continues === true && joinedBytes <= 2 * appendBytesMax;
    // A first part begins a segment of its own, so that the record has room for the rest.
    return write.mayGoOn !== true && joinedBytes <= appendBytesMax;
  }

  private pump(): void {
    while (this.queue.length > 0 && this.inFlight < this.options.appendsInFlightMax) {
      const head = this.queue[0]!;
      // Something follows it, or it is full: it can grow no more.
      const isComplete = this.queue.length > 1 || (!head.isOpen && head.bytes >= this.options.appendBytesMax);
      if ((this.inFlight > 0 || head.isOpen) && !isComplete && this.urgent === 0) return;
      this.queue.shift();
      if (this.urgent > 0) this.urgent--;
      void this.send(head);
    }
  }

  private async send(segment: Segment<Writer>): Promise<void> {
    this.inFlight++;
    let failure: GfsError | undefined;
    try {
      const { split, expectedOffset } = segment;
      const options = expectedOffset === undefined ? { split } : { split, expectedOffset };
      const offset = await this.options.append(segment.buffers, options);
      this.bytes -= segment.bytes;
      this.options.onLanded(segment, offset);
    } catch (error) {
      failure = asGfsError(error);
      this.bytes -= segment.bytes;
      this.options.onFailed(segment, failure);
    }
    this.inFlight--;
    const done = this.outstanding.get(segment)!;
    this.outstanding.delete(segment);
    if (failure) this.failQueued(failure);
    done.resolve();
    this.grantRoom();
    this.pump();
  }

  /** What is queued behind a failed append does not go out: it would stand in the wrong place, or wait for the same failure once more. */
  private failQueued(error: GfsError): void {
    for (const segment of this.queue.splice(0)) {
      this.bytes -= segment.bytes;
      this.options.onFailed(segment, error);
      this.outstanding.get(segment)!.resolve();
      this.outstanding.delete(segment);
    }
    this.urgent = 0;
  }

  private fits(bytes: number): boolean {
    return this.bytes === 0 || this.bytes + bytes <= this.options.bufferBytesMax;
  }

  /** Grants are given one at a time: whoever gets one adds its bytes before the next is looked at. */
  private grantRoom(): void {
    const first = this.waitingForRoom[0];
    if (!first || !this.fits(first.bytes)) return;
    this.waitingForRoom.shift();
    first.timer.cancel();
    first.grant.resolve();
  }

  private startDelay(): void {
    this.delay = this.options.clock.setTimer(this.options.delayMs, () => {
      this.delay = undefined;
      this.hurry(false);
    });
  }

  /** Counted from the part that came last. A timer that fires late says that this process stood still: then the rest may be here, unread. */
  private startHold(): void {
    const { clock, holdMs } = this.options;
    const dueMs = clock.monotonicMs() + holdMs;
    this.hold = clock.setTimer(holdMs, () => {
      this.hold = undefined;
      if (clock.monotonicMs() - dueMs > HOLD_LATE_MS) this.startHold();
      else this.hurry(true);
    });
  }

  /** Sends what is queued, a first part at the end only when `whole`. */
  private hurry(whole: boolean): void {
    const isLastHeld = !whole && this.queue[this.queue.length - 1]?.isOpen === true;
    this.urgent = Math.max(this.urgent, this.queue.length - (isLastHeld ? 1 : 0));
    this.pump();
  }
}
