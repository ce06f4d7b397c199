// A master on an old copy of its metadata that is all there is: gfs recover shows it, --accept-old-metadata goes on with it, and the bytes written since are there.
import fs from 'node:fs';
import test from 'ava';
import { Cluster, until } from './cluster.js';
import { bytesOf, client, isWell, report } from './healing.js';

const LENGTH = 30_000;

test.serial(
  "yesterday's metadata is accepted: its files are right, what was written since is in /lost+found, nothing was deleted",
  async t => {
    const cluster = await Cluster.start(t, {
      servers: 3,
      master: ['--lease', '2s', '--dead-after', '1500ms', '--rereplicate-after', '1s', '--gc-grace', '1s'],
      chunkserver: ['--heartbeat', '300ms', '--lease-idle', '300ms'],
    });
    const gfs = await client(t, cluster);
    for (const name of ['/old1', '/old2']) await gfs.writeFile(name, bytesOf(name, LENGTH));
    await cluster.master.stop();
    fs.cpSync(cluster.masterData, `${cluster.masterData}.old`, { recursive: true });
    await cluster.startMaster();
    await gfs.appendFile('/old2', bytesOf('more', 1_000));
    for (const name of ['/new1', '/new2']) await gfs.writeFile(name, bytesOf(name, LENGTH));
    await gfs.close();
    const isSafe = async (): Promise<boolean> => (await cluster.json<{ safemode: boolean }>('report')).safemode;
    await until('all is well', async () => isWell(await report(cluster)));
    await cluster.master.stop();
    fs.rmSync(cluster.masterData, { recursive: true });
    fs.renameSync(`${cluster.masterData}.old`, cluster.masterData);
    await cluster.startMaster();

    await until('it is found out', async () => /old copy/.test((await report(cluster)).safemodeReason));
    await until('all servers are there', async () =>
      (await report(cluster)).servers.every(({ state }) => state !== 'down'),
    );
    t.regex((await cluster.gfs('fsck')).stdout, /gfs recover/);
    const shown = await cluster.gfs('recover');
    t.regex(shown.stdout, /old metadata: .*old copy/);
    t.regex(shown.stdout, /the servers hold \d+ chunks \(.*\) that this metadata does not know/);
    t.regex(shown.stdout, /with --accept-old-metadata the master goes on/);
    t.is((await cluster.gfs('recover', '/old1', '--accept-old-metadata')).code, 2);
    t.true(await isSafe());

    const accepted = await cluster.gfs('recover', '--accept-old-metadata');
    t.is(accepted.code, 0, accepted.stderr);
    t.regex(accepted.stdout, /the master goes on with this metadata; [23] files in \/lost\+found/);
    await until('safe mode is over', async () => !(await isSafe()));
    await until('every chunk has its copies', async () => isWell(await report(cluster)));
    const again = await client(t, cluster);
    t.true((await again.readFile('/old1')).equals(bytesOf('/old1', LENGTH)));
    t.true((await again.readFile('/old2')).subarray(0, LENGTH).equals(bytesOf('/old2', LENGTH)));
    const found = await Promise.all(
      (await again.readdir('/lost+found')).map(({ name }) => again.readFile(`/lost+found/${name}`)),
    );
    for (const name of ['/new1', '/new2'])
      t.true(
        found.some(bytes => bytes.equals(bytesOf(name, LENGTH))),
        name,
      );
    await again.writeFile('/next', bytesOf('/next', LENGTH));
    t.true((await again.readFile('/next')).equals(bytesOf('/next', LENGTH)));

    await cluster.master.stop();
    await cluster.startMaster();
    await until('it starts as ever', async () => !(await isSafe()));
    await until('fsck finds nothing', async () => (await cluster.gfs('fsck')).code === 0);
  },
);
