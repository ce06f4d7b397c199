// Choosing servers: a pure function of candidates and chance.
import test from 'ava';
import { type Candidate, choose } from '../../src/master/placement.js';
import { GfsError } from '../../src/protocol/errors.js';
import type { ServerId } from '../../src/protocol/ids.js';
import { seeded } from './fake-cluster.js';

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
