// Mutants in CI: those that a few seeds catch. The whole list, with the number of seeds each took, is made by npm run sim:mutants (docs/mutants.md).
import test from 'ava';
import { applyMutant, MUTANTS } from './mutants.js';
import { runScenario } from './scenario.js';

/** A seed that caught it when this was written, and others to try, since every change of the code makes other runs of the same seeds. */
const TRIES_MAX = 200;
const QUICK: ReadonlyMap<string, number> = new Map([
  ['no-fencing', 36],
  ['ack-early', 19],
  ['seal-shortest', 5],
  ['forget-writers', 30],
  ['ignore-expiry', 107],
  ['trust-suspect', 67],
  ['reply-early', 40],
  ['no-tombstone', 28],
  ['old-epoch', 73],
  ['no-resolve', 28],
  ['no-copies', 2],
  ['keep-open', 2],
  ['no-copy-limits', 2],
  ['hasty-trash', 2],
  ['serve-unverified', 1],
  ['no-scrub', 12],
  ['no-mend', 1],
  ['keep-orphans', 3],
  ['keep-surplus', 2],
  ['delete-unasked', 12],
  ['delete-unread', 12],
  ['no-drain', 7],
  ['hasty-drain', 7],
  ['stay-hot', 13],
  ['no-server-rate', 1],
  ['serve-stale', 7],
  ['no-expectation', 2],
  ['collect-open', 21],
]);

test.serial('every mutant finds what it replaces, is in this test, and can be mended', t => {
  for (const { name } of MUTANTS) t.notThrows(applyMutant(name), name);
  t.deepEqual([...QUICK.keys()].sort(), MUTANTS.map(({ name }) => name).sort());
});

for (const [name, firstSeed] of QUICK) {
  const { breaks } = MUTANTS.find(mutant => mutant.name === name)!;
  test.serial(`a system without this rule is caught (${name}): ${breaks}`, async t => {
    t.timeout(600_000);
    const mend = applyMutant(name);
    t.teardown(mend);

    let tries = 0;
    for (let seed = firstSeed; tries < TRIES_MAX; seed++) {
      tries++;
      const { violations } = await runScenario(seed);
      if (violations.length === 0) continue;
      t.log(`after ${tries} seeds: ${violations[0]!.promise}`);
      t.pass();
      return;
    }
    t.fail(`${TRIES_MAX} seeds from ${firstSeed} on did not catch ${name}`);
  });
}
