// What every Disk does, real or simulated.
import test from 'ava';
import { HARNESSES } from './harness.js';

for (const [name, on] of Object.entries(HARNESSES)) {
  test(`${name} disk: what was written at a position is read from there`, t =>
    on(t, async ({ platform: { disk }, root }) => {
      const file = await disk.open(`${root}/f`, { create: true });

      await file.write([Buffer.from('hello '), Buffer.alloc(0), Buffer.from('world')], 3);

      t.is((await file.read(100, 0)).toString('latin1'), '\0\0\0hello world');
      t.is((await file.read(5, 9)).toString(), 'world');
      t.is((await file.read(5, 100)).length, 0);
      t.is((await file.read(0, 0)).length, 0);
      t.is(await file.size(), 14);
      await file.close();
    }));

  test(`${name} disk: a write of more buffers than one system call takes arrives whole`, t =>
    on(t, async ({ platform: { disk }, root }) => {
      const file = await disk.open(`${root}/f`, { create: true });
      const buffers = Array.from({ length: 2_500 }, (_, i) => Buffer.from(`${i},`));

      await file.write(buffers, 0);

      const whole = Buffer.concat(buffers);
      t.deepEqual(await file.read(whole.length + 1, 0), whole);
      await file.close();
    }));

  test(`${name} disk: a buffer that is changed after the write has settled does not change the file`, t =>
    on(t, async ({ platform: { disk }, root }) => {
      const file = await disk.open(`${root}/f`, { create: true });
      const bytes = Buffer.from('abc');

      await file.write([bytes], 0);
      bytes.fill(0);

      t.is((await file.read(3, 0)).toString(), 'abc');
      await file.close();
    }));

  test(`${name} disk: truncating cuts, and growing again shows zeros`, t =>
    on(t, async ({ platform: { disk }, root }) => {
      const file = await disk.open(`${root}/f`, { create: true });
      await file.write([Buffer.from('abcdef')], 0);

      await file.truncate(2);
      await file.truncate(4);
      await file.sync();

      t.is((await file.read(10, 0)).toString('latin1'), 'ab\0\0');
      await file.close();
      await file.close();
    }));

  test(`${name} disk: opening what is not there fails with ENOENT, and so does listing it`, t =>
    on(t, async ({ platform: { disk }, root }) => {
      await t.throwsAsync(disk.open(`${root}/none`), { code: 'ENOENT' });
      await t.throwsAsync(disk.open(`${root}/none/f`, { create: true }), { code: 'ENOENT' });
      await t.throwsAsync(disk.list(`${root}/none`), { code: 'ENOENT' });
      await t.throwsAsync(disk.rename(`${root}/none`, `${root}/other`), { code: 'ENOENT' });
      await t.throwsAsync(disk.syncDirectory(`${root}/none`), { code: 'ENOENT' });
      t.is(await disk.sizeOf(`${root}/none`), undefined);
      t.is(await disk.readSmall(`${root}/none`), undefined);
      await t.notThrowsAsync(disk.remove(`${root}/none`));
    }));

  test(`${name} disk: names are made, listed in order, renamed over others and removed`, t =>
    on(t, async ({ platform: { disk }, root }) => {
      await disk.makeDirectory(`${root}/a/b`);
      await disk.makeDirectory(`${root}/a/b`);
      for (const file of ['z', 'y', 'x']) await disk.writeSmall(`${root}/a/b/${file}`, Buffer.from(file));

      await disk.rename(`${root}/a/b/z`, `${root}/a/b/y`);
      await disk.remove(`${root}/a/b/x`);
      await disk.syncDirectory(`${root}/a/b`);

      t.deepEqual(await disk.list(`${root}/a/b`), ['y']);
      t.deepEqual(await disk.list(`${root}/a`), ['b']);
      t.is((await disk.readSmall(`${root}/a/b/y`))?.toString(), 'z');
      t.is(await disk.sizeOf(`${root}/a/b/y`), 1);
    }));

  test(`${name} disk: a directory is made with those above it, and again without complaint`, t =>
    on(t, async ({ platform: { disk }, root }) => {
      await disk.makeDirectory(`${root}/a/b/c`);
      await disk.makeDirectory(`${root}/a/b/c`);
      await disk.makeDirectory(`${root}/a/d`);

      t.deepEqual(await disk.list(`${root}/a`), ['b', 'd']);
    }));

  test(`${name} disk: a small file is replaced as a whole and leaves no other name behind`, t =>
    on(t, async ({ platform: { disk }, root }) => {
      await disk.writeSmall(`${root}/s`, Buffer.from('a long first content'));
      await disk.writeSmall(`${root}/s`, Buffer.from('short'));

      t.is((await disk.readSmall(`${root}/s`))?.toString(), 'short');
      t.deepEqual(await disk.list(root), ['s']);
    }));

  test(`${name} disk: an open file outlives its name`, t =>
    on(t, async ({ platform: { disk }, root }) => {
      const file = await disk.open(`${root}/f`, { create: true });
      await file.write([Buffer.from('abc')], 0);

      await disk.remove(`${root}/f`);

      t.is((await file.read(3, 0)).toString(), 'abc');
      await file.close();
    }));

  test(`${name} disk: tells its space`, t =>
    on(t, async ({ platform: { disk }, root }) => {
      const space = await disk.space(root);

      t.true(space.freeBytes > 0);
      t.true(space.freeBytes <= space.capacityBytes);
    }));

  test(`${name} disk: names the file system, the same for all directories on it`, t =>
    on(t, async ({ platform: { disk }, root }) => {
      await disk.makeDirectory(`${root}/below`);

      const { fileSystem } = await disk.space(root);

      t.is((await disk.space(`${root}/below`)).fileSystem, fileSystem);
      t.not(fileSystem, '');
    }));
}
