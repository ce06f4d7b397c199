// Real trees of files through the mount: the same before and after unmount, remount and a restart of all processes (issue: from gfs-mount to fusermount),
// in their bytes, and in modes, owners, links and times.
import fs from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { kernelTransportProblem } from '../../src/mount/kernel/transport.js';
import { Cluster } from './cluster.js';
import { must, root } from './processes.js';

const PACKAGES = ['typescript', 'lodash', 'classic-level', '.bin'];
const PATIENCE = { timeoutMs: 300_000 };
// fuse-native passes atime in place of mtime.
const kernel = kernelTransportProblem() === undefined ? ['--fuse', 'kernel'] : [];

/** What packages do not have: modes of all kinds, links, old and exact times, empty things, odd names, depth. */
const ODD_TREE = `
mkdir -p empty deep/$(seq -s/ 40) "a b" modes
printf '%s' "no newline" > "a b/ü ñ 名"
: > "a b/$(printf 'line\\nbreak')"
: > -dash; echo hidden > .hidden
for mode in 000 400 440 600 640 644 666 700 755 777 1777 2755 4755; do echo $mode > modes/$mode; chmod $mode modes/$mode; done
mkdir modes/sticky modes/group; chmod 1777 modes/sticky; chmod 2775 modes/group; chown 1234:5678 modes/600
ln -s "a b/ü ñ 名" link; ln -s nowhere dangling; ln -s deep linked-directory; ln -s ../.. deep/1/up
ln modes/644 hard; ln modes/644 deep/1/hard
head -c 3000000 /dev/urandom > large; truncate -s 100000 zeros
touch -d "1970-01-02 00:00:00.000000001 UTC" -- -dash; touch -d "2001-02-03 04:05:06.123456789 UTC" .hidden modes "a b"
touch -h -d "2003-03-03 UTC" link; touch -d "2038-02-01 UTC" large`;

/** A line for each name below a folder, the same for equal trees. */
function listing(t: ExecutionContext, folder: string, withTimes: boolean): Promise<string> {
  const times = withTimes ? ' %T@' : '';
  const print = `find . -type d -printf '%p %y %m %U:%G${times}\\n' -o -printf '%p %y %m %U:%G %s${times} %l\\n'`;
  return must(t, `cd "${folder}" && ${print} | LC_ALL=C sort`, PATIENCE);
}

test.serial(
  'typescript, lodash and other packages copied with cp -a and tar x are the same before and after unmount, remount and restart of everything',
  async t => {
    t.timeout(900_000);
    const cluster = await Cluster.start(t, { chunkSize: '1MiB' });
    const source = path.join(cluster.folder, 'source');
    const sums = path.join(cluster.folder, 'sums');
    // A copy, so that times and hard links are those of files that nobody else touches.
    const modules = path.join(root, 'node_modules');
    await must(t, `mkdir ${source} && cd ${modules} && cp -a ${PACKAGES.join(' ')} ${source}`);
    await must(t, `cd ${source} && find . -type f -print0 | xargs -0 sha256sum > ${sums}`);
    let [plain, exact] = [await cluster.mount(), await cluster.mount({ args: kernel })];

    await Promise.all([
      must(t, `cp -a ${source} ${plain}/cp`, PATIENCE),
      must(t, `mkdir ${exact}/tar && tar c --format=posix -C ${source} . | tar x -C ${exact}/tar`, PATIENCE),
    ]);

    const check = async (): Promise<void> => {
      const same = (folder: string): Promise<string> =>
        must(
          t,
          `diff -r --no-dereference ${source} ${folder} && cd ${folder} && sha256sum --quiet -c ${sums}`,
          PATIENCE,
        );
      await Promise.all([same(`${plain}/cp`), same(`${exact}/tar`)]);
      t.is(await listing(t, `${plain}/cp`, false), await listing(t, source, false));
      t.is(await listing(t, `${exact}/tar`, kernel.length > 0), await listing(t, source, kernel.length > 0));
    };
    await check();
    await cluster.unmount(plain);
    await cluster.unmount(exact);
    await cluster.restart();
    [plain, exact] = [await cluster.mount({ name: 'again' }), await cluster.mount({ name: 'exact', args: kernel })];
    await check();
  },
);

test.serial(
  'a tree with all that trees can have copied with cp -a and tar x keeps modes, owners, links and times',
  async t => {
    const cluster = await Cluster.start(t, { chunkSize: '1MiB' });
    const source = path.join(cluster.folder, 'source');
    fs.mkdirSync(source);
    await must(t, ODD_TREE, { cwd: source });
    const expected = await listing(t, source, kernel.length > 0);
    let point = await cluster.mount({ args: kernel });

    await must(t, `cp -a ${source} ${point}/cp`);
    await must(
      t,
      `mkdir -m 755 ${point}/tar && tar c --format=posix -C ${source} . | tar xp --same-owner -C ${point}/tar`,
    );

    const check = async (): Promise<void> => {
      for (const way of ['cp', 'tar']) {
        await must(t, `diff -r --no-dereference ${source} ${point}/${way}`);
        t.is(await listing(t, `${point}/${way}`, kernel.length > 0), expected, way);
        t.is(await must(t, `cd ${point}/${way} && stat -c %h hard && find . -samefile hard | wc -l`), '3\n3\n');
      }
    };
    await check();
    await cluster.unmount(point);
    await cluster.restart();
    point = await cluster.mount({ name: 'again', args: kernel });
    await check();
  },
);
