import test from 'ava';
import fc from 'fast-check';
import { deferred } from '../../src/lib/deferred.js';
import { silentLogger } from '../../src/lib/logger.js';
import { Store, type StoreOptions } from '../../src/master/store.js';
import { GfsError } from '../../src/protocol/errors.js';
import { throwsCode } from './fixture.js';
import { type MemoryKv, MemoryKvStores } from './memory-kv.js';

const key = (text: string): Buffer => Buffer.from(text);

async function open(options: Partial<StoreOptions> = {}): Promise<{ store: Store; kv: MemoryKv }> {
  const stores = new MemoryKvStores();
  const store = await Store.open(stores, 'x', {
    ...{ create: true, cacheEntriesMax: 4, cacheBytesMax: 1e6, logger: silentLogger },
    ...options,
  });
  return { store, kv: stores.only };
}

function put(store: Store, name: string, value: string): void {
  store.change(change => change.put(key(name), Buffer.from(value)));
}

const texts = (rows: Array<[Buffer, Buffer]>): string[] => rows.map(([k, v]) => `${k}=${v}`);

test('a change sees its own writes, others see them at once when it is over', async t => {
  const { store } = await open();

  store.change(change => {
    change.put(key('a'), key('1'));
    t.is(String(change.get(key('a'))), '1');
    t.is(store.get(key('a')), undefined);
    change.del(key('a'));
    t.is(change.get(key('a')), undefined);
    change.put(key('b'), key('2'));
  });

  t.is(store.get(key('a')), undefined);
  t.is(String(store.get(key('b'))), '2');
});

test('a change that throws leaves nothing', async t => {
  const { store, kv } = await open();

  t.throws(() =>
    store.change(change => {
      change.put(key('a'), key('1'));
      throw new Error('no');
    }),
  );
  await store.durable();

  t.is(store.get(key('a')), undefined);
  t.is(kv.batches.length, 0);
});

test('changes do not nest and are over when their work returned', async t => {
  const { store } = await open();

  t.throws(() => store.change(() => store.change(() => undefined)), { message: /nest/ });
  const leaked = store.change(change => change);
  t.throws(() => leaked.put(key('a'), key('1')), { message: /over/ });
});

test('one batch is in flight and the next one collects (group commit, I6)', async t => {
  const { store, kv } = await open();
  const gate = deferred<void>();
  kv.gate = gate.promise;

  put(store, 'a', '1');
  put(store, 'b', '1');
  const first = store.durable();
  await Promise.resolve();
  put(store, 'a', '2');
  put(store, 'c', '2');
  let isDurable = false;
  const second = store.durable().then(() => {
    isDurable = true;
  });

  t.is(kv.batches.length, 1);
  t.is(String(store.get(key('a'))), '2');
  gate.resolve();
  await first;
  t.is(String(kv.getSync(key('a'))), '1');
  t.false(isDurable);
  await second;
  t.is(String(kv.getSync(key('a'))), '2');
  t.deepEqual(
    kv.batches.map(({ ops, sync }) => [ops.length, sync]),
    [
      [2, true],
      [2, true],
    ],
  );
  const { batches, ops, pendingOps } = store.counters;
  t.deepEqual({ batches, ops, pendingOps }, { batches: 2, ops: 4, pendingOps: 0 });
});

test('after a failed write every change and every answer is refused, and the owner is told once', async t => {
  const failures: GfsError[] = [];
  const { store, kv } = await open({ onFailure: error => failures.push(error) });
  const gate = deferred<void>();
  kv.gate = gate.promise;
  kv.failure = new Error('EIO');
  put(store, 'a', '1');
  await Promise.resolve();
  put(store, 'b', '1');
  const waiting = [store.durable(), store.durable()];

  gate.resolve();

  for (const promise of waiting) {
    t.is((await t.throwsAsync(promise, { instanceOf: GfsError }))?.code, 'STORE_FAILED');
  }
  throwsCode(t, 'STORE_FAILED', () => put(store, 'c', '1'));
  await t.throwsAsync(store.durable());
  t.is(failures.length, 1);
  t.is(kv.batches.length, 1);
  await store.close();
});

