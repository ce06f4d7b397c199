// The table of copysets: how many sets, how wide, how far apart, through joins and leaves.
import test from 'ava';
import fc from 'fast-check';
import { SeededRandom } from '../../src/lib/seeded-random.js';
import { type CopysetMember, CopysetTable, copysetsMax, setsPerServer } from '../../src/master/copysets.js';
import { Correlation } from '../../src/master/correlation.js';
import { parseCorrelationFile } from '../../src/master/correlation-file.js';
import type { ServerId } from '../../src/protocol/ids.js';

function server(number: number, rack: number): CopysetMember {
  return { id: String(number).padStart(4, '0') as ServerId, location: `/z/p/r${rack}/h${number}` };
}

/** `racks` of the same size. */
function even(count: number, racks: number): CopysetMember[] {
  return Array.from({ length: count }, (_, number) => server(number, number % racks));
}

function tableOf(
  servers: readonly CopysetMember[],
  options: { replicas?: number; scatterWidth: number; seed?: string; correlation?: Correlation },
): CopysetTable {
  const { replicas = 3, scatterWidth, seed = 'seed', correlation = new Correlation() } = options;
  const table = new CopysetTable({ replicas, scatterWidth, correlation, random: new SeededRandom(seed) });
  table.follow(servers);
  table.deal();
  return table;
}

function racksOf(set: readonly ServerId[], servers: readonly CopysetMember[]): Set<string> {
  return new Set(set.map(id => servers.find(other => other.id === id)!.location.split('/')[3]!));
}

test('Copysets §4: nine servers, three replicas and scatter width four need six sets', t => {
  t.is(setsPerServer(3, 4), 2);
  t.is(copysetsMax({ servers: 9, replicas: 3, scatterWidth: 4 }) / 3, 6);

  const table = tableOf(even(9, 9), { scatterWidth: 4 });

  t.true(table.count >= 6);
  t.true(table.count <= 8);
  for (const { id } of even(9, 9)) t.true(table.scatterWidthOf(id) >= 4);
});

test('in an even cluster there are hardly more sets than the paper has, and everybody has the scatter width', t => {
  for (const scatterWidth of [2, 10, 20]) {
    const servers = even(120, 12);
    const table = tableOf(servers, { scatterWidth });
    const papers = (setsPerServer(3, scatterWidth) * servers.length) / 3;

    t.true(table.count <= papers * 1.1, `${table.count} sets instead of ${papers}`);
    for (const { id } of servers) {
      t.true(table.scatterWidthOf(id) >= scatterWidth);
      t.true(table.scatterWidthOf(id) <= scatterWidth + 4);
    }
    for (const set of table.all()) t.is(racksOf(set, servers).size, 3);
  }
});

test('racks are kept apart although one has few servers, which are in many sets then', t => {
  const servers = [server(0, 0), server(1, 1), ...Array.from({ length: 10 }, (_, i) => server(i + 2, 2))];

  const table = tableOf(servers, { scatterWidth: 6 });

  table.checkInvariants();
  for (const set of table.all()) t.is(racksOf(set, servers).size, 3);
  for (const { id } of servers) t.true(table.setsOf(id).length > 0);
});

test('what a file says is kept apart like racks', t => {
  const correlation = new Correlation(parseCorrelationFile('/z/p/r0 /z/p/r1 0.9', 'F'));
  const servers = even(40, 4);

  const table = tableOf(servers, { scatterWidth: 6, correlation });

  for (const set of table.all()) {
    const racks = racksOf(set, servers);
    t.false(racks.has('r0') && racks.has('r1'));
  }
});

test('the same seed and the same servers give the same sets, in whatever order they came', t => {
  const servers = even(30, 6);

  const first = tableOf(servers, { scatterWidth: 6 }).all();

  t.deepEqual(tableOf([...servers].reverse(), { scatterWidth: 6 }).all(), first);
  t.notDeepEqual(tableOf(servers, { scatterWidth: 6, seed: 'other' }).all(), first);
});

