// Mutants in CI: those that a few seeds catch. The whole list, with the number of seeds each took, is made by npm run sim:mutants (docs/mutants.md).
import test from 'ava';
import { applyMutant, MUTANTS } from './mutants.js';
import { runScenario } from './scenario.js';

/** A seed that caught it when this was written, and others to try, since every change of the code makes other runs of the same seeds. */
const TRIES_MAX = 40;
const QUICK: ReadonlyMap<string, number> = new Map([
  ['no-fencing', 1],
  ['ack-early', 11],
  ['seal-shortest', 1],
  ['forget-writers', 3],
  ['ignore-expiry', 40],
  ['trust-suspect', 1],
  ['reply-early', 4],
  ['no-tombstone', 44],
  ['old-epoch', 15],
  ['no-resolve', 3],
  ['no-copies', 1],
  ['keep-open', 2],
  ['no-copy-limits', 1],
  ['hasty-trash', 2],
  ['serve-stale', 3],
]);

for (const [name, firstSeed] of QUICK) {
  const { breaks } = MUTANTS.find(mutant => mutant.name === name)!;
  test.serial(`a system without this rule is caught (${name}): ${breaks}`, async t => {
    t.timeout(300_000);
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