test('a full disk: what was not written is gone, what was is still read, nothing more is changed, and the owner goes on', async t => {
  const failures: GfsError[] = [];
  const { store, kv } = await open({ onFailure: error => failures.push(error) });
  put(store, 'a', '1');
  await store.durable();
  const gate = deferred<void>();
  kv.gate = gate.promise;
  kv.failure = Object.assign(new Error('no room'), { code: 'ENOSPC' });
  put(store, 'a', '2');
  await Promise.resolve();
  put(store, 'b', '1');
  const waiting = [store.durable(), store.durable()];
  t.false(store.isReadOnly);

  gate.resolve();

  for (const promise of waiting)
    t.is((await t.throwsAsync(promise, { instanceOf: GfsError }))?.code, 'CONNECTION_LOST', 'it may have been done');
  t.true(store.isReadOnly);
  throwsCode(t, 'NO_SPACE', () => put(store, 'c', '1'));
  t.is((await t.throwsAsync(store.durable(), { instanceOf: GfsError }))?.code, 'CONNECTION_LOST');
  t.is(String(store.get(key('a'))), '1');
  t.is(store.get(key('b')), undefined);
  t.deepEqual(texts(await store.scan({ gte: key('a'), lt: key('z'), limit: 9 })), ['a=1']);
  t.is(failures.length, 0);
  await store.close();
});

test('what the cache forgot is read again, and stale values never come back', async t => {
  const { store } = await open({ cacheEntriesMax: 2 });
  for (let i = 0; i < 10; i++) put(store, `k${i}`, String(i));
  await store.durable();
  put(store, 'k3', 'new');
  store.change(change => change.del(key('k4')));
  await store.durable();

  t.deepEqual(
    Array.from({ length: 10 }, (_, i) => store.get(key(`k${i}`))?.toString()),
    ['0', '1', '2', 'new', undefined, '5', '6', '7', '8', '9'],
  );
});

test('close writes what was applied, then refuses changes', async t => {
  const { store, kv } = await open();
  put(store, 'a', '1');

  await Promise.all([store.close(), store.close()]);

  t.is(String(kv.getSync(key('a'))), '1');
  throwsCode(t, 'STOPPING', () => put(store, 'b', '1'));
});

test('a scan shows the state at its end, also when changes are applied and flushed meanwhile', async t => {
  const { store, kv } = await open();
  for (const name of ['a', 'b', 'c', 'd', 'e']) put(store, name, '1');
  await store.durable();
  const gate = deferred<void>();
  kv.scanGate = gate.promise;

  const scan = store.scan({ gte: key('a'), lt: key('z'), limit: 3 });
  store.change(change => change.del(key('a')));
  put(store, 'c', '2');
  await store.durable();
  put(store, 'bb', '3');
  gate.resolve();

  t.deepEqual(texts(await scan), ['b=1', 'bb=3', 'c=2']);
});

test('deleted rows do not shorten a scan, forwards and backwards', async t => {
  const { store } = await open();
  for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) put(store, name, '1');
  await store.durable();
  store.change(change => {
    for (const name of ['a', 'b', 'c', 'f']) change.del(key(name));
    change.put(key('g'), key('2'));
  });

  t.deepEqual(texts(await store.scan({ gte: key('a'), lt: key('z'), limit: 2 })), ['d=1', 'e=1']);
  t.deepEqual(texts(await store.scan({ gte: key('a'), lt: key('z'), limit: 2, reverse: true })), ['g=2', 'e=1']);
  t.deepEqual(texts(await store.scan({ gte: key('a'), lt: key('z'), limit: 9, reverse: true })), ['g=2', 'e=1', 'd=1']);
});

test('any mix of changes, flushes and scans agrees with a plain sorted map', async t => {
  const name = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g');
  const step = fc.oneof(
    fc.record({ kind: fc.constant('put' as const), name, value: fc.string() }),
    fc.record({ kind: fc.constant('del' as const), name }),
    fc.record({ kind: fc.constant('flush' as const) }),
    fc.record({
      kind: fc.constant('scan' as const),
      from: name,
      to: name,
      limit: fc.integer({ min: 1, max: 4 }),
      reverse: fc.boolean(),
    }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async steps => {
      const { store } = await open({ cacheEntriesMax: 2 });
      const model = new Map<string, string>();
      for (const s of steps) {
        if (s.kind === 'put') {
          put(store, s.name, s.value);
          model.set(s.name, s.value);
        } else if (s.kind === 'del') {
          store.change(change => change.del(key(s.name)));
          model.delete(s.name);
        } else if (s.kind === 'flush') {
          await store.durable();
        } else {
          const rows = await store.scan({ gte: key(s.from), lt: key(s.to), limit: s.limit, reverse: s.reverse });
          const names = [...model.keys()].filter(n => n >= s.from && n < s.to).sort();
          if (s.reverse) names.reverse();
          t.deepEqual(
            texts(rows),
            names.slice(0, s.limit).map(n => `${n}=${model.get(n)}`),
          );
        }
        for (const n of ['a', 'd', 'g']) t.is(store.get(key(n))?.toString(), model.get(n));
      }
    }),
    { numRuns: 100 },
  );
});
