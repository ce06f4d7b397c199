// That the checkers can fail: each is told of a run in which its promise is kept, and of one in which it is broken. Those that look at a whole cluster are
// tested where they are (checked.test.ts), and all together by the mutants.
import test from 'ava';
import type { ErrorCode } from '../../src/protocol/errors.js';
import { StreamsAreWhole } from './checkers/bytes.js';
import { LeasesEnd } from './checkers/leases.js';
import { LocksExclude } from './checkers/locks.js';
import { OneCreator } from './checkers/names.js';
import { CutsAreExact, OnceAndInOrder } from './checkers/once.js';
import { OpenFilesStay } from './checkers/open-files.js';
import { DeadlinesHold, OnePrimary } from './checkers/servers.js';
import { type Asked, type Checker, History, type HistoryEvent, type LockRange, type Outcome } from './history.js';
import { recordBytes, streamBytes } from './records.js';

/** Tells one checker of events at times that the test gives. */
class Told {
  readonly history: History;
  atMs = 0;
  private nextId = 1;

  constructor(checker: Checker) {
    this.history = new History(
      () => this.atMs,
      [checker],
      () => undefined,
    );
  }

  get violations(): string[] {
    return this.history.violations.map(({ what }) => what);
  }

  /** Something other than an operation happens now. */
  event(
    event: { [K in HistoryEvent['kind']]: Omit<Extract<HistoryEvent, { kind: K }>, 'atMs'> }[HistoryEvent['kind']],
  ): this {
    this.history.tell({ ...event, atMs: this.atMs } as HistoryEvent);
    return this;
  }

  /** An operation that begins now and ends after `tookMs`; without an outcome it fails. */
  operation(
    client: string,
    asked: Asked,
    outcome?: Outcome,
    options: { tookMs?: number; limitMs?: number; code?: ErrorCode } = {},
  ): this {
    const { tookMs = 1, limitMs = 1_000, code = 'TIMED_OUT' } = options;
    const operation = {
      ...{ id: this.nextId++, client, asked },
      ...{ beganMs: this.atMs, deadlineMs: this.atMs + limitMs },
    };
    this.history.tell({ kind: 'began', operation, atMs: this.atMs });
    this.atMs += tookMs;
    if (outcome) this.history.tell({ kind: 'ended', operation, outcome, atMs: this.atMs });
    else this.history.tell({ kind: 'failed', operation, code, message: '', atMs: this.atMs });
    return this;
  }

  at(atMs: number): this {
    this.atMs = atMs;
    return this;
  }
}

test('OnePrimary: two servers in one version; bytes beyond the length at which a later version began, heard of before or after', t => {
  const acknowledged = (server: string, version: number, endByte: number) =>
    ({ kind: 'acknowledged', handle: 1, server, version, endByte }) as const;
  const settled = (version: number, lengthBytes: number) =>
    ({ kind: 'settled', handle: 1, version, lengthBytes }) as const;
  const good = new Told(new OnePrimary());
  good
    .event(acknowledged('a', 1, 10))
    .event(settled(2, 12))
    .event(acknowledged('a', 1, 12));
  good
    .event(acknowledged('b', 2, 20))
    .event(settled(3, 20))
    .event(settled(3, 20));
  t.deepEqual(good.violations, []);

  const two = new Told(new OnePrimary()).event(acknowledged('a', 1, 10)).event(acknowledged('b', 1, 20));
  t.regex(two.violations[0]!, /a and b did, in chunk 1 version 1/);
  const late = new Told(new OnePrimary()).event(settled(2, 10)).event(acknowledged('a', 1, 11));
  t.regex(late.violations[0]!, /11 bytes were acknowledged in version 1, and version 2 began with 10/);
  const short = new Told(new OnePrimary()).event(acknowledged('a', 1, 11)).event(settled(3, 10));
  t.regex(short.violations[0]!, /11 bytes were acknowledged in version 1, and version 3 began with 10/);
});

