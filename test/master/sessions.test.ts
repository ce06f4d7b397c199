import test from 'ava';
import { SessionTable } from '../../src/master/sessions.js';
import type { InodeId } from '../../src/protocol/ids.js';
import { throwsCode } from './fixture.js';

const inodes = (...numbers: number[]): InodeId[] => numbers as InodeId[];
const make = (): SessionTable => new SessionTable({ ttlMs: 100, sessionsMax: 2, openFilesPerSessionMax: 3 });
const who = (id: string, open: InodeId[] = []): Parameters<SessionTable['open']>[0] => ({
  id,
  client: `client ${id}`,
  name: 'n',
  open,
  wantsChanges: false,
});

test('a session lives while it is kept and ends after its time', t => {
  const table = make();
  const { id } = table.open(who('a'), 0);
  table.keep(id, 50);

  t.deepEqual(table.expire(149), []);
  t.deepEqual(
    table.expire(150).map(({ id: over }) => over),
    ['a'],
  );
  throwsCode(t, 'SESSION_EXPIRED', () => table.keep(id, 151));
  throwsCode(t, 'SESSION_EXPIRED', () => table.openFile(id, 1 as InodeId));
  t.is(table.size, 0);
});

test('a client that opens its session again keeps it, with what it had open', t => {
  const table = make();
  table.open(who('a', inodes(1)), 0);

  const again = table.open({ ...who('b', inodes(2)), client: 'client a' }, 10);

  t.is(again.id, 'a');
  t.true(table.isOpen(1 as InodeId) && table.isOpen(2 as InodeId));
  t.is(table.size, 1);
});

test('a file is open while any session has it open; twice in one session is once', t => {
  const table = make();
  table.open(who('a', inodes(1)), 0);
  table.open(who('b'), 0);
  table.openFile('b', 1 as InodeId);
  table.openFile('b', 1 as InodeId);

  t.is(table.close('a')?.id, 'a');
  t.true(table.isOpen(1 as InodeId));
  table.closeFile('b', 1 as InodeId);
  table.closeFile('b', 1 as InodeId);
  t.false(table.isOpen(1 as InodeId));
  t.is(table.close('a'), undefined);
});

test('sessions and open files are bounded', t => {
  const table = make();
  table.open(who('a', inodes(1, 2, 3)), 0);
  table.open(who('b'), 0);

  throwsCode(t, 'OVERLOADED', () => table.open(who('c'), 0));
  throwsCode(t, 'OVERLOADED', () => table.openFile('a', 4 as InodeId));
  t.notThrows(() => table.openFile('a', 3 as InodeId));
  throwsCode(t, 'OVERLOADED', () => table.open(who('b', inodes(1, 2, 3, 4)), 0));
});
