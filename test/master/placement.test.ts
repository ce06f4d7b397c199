// Choosing servers: freely, a pure function of candidates and chance, and among copysets.
import test from 'ava';
import fc from 'fast-check';
import { silentLogger } from '../../src/lib/logger.js';
import { SeededRandom } from '../../src/lib/seeded-random.js';
import { Correlation } from '../../src/master/correlation.js';
import { parseCorrelationFile } from '../../src/master/correlation-file.js';
import { type Candidate, choose } from '../../src/master/placement.js';
import { Placer } from '../../src/master/placer.js';
import { GfsError } from '../../src/protocol/errors.js';
import type { ServerId } from '../../src/protocol/ids.js';
import { FakeCluster, seeded } from './fake-cluster.js';

const ROUNDS = 400;

function candidate(id: string, location: string, more: Partial<Candidate> = {}): Candidate {
  return { id: id as ServerId, location, freeBytes: 1_000_000, recentAllocations: 0, ...more };
}

const RACKS = ['a', 'b', 'c', 'd'].flatMap(rack =>
  [1, 2, 3].map(host => candidate(`${rack}${host}`, `/z/p/${rack}/${host}`)),
);

test('§4.2 replicas are spread over racks', t => {
  const random = seeded(3);
  for (let round = 0; round < ROUNDS; round++) {
    const chosen = choose(random, RACKS, { goal: 3, least: 2, bytes: 1 });
    t.is(new Set(chosen.map(({ location }) => location.split('/')[3])).size, 3);
  }
});

test('§4.2 a server with less room or many recent allocations gets fewer', t => {
  const random = seeded(4);
  const servers = [
    candidate('free', '/1', { freeBytes: 900 }),
    candidate('full', '/2', { freeBytes: 100 }),
    candidate('busy', '/3', { freeBytes: 900, recentAllocations: 8 }),
  ];
  const counts = new Map<string, number>();
  for (let round = 0; round < ROUNDS; round++) {
    const [first] = choose(random, servers, { goal: 1, least: 1, bytes: 1 });
    counts.set(first!.id, (counts.get(first!.id) ?? 0) + 1);
  }

  t.true(counts.get('free')! > 5 * counts.get('full')!);
  t.true(counts.get('free')! > 5 * counts.get('busy')!);
  t.true(counts.get('busy')! > 0);
});

test('§3.2 the chain goes from each server to the nearest of the rest', t => {
  const near = candidate('near', '/z/p/r/1');
  const far = [candidate('x', '/y/p/r/1'), candidate('y', '/z/p/r/2')];
  const random = seeded(5);
  for (let round = 0; round < 50; round++) {
    const chain = choose(random, [near, ...far], { goal: 3, least: 3, bytes: 1 }).map(({ id }) => id as string);
    // The two of one rack are never separated by the far one.
    t.not(chain[1], 'x');
  }
});