test('a server that joins leaves the sets of the others as they are', t => {
  const servers = even(30, 6);
  const table = tableOf(servers, { scatterWidth: 6 });
  const before = table.all();

  table.follow([...servers, server(30, 0)]);
  table.deal();

  const names = new Set(table.all().map(String));
  t.true(before.every(set => names.has(String(set))));
  t.true(table.scatterWidthOf('0030' as ServerId) >= 6);
  t.true(table.count <= before.length + setsPerServer(3, 6));
});

test('when a server leaves, one other takes its place in each of its sets', t => {
  const servers = even(30, 6);
  const table = tableOf(servers, { scatterWidth: 6 });
  const gone = servers[7]!.id;
  const before = table.all();
  const torn = table.setsOf(gone);

  table.follow(servers.filter(({ id }) => id !== gone));
  t.is(table.all().length, before.length - torn.length, 'torn sets are not used');
  table.deal();

  table.checkInvariants();
  t.true(table.count >= before.length && table.count <= before.length + 2);
  for (const set of torn) {
    const left = set.filter(id => id !== gone);
    t.true(table.setsOf(left[0]!).some(other => left.every(id => other.includes(id))));
  }
});

test('dealing goes on where it stopped', t => {
  const servers = even(60, 6);
  const table = new CopysetTable({
    replicas: 3,
    scatterWidth: 6,
    correlation: new Correlation(),
    random: new SeededRandom('seed'),
  });
  table.follow(servers);

  t.false(table.deal(1));
  t.is(table.count, 1);
  while (!table.deal(1));

  t.deepEqual(table.all(), tableOf(servers, { scatterWidth: 6 }).all());
});

test('fewer servers than replicas make no set', t => {
  const table = tableOf(even(2, 2), { scatterWidth: 4 });

  t.is(table.count, 0);
  t.deepEqual(table.setsOf('0000' as ServerId), []);
  t.is(table.scatterWidthOf('nobody' as ServerId), 0);
});

const cluster = fc
  .array(fc.integer({ min: 0, max: 4 }), { maxLength: 25 })
  .map(racks => racks.map((rack, i) => server(i, rack)));
const shape = { replicas: fc.integer({ min: 2, max: 4 }), scatterWidth: fc.integer({ min: 1, max: 12 }) };

test('in any cluster: sets of different servers, bounded in number, and everybody in one when there are enough', t => {
  fc.assert(
    fc.property(cluster, fc.record(shape), fc.string(), (servers, { replicas, scatterWidth }, seed) => {
      const table = tableOf(servers, { replicas, scatterWidth, seed });
      table.checkInvariants();
      t.true(table.count <= copysetsMax({ servers: servers.length, replicas, scatterWidth }));
      if (servers.length < replicas) t.is(table.count, 0);
      else for (const { id } of servers) t.true(table.setsOf(id).length > 0);
    }),
  );
});

test('where nothing is near and servers are many enough, everybody reaches the scatter width', t => {
  fc.assert(
    fc.property(fc.record(shape), fc.integer({ min: 0, max: 12 }), fc.string(), (options, more, seed) => {
      const count = Math.max(options.scatterWidth, options.replicas - 1) + options.replicas + more;
      const servers = even(count, count);
      const table = tableOf(servers, { ...options, seed });
      for (const { id } of servers) t.true(table.scatterWidthOf(id) >= options.scatterWidth);
    }),
  );
});

test('no two replicas in one rack where there are as many racks', t => {
  fc.assert(
    fc.property(cluster, fc.record(shape), (servers, { replicas, scatterWidth }) => {
      const racks = new Set(servers.map(({ location }) => location.split('/')[3])).size;
      for (const set of tableOf(servers, { replicas, scatterWidth }).all())
        t.true(racksOf(set, servers).size >= Math.min(racks, replicas));
    }),
  );
});

test('through any joins and leaves the table holds together and stays within its bound', t => {
  const all = even(20, 5);
  fc.assert(
    fc.property(fc.array(fc.subarray(all), { minLength: 1, maxLength: 8 }), fc.record(shape), (steps, options) => {
      const table = tableOf(all, options);
      for (const servers of steps) {
        table.follow(servers);
        table.checkInvariants();
        table.deal();
        table.checkInvariants();
        if (servers.length >= options.replicas) for (const { id } of servers) t.true(table.setsOf(id).length > 0);
      }
    }),
  );
});
