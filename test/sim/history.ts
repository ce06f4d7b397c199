// What happened in a scenario as its users and observers saw it: operations that began and ended, messages that primaries answered, faults.
// It hands each event to the checkers at once, in order; it never judges, and workloads never see what the checkers think.
import { asGfsError, type ErrorCode } from '../../src/protocol/errors.js';
import type { RecordId } from './records.js';

/** What a workload asked of a client. `file` is an inode number: it outlives renames. */
export type Asked =
  | {
      kind: 'append';
      file: number;
      /** Present when the append is one record; absent for a piece of a stream. */
      record?: RecordId;
      bytes: Buffer;
      expectedOffset?: number;
    }
  | { kind: 'read'; file: number; offset: number; lengthBytes: number; final?: boolean }
  | { kind: 'size'; file: number }
  | { kind: 'truncate'; file: number; sizeBytes: number }
  | ({ kind: 'lock' } & LockRange)
  | ({ kind: 'unlock' } & LockRange)
  | { kind: 'createExclusive'; name: string }
  | { kind: 'rename'; from: string; to: string }
  | { kind: 'name'; what: string };

/** Of one owner of one client. `exclusive` says nothing of an unlock. */
export interface LockRange {
  file: number;
  owner: string;
  exclusive: boolean;
  space: 'posix' | 'flock';
  startByte: number;
  /** Inclusive. */
  endByte: number;
}

export type AskedKind = Asked['kind'];

/** What came of it. `generation` names one incarnation of a file's bytes; undefined when it may have changed during the operation. */
export type Outcome =
  | { kind: 'append'; offset: number }
  | { kind: 'read'; generation: number | undefined; bytes: Buffer }
  | { kind: 'size'; generation: number; sizeBytes: number }
  | { kind: 'truncate'; generation: number; sizeBytes: number }
  | { kind: 'lock' }
  | { kind: 'unlock' }
  | { kind: 'createExclusive'; created: boolean }
  | { kind: 'rename' }
  | { kind: 'name' };

export interface Operation {
  readonly id: number;
  readonly client: string;
  readonly asked: Asked;
  readonly beganMs: number;
  /** By when it must have settled. */
  readonly deadlineMs: number;
}

/**
 * records: only records are appended, by anybody. stream: its one writer appends stream number `stream` from byte 0. cut: its one writer appends
 * records and cuts the file, one thing at a time.
 */
export type FileStyle = { kind: 'records' } | { kind: 'stream'; stream: number } | { kind: 'cut' };

export type HistoryEvent =
  | { kind: 'began'; operation: Operation; atMs: number }
  | { kind: 'ended'; operation: Operation; outcome: Outcome; atMs: number }
  | { kind: 'failed'; operation: Operation; code: ErrorCode; message: string; atMs: number }
  /** The client process died with the operation unanswered. */
  | { kind: 'abandoned'; operation: Operation; atMs: number }
  /** The process of `client` ended. */
  | { kind: 'died'; client: string; atMs: number }
  /** `client` was told that it does not hold this any more. */
  | { kind: 'lockLost'; client: string; lock: LockRange; atMs: number }
  /** `server` told a client that an append stands in this version of this chunk, and ends at this byte of it; 0 where that may be lost. */
  | { kind: 'acknowledged'; server: string; handle: number; version: number; endByte: number; atMs: number }
  /** What earlier versions acknowledged ends here, says the master: this version began at this length, or the chunk was sealed at it. */
  | { kind: 'settled'; handle: number; version: number; lengthBytes: number; atMs: number }
  /** The master lets this version be acknowledged in until then. */
  | { kind: 'leased'; handle: number; version: number; untilMs: number; atMs: number }
  /** A workload made a file and will use it in this way (see FileStyle). */
  | { kind: 'file'; file: number; style: FileStyle; atMs: number }
  /** The file has this name; none: a change of its name is asked for, or (`mayGo`) that it loses its last one. */
  | { kind: 'named'; file: number; path?: string; mayGo?: boolean; atMs: number }
  /** A server was disturbed, or the network was; until `healed`, anything may fail. */
  | { kind: 'fault'; fault: string; node: string; atMs: number }
  /** A process that stood still since then goes on now. */
  | { kind: 'wentOn'; node: string; sinceMs: number; atMs: number }
  /** A copy of a chunk was ordered: how many the master waits for now, in all and with one of the two servers. */
  | { kind: 'copying'; handle: number; server: string; atServer: number; inAll: number; atMs: number }
  /** A copy that this master began then is over, and moved so many bytes. */
  | { kind: 'copied'; master: number; beganMs: number; bytes: number; atMs: number }
  /** A process of a chunkserver answered a read for a copy. */
  | { kind: 'sentCopy'; process: string; bytes: number; atMs: number }
  /** A file lost its last name by a deletion that was acknowledged. */
  | { kind: 'unlinked'; file: number; atMs: number }
  /** The master heard a client and keeps its session. */
  | { kind: 'kept'; client: string; atMs: number }
  | { kind: 'healed'; atMs: number }
  /** All that was asked has settled; nothing follows but the final reads. */
  | { kind: 'quiet'; atMs: number };

