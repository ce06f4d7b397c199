import test from 'ava';
import { findReply, ONCE_REPLIES_MAX, purgeClients, runOnce } from '../../src/master/once-table.js';
import type { Store } from '../../src/master/store.js';
import { GfsError } from '../../src/protocol/errors.js';
import { formatted, reopen, throwsCode } from './fixture.js';

const CLIENT = 'aaaaaaaaaaaaaaaa';
const OTHER = 'bbbbbbbbbbbbbbbb';

function run(
  store: Store,
  sequence: number,
  work: () => unknown,
  { client = CLIENT, ackedBelow = 0, nowMs = 1 } = {},
): unknown {
  return store.change(change => runOnce(change, { client, sequence, ackedBelow }, nowMs, work));
}

const never = (): never => {
  throw new Error('done twice');
};

test('a change that is asked for twice is done once and answered twice, also after a restart', async t => {
  const { store, kv } = await formatted();
  const reply = { attributes: { size: 5, mtimeNs: 7n }, list: [1, 2] };

  t.deepEqual(
    run(store, 1, () => reply),
    reply,
  );
  t.deepEqual(run(store, 1, never), reply);
  t.deepEqual(findReply(store, { client: CLIENT, sequence: 1, ackedBelow: 0 }), { reply });
  t.is(findReply(store, { client: CLIENT, sequence: 2, ackedBelow: 0 }), undefined);
  t.is(
    run(store, 1, () => 'mine', { client: OTHER }),
    'mine',
  );
  await store.close();

  t.deepEqual(run(await reopen(kv), 1, never), reply);
});

test('a reply and what it reports stand or fall together', async t => {
  const { store } = await formatted();

  t.throws(() =>
    store.change(change => {
      runOnce(change, { client: CLIENT, sequence: 1, ackedBelow: 0 }, 1, () => 'first');
      throw new Error('later');
    }),
  );

  t.is(
    run(store, 1, () => 'second'),
    'second',
  );
});

test('a refusal is not kept', async t => {
  const { store } = await formatted();

  throwsCode(t, 'EXISTS', () =>
    run(store, 1, () => {
      throw new GfsError('EXISTS');
    }),
  );

  t.is(
    run(store, 1, () => 'now'),
    'now',
  );
});

test('acknowledged replies are dropped, and what was acknowledged is never done again', async t => {
  const { store } = await formatted();
  for (const sequence of [1, 2, 3]) run(store, sequence, () => sequence);

  run(store, 4, () => 4, { ackedBelow: 3 });

  throwsCode(t, 'ALREADY_PAST', () => run(store, 2, never));
  t.is(run(store, 3, never), 3);
  await store.durable();
  t.is((await store.scan({ gte: Buffer.from('q\x01'), lt: Buffer.from('q\x02'), limit: 10 })).length, 2);
});

test('a client that never acknowledges is refused at the bound', async t => {
  const { store } = await formatted();
  for (let i = 1; i <= ONCE_REPLIES_MAX; i++) run(store, i, () => i);

  throwsCode(t, 'OVERLOADED', () => run(store, ONCE_REPLIES_MAX + 1, () => 0));

  t.is(
    run(store, ONCE_REPLIES_MAX + 1, () => 1, { ackedBelow: 2 }),
    1,
  );
});

test('clients that are gone for long are forgotten, in bounded steps', async t => {
  const { store } = await formatted();
  run(store, 1, () => 1, { nowMs: 10 });
  run(store, 1, () => 1, { client: OTHER, nowMs: 30 });

  const next = await purgeClients(store, { beforeMs: 20, after: '', limit: 1 });
  t.is(next, CLIENT);
  t.is(await purgeClients(store, { beforeMs: 20, after: next!, limit: 2 }), undefined);

  t.is(
    run(store, 1, () => 'anew'),
    'anew',
  );
  t.is(run(store, 1, never, { client: OTHER }), 1);
});
