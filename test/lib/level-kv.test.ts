import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { LevelKvStores } from '../../src/lib/level-kv.js';

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