export interface Checker {
  /** The promise that it checks, as a sentence. */
  readonly promise: string;
  /** Judges one event; returns what is wrong with it. */
  on(event: HistoryEvent): string | undefined;
}

/** Thrown out of nothing: the scenario stops when `violation` is set. */
export interface Violation {
  promise: string;
  what: string;
  atMs: number;
}

export class History {
  readonly violations: Violation[] = [];
  readonly counts: Record<string, number> = {};
  /** Operations that have begun and not ended, by id. */
  private readonly pending = new Map<number, Operation>();
  private nextOperationId = 1;

  constructor(
    private readonly nowMs: () => number,
    private readonly checkers: readonly Checker[],
    private readonly write: (line: () => string) => void,
  ) {}

  get pendingCount(): number {
    return this.pending.size;
  }

  /** Runs `work` as an operation of `client` and records how it ended. Rejects as `work` does. */
  async operate<K extends AskedKind>(
    client: string,
    asked: Asked & { kind: K },
    limitMs: number,
    work: () => Promise<Outcome & { kind: K }>,
  ): Promise<Outcome & { kind: K }> {
    const beganMs = this.nowMs();
    const operation: Operation = {
      id: this.nextOperationId++,
      client,
      asked,
      beganMs,
      deadlineMs: beganMs + limitMs,
    };
    this.pending.set(operation.id, operation);
    this.tell({ kind: 'began', operation, atMs: beganMs });
    let outcome: Outcome & { kind: K };
    try {
      outcome = await work();
    } catch (cause) {
      if (!this.pending.delete(operation.id)) throw cause;
      const error = asGfsError(cause);
      if (error.code === 'FAILED') this.write(() => `  ${error.stack} ${(cause as Error)?.stack}`);
      this.tell({ kind: 'failed', operation, code: error.code, message: error.message, atMs: this.nowMs() });
      throw cause;
    }
    if (this.pending.delete(operation.id)) this.tell({ kind: 'ended', operation, outcome, atMs: this.nowMs() });
    return outcome;
  }

  /** The process of `client` died: what it had asked will never be answered. */
  abandon(client: string): void {
    for (const operation of this.pending.values()) {
      if (operation.client !== client) continue;
      this.pending.delete(operation.id);
      this.tell({ kind: 'abandoned', operation, atMs: this.nowMs() });
    }
    this.tell({ kind: 'died', client, atMs: this.nowMs() });
  }

  /** `client` heard that it does not hold this any more. */
  loseLock(client: string, lock: LockRange): void {
    this.tell({ kind: 'lockLost', client, lock, atMs: this.nowMs() });
  }

  /** Operations that should have settled by now. */
  overdue(): Operation[] {
    const now = this.nowMs();
    return [...this.pending.values()].filter(operation => operation.deadlineMs < now);
  }

  tell(event: HistoryEvent): void {
    const name =
      event.kind === 'ended' || event.kind === 'failed' ? `${event.kind} ${event.operation.asked.kind}` : event.kind;
    this.counts[name] = (this.counts[name] ?? 0) + 1;
    this.write(() => showEvent(event));
    for (const checker of this.checkers) {
      const what = checker.on(event);
      if (what !== undefined) this.violate(checker.promise, what);
    }
  }

