// One direction of a simulated connection (Pipe) and one end of it (SimConnection). Bytes arrive in order and whole or the connection ends;
// while the way is cut they wait. Which ways are cut, and how long the way is, the network says.
import { assert } from '../../../src/lib/assert.js';
import type { Address, Connection } from '../../../src/lib/transport.js';
import { errnoError, type SimProcess } from './sim-process.js';
import type { SimRandom } from './sim-random.js';

/** Bytes the operating systems of both sides hold before `queuedBytes` grows. */
const WINDOW_BYTES = 256 * 1024;
/** queuedBytes above which onDrain will be called. */
const HIGH_WATER_BYTES = 1024 * 1024;
const BYTES_PER_MS = 100_000;
/** How often a piece arrives as two: readers must not rely on the borders of sends. */
const SPLIT_CHANCE = 0.05;
/** What close({flush}) waits for a peer that does not take the bytes. */
const FLUSH_STALL_MS = 10_000;

type Segment = { readyMs: number; sentMs: number } & (
  | { kind: 'data'; buffers: Buffer[]; bytes: number }
  | { kind: 'open' }
  | { kind: 'end'; error: Error | undefined }
);

/** What a pipe asks of the network. */
export interface Way {
  readonly random: SimRandom;
  /** Time under way of the next segment. */
  latencyMs(from: string, to: string): number;
  /** Whether nothing arrives at the moment: cut, or the machine is off. */
  isBlocked(from: string, to: string): boolean;
}

/** From `source` to `target`. INVARIANT: readyMs never falls along the segments. */
export class Pipe {
  readonly source: SimConnection;
  readonly target: SimConnection;
  readonly #way: Way;
  #segments: Segment[] = [];
  #undeliveredBytes = 0;
  #lastReadyMs = 0;
  #isPumping = false;
  #wasHigh = false;

  constructor(source: SimConnection, target: SimConnection, way: Way) {
    this.source = source;
    this.target = target;
    this.#way = way;
  }

