// gfs lock and the library's locks of holders that are cut off from the master for too long: they are told, and a program under the lock ends.
import { spawn } from 'node:child_process';
import test from 'ava';
import { Cluster, until } from './cluster.js';
import { client } from './healing.js';
import { root } from './processes.js';

test.serial(
  'a holder that stood still for longer than a session lives hears that its lock is lost; its program is ended',
  async t => {
    const master = ['--lease', '2s', '--dead-after', '2s', '--session-ttl', '2s'];
    const cluster = await Cluster.start(t, { servers: 2, minReplicas: 1, master });
    const args = [
      'bin/gfs.js',
      '--master',
      cluster.masterAddress,
      'lock',
      '/job',
      '--',
      'sh',
      '-c',
      'echo begun; exec sleep 60',
    ];
    const holder = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    t.teardown(() => holder.kill('SIGKILL'));
    let out = '';
    let said = '';
    holder.stdout.setEncoding('utf8').on('data', text => {
      out += text;
    });
    holder.stderr.setEncoding('utf8').on('data', text => {
      said += text;
    });
    const ended = new Promise<number | null>(resolve => holder.once('close', code => resolve(code)));
    await until('it holds the lock', () => out.includes('begun'));
    const gfs = await client(t, cluster);
    await t.throwsAsync(gfs.lock('/job'), { message: /the lock is held/ });

    holder.kill('SIGSTOP');
    const release = await gfs.lock('/job', { waitMs: 30_000 });
    holder.kill('SIGCONT');

    t.not(await ended, 0);
    t.regex(said, /gfs: \/job: the lock is lost: the session with the master had ended/);
    await release();
  },
);
