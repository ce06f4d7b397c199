// The package as programs use it: the README's example, and what npm pack yields.
import fs from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { Cluster } from './cluster.js';
import { folder, must, root, run } from './processes.js';

test.serial('the example of the README writes, appends from two clients at once, and reads it back', async t => {
  const cluster = await Cluster.start(t);
  const result = await run(process.execPath, [path.join(root, 'scripts/example.mjs'), cluster.masterAddress]);
  t.is(result.code, 0, result.stderr);
  t.regex(result.stdout, /^\[ (6, 15|15, 6) \]\nfirst\n(from one\nfrom two|from two\nfrom one)\n/);

  const readme = fs.readFileSync(path.join(root, 'README.md'), 'utf8');
  for (const line of fs
    .readFileSync(path.join(root, 'scripts/example.mjs'), 'utf8')
    .split('\n')
    .filter(line => line.includes('await Promise.all'))) {
    t.true(readme.includes(line.trim()), 'the README shows the same program');
  }
});

test.serial('npm pack yields a package whose programs run', async t => {
  const place = folder(t);
  await must(t, `npm pack --silent --pack-destination ${place} > /dev/null`, { timeoutMs: 60_000 });
  await must(t, `cd ${place} && tar xzf gfs-*.tgz && ln -s ${root}/node_modules package/node_modules`);
  for (const name of ['gfs', 'gfs-mount', 'gfs-master', 'gfs-chunkserver']) {
    const help = await run(process.execPath, [path.join(place, 'package/bin', `${name}.js`), '--help']);
    t.is(help.code, 0, help.stderr);
    t.regex(help.stdout, new RegExp(`Usage: ${name}`));
  }
  const formatted = await run(process.execPath, [
    path.join(place, 'package/bin/gfs-master.js'),
    'format',
    '--data',
    path.join(place, 'm'),
  ]);
  t.is(formatted.code, 0, formatted.stderr);
});
