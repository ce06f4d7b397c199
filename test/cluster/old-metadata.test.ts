// A master on an old copy of its metadata that is all there is: gfs recover shows it, --accept-old-metadata goes on with it, and the bytes written since are there.
import fs from 'node:fs';
import test from 'ava';
import { type ChunkHandle, handleName } from '../../src/protocol/ids.js';
import { Cluster, until } from './cluster.js';
import { bytesOf, client, isWell, pause, report } from './healing.js';

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
    const chunks = (await Promise.all(['/new1', '/new2'].map(name => gfs.chunks(name)))).flat();
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
    const fsck = await cluster.gfs('fsck');
    t.is(fsck.code, 1);
    t.regex(
      fsck.stdout,
      /metadata: chunkserver .* old copy; start the master on the newest copy; gfs recover says more/,
    );
    for (const { id, address } of (await report(cluster)).servers) {
      const server = `chunkserver ${id} \\(${address}\\)`;
      for (const { handle } of chunks)
        t.regex(
          fsck.stdout,
          new RegExp(
            `${server}: unknown replica ${handleName(handle as ChunkHandle)}, .*: this metadata never gave that chunk out`,
          ),
        );
    }
    // Those that wrote down late what they were told were stopped before.
    t.regex(fsck.stdout, /: was told of change \d+ of the metadata, of which this one has .* change \d+/);
    t.regex(fsck.stdout, /: version \d+ of chunk \w+, this metadata knows \d+/);
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

test.serial(
  "yesterday's metadata that differs by one restored file: found out, named by fsck, and the file is not collected when its day in the trash is over",
  async t => {
    t.timeout(60_000);
    const master = ['--lease', '2s', '--dead-after', '1500ms', '--gc-grace', '1s', '--trash', '12s'];
    const cluster = await Cluster.start(t, { servers: 3, master, chunkserver: ['--heartbeat', '300ms'] });
    const gfs = await client(t, cluster);
    await gfs.writeFile('/f', bytesOf('f', LENGTH));
    await until('all is well', async () => isWell(await report(cluster)));
    await gfs.unlink('/f');
    const deletedMs = Date.now();
    await cluster.master.stop();
    fs.cpSync(cluster.masterData, `${cluster.masterData}.old`, { recursive: true });
    await cluster.startMaster();
    const isSafe = async (): Promise<boolean> => (await report(cluster)).safemode;
    await until('safe mode is over', async () => !(await isSafe()));
    t.is((await cluster.gfs('trash', 'restore', '/f')).code, 0);
    await gfs.close();
    await pause(700);
    await cluster.master.stop('SIGKILL');
    await Promise.all(cluster.servers.map(({ daemon }) => daemon.stop('SIGKILL')));
    fs.renameSync(cluster.masterData, `${cluster.masterData}.right`);
    fs.renameSync(`${cluster.masterData}.old`, cluster.masterData);
    await cluster.startMaster();
    await Promise.all(cluster.servers.map((_, i) => cluster.startServer(i)));

    await until('it is found out', async () => /old copy/.test((await report(cluster)).safemodeReason));
    const fsck = await cluster.gfs('fsck');
    t.is(fsck.code, 1);
    t.regex(fsck.stdout, /metadata: chunkserver \w+ was told of change \d+ of the metadata/);
    await pause(Math.max(0, deletedMs + 16_000 - Date.now()));
    await cluster.master.stop();
    fs.renameSync(cluster.masterData, `${cluster.masterData}.old`);
    fs.renameSync(`${cluster.masterData}.right`, cluster.masterData);
    await cluster.startMaster();
    await until('safe mode is over', async () => !(await isSafe()));
    t.true((await (await client(t, cluster)).readFile('/f')).equals(bytesOf('f', LENGTH)));
    await until('fsck finds nothing', async () => (await cluster.gfs('fsck')).code === 0);
  },
);
