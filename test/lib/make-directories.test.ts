import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { makeDirectories } from '../../src/lib/make-directories.js';

test('the topmost directory that was made is told, none when all were there', async t => {
  const root = await mkdtemp(join(tmpdir(), 'gfs-directories-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));

  t.is(await makeDirectories(join(root, 'a/b/c')), join(root, 'a'));
  t.is(await makeDirectories(join(root, 'a/b/d')), join(root, 'a/b/d'));
  t.is(await makeDirectories(join(root, 'a/b/c')), undefined);
});

test('what cannot be made is refused with the reason: a file in the way, and where the kernel makes none', async t => {
  const root = await mkdtemp(join(tmpdir(), 'gfs-directories-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  await writeFile(join(root, 'file'), '');

  await t.throwsAsync(makeDirectories(join(root, 'file')), { code: 'EEXIST' });
  await t.throwsAsync(makeDirectories(join(root, 'file/below')), { code: 'ENOTDIR' });
  // Node's own never ends here.
  await t.throwsAsync(makeDirectories('/proc/gfs/data'), { code: 'ENOENT' });
});
