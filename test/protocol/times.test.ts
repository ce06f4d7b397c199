// What appends make of a file's times.
import test from 'ava';
import { timesAfterAppend } from '../../src/protocol/times.js';

const MS = 1_000_000n;
const at = (mtimeMs: bigint, ctimeMs = mtimeMs) => ({ mtimeNs: mtimeMs * MS, ctimeNs: ctimeMs * MS });

test('a file changed when its last append was committed', t => {
  t.deepEqual(timesAfterAppend(at(5n), 7.9), at(7n));
  t.deepEqual(timesAfterAppend(at(5n, 9n), 7), at(7n, 9n), 'a change of its mode since stays');
  t.deepEqual(timesAfterAppend(at(99n, 5n), 7), at(7n), 'a time that was set before counts no more');
});

test('the times of a file that was just made or appended to do not go back where the primary’s clock is behind', t => {
  t.deepEqual(timesAfterAppend(at(5n), 4), at(5n));
});

test('the rule may be applied again: who hears of an append twice comes to the same times', t => {
  for (const times of [at(5n), at(5n, 9n), at(99n, 5n)]) {
    const once = timesAfterAppend(times, 7);
    t.deepEqual(timesAfterAppend(once, 7), once);
  }
});
