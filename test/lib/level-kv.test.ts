import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { LevelKvStores } from '../../src/lib/level-kv.js';
import { mountProblem, testUnless } from '../cluster/needs.js';

const mountTest = testUnless(await mountProblem());

test('a damaged store is refused with EIO', async t => {
  const root = await mkdtemp(join(tmpdir(), 'gfs-level-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  const path = join(root, 'kv');
  const kv = await new LevelKvStores().open(path, { create: true });
  await kv.close();
  for (const name of await readdir(path)) {
    if (name.startsWith('MANIFEST')) await writeFile(join(path, name), 'this is no manifest');
  }

  await t.throwsAsync(new LevelKvStores().open(path, { create: false }), { code: 'EIO' });
});

test('a closed store refuses a batch, and what was on its way before is written', async t => {
  const root = await mkdtemp(join(tmpdir(), 'gfs-level-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  // Unguarded, the package writes to memory that it has given back: not every time, but soon.
  for (let round = 0; round < 20; round++) {
    const path = join(root, `kv${round}`);
    const kv = await new LevelKvStores().open(path, { create: true });
    const put = (name: string) => ({ type: 'put' as const, key: Buffer.from(name), value: Buffer.alloc(100) });
    const written = Array.from({ length: 10 }, (_, i) => kv.batch([put(`a${i}`)], { sync: i % 4 === 0 }));

    await kv.close();

    await Promise.all(written);
    await t.throwsAsync(kv.batch([put('b')], { sync: false }), { code: 'LEVEL_DATABASE_NOT_OPEN' });
  }
});

mountTest(
  'a full disk: a batch and an open are refused with ENOSPC, reads go on, and all that was written is there when there is room',
  async t => {
    const root = await mkdtemp(join(tmpdir(), 'gfs-level-'));
    t.teardown(() => rm(root, { recursive: true, force: true }));
    const run = promisify(execFile);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=4M', 'none', root]);
    t.teardown(() => run('umount', ['-l', root]));
    const path = join(root, 'kv');
    const kv = await new LevelKvStores().open(path, { create: true });
    const batch = (i: number) =>
      kv.batch([{ type: 'put', key: Buffer.from(`${i}`), value: Buffer.alloc(900, i) }], { sync: true });
    for (let i = 0; i < 100; i++) await batch(i);
    await t.throwsAsync(writeFile(join(root, 'filler'), Buffer.alloc(8 * 1024 * 1024)), { code: 'ENOSPC' });

    let count = 100;
    await t.throwsAsync(
      async () => {
        for (; count < 200; count++) await batch(count);
      },
      { code: 'ENOSPC' },
    );
    await t.throwsAsync(batch(0), { code: 'ENOSPC' });
    t.is(kv.getSync(Buffer.from('50'))?.length, 900);
    await kv.close();
    await t.throwsAsync(new LevelKvStores().open(path, { create: false }), { code: 'ENOSPC' });

    await rm(join(root, 'filler'));
    const again = await new LevelKvStores().open(path, { create: false });
    for (let i = 0; i < count; i++) t.is(again.getSync(Buffer.from(`${i}`))?.[0], i);
    t.is(again.getSync(Buffer.from(`${count}`)), undefined);
    await again.close();
  },
);
