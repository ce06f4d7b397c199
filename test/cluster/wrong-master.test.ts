// Another master at the master's address for a while: of another cluster, or one with a secret that nobody here knows. Servers and mounts refuse it, say so,
// and go on by themselves once the right one is back.
import fs from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { Cluster, isAlive, until } from './cluster.js';
import { bytesOf, client, isWell, pause, report } from './healing.js';
import { program, shell } from './processes.js';

const LENGTH = 100_000;
const MASTER = ['--lease', '2s', '--dead-after', '1500ms', '--rereplicate-after', '1s', '--gc-grace', '1s'];

test.serial(
  'servers and mounts outlive a master of another cluster and one with a secret: operations fail with a reason, and all goes on with the right one',
  async t => {
    t.timeout(120_000);
    const cluster = await Cluster.start(t, {
      servers: 3,
      master: MASTER,
      chunkserver: ['--heartbeat', '300ms', '--lease-idle', '300ms'],
    });
    const point = await cluster.mount();
    const gfs = await client(t, cluster);
    fs.writeFileSync(path.join(point, 'f'), bytesOf('f', LENGTH));
    await until('every chunk has its copies', async () => isWell(await report(cluster)));
    const other = path.join(cluster.folder, 'other');
    await program('gfs-master', ['format', '--data', other]);
    const secret = path.join(cluster.folder, 'secret');
    fs.writeFileSync(secret, 'nobody here knows this\n', { mode: 0o600 });
    const right = cluster.masterData;

    let wrongs = 0;
    const serveFor = async (code: string, options: { data: string; args: string[] }): Promise<void> => {
      await cluster.master.stop();
      fs.renameSync(right, `${right}.right`);
      fs.renameSync(options.data.replace(right, `${right}.right`), right);
      cluster.options.master = [...MASTER, ...options.args];
      await cluster.startMaster();
      wrongs++;
      const told = (text: string): number => text.split(/another master is in the place of the right one/).length - 1;
      await until('all servers say so', () =>
        cluster.servers.every(({ daemon }) => told(daemon.output.text) === wrongs && daemon.output.text.includes(code)),
      );
      const read = await shell(`cat ${point}/f`);
      t.not(read.code, 0);
      const append = await shell(`echo more >> ${point}/f`);
      t.not(append.code, 0);
      await t.throwsAsync(gfs.readdir('/'), { code });
      if (code === 'WRONG_CLUSTER') {
        const fsck = await cluster.gfs('fsck');
        t.is(fsck.code, 1, 'nothing is stored in it, and yet not all is well');
        t.regex(
          fsck.stdout,
          /a chunkserver at 127\.0\.0\.1 was refused \d+ times?: the peer belongs to cluster \w+, this one to \w+/,
        );
      }
      await pause(3_000);
      for (const { daemon } of cluster.servers) t.is(told(daemon.output.text), wrongs, 'once, not at every try');
      t.regex(fs.readFileSync(`${point}.log`, 'utf8'), new RegExp(code));

      await cluster.master.stop();
      fs.renameSync(right, options.data.replace(right, `${right}.right`));
      fs.renameSync(`${right}.right`, right);
      cluster.options.master = MASTER;
      await cluster.startMaster();
      await until('every chunk has its copies', async () => isWell(await report(cluster)));
      await until('the mount goes on', async () => (await shell(`echo more >> ${point}/g`)).code === 0);
      t.true(fs.readFileSync(path.join(point, 'f')).equals(bytesOf('f', LENGTH)));
      t.true((await gfs.readFile('/f')).equals(bytesOf('f', LENGTH)));
    };
    await serveFor('WRONG_CLUSTER', { data: other, args: [] });
    await serveFor('UNAUTHENTICATED', { data: right, args: ['--secret-file', secret] });

    t.is(fs.readFileSync(path.join(point, 'g'), 'utf8'), 'more\n'.repeat(2));
    t.true(isAlive(cluster.mountPid(point)));
    for (const { daemon } of cluster.servers) t.true(isAlive(daemon.pid));
    await until('fsck finds nothing', async () => (await cluster.gfs('fsck')).code === 0);
  },
);
