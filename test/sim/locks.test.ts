// Locks of clients that lose the master again and again: nobody is granted what another believes to hold, and without the rules that see to it somebody is.
import test from 'ava';
import { runLockScenario } from './lock-scenario.js';
import { applyMutant, LOCK_MUTANTS } from './mutants.js';

test.serial(
  'requests that were given up and arrive late, answers that are lost, holders that are cut off: locks stay exclusive',
  async t => {
    t.timeout(300_000);
    let granted = 0;
    let lost = 0;
    for (let seed = 1; seed <= 10; seed++) {
      const { violations, counts } = await runLockScenario(seed);
      t.deepEqual(violations, [], `seed ${seed}`);
      granted += counts['ended lock'] ?? 0;
      lost += counts['lockLost'] ?? 0;
    }
    t.true(granted > 100 && lost > 0, `${granted} locks were granted, ${lost} were lost`);
  },
);

/** A seed that caught them when this was written is 6. */
const TRIES_MAX = 100;

for (const { name, breaks } of LOCK_MUTANTS) {
  test.serial(`a system without this rule is caught (${name}): ${breaks}`, async t => {
    t.timeout(600_000);
    t.teardown(applyMutant(name));
    for (let seed = 1; seed <= TRIES_MAX; seed++) {
      const { violations } = await runLockScenario(seed);
      if (violations.length === 0) continue;
      t.log(`seed ${seed}: ${violations[0]!.what}`);
      t.pass();
      return;
    }
    t.fail(`${TRIES_MAX} seeds did not catch ${name}`);
  });
}
