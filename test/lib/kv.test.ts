// What every Kv does, LevelDB or simulated.
import test from 'ava';
import type { KvOp } from '../../src/lib/kv.js';
import { prefixEnd } from '../../src/lib/kv.js';
import { HARNESSES } from './harness.js';

const put = (key: string, value: string): KvOp => ({ type: 'put', key: latin1(key), value: latin1(value) });
const del = (key: string): KvOp => ({ type: 'del', key: latin1(key) });
const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');
const text = (entries: Array<[Buffer, Buffer]>): string =>
  entries.map(([key, value]) => `${key.toString('latin1')}=${value.toString('latin1')}`).join(' ');

for (const [name, on] of Object.entries(HARNESSES)) {
  test(`${name} kv: a batch is seen whole once it has settled`, t =>
    on(t, async ({ platform, root }) => {
      const kv = await platform.kv.open(`${root}/kv`, { create: true });

      await kv.batch([put('a', '1'), put('b', '2'), put('c', '')], { sync: true });
      await kv.batch([del('a'), put('b', '3')], { sync: false });

      t.is(kv.getSync(latin1('a')), undefined);
      t.is(kv.getSync(latin1('b'))?.toString(), '3');
      t.is(kv.getSync(latin1('c'))?.length, 0);
      await kv.close();
    }));

  test(`${name} kv: batches apply in the order of the calls`, t =>
    on(t, async ({ platform, root }) => {
      const kv = await platform.kv.open(`${root}/kv`, { create: true });

      await Promise.all(Array.from({ length: 50 }, (_, i) => kv.batch([put('k', String(i))], { sync: i % 7 === 0 })));

      t.is(kv.getSync(latin1('k'))?.toString(), '49');
      await kv.close();
    }));

  test(`${name} kv: scans give ranges in byte order, from either end, up to the limit`, t =>
    on(t, async ({ platform, root }) => {
      const kv = await platform.kv.open(`${root}/kv`, { create: true });
      const keys = ['e\x00', 'e\x7f', 'e\x80', 'e\xff', 'd', 'f'];
      await kv.batch(
        keys.map((key, i) => put(key, String(i))),
        { sync: false },
      );
      const gte = latin1('e');
      const lt = prefixEnd(gte);

      t.is(text(await kv.scan({ gte, lt, limit: 100 })), 'e\x00=0 e\x7f=1 e\x80=2 e\xff=3');
      t.is(text(await kv.scan({ gte, lt, limit: 2 })), 'e\x00=0 e\x7f=1');
      t.is(text(await kv.scan({ gte, lt, limit: 2, reverse: true })), 'e\xff=3 e\x80=2');
      t.is(text(await kv.scan({ gte: latin1('e\x7f'), lt: latin1('e\x80'), limit: 9 })), 'e\x7f=1');
      t.is(text(await kv.scan({ gte: latin1('x'), lt: latin1('y'), limit: 9 })), '');
      await kv.close();
    }));

  test(`${name} kv: a buffer that is changed after the batch settled does not change the store`, t =>
    on(t, async ({ platform, root }) => {
      const kv = await platform.kv.open(`${root}/kv`, { create: true });
      const value = Buffer.from('abc');

      await kv.batch([{ type: 'put', key: latin1('k'), value }], { sync: false });
      value.fill(0);
      kv.getSync(latin1('k'))?.fill(1);

      t.is(kv.getSync(latin1('k'))?.toString(), 'abc');
      await kv.close();
    }));

  test(`${name} kv: a closed store is found again with its content`, t =>
    on(t, async ({ platform, root }) => {
      const first = await platform.kv.open(`${root}/deep/kv`, { create: true });
      await first.batch([put('a', '1')], { sync: false });
      await first.close();
      await first.close();

      const second = await platform.kv.open(`${root}/deep/kv`, { create: false });

      t.is(second.getSync(latin1('a'))?.toString(), '1');
      await second.close();
    }));

  test(`${name} kv: without create an absent store is refused with ENOENT and nothing is made`, t =>
    on(t, async ({ platform, root }) => {
      await t.throwsAsync(platform.kv.open(`${root}/kv`, { create: false }), { code: 'ENOENT' });
      await t.throwsAsync(platform.kv.open(`${root}/kv`, { create: false }), { code: 'ENOENT' });
      t.deepEqual(await platform.disk.list(root), []);
    }));

  test(`${name} kv: an empty batch is fine, and a closed store refuses each one`, t =>
    on(t, async ({ platform, root }) => {
      const kv = await platform.kv.open(`${root}/kv`, { create: true });
      await t.notThrowsAsync(kv.batch([], { sync: true }));
      const last = kv.batch([put('a', '1')], { sync: false });

      await kv.close();

      await t.notThrowsAsync(last);
      await t.throwsAsync(kv.batch([put('a', '2')], { sync: true }));
      await t.throwsAsync(kv.batch([put('a', '3')], { sync: false }));
    }));

  test(`${name} kv: a store in use is refused with EBUSY`, t =>
    on(t, async ({ platform, root }) => {
      const kv = await platform.kv.open(`${root}/kv`, { create: true });

      await t.throwsAsync(platform.kv.open(`${root}/kv`, { create: true }), { code: 'EBUSY' });

      await kv.close();
    }));
}
