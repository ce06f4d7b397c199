// The master dies with SIGKILL in the middle of work and comes back: nothing acknowledged is lost and mounts go on without a remount (I6).
import test from 'ava';
import { Cluster } from './cluster.js';
import { must, shell } from './processes.js';

test('SIGKILL of the master while files are created and appended loses nothing acknowledged, and the mount goes on', async t => {
  const cluster = await Cluster.start(t, { chunkSize: '64KiB' });
  const point = await cluster.mount();
  const done = `${cluster.folder}/done`;
  // Each step is written down locally only after the tool reported success.
  const creating = shell(
    `mkdir ${point}/d; for ((i = 1; i <= 400; i++)); do echo "content $i" > ${point}/d/f$i && echo $i >> ${done}-created; done`,
    { timeoutMs: 150_000 },
  );
  const appending = shell(
    `for ((i = 1; i <= 1500; i++)); do echo "line $i" >> ${point}/log && echo "line $i" >> ${done}-appended; done`,
    { timeoutMs: 150_000 },
  );

  for (let kill = 0; kill < 4; kill++) {
    await new Promise(resolve => setTimeout(resolve, 400));
    await cluster.master.stop('SIGKILL');
    await cluster.startMaster();
  }
  const results = await Promise.all([creating, appending]);
  t.deepEqual(
    results.map(result => result.code),
    [0, 0],
    results.map(result => result.stderr).join(''),
  );

  await must(
    t,
    `while read i; do [ "$(cat ${point}/d/f$i)" = "content $i" ] || { echo "file $i is wrong"; exit 1; }; done < ${done}-created`,
  );
  await must(t, `cmp ${point}/log ${done}-appended`);
  t.is((await must(t, `wc -l < ${done}-appended`)).trim(), '1500');
  t.is((await must(t, `ls ${point}/d | wc -l`)).trim(), '400');
});
