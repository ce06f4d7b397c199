// What npm pack yields in a fresh checkout, where nobody has built anything: programs and a library that run with the packages that it names and no
// others. The packages come from this checkout, and once more, where npm's registry can be reached, from there.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'ava';
import { registryProblem, testUnless } from './needs.js';
import { folder, must, root, run } from './processes.js';

const registryTest = testUnless(await registryProblem());
const PROGRAMS = ['gfs', 'gfs-mount', 'gfs-master', 'gfs-chunkserver'];

let place = '';
let tarball = '';

test.before(async t => {
  place = fs.mkdtempSync(path.join(os.tmpdir(), 'gfs-package-'));
  // As it comes from a clone, but for the development tools, which npm ci would bring.
  await must(
    t,
    `mkdir ${place}/checkout && cd ${root}
     tar c --exclude=./node_modules --exclude=./dist --exclude=./.git . | tar x -C ${place}/checkout
     cd ${place}/checkout && ln -s ${root}/node_modules && npm pack --silent --pack-destination ${place} > /dev/null`,
  );
  tarball = path.join(place, fs.readdirSync(place).find(name => name.endsWith('.tgz'))!);
});

test.after.always(() => fs.rmSync(place, { recursive: true, force: true }));

const USE = "import { connect, GfsError } from 'gfs'; console.log(typeof connect, new GfsError('FAILED').code)";

test.serial(
  'npm pack in a fresh checkout builds, and what it yields needs no package that it does not name',
  async t => {
    const where = folder(t);
    const modules = path.join(where, 'node_modules');
    // A package of its own, whatever stands above the folder.
    await must(t, `echo '{}' > ${where}/package.json`);
    await must(t, `mkdir ${modules} && cd ${modules} && tar xzf ${tarball} && mv package gfs`);
    const { dependencies, optionalDependencies } = JSON.parse(
      fs.readFileSync(path.join(modules, 'gfs/package.json'), 'utf8'),
    ) as Record<string, Record<string, string>>;
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies }))
      fs.symlinkSync(path.join(root, 'node_modules', name), path.join(modules, name));

    for (const name of PROGRAMS) {
      const help = await run(process.execPath, [path.join(modules, 'gfs/bin', `${name}.js`), '--help']);
      t.is(help.code, 0, help.stderr);
      t.regex(help.stdout, new RegExp(`Usage: ${name}`));
    }
    const master = path.join(modules, 'gfs/bin/gfs-master.js');
    t.is((await run(process.execPath, [master, 'format', '--data', path.join(where, 'm')])).code, 0);
    const used = await run(process.execPath, ['--input-type=module', '-e', USE], { cwd: where });
    t.is(used.stdout, 'function FAILED\n', used.stderr);
    // What the build makes for tests stays at home.
    t.deepEqual(fs.readdirSync(path.join(modules, 'gfs/dist')), ['src']);
  },
);

registryTest('npm install of the package in an empty folder brings programs and a library that run', async t => {
  const where = folder(t);
  await must(t, `cd ${where} && echo '{}' > package.json && npm install --omit=dev --prefer-offline ${tarball}`);
  await must(
    t,
    `cd ${where}/node_modules/.bin
     ./gfs-mount --help | grep -q "Usage: gfs-mount"
     ./gfs-master format --data ${where}/m`,
  );
  const used = await run(process.execPath, ['--input-type=module', '-e', USE], { cwd: where });
  t.is(used.stdout, 'function FAILED\n', used.stderr);
  t.false(fs.existsSync(path.join(where, 'node_modules/ava')));
});