test('a replica beside others goes to none of their servers, and far from them', t => {
  const beside = [RACKS[0]!, RACKS[3]!];
  const random = seeded(6);
  for (let round = 0; round < 50; round++) {
    const [chosen] = choose(random, RACKS, { goal: 1, least: 1, bytes: 1, beside });
    t.regex(chosen!.location, /^\/z\/p\/[cd]\//);
  }
});

test('fewer than the least number of servers: TOO_FEW_SERVERS when they are not there, NO_SPACE when they are full', t => {
  const needs = { goal: 3, least: 2, bytes: 500 };
  const random = seeded(7);

  const few = t.throws(() => choose(random, [RACKS[0]!], needs), { instanceOf: GfsError });
  t.is(few?.code, 'TOO_FEW_SERVERS');
  const full = [candidate('a', '/1'), candidate('b', '/2', { freeBytes: 499 })];
  t.is(t.throws(() => choose(random, full, needs), { instanceOf: GfsError })?.code, 'NO_SPACE');
  t.is(choose(random, [...full, candidate('c', '/3')], needs).length, 2);
});

const place = fc.tuple(fc.nat(1), fc.nat(1), fc.nat(2)).map(([zone, pod, rack]) => `/z${zone}/p${pod}/r${rack}`);
const places = fc.array(place, { minLength: 1, maxLength: 9 });

function placerOf(candidates: Candidate[], scatterWidth: number, seed = 'seed'): Placer {
  return new Placer({
    random: new SeededRandom(seed),
    correlation: new Correlation(),
    scatterWidth,
    seed,
    members: () => candidates,
    logger: silentLogger,
  });
}

function names(chosen: readonly Candidate[]): string {
  return chosen
    .map(({ id }) => id)
    .sort()
    .join();
}

/** All sets of `size`, the first with the least sum of correlations. */
function leastSum(correlation: Correlation, locations: readonly string[], size: number): number {
  const sums: number[] = [];
  const visit = (from: number, set: string[]): void => {
    if (set.length === size) sums.push(correlation.sum(set.map(location => correlation.place(location))));
    else for (let i = from; i < locations.length; i++) visit(i + 1, [...set, locations[i]!]);
  };
  visit(0, []);
  return Math.min(...sums);
}

test('no set of servers has a smaller sum of correlations than the chosen one', t => {
  const correlation = new Correlation();
  fc.assert(
    fc.property(places, fc.integer({ min: 1, max: 4 }), fc.nat(), (locations, goal, seed) => {
      const candidates = locations.map((location, index) => candidate(`s${index}`, `${location}/h${index}`));
      const size = Math.min(goal, candidates.length);
      const chosen = choose(seeded(seed), candidates, { goal, least: 1, bytes: 1 });

      t.is(new Set(chosen.map(({ id }) => id)).size, size);
      const sum = correlation.sum(chosen.map(({ location }) => correlation.place(location)));
      const least = leastSum(
        correlation,
        candidates.map(({ location }) => location),
        size,
      );
      t.true(sum <= least * 1.1 + 1e-9, `${sum} instead of ${least}`);
    }),
  );
});

test('places that a file says fail together are not chosen together', t => {
  const correlation = new Correlation(parseCorrelationFile('/z/p/a /z/p/b 0.9\n/z/p/c /z/p/d 0.9', 'F'));
  const random = seeded(8);
  for (let round = 0; round < ROUNDS; round++) {
    const chosen = choose(random, RACKS, { goal: 2, least: 2, bytes: 1 }, correlation);
    t.false(['a,b', 'c,d'].includes(String(chosen.map(({ location }) => location.split('/')[3]).sort())));
  }
});

test('with a scatter width chunks share few sets of servers, and all servers are used', t => {
  const placer = placerOf(RACKS, 4);
  const sets = new Set<string>();
  for (let round = 0; round < ROUNDS; round++) {
    const chosen = placer.choose(RACKS, { goal: 3, least: 2, bytes: 1 });
    t.is(new Set(chosen.map(({ location }) => location.split('/')[3])).size, 3);
    sets.add(names(chosen));
  }

  t.true(sets.size <= placer.table(3)!.count);
  t.true(sets.size <= 10);
  t.is(new Set([...sets].flatMap(set => set.split(','))).size, RACKS.length);
  t.is(placer.freeCount, 0);
});

test('without a scatter width, and for single copies, there are no copysets', t => {
  t.is(placerOf(RACKS, 0).table(3), undefined);
  t.is(placerOf(RACKS, 4).table(1), undefined);
  t.is(placerOf(RACKS, 4).choose(RACKS, { goal: 1, least: 1, bytes: 1 }).length, 1);
});

test('a copyset with a member that is down or full is not used', t => {
  const placer = placerOf(RACKS, 4);
  const up = RACKS.slice(1).map((one, index) => (index === 0 ? { ...one, freeBytes: 0 } : one));
  const whole = new Set(
    placer
      .table(3)!
      .all()
      .map(set => [...set].sort().join()),
  );
  for (let round = 0; round < ROUNDS; round++) {
    const chosen = placer.choose(up, { goal: 3, least: 2, bytes: 1 });
    t.true(whole.has(names(chosen)));
    t.false(chosen.some(({ id }) => id === RACKS[0]!.id || id === RACKS[1]!.id));
  }
});

test('too few servers for a copyset: chunks are placed freely, and the log says so once and when it is over', t => {
  const lines: string[] = [];
  const log = (level: string) => (_fields: object, message: string) => void lines.push(`${level}: ${message}`);
  const logger = { ...silentLogger, warn: log('warn'), info: log('info') };
  const servers = [RACKS[0]!, RACKS[3]!, RACKS[6]!];
  const placer = new Placer({
    random: seeded(9),
    correlation: new Correlation(),
    scatterWidth: 2,
    seed: '',
    members: () => servers,
    logger,
  });
  const needs = { goal: 3, least: 2, bytes: 1 };

  t.is(placer.choose(servers.slice(1), needs).length, 2);
  t.is(placer.choose(servers.slice(1), needs).length, 2);
  t.is(placer.freeCount, 2);
  t.deepEqual(lines, ['warn: no copyset is up as a whole and has room: new chunks go to any servers']);
  t.is(placer.choose(servers, needs).length, 3);
  t.is(lines[1], 'info: new chunks go to copysets again');
  t.throws(() => placer.choose(servers.slice(2), needs), { code: 'TOO_FEW_SERVERS' });
});

test('a lost replica goes where it makes a copyset whole', t => {
  const placer = placerOf(RACKS, 4);
  for (const set of placer.table(3)!.all()) {
    const holders = RACKS.filter(({ id }) => set.slice(1).includes(id));
    const [chosen] = placer.choose(RACKS, { goal: 1, least: 1, bytes: 1, beside: holders, replicas: 3 });
    t.true(
      placer
        .table(3)!
        .all()
        .some(other => [chosen!, ...holders].every(({ id }) => other.includes(id))),
    );
  }
});

test('when a server is gone for good, all chunks of one of its copysets move to the same server', t => {
  let members = RACKS;
  const placer = new Placer({
    random: seeded(10),
    correlation: new Correlation(),
    scatterWidth: 2,
    seed: 'x',
    members: () => members,
    logger: silentLogger,
  });
  const set = placer.table(3)!.setsOf(RACKS[0]!.id)[0]!;
  const holders = RACKS.filter(({ id }) => set.includes(id) && id !== RACKS[0]!.id);

  members = RACKS.slice(1);
  const targets = Array.from({ length: 20 }, () =>
    names(placer.choose(members, { goal: 1, least: 1, bytes: 1, beside: holders, replicas: 3 })),
  );

  t.is(new Set(targets).size, 1);
});

test('in any cluster the placer gives distinct servers with room, as many as it can', t => {
  const scatter = fc.integer({ min: 0, max: 8 });
  fc.assert(
    fc.property(
      places,
      fc.array(fc.boolean()),
      fc.integer({ min: 1, max: 4 }),
      scatter,
      (locations, full, goal, width) => {
        const candidates = locations.map((location, index) =>
          candidate(`s${index}`, `${location}/h${index}`, { freeBytes: full[index] ? 0 : 100 }),
        );
        const roomy = candidates.filter(({ freeBytes }) => freeBytes > 0);
        if (roomy.length === 0) return;
        const chosen = placerOf(candidates, width).choose(candidates, { goal, least: 1, bytes: 1 });
        t.is(new Set(chosen).size, Math.min(goal, roomy.length));
        t.true(chosen.every(one => roomy.includes(one)));
      },
    ),
  );
});

test('a master with a scatter width makes its chunks on few sets, also after a restart', async t => {
  const cluster = await FakeCluster.start(t, { servers: 6, settings: { scatterWidth: 2 } });
  const sets = new Set<string>();
  const create = async (round: number): Promise<void> => {
    for (let i = 0; i < 10; i++) {
      const target = await cluster.target(await cluster.createFile(`f${round}-${i}`));
      sets.add(String(target.chain.map(({ server }) => server).sort()));
    }
  };

  await create(1);
  await cluster.restartMaster();
  await create(2);

  t.is(sets.size, 2);
});
