// What every Clock, Random and Witness does, real or simulated.
import test from 'ava';
import { deferred } from '../../src/lib/deferred.js';
import { HARNESSES } from './harness.js';

for (const [name, on] of Object.entries(HARNESSES)) {
  test(`${name} clock: a timer fires once and never early`, t =>
    on(t, async ({ platform: { clock } }) => {
      for (const delayMs of [0, 0.3, 1, 2.7, 5]) {
        const startMs = clock.monotonicMs();
        const fired = deferred<number>();
        const timer = clock.setTimer(delayMs, () => fired.resolve(clock.monotonicMs()));

        t.true((await fired.promise) >= startMs + delayMs);
        timer.cancel();
      }
    }));

  test(`${name} clock: a cancelled timer does not fire, and delays beyond 31 bits do not fire at once`, t =>
    on(t, async ({ platform: { clock } }) => {
      const last = deferred<void>();
      const cancelled = clock.setTimer(1, () => t.fail('it was cancelled'));
      const distant = clock.setTimer(2 ** 33, () => t.fail('it is months away'));

      cancelled.cancel();
      cancelled.cancel();
      clock.setTimer(5, last.resolve, { background: false });
      await last.promise;
      distant.cancel();

      t.pass();
    }));

  test(`${name} random: floats lie in [0, 1) and bytes differ`, t =>
    on(t, async ({ platform: { random } }) => {
      const floats = Array.from({ length: 2_000 }, () => random.float());

      t.true(floats.every(value => value >= 0 && value < 1));
      t.true(new Set(floats).size > 1_990);
      t.is(random.bytes(7).length, 7);
      t.notDeepEqual(random.bytes(16), random.bytes(16));
    }));

  test(`${name} witness: recalls what was raised last under each name`, t =>
    on(t, async ({ platform: { witness } }) => {
      t.is(witness.recall('a/b'), undefined);
      witness.raise('a/b', 1);
      witness.raise('a/b', 2 ** 53 - 1);
      witness.raise('..', 0);

      t.is(witness.recall('a/b'), 2 ** 53 - 1);
      t.is(witness.recall('..'), 0);
      t.is(witness.recall('a'), undefined);
    }));
}
