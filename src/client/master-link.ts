// Calls to the master, repeated until they are answered or the operation's deadline passes. Repeating is safe because every message is: changes
// carry `once`, so the master answers a repetition with the first outcome. It knows no sessions and no files.
import { randomId } from '../lib/random.js';
import type { Address } from '../lib/transport.js';
import { type ErrorCode, GfsError } from '../protocol/errors.js';
import type { InodeId } from '../protocol/ids.js';
import type { MasterKind, Reply, Request, WireOnce } from '../protocol/messages.js';
import { Backoff } from './backoff.js';
import type { ClientParts } from './parts.js';

export interface MasterCallOptions {
  /** Monotonic time at which the operation ends. */
  deadlineMs: number;
  /** The master may hold the request while it waits for chunkservers. */
  held?: boolean;
  /** Time that the master was asked to wait, on top of an ordinary attempt. */
  waitMs?: number;
  /** Called before each attempt. */
  onAttempt?: () => void;
}

/** It is not known what happened, or nothing did: try again. */
const TRANSIENT: ReadonlySet<ErrorCode> = new Set([
  'UNREACHABLE',
  'CONNECTION_LOST',
  'TIMED_OUT',
  'OVERLOADED',
  'STOPPING',
  'GRACE',
]);
/** What changes a session's files and locks: carries the number of its connection, so that an attempt which was given up cannot undo what came after it. */
const ORDERED: ReadonlySet<MasterKind> = new Set([
  'openSession',
  'createFile',
  'openFile',
  'closeFile',
  'lock',
  'unlock',
]);
/** The cluster is not ready: try again for a while, then say so. */
const UNREADY: ReadonlySet<ErrorCode> = new Set(['SAFE_MODE', 'TOO_FEW_SERVERS']);

export class MasterLink {
  /** This client's name for the master's memory of outcomes. */
  readonly clientId: string;
  #isClosed = false;
  #nextSequence = 1;
  /** Sequences of changes that have no outcome yet, ascending. */
  readonly #unsettled = new Set<number>();

  constructor(
    private readonly parts: ClientParts,
    readonly address: Address,
  ) {
    this.clientId = randomId(parts.random);
  }

  /** The deadline of an operation that starts now. */
  deadline(): number {
    return this.parts.clock.monotonicMs() + this.parts.settings.opTimeoutMs;
  }

  /** The master's answer. Rejects with its refusal; TIMED_OUT when there was no answer until the deadline. */
  async call<K extends MasterKind>(kind: K, request: Request<K>, options: MasterCallOptions): Promise<Reply<K>> {
    const { clock, peers, settings, logger } = this.parts;
    const backoff = new Backoff(this.parts, options.deadlineMs);
    const tryMs = (options.held ? settings.masterHoldMs : settings.masterTryMs) + (options.waitMs ?? 0);
    const patientUntilMs = clock.monotonicMs() + settings.patienceMs;
    let last: GfsError | undefined;
    for (;;) {
      if (this.#isClosed) throw new GfsError('STOPPING', 'this client is closed');
      const leftMs = options.deadlineMs - clock.monotonicMs();
      if (leftMs <= 0) throw outOfTime(kind, this.address, last);
      options.onAttempt?.();
      try {
        const peer = peers.get(this.address);
        const numbered = ORDERED.has(kind) ? { ...request, connection: peer.connectionNumber } : request;
        const { body } = await peer.call(kind, numbered, { timeoutMs: Math.min(leftMs, tryMs) });
        return body;
      } catch (error) {
        if (!(error instanceof GfsError)) throw error;
        // UNAVAILABLE: the master waited for chunkservers in vain, so far.
        const isTransient = TRANSIENT.has(error.code) || error.code === 'UNAVAILABLE';
        const again = isTransient || (UNREADY.has(error.code) && clock.monotonicMs() < patientUntilMs);
        if (!again) throw error;
        logger.debug({ kind, code: error.code, reason: error.message }, 'the master is asked again');
        last = error;
      }
      await backoff.pause();
    }
  }

  /** Asks where to append, for this client. */
  appendRequest(inode: InodeId): Request<'appendTarget'> {
    return { inode, client: this.clientId };
  }

  /** Runs `work` with the identity of a new change, which all its calls share. */
  async once<T>(work: (once: WireOnce) => Promise<T>): Promise<T> {
    const sequence = this.#nextSequence++;
    this.#unsettled.add(sequence);
    // Sets keep the order of insertion, so the first is the least.
    const [ackedBelow] = this.#unsettled;
    try {
      return await work({ client: this.clientId, sequence, ackedBelow: ackedBelow! });
    } finally {
      this.#unsettled.delete(sequence);
    }
  }

  /** Ends all retries; later calls are refused. */
  close(): void {
    this.#isClosed = true;
  }
}

function outOfTime(kind: MasterKind, address: Address, last: GfsError | undefined): GfsError {
  if (last && (UNREADY.has(last.code) || last.code === 'UNAVAILABLE' || last.code === 'GRACE')) return last;
  const reason = last ? `: ${last.message}` : '';
  return new GfsError('TIMED_OUT', `the master at ${address} did not answer ${kind} in time${reason}`, { cause: last });
}