  violate(promise: string, what: string): void {
    this.violations.push({ promise, what, atMs: this.nowMs() });
    this.write(() => `VIOLATION: ${promise} ${what}`);
  }
}

export function showEvent(event: HistoryEvent): string {
  switch (event.kind) {
    case 'began':
      return `${event.operation.client} asks #${event.operation.id} ${showAsked(event.operation.asked)}`;
    case 'ended':
      return `${event.operation.client} has #${event.operation.id} ${showOutcome(event.outcome)}`;
    case 'failed':
      return `${event.operation.client} lost #${event.operation.id} ${event.code}: ${event.message}`;
    case 'abandoned':
      return `${event.operation.client} died with #${event.operation.id} ${showAsked(event.operation.asked)}`;
    case 'died':
      return `${event.client} is dead`;
    case 'lockLost':
      return `${event.client} has lost the lock of ${event.lock.owner} on inode ${event.lock.file}`;
    case 'acknowledged':
      return `${event.server} acknowledges in chunk ${event.handle} version ${event.version} up to ${event.endByte}`;
    case 'settled':
      return `chunk ${event.handle} has ${event.lengthBytes} bytes at the start of version ${event.version}`;
    case 'leased':
      return `chunk ${event.handle} version ${event.version} is leased until ${event.untilMs.toFixed(0)}`;
    case 'file':
      return `inode ${event.file} takes ${event.style.kind}`;
    case 'fault':
      return `FAULT ${event.fault} ${event.node}`;
    case 'wentOn':
      return `${event.node} stood still for ${(event.atMs - event.sinceMs).toFixed(0)} ms`;
    case 'copying':
      return `chunk ${event.handle} is copied: ${event.atServer} copies with ${event.server}, ${event.inAll} in all`;
    case 'copied':
      return `${event.bytes} bytes were copied since ${event.beganMs.toFixed(0)}`;
    case 'sentCopy':
      return `${event.process} sent ${event.bytes} bytes to a copy`;
    case 'named':
      return `inode ${event.file} is named ${event.path ?? '?'}`;
    case 'unlinked':
      return `inode ${event.file} has no name any more`;
    case 'kept':
      return `the session of ${event.client} is kept`;
    case 'healed':
      return 'HEALED';
    case 'quiet':
      return 'QUIET';
  }
}

function showAsked(asked: Asked): string {
  switch (asked.kind) {
    case 'append': {
      const who = asked.record ? `w${asked.record.writer}/${asked.record.sequence} ` : '';
      const where = asked.expectedOffset === undefined ? '' : ` at ${asked.expectedOffset}`;
      return `append ${who}${asked.bytes.length} bytes to inode ${asked.file}${where}`;
    }
    case 'read':
      return `read inode ${asked.file} from ${asked.offset} for ${asked.lengthBytes}`;
    case 'size':
      return `size of inode ${asked.file}`;
    case 'truncate':
      return `truncate inode ${asked.file} to ${asked.sizeBytes}`;
    case 'lock':
    case 'unlock':
      return `${asked.kind} inode ${asked.file} ${asked.space} ${asked.startByte}-${asked.endByte} for ${asked.owner}`;
    case 'createExclusive':
      return `create ${asked.name}`;
    case 'rename':
      return `rename ${asked.from} to ${asked.to}`;
    case 'name':
      return asked.what;
  }
}

function showOutcome(outcome: Outcome): string {
  switch (outcome.kind) {
    case 'append':
      return `append at ${outcome.offset}`;
    case 'read':
      return `read ${outcome.bytes.length} bytes of generation ${outcome.generation ?? '?'}`;
    case 'size':
      return `size ${outcome.sizeBytes} of generation ${outcome.generation}`;
    case 'truncate':
      return `truncate ${outcome.sizeBytes}, generation ${outcome.generation}`;
    case 'createExclusive':
      return outcome.created ? 'created' : 'exists';
    default:
      return outcome.kind;
  }
}