test('LeasesEnd: an acknowledgement after the lease, or without any; a clock that a fault made wrong may be late', t => {
  const leased = (untilMs: number) => ({ kind: 'leased', handle: 1, version: 1, untilMs }) as const;
  const acknowledged = { kind: 'acknowledged', handle: 1, server: 'a', version: 1, endByte: 1 } as const;
  const good = new Told(new LeasesEnd()).event(leased(100)).at(100).event(acknowledged).event(leased(200)).at(200);
  t.deepEqual(good.event(acknowledged).violations, []);

  t.is(good.at(200.5).event(acknowledged).violations.length, 1);
  t.is(new Told(new LeasesEnd()).at(1).event(acknowledged).violations.length, 1);
  const wrong = new Told(new LeasesEnd()).event(leased(100)).event({ kind: 'fault', fault: 'clock drift', node: 'a' });
  t.deepEqual(wrong.at(400).event(acknowledged).violations, []);
  t.is(wrong.at(600).event(acknowledged).violations.length, 1);
});

test('DeadlinesHold: an operation that ends late, unless its client stood still', t => {
  const asked = { kind: 'size', file: 1 } as const;
  const size = { kind: 'size', generation: 0, sizeBytes: 1 } as const;
  const good = new Told(new DeadlinesHold()).operation('c', asked, size, { tookMs: 1_000 });
  good.operation('c', asked, undefined, { tookMs: 1_000 });
  t.deepEqual(good.violations, []);
  t.is(new Told(new DeadlinesHold()).operation('c', asked, size, { tookMs: 1_001 }).violations.length, 1);
  t.is(new Told(new DeadlinesHold()).operation('c', asked, undefined, { tookMs: 1_001 }).violations.length, 1);

  const stopped = new Told(new DeadlinesHold());
  const operation = { id: 1, client: 'c', asked, beganMs: 0, deadlineMs: 1_000 };
  stopped.event({ kind: 'began', operation }).at(1_500).event({ kind: 'wentOn', node: 'c', sinceMs: 900 });
  t.deepEqual(stopped.event({ kind: 'ended', operation, outcome: size }).violations, []);
  t.is(stopped.at(1_601).event({ kind: 'ended', operation, outcome: size }).violations.length, 1);
});

test('StreamsAreWhole: a byte that is another one, a piece that landed elsewhere', t => {
  const stream = () =>
    new Told(new StreamsAreWhole()).event({ kind: 'file', file: 1, style: { kind: 'stream', stream: 7 } });
  const bytes = streamBytes(7, 10, 30);
  const read = { kind: 'read', file: 1, offset: 10, lengthBytes: 100 } as const;
  const append = { kind: 'append', file: 1, bytes, expectedOffset: 10 } as const;
  const good = stream().operation('c', append, { kind: 'append', offset: 10 });
  t.deepEqual(good.operation('c', read, { kind: 'read', generation: 0, bytes }).violations, []);

  const other = Buffer.from(bytes);
  other[3]! ^= 1;
  t.regex(
    stream().operation('c', read, { kind: 'read', generation: 0, bytes: other }).violations[0]!,
    /something else at byte 13/,
  );
  t.regex(stream().operation('c', append, { kind: 'append', offset: 11 }).violations[0]!, /landed at 11, not at 10/);
});

test('CutsAreExact: a record that is missing, one that was cut off and is back; nothing is said once something is in doubt', t => {
  const record = (sequence: number) => ({ writer: 1, sequence });
  const append = (told: Told, sequence: number, offset: number, outcome = true): Told =>
    told.operation(
      'c',
      { kind: 'append', file: 1, record: record(sequence), bytes: recordBytes(record(sequence), 20) },
      outcome ? { kind: 'append', offset } : undefined,
    );
  const begin = (): Told => {
    const told = new Told(new CutsAreExact()).event({ kind: 'file', file: 1, style: { kind: 'cut' } });
    append(append(told, 1, 0), 2, 20);
    return told.operation(
      'c',
      { kind: 'truncate', file: 1, sizeBytes: 20 },
      { kind: 'truncate', generation: 1, sizeBytes: 20 },
    );
  };
  const read = (told: Told, ...sequences: number[]): string[] => {
    const bytes = Buffer.concat(sequences.map(sequence => recordBytes(record(sequence), 20)));
    const asked = { kind: 'read', file: 1, offset: 0, lengthBytes: 100, final: true } as const;
    return told.operation('c', asked, { kind: 'read', generation: 1, bytes }).violations;
  };
  t.deepEqual(read(append(begin(), 3, 20), 1, 3), []);

  t.regex(read(append(begin(), 3, 20), 1)[0]!, /holds w1\/1 at 0 and should hold w1\/1 at 0, w1\/3 at 20/);
  t.is(read(begin(), 1, 2).length, 1);
  t.is(read(begin()).length, 1);
  t.deepEqual(read(append(begin(), 3, 20, false), 1), []);
});

