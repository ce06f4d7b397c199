// Mutants in CI, each with a seed that catches it, in two parts that run beside each other. The whole list, with the number of seeds each took, is made
// by npm run sim:mutants (docs/mutants.md).
import test from 'ava';
import { applyMutant, MUTANTS } from './mutants.js';
import { runScenario } from './scenario.js';

/** A seed that caught it when this was written, and others to try, since every change of the code makes other runs of the same seeds. */
const TRIES_MAX = 200;
export const OF_APPENDS: ReadonlyMap<string, number> = new Map([
  ['no-fencing', 3],
  ['ack-early', 1],
  ['seal-shortest', 15],
  ['forget-writers', 45],
  ['ignore-expiry', 63],
  ['trust-suspect', 27],
  ['reply-early', 3],
  ['no-tombstone', 28],
  ['old-epoch', 221],
  ['no-resolve', 6],
  ['no-deadline', 4],
  ['late-appends', 3],
  ['serve-stale', 3],
  ['no-expectation', 1],
  ['collect-open', 6],
]);
export const OF_HEALING: ReadonlyMap<string, number> = new Map([
  ['no-copies', 1],
  ['keep-open', 1],
  ['no-copy-limits', 1],
  ['hasty-trash', 1],
  ['serve-unverified', 1],
  ['no-scrub', 32],
  ['no-mend', 1],
  ['keep-orphans', 6],
  ['keep-surplus', 2],
  ['delete-unasked', 29],
  ['delete-unread', 29],
  ['no-drain', 7],
  ['hasty-drain', 7],
  ['stay-hot', 12],
]);

/** What takes more seeds than CI has time for: only npm run sim:mutants looks for these. */
export const SELDOM_CAUGHT: readonly string[] = ['no-server-rate'];

export function testMutants(mutants: ReadonlyMap<string, number>): void {
  for (const [name, firstSeed] of mutants) {
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
}
