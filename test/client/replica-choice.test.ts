// In which order replicas are asked: near ones first, equally near ones by chance, those that failed lately last.
import test from 'ava';
import { ReplicaChoice } from '../../src/client/replica-choice.js';
import { CLIENT_SETTINGS } from '../../src/client/settings.js';
import { silentLogger } from '../../src/lib/logger.js';
import { settingValues } from '../../src/lib/settings.js';
import type { ServerId } from '../../src/protocol/ids.js';
import type { WireReplica } from '../../src/protocol/messages.js';
import { seeded } from '../master/fake-cluster.js';
import { ManualClock } from '../master/manual-clock.js';

const REPLICAS: WireReplica[] = ['/a/p/r/1', '/a/p/s/2', '/b/p/r/1'].map((location, i) => ({
  server: String(i).repeat(16) as ServerId,
  address: `cs${i}:1`,
  location,
}));

function choice(location: string | undefined, clock = new ManualClock()): ReplicaChoice {
  const settings = settingValues(CLIENT_SETTINGS, { location });
  return new ReplicaChoice({ clock, random: seeded(1), logger: silentLogger, peers: undefined as never, settings });
}

function places(choice: ReplicaChoice): string[] {
  return choice.order(REPLICAS).map(({ location }) => location);
}

test('replicas are asked from the nearest to the farthest, told from their locations', t => {
  for (let i = 0; i < 20; i++) {
    t.deepEqual(places(choice('/a/p/r/1')), ['/a/p/r/1', '/a/p/s/2', '/b/p/r/1']);
    t.deepEqual(places(choice('/a/p/s/7')), ['/a/p/s/2', '/a/p/r/1', '/b/p/r/1']);
    t.is(places(choice('/b'))[0], '/b/p/r/1');
  }
});

test('of equally near replicas one is asked by chance, so that readers spread over them', t => {
  const anywhere = choice(undefined);
  const counts = new Map<string, number>();
  for (let i = 0; i < 300; i++) {
    const [first] = places(anywhere);
    counts.set(first!, (counts.get(first!) ?? 0) + 1);
  }

  t.is(counts.size, 3);
  for (const [place, count] of counts) t.true(count > 50, `${place} was first ${count} times of 300`);
});

test('a near replica that failed lately is asked last, until it has served or some time has passed', async t => {
  const clock = new ManualClock();
  const here = choice('/a/p/r/1', clock);
  const near = REPLICAS[0]!;

  here.onFailed(near);
  t.is(places(here)[2], near.location);
  here.onServed(near);
  t.is(places(here)[0], near.location);
  here.onFailed(near);
  await clock.advance(settingValues(CLIENT_SETTINGS).avoidMs + 1);
  t.is(places(here)[0], near.location);
});
