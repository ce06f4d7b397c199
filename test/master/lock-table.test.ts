import test from 'ava';
import fc from 'fast-check';
import { LockTable } from '../../src/master/lock-table.js';
import type { InodeId } from '../../src/protocol/ids.js';
import type { WireLockRange } from '../../src/protocol/messages.js';
import { throwsCode } from './fixture.js';

const FILE = 7 as InodeId;
const make = (limits = {}): LockTable => new LockTable({ locksMax: 100, waitersMax: 3, ...limits });
const range = (
  kind: WireLockRange['kind'],
  startByte: number,
  endByte: number,
  { owner = 'o', space = 'posix' as WireLockRange['space'] } = {},
): WireLockRange => ({ owner, kind, startByte, endByte, space, pid: 1 });

test('shared locks stand together, an exclusive one stands alone', t => {
  const table = make();

  t.true(table.lock('a', FILE, range('shared', 0, 9)).granted);
  t.true(table.lock('b', FILE, range('shared', 5, 14)).granted);
  t.like(table.lock('c', FILE, range('exclusive', 9, 9)), { granted: false, conflict: { startByte: 0, endByte: 9 } });
  t.true(table.lock('c', FILE, range('exclusive', 15, 20)).granted);
  t.like(table.test('d', FILE, range('shared', 20, 30)), { kind: 'exclusive' });
  t.is(table.test('d', FILE, range('shared', 0, 14)), undefined);
  throwsCode(t, 'INVALID', () => table.lock('d', FILE, range('shared', 5, 4)));
});

test('an owner replaces its own lock, whole or in part; ranges split and join (fcntl)', t => {
  const table = make();
  table.lock('a', FILE, range('exclusive', 0, 99));

  table.unlock('a', FILE, range('exclusive', 40, 59));
  t.is(table.counts.held, 2);
  t.is(table.test('b', FILE, range('exclusive', 40, 59)), undefined);
  table.lock('a', FILE, range('shared', 0, 9));
  t.is(table.counts.held, 3);
  t.is(table.test('b', FILE, range('shared', 0, 9)), undefined);
  table.lock('a', FILE, range('exclusive', 0, 9));
  table.lock('a', FILE, range('exclusive', 40, 59));

  t.is(table.counts.held, 1);
  t.deepEqual(table.test('b', FILE, range('shared', 50, 50)), range('exclusive', 0, 99));
});

test('owners of one session and the two spaces are apart', t => {
  const table = make();
  table.lock('a', FILE, range('exclusive', 0, 9, { owner: 'x' }));

  t.false(table.lock('a', FILE, range('exclusive', 0, 9, { owner: 'y' })).granted);
  t.true(table.lock('a', FILE, range('exclusive', 3, 3, { owner: 'y', space: 'flock' })).granted);
  t.deepEqual(table.test('b', FILE, range('shared', 100, 200, { space: 'flock' })), {
    ...range('exclusive', 0, Number.MAX_SAFE_INTEGER, { owner: 'y', space: 'flock' }),
  });
});

test('waits are granted in the order of arrival as locks go', t => {
  const table = make();
  table.lock('a', FILE, range('exclusive', 0, 9));
  const first = table.wait('b', FILE, range('shared', 0, 4), 1_000);
  const second = table.wait('c', FILE, range('exclusive', 0, 4), 1_000);
  const third = table.wait('d', FILE, range('shared', 5, 9), 1_000);

  t.deepEqual(table.unlock('a', FILE, range('exclusive', 0, 9)), [first, third]);
  t.deepEqual(table.endSessions(['b']), [second]);
  t.deepEqual(table.counts, { held: 2, waiting: 0 });
});

test('a weaker lock lets those in who can stand beside it', t => {
  const table = make();
  table.lock('a', FILE, range('exclusive', 0, 9));
  const wait = table.wait('b', FILE, range('shared', 0, 9), 1_000);

  t.deepEqual(table.lock('a', FILE, range('shared', 0, 9)), { granted: true, woken: [wait] });
});

test('waits end at their time, with their session, or when cancelled', t => {
  const table = make();
  table.lock('a', FILE, range('exclusive', 0, 9));
  const early = table.wait('b', FILE, range('shared', 0, 9), 10);
  table.wait('c', FILE, range('shared', 0, 9), 20);
  const cancelled = table.wait('d', FILE, range('shared', 0, 9), 20);

  t.deepEqual(table.expire(10), [early]);
  t.deepEqual(table.endSessions(['c']), []);
  table.cancel(cancelled);
  table.cancel(cancelled);
  t.deepEqual(table.unlock('a', FILE, range('exclusive', 0, 9)), []);
  t.deepEqual(table.counts, { held: 0, waiting: 0 });
});

test('a wait that would never end is refused, also through others', t => {
  const table = make();
  const [one, two, three] = [1, 2, 3] as [InodeId, InodeId, InodeId];
  table.lock('a', one, range('exclusive', 0, 9));
  table.lock('b', two, range('exclusive', 0, 9));
  table.lock('c', three, range('exclusive', 0, 9));
  table.wait('a', two, range('exclusive', 0, 9), 1_000);
  table.wait('b', three, range('exclusive', 0, 9), 1_000);

  throwsCode(t, 'DEADLOCK', () => table.wait('c', one, range('exclusive', 0, 9), 1_000));
  t.notThrows(() => table.wait('d', one, range('exclusive', 0, 9), 1_000));
});

test('locks and waits are bounded', t => {
  const table = make({ locksMax: 1, waitersMax: 1 });
  table.lock('a', FILE, range('exclusive', 0, 9));

  throwsCode(t, 'NO_LOCKS', () => table.lock('a', FILE, range('exclusive', 20, 29)));
  table.wait('b', FILE, range('shared', 0, 9), 1_000);
  throwsCode(t, 'NO_LOCKS', () => table.wait('c', FILE, range('shared', 0, 9), 1_000));
});

test('any sequence of locks agrees with a table of single bytes', t => {
  const step = fc.record({
    session: fc.constantFrom('a', 'b'),
    kind: fc.constantFrom('shared' as const, 'exclusive' as const, 'unlock' as const),
    start: fc.nat(11),
    length: fc.nat(5),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), steps => {
      const table = make();
      const bytes = new Map<string, 'shared' | 'exclusive'>();
      for (const { session, kind, start, length } of steps) {
        const cells = Array.from({ length: length + 1 }, (_, i) => start + i);
        if (kind === 'unlock') {
          table.unlock(session, FILE, range('shared', start, start + length));
          for (const cell of cells) bytes.delete(`${session}${cell}`);
          continue;
        }
        const others = cells.map(cell => bytes.get(`${session === 'a' ? 'b' : 'a'}${cell}`));
        const fits = others.every(other => other === undefined || (other === 'shared' && kind === 'shared'));
        if (table.lock(session, FILE, range(kind, start, start + length)).granted !== fits) return false;
        if (fits) for (const cell of cells) bytes.set(`${session}${cell}`, kind);
      }
      return true;
    }),
    { numRuns: 200 },
  );
  t.pass();
});