test('OneCreator: two that were told that they made one name', t => {
  const create = (told: Told, client: string, created: boolean): Told =>
    told.operation(client, { kind: 'createExclusive', name: 'n' }, { kind: 'createExclusive', created });
  const told = create(create(new Told(new OneCreator()), 'a', true), 'b', false);
  t.deepEqual(told.violations, []);
  t.regex(create(told, 'c', true).violations[0]!, /a and c created n/);
});

// ---- locks

const lockOf = (owner: string, more: Partial<LockRange> = {}): LockRange => ({
  ...{ file: 1, owner, exclusive: true, space: 'posix', startByte: 0, endByte: 9 },
  ...more,
});

class Locking extends Told {
  constructor() {
    super(new LocksExclude());
  }

  lock(client: string, lock: LockRange): this {
    return this.operation(client, { kind: 'lock', ...lock }, { kind: 'lock' });
  }

  unlock(client: string, lock: LockRange): this {
    return this.operation(client, { kind: 'unlock', ...lock }, { kind: 'unlock' });
  }
}

test('LocksExclude: a conflict of kinds, ranges, clients and owners of one client; what does not conflict passes', t => {
  const shared = { exclusive: false };
  const fine: Array<[LockRange, LockRange]> = [
    [lockOf('a', shared), lockOf('b', shared)],
    [lockOf('a'), lockOf('b', { startByte: 10, endByte: 19 })],
    [lockOf('a'), lockOf('b', { space: 'flock' })],
    [lockOf('a'), lockOf('b', { file: 2 })],
  ];
  for (const [first, second] of fine) t.deepEqual(new Locking().lock('c1', first).lock('c2', second).violations, []);
  t.deepEqual(new Locking().lock('c1', lockOf('a')).lock('c1', lockOf('a', shared)).violations, [], 'its own');

  const wrong: Array<[LockRange, LockRange]> = [
    [lockOf('a'), lockOf('b')],
    [lockOf('a', shared), lockOf('b')],
    [lockOf('a'), lockOf('b', shared)],
    [lockOf('a'), lockOf('b', { startByte: 9, endByte: 99 })],
    [lockOf('a', { space: 'flock' }), lockOf('b', { space: 'flock' })],
  ];
  for (const [first, second] of wrong) {
    t.is(new Locking().lock('c1', first).lock('c2', second).violations.length, 1);
    t.is(new Locking().lock('c1', first).lock('c1', second).violations.length, 1);
  }
});

test('LocksExclude: a lock is over when it is given back, lost, or its holder dead; only so far as that goes', t => {
  const half = { endByte: 4 };
  const other = { startByte: 5 };
  const cut = () => new Locking().lock('c1', lockOf('a')).unlock('c1', lockOf('a', half));
  t.deepEqual(cut().lock('c2', lockOf('b', half)).violations, []);
  t.is(cut().lock('c2', lockOf('b', other)).violations.length, 1);
  const lost = () =>
    new Locking().lock('c1', lockOf('a')).event({ kind: 'lockLost', client: 'c1', lock: lockOf('a', half) });
  t.deepEqual(lost().lock('c2', lockOf('b', half)).violations, []);
  t.is(lost().lock('c2', lockOf('b', other)).violations.length, 1);
  const died = new Locking().lock('c1', lockOf('a')).event({ kind: 'died', client: 'c1' });
  t.deepEqual(died.lock('c2', lockOf('b')).violations, []);
  const elsewhere = new Locking().lock('c1', lockOf('a')).event({ kind: 'died', client: 'c3' });
  t.is(elsewhere.lock('c2', lockOf('b')).violations.length, 1);
});

