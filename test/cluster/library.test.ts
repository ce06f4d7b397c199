// The library as programs use it: the README's example. What npm pack yields is in package.test.ts.
import fs from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { Cluster } from './cluster.js';
import { root, run } from './processes.js';

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
