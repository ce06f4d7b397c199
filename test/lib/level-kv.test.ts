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
