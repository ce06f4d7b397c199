// A real tree of files through the mount: the same before and after unmount, remount and a restart of all processes (issue: from gfs-mount to fusermount).
import path from 'node:path';
import test from 'ava';
import { Cluster } from './cluster.js';
import { must, root } from './processes.js';

test('typescript and lodash copied with cp -a and tar x are the same before and after unmount, remount and restart of everything', async t => {
  const cluster = await Cluster.start(t, { chunkSize: '1MiB' });
  let point = await cluster.mount();
  const source = path.join(root, 'node_modules');

  await must(t, `mkdir ${point}/cp ${point}/tar; cp -a ${source}/typescript ${source}/lodash ${point}/cp/`, {
    timeoutMs: 170_000,
  });
  await must(t, `tar c -C ${source} typescript lodash | tar x -C ${point}/tar`, { timeoutMs: 170_000 });
  const sums = path.join(cluster.folder, 'sums');
  await must(t, `cd ${source} && find typescript lodash -type f -print0 | xargs -0 sha256sum > ${sums}`);
  const same = `for way in cp tar; do for package in typescript lodash; do diff -r ${source}/$package ${'POINT'}/$way/$package; done; (cd ${'POINT'}/$way && sha256sum --quiet -c ${sums}); done`;
  await must(t, same.replaceAll('POINT', point), { timeoutMs: 170_000 });

  await cluster.unmount(point);
  await cluster.restart();
  point = await cluster.mount({ name: 'again' });
  await must(t, same.replaceAll('POINT', point), { timeoutMs: 170_000 });
  t.pass();
});
