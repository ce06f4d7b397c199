// The simulator in CI: a fixed set of seeds, some fresh ones, and the proof that a seed is a run. Many more: npm run sim -- --seeds 1000.
import { randomInt } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';
import { runScenario } from './scenario.js';

const FIXED = { first: 1, count: 36 };
const FRESH_COUNT = 30;
const LINES_SHOWN = 40;

async function keepsAllPromises(t: ExecutionContext, seed: number): Promise<void> {
  const { violations, trace } = await runScenario(seed);
  if (violations.length === 0) return;
  for (const line of trace.slice(-LINES_SHOWN)) t.log(line);
  t.log(`replay with: npm run sim -- --seeds 1 --first ${seed} --trace`);
  t.fail(`seed ${seed}: ${violations[0]!.promise} ${violations[0]!.what}`);
}

test.serial('one seed is one run: the same events, the same trace', async t => {
  const first = await runScenario(7);
  const second = await runScenario(7);
  const other = await runScenario(8);

  t.is(second.fingerprint, first.fingerprint);
  t.not(other.fingerprint, first.fingerprint);
});

test.serial(
  `§3.1, §3.2, §3.3 appends survive anything: seeds ${FIXED.first} to ${FIXED.first + FIXED.count - 1}`,
  async t => {
    t.timeout(600_000);
    for (let seed = FIXED.first; seed < FIXED.first + FIXED.count; seed++) await keepsAllPromises(t, seed);
    t.pass();
  },
);

test.serial('appends survive anything: seeds that nobody has run before', async t => {
  t.timeout(600_000);
  const first = randomInt(1, 2 ** 31);
  t.log(`seeds ${first} to ${first + FRESH_COUNT - 1}`);
  for (let seed = first; seed < first + FRESH_COUNT; seed++) await keepsAllPromises(t, seed);
  t.pass();
});
