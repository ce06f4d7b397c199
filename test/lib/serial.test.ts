import test from 'ava';
import { deferred } from '../../src/lib/deferred.js';
import { Serial } from '../../src/lib/serial.js';

test('jobs of one key run one after another, jobs of two keys side by side', async t => {
  const serial = new Serial<string>();
  const log: string[] = [];
  const gate = deferred<void>();
  const first = serial.run('a', async () => {
    await gate.promise;
    log.push('a1');
  });
  const second = serial.run('a', async () => {
    log.push('a2');
  });

  await serial.run('b', async () => {
    log.push('b1');
  });
  gate.resolve();
  await Promise.all([first, second]);
  await serial.idle('a');

  t.deepEqual(log, ['b1', 'a1', 'a2']);
  t.is(serial.size, 0);
});

test('a failed job rejects its own caller and lets the next one run', async t => {
  const serial = new Serial<number>();

  const failed = serial.run(1, () => Promise.reject(new Error('no')));
  const next = serial.run(1, async () => 'yes');

  await t.throwsAsync(failed, { message: 'no' });
  t.is(await next, 'yes');
});
