// gfs fsck and gfs fsck --repair over a master's store that was damaged while the master was away: real LevelDB, real programs.
import test from 'ava';
import { systemPlatform } from '../../src/cli/system-platform.js';
import { silentLogger } from '../../src/lib/logger.js';
import { openCluster } from '../../src/master/format.js';
import { findInode, putInode } from '../../src/master/inodes.js';
import { entryKey, extentKey } from '../../src/master/keys.js';
import { resolve } from '../../src/master/namespace.js';
import type { Store } from '../../src/master/store.js';
import { ROOT_INODE } from '../../src/protocol/ids.js';
import { Cluster, until } from './cluster.js';
import { bytesOf, client } from './healing.js';

const at = (path: string) => ({ start: ROOT_INODE, path });

async function damage(cluster: Cluster, work: (store: Store) => void): Promise<void> {
  await cluster.master.stop();
  const { kv } = systemPlatform({ logger: silentLogger });
  const { store } = await openCluster(kv, cluster.masterData, {
    cacheEntriesMax: 1_000,
    cacheBytesMax: 1e6,
    logger: silentLogger,
  });
  work(store);
  await store.durable();
  await store.close();
  await cluster.startMaster();
  await until('safe mode is over', async () => !(await cluster.json<{ safemode: boolean }>('report')).safemode);
}

test.serial('a damaged store: fsck says what a repair would do, --repair does it, and every byte is there', async t => {
  const cluster = await Cluster.start(t, { servers: 3, chunkSize: '64KiB' });
  const gfs = await client(t, cluster);
  for (const name of ['/kept', '/nameless', '/broken']) await gfs.writeFile(name, bytesOf(name, 100_000));
  await until('all is well', async () => (await cluster.gfs('fsck')).code === 0);
  await gfs.close();
  let inode = 0;
  let lost = 0;
  await damage(cluster, store => {
    inode = resolve(store, at('nameless'), false).inode;
    store.change(change => {
      change.del(entryKey(ROOT_INODE, 'nameless'));
      putInode(change, { ...findInode(change, ROOT_INODE)!, childCount: 12 });
      const broken = resolve(change, at('broken'), false);
      lost = broken.inode;
      change.del(extentKey(broken.inode, broken.extentCount - 1));
    });
  });

  const dry = await cluster.gfs('fsck');
  t.is(dry.code, 1);
  t.regex(
    dry.stdout,
    new RegExp(`metadata: inode ${inode} \\(file\\) has no name .*\\n  gfs fsck --repair names it /lost\\+found`),
  );
  t.regex(
    dry.stdout,
    new RegExp(`metadata: inode ${lost} \\(file\\) has \\d+ extents.*\\n  it is not repaired: extents`),
  );
  t.regex((await cluster.gfs('cat', '/lost+found')).stderr, /no|not/i, 'nothing was done');

  const repaired = await cluster.gfs('fsck', '--repair');
  t.is(repaired.code, 1, 'what is not repaired is still wrong');
  t.regex(
    repaired.stdout,
    new RegExp(`has no name and is not in the trash; repaired: names it /lost\\+found/inode-${inode}`),
  );
  t.regex(cluster.master.output.text, /a contradiction in the metadata was repaired/);
  const again = await client(t, cluster);
  t.true((await again.readFile(`/lost+found/inode-${inode}`)).equals(bytesOf('/nameless', 100_000)));
  t.true((await again.readFile('/kept')).equals(bytesOf('/kept', 100_000)));
  const { metadata } = JSON.parse((await cluster.gfs('fsck', '--json')).stdout) as {
    metadata: { problems: string[]; remedies: Array<{ repairable: boolean }> };
  };
  t.true(metadata.remedies.every(({ repairable }) => !repairable));
  t.true(metadata.problems.some(problem => problem.includes(`inode ${lost} `)));

  // The bytes of the extent that is lost have a name as well.
  t.is((await cluster.gfs('ls', '/lost+found')).stdout.trim().split('\n').length, 2);
  // Deleted, what is left of the other file can be put right.
  await cluster.gfs('rm', '/broken');
  t.regex((await cluster.gfs('fsck', '--repair')).stdout, /makes one list of the extents that the deleted file has/);
  await until('all is well', async () => (await cluster.gfs('fsck')).code === 0);
});