test('LocksExclude: faults excuse nothing, but a holder that stands still, and clocks that are more wrong than clocks are', t => {
  const after = (fault: string, node: string) =>
    new Locking().lock('c1', lockOf('a')).event({ kind: 'fault', fault, node });
  t.is(after('cut', 'c1 master').lock('c2', lockOf('b')).violations.length, 1);
  t.is(after('pause', 'c3').lock('c2', lockOf('b')).violations.length, 1);
  t.deepEqual(after('pause', 'c1').lock('c2', lockOf('b')).violations, []);
  const went = after('pause', 'c1').event({ kind: 'wentOn', node: 'c1', sinceMs: 0 }).at(100);
  t.is(went.lock('c2', lockOf('b')).violations.length, 1);
  t.deepEqual(after('clock drift', 'c1').lock('c2', lockOf('b')).violations, []);
  t.is(after('clock drift', 'c1').at(20_000).lock('c2', lockOf('b')).violations.length, 1);
});

test('OnceAndInOrder: an append with an expected offset that is acknowledged elsewhere, or refused and stands', t => {
  const record = { writer: 1, sequence: 1 };
  const bytes = recordBytes(record, 20);
  const asked = { kind: 'append', file: 1, record, bytes, expectedOffset: 0 } as const;
  const read = { kind: 'read', file: 1, offset: 0, lengthBytes: 100, final: true } as const;
  const file = { kind: 'file', file: 1, style: { kind: 'records' } } as const;
  const holds = (content: Buffer) => ({ kind: 'read', generation: 0, bytes: content }) as const;
  const told = () => new Told(new OnceAndInOrder()).event(file);
  const appended = (offset: number) => ({ kind: 'append', offset }) as const;
  t.deepEqual(told().operation('c', asked, appended(0)).operation('c', read, holds(bytes)).violations, []);
  t.regex(told().operation('c', asked, appended(20)).violations[0]!, /was to stand at 0 or nowhere/);

  const refused = () => told().operation('c', asked, undefined, { code: 'OFFSET_MISMATCH' });
  t.deepEqual(refused().operation('c', read, holds(Buffer.alloc(0))).violations, []);
  t.regex(refused().operation('c', read, holds(bytes)).violations[0]!, /refused with OFFSET_MISMATCH and stands/);
});

test('OpenFilesStay: a file without a name that is gone for the one who has it open, unless that one was silent for long', t => {
  const bytes = recordBytes({ writer: 1, sequence: 1 }, 20);
  const asked = { kind: 'append', file: 1, bytes } as const;
  const kept = { kind: 'kept', client: 'c' } as const;
  const told = (purged = false) => {
    const checker = new OpenFilesStay({ silenceMs: 1_000, isPurged: () => purged });
    const begun = new Told(checker)
      .event(kept)
      .at(500)
      .event(kept)
      .operation('c', asked, { kind: 'append', offset: 0 });
    return begun.event({ kind: 'unlinked', file: 1 });
  };
  const read = { kind: 'read', file: 1, offset: 0, lengthBytes: 1 } as const;
  const stale = { code: 'STALE' } as const;
  t.is(told().at(900).operation('c', read, undefined, stale).violations.length, 1);
  t.deepEqual(told().at(900).operation('c', read).violations, []);
  t.deepEqual(told().at(900).operation('d', read, undefined, stale).violations, []);
  t.deepEqual(told(true).at(900).operation('c', read, undefined, stale).violations, []);
  t.deepEqual(told().at(2_000).operation('c', read, undefined, stale).violations, []);
  t.deepEqual(told().at(2_000).event(kept).at(2_100).operation('c', read, undefined, stale).violations, []);
});
