import * as fs from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { LevelKvStores } from '../../src/lib/level-kv.js';
import { silentLogger } from '../../src/lib/logger.js';
import { checkInvariants, findInconsistencies } from '../../src/master/check.js';
import { formatMaster, openCluster } from '../../src/master/format.js';
import { putInode } from '../../src/master/inodes.js';
import { GfsError } from '../../src/protocol/errors.js';
import { append, createAt, DATA, doors, FORMAT, find, formatted } from './fixture.js';
import { MemoryKvStores } from './memory-kv.js';

const OPTIONS = { cacheEntriesMax: 10, cacheBytesMax: 1e6, logger: silentLogger };

test('a formatted cluster opens with its settings and an empty root', async t => {
  const { store, kv } = await formatted();

  const { cluster } = await openCluster(kv, DATA, OPTIONS);

  t.like(cluster, { clusterId: '07'.repeat(8), formatVersion: 1, chunkSizeBytes: 65_536, replicas: 3, minReplicas: 2 });
  t.like(find(store, ''), { type: 'directory', mode: 0o1777, childCount: 0, goal: 3 });
  await checkInvariants(store);
});

test('a root with an owner is its owner’s', async t => {
  const kv = new MemoryKvStores();
  await formatMaster(doors(kv), { ...FORMAT, owner: { uid: 5, gid: 6 } });

  const { store } = await openCluster(kv, DATA, OPTIONS);

  t.like(find(store, ''), { mode: 0o755, uid: 5, gid: 6 });
});

test('a directory without a cluster is refused with the way to make one, and nothing is made', async t => {
  const kv = new MemoryKvStores();

  const error = await t.throwsAsync(openCluster(kv, DATA, OPTIONS), { instanceOf: GfsError });

  t.is(error?.code, 'WRONG_DATA');
  t.regex(error!.message, /gfs-master format/);
  t.is(kv.stores.size, 0);
});

test('a format that was cut off before its batch is no cluster and can be done again', async t => {
  const kv = new MemoryKvStores();
  await kv.open(`${DATA}/meta`, { create: true });

  t.regex((await t.throwsAsync(openCluster(kv, DATA, OPTIONS)))!.message, /gfs-master format/);
  await formatMaster(doors(kv), FORMAT);

  t.is((await openCluster(kv, DATA, OPTIONS)).cluster.replicas, 3);
});

test('formatting a cluster again is refused and changes nothing', async t => {
  const { store, kv } = await formatted();
  createAt(store, 'f');
  await store.close();

  const error = await t.throwsAsync(formatMaster(doors(kv), FORMAT), { instanceOf: GfsError });

  t.is(error?.code, 'WRONG_DATA');
  t.regex(error!.message, /0707/);
  t.is(find((await openCluster(kv, DATA, OPTIONS)).store, 'f').type, 'file');
});

test('a damaged record is refused, not believed', async t => {
  const { store, kv } = await formatted();
  createAt(store, 'f');
  await store.close();
  for (const [key, value] of kv.only.rows.values()) if (key[0] === 'i'.charCodeAt(0)) value[value.length - 1]! ^= 1;

  const { store: again } = await openCluster(kv, DATA, OPTIONS);

  t.is(t.throws(() => find(again, 'f'), { instanceOf: GfsError })?.code, 'WRONG_DATA');
});

test('a store in use is refused', async t => {
  const busy = { open: () => Promise.reject(Object.assign(new Error('locked'), { code: 'EBUSY' })) };

  t.is((await t.throwsAsync(openCluster(busy, DATA, OPTIONS), { instanceOf: GfsError }))?.code, 'IN_USE');
});

test('the check finds what is wrong', async t => {
  const { store } = await formatted();
  const file = createAt(store, 'f');
  append(store, file.inode, 10);
  t.deepEqual(await findInconsistencies(store), []);

  store.change(change => putInode(change, { ...find(store, 'f'), nlink: 2, sealedBytes: 11 }));

  const problems = await findInconsistencies(store);
  t.is(problems.length, 2);
  await t.throwsAsync(checkInvariants(store), { message: /1 names and 2 links/ });
});

test('a cluster on LevelDB survives close and open', async t => {
  const data = await fs.mkdtemp(join(tmpdir(), 'gfs-format-'));
  t.teardown(() => fs.rm(data, { recursive: true }));
  const kv = new LevelKvStores();
  const platform = { ...doors(new MemoryKvStores()), kv };
  await formatMaster(platform, { ...FORMAT, data });
  const first = await openCluster(kv, data, OPTIONS);
  append(first.store, createAt(first.store, 'f').inode, 10);
  await first.store.durable();
  await checkInvariants(first.store);
  t.is((await t.throwsAsync(openCluster(kv, data, OPTIONS), { instanceOf: GfsError }))?.code, 'IN_USE');
  await first.store.close();

  const second = await openCluster(kv, data, OPTIONS);

  t.is(find(second.store, 'f').sealedBytes, 10);
  await checkInvariants(second.store);
  await second.store.close();
});