  get queuedBytes(): number {
    return Math.max(0, this.#undeliveredBytes - WINDOW_BYTES);
  }

  get hasUndelivered(): boolean {
    return this.#segments.length > 0;
  }

  sendData(buffers: readonly Buffer[]): void {
    let bytes = 0;
    // The receiver owns what it gets, so it must not share memory with the sender.
    const copies: Buffer[] = [];
    for (const buffer of buffers) {
      bytes += buffer.length;
      if (buffer.length > 0) copies.push(Buffer.from(buffer));
    }
    if (bytes === 0) return;
    this.#undeliveredBytes += bytes;
    if (this.queuedBytes > HIGH_WATER_BYTES) this.#wasHigh = true;
    const last = this.#segments.at(-1);
    // What is sent in one moment travels together.
    if (last?.kind === 'data' && last.sentMs === this.#nowMs && last.readyMs > this.#nowMs) {
      last.buffers.push(...copies);
      last.bytes += bytes;
      last.readyMs += bytes / BYTES_PER_MS;
      this.#lastReadyMs = last.readyMs;
      return;
    }
    this.#push({ kind: 'data', buffers: copies, bytes, ...this.#times(bytes) });
  }

  sendOpen(): void {
    this.#push({ kind: 'open', ...this.#times(0) });
  }

  sendEnd(error?: Error): void {
    if (this.#segments.at(-1)?.kind === 'end') return;
    this.#push({ kind: 'end', error, ...this.#times(0) });
  }

  /** Loses a random last part of what is under way, at any byte. */
  dropSome(): void {
    const keptCount = this.#way.random.int(this.#segments.length + 1);
    const torn = this.#segments[keptCount];
    this.#segments.length = keptCount;
    if (torn?.kind === 'data') {
      const bytes = Buffer.concat(torn.buffers).subarray(0, this.#way.random.int(torn.bytes));
      if (bytes.length > 0) this.#segments.push({ ...torn, buffers: [bytes], bytes: bytes.length });
    }
    this.#undeliveredBytes = 0;
    for (const segment of this.#segments) if (segment.kind === 'data') this.#undeliveredBytes += segment.bytes;
  }

  dropAll(): void {
    this.#segments = [];
    this.#undeliveredBytes = 0;
  }

  /** What waited because the way was cut goes on after `delayMs` (a retransmission). */
  resumeAfter(delayMs: number): void {
    const readyMs = this.#nowMs + delayMs;
    for (const segment of this.#segments) segment.readyMs = Math.max(segment.readyMs, readyMs);
    this.#lastReadyMs = Math.max(this.#lastReadyMs, readyMs);
    this.pump();
  }

  /** Sees to it that the first segment is delivered when it is due. */
  pump(): void {
    const first = this.#segments[0];
    if (first === undefined || this.#isPumping || this.target.isPaused) return;
    if (this.#way.isBlocked(this.source.host, this.target.host)) return;
    this.#isPumping = true;
    this.target.process.simulator.schedule(Math.max(0, first.readyMs - this.#nowMs), () => {
      this.#isPumping = false;
      this.#deliverFirst();
      this.pump();
    });
  }

  #deliverFirst(): void {
    const first = this.#segments[0];
    if (first === undefined || first.readyMs > this.#nowMs || this.target.isPaused) return;
    if (this.#way.isBlocked(this.source.host, this.target.host)) return;
    this.#segments.shift();
    if (first.kind === 'open') {
      this.target.deliverOpen();
    } else if (first.kind === 'end') {
      this.target.deliverEnd(first.error);
    } else {
      this.#deliverData(first.buffers.length === 1 ? first.buffers[0]! : Buffer.concat(first.buffers), first);
    }
  }

  #deliverData(whole: Buffer, segment: Segment): void {
    let piece = whole;
    if (whole.length > 1 && this.#way.random.chance(SPLIT_CHANCE)) {
      const at = 1 + this.#way.random.int(whole.length - 1);
      piece = whole.subarray(0, at);
      const rest = whole.subarray(at);
      this.#segments.unshift({ ...segment, kind: 'data', buffers: [rest], bytes: rest.length });
    }
    this.#undeliveredBytes -= piece.length;
    this.target.deliverData(piece);
    if (this.#wasHigh && this.queuedBytes === 0) {
      this.#wasHigh = false;
      this.source.process.schedule(this.#way.latencyMs(this.target.host, this.source.host), () => {
        this.source.deliverDrain();
      });
    }
  }

  #times(bytes: number): { readyMs: number; sentMs: number } {
    const latencyMs = this.#way.latencyMs(this.source.host, this.target.host);
    this.#lastReadyMs = Math.max(this.#lastReadyMs, this.#nowMs + latencyMs) + bytes / BYTES_PER_MS;
    return { readyMs: this.#lastReadyMs, sentMs: this.#nowMs };
  }

  #push(segment: Segment): void {
    this.#segments.push(segment);
    this.pump();
  }

  get #nowMs(): number {
    return this.target.process.simulator.nowMs;
  }
}

/** States: open → closing (flushing) → closed. */
export class SimConnection implements Connection {
  readonly process: SimProcess;
  readonly remoteAddress: Address;
  onData: (data: Buffer) => void = () => assert(false, 'onData is set before bytes arrive');
  onClose: (error?: Error) => void = () => undefined;
  onDrain: () => void = () => undefined;
  /** For the network: how an accepting side is handed to its listener. */
  onOpen: () => void = () => undefined;
  /** For the network: the connection needs it no more. */
  onGone: () => void = () => undefined;

  #outgoing: Pipe | undefined;
  #incoming: Pipe | undefined;
  #state: 'open' | 'closing' | 'closed' = 'open';
  #isPaused = false;

  constructor(process: SimProcess, remoteAddress: Address) {
    this.process = process;
    this.remoteAddress = remoteAddress;
  }

  get host(): string {
    return this.process.host;
  }

  get isPaused(): boolean {
    return this.process.isStopped || (this.#isPaused && this.#state === 'open');
  }

  get isClosed(): boolean {
    return this.#state === 'closed';
  }

  get queuedBytes(): number {
    return this.#state === 'closed' ? 0 : this.outgoing.queuedBytes;
  }

  get outgoing(): Pipe {
    return this.#outgoing!;
  }

  get incoming(): Pipe {
    return this.#incoming!;
  }

  /** For the network. */
  join(outgoing: Pipe, incoming: Pipe): void {
    this.#outgoing = outgoing;
    this.#incoming = incoming;
  }

  send(buffers: readonly Buffer[]): void {
    if (this.#state === 'open' && this.process.isAlive) this.outgoing.sendData(buffers);
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    if (this.process.isAlive) this.incoming.pump();
  }

  close(options: { flush?: boolean } = {}): void {
    if (this.#state === 'closed' || !this.process.isAlive) return;
    if (options.flush !== true) {
      // Whatever the operating system had not taken is dropped; the peer sees an end or a reset.
      if (this.outgoing.queuedBytes > 0) this.outgoing.dropSome();
      this.#close(undefined);
    } else if (this.#state === 'open') {
      this.#state = 'closing';
      this.outgoing.sendEnd();
      this.incoming.pump();
      this.process.schedule(FLUSH_STALL_MS, () => this.#close(undefined));
    }
  }

  /** The process is gone and its operating system ends the connection for it. */
  abandon(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.outgoing.sendEnd(errnoError('ECONNRESET', `connection to ${this.host} was reset`));
    this.incoming.dropAll();
    this.onGone();
  }

  /** The machine lost power: nothing tells the peer. */
  vanish(): void {
    this.#state = 'closed';
    this.outgoing.dropAll();
    this.onGone();
  }

  deliverOpen(): void {
    if (!this.process.isAlive || this.#state === 'closed') this.#refuse();
    else this.onOpen();
  }

  deliverData(data: Buffer): void {
    if (this.#state === 'closed' || !this.process.isAlive) this.#refuse();
    else if (this.#state === 'open') this.onData(data);
  }

  deliverEnd(error: Error | undefined): void {
    if (this.#state !== 'closed' && this.process.isAlive) this.#close(error);
  }

  deliverDrain(): void {
    if (this.#state === 'open') this.onDrain();
  }

  /** Bytes for a socket that is gone are answered with a reset. */
  #refuse(): void {
    this.outgoing.sendEnd(errnoError('ECONNRESET', `connection to ${this.host} was reset`));
  }

  #close(error: Error | undefined): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.outgoing.sendEnd();
    this.incoming.dropAll();
    this.onGone();
    // As with sockets, the end is told in a turn of its own.
    this.process.schedule(0, () => this.onClose(error));
  }
}
