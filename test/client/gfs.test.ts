// The public API by paths: shapes, flags, streams, trees. What it stands on is tested beside it.
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import test, { type ExecutionContext } from 'ava';
import { Gfs } from '../../src/client/gfs.js';
import { componentsOf } from '../../src/client/path.js';
import { nanosecondsOf } from '../../src/client/stats.js';
import { GfsError, hasCode } from '../../src/protocol/errors.js';
import { type FakeCluster, withCluster } from './fake-cluster.js';

async function withGfs(t: ExecutionContext, body: (gfs: Gfs, cluster: FakeCluster) => Promise<void>): Promise<void> {
  await withCluster(t, async cluster => {
    const gfs = new Gfs(await cluster.connect(), { random: cluster.platform.random, uid: 0, gid: 0 });
    await body(gfs, cluster);
  });
}

const failure = async (t: ExecutionContext, work: Promise<unknown>): Promise<GfsError> => {
  const error = await t.throwsAsync(work);
  if (!(error instanceof GfsError)) throw error;
  return error;
};

test('a file is written, appended to and read back', async t => {
  await withGfs(t, async gfs => {
    await gfs.writeFile('/f', 'first and longer\n');
    await gfs.writeFile('/f', 'one\n');
    await gfs.appendFile('/f', 'two\n');
    t.is(await gfs.recordAppend('/f', Buffer.from('three\n')), 8);

    t.is(await gfs.readFile('/f', 'utf8'), 'one\ntwo\nthree\n');
    const stats = await gfs.stat('/f');
    t.is(stats.size, 14);
    t.true(stats.isFile());
    t.true(stats.mtime instanceof Date);
  });
});

test('an empty file is written and read', async t => {
  await withGfs(t, async gfs => {
    await gfs.writeFile('/f', '');

    t.deepEqual(await gfs.readFile('/f'), Buffer.alloc(0));
  });
});

test('failures name the path', async t => {
  await withGfs(t, async gfs => {
    const error = await failure(t, gfs.readFile('/missing'));

    t.is(error.code, 'NOT_FOUND');
    t.true(error.message.includes('/missing'));
    t.false(await gfs.exists('/missing'));
  });
});

test('open flags mean what they mean in node:fs', async t => {
  await withGfs(t, async gfs => {
    t.is((await failure(t, gfs.open('/f', 'r'))).code, 'NOT_FOUND');
    const made = await gfs.open('/f', 'ax');
    await made.append('abc');
    await made.close();
    t.is((await failure(t, gfs.open('/f', 'wx'))).code, 'EXISTS');

    const appending = await gfs.open('/f', 'a');
    await t.throwsAsync(appending.read(0, 1), { instanceOf: TypeError });
    t.is(await appending.append('def'), 3);
    await appending.close({ durable: true });
    const reading = await gfs.open('/f');
    await t.throwsAsync(reading.append('x'), { instanceOf: TypeError });
    t.is((await reading.read(2, 3)).toString(), 'cde');
    await reading.close();
    const replacing = await gfs.open('/f', 'w+');
    t.is((await replacing.stat()).size, 0);
    await replacing.close();
  });
});

test('streams carry a file in and out in order', async t => {
  await withGfs(t, async gfs => {
    const data = Buffer.from(Array.from({ length: 5_000 }, (_, i) => `line ${i}\n`).join(''));
    function* parts(): Generator<Buffer> {
      for (let at = 0; at < data.length; at += 1_000) yield data.subarray(at, at + 1_000);
    }

    await pipeline(parts, gfs.createWriteStream('/f'));
    const parts2: Buffer[] = [];
    for await (const part of gfs.createReadStream('/f')) parts2.push(part);
    const middle: Buffer[] = [];
    for await (const part of gfs.createReadStream('/f', { start: 10, end: 19 })) middle.push(part);

    t.true(Buffer.concat(parts2).equals(data));
    t.true(Buffer.concat(middle).equals(data.subarray(10, 20)));
  });
});

test('a stream that cannot open its file, or cannot append, fails with the reason', async t => {
  await withGfs(t, async (gfs, cluster) => {
    const fails = (stream: Readable | Writable): Promise<Error> =>
      new Promise(resolve => {
        stream.once('error', resolve);
      });
    const reading = gfs.createReadStream('/missing');
    reading.resume();
    t.true(hasCode(await fails(reading), 'NOT_FOUND'));

    cluster.bend('appendTarget', 'NO_SPACE', { count: 100 });
    const writing = gfs.createWriteStream('/f');
    writing.end('data');
    t.true(hasCode(await fails(writing), 'NO_SPACE'));
  });
});

test('a buffer may be reused by its owner as soon as append was called', async t => {
  await withGfs(t, async gfs => {
    const file = await gfs.open('/f', 'a+');
    const buffer = Buffer.from('first');
    const landed = file.append(buffer);
    buffer.fill('x');
    await landed;

    t.is((await file.readFile()).toString(), 'first');
  });
});

test('directories are made and removed with all they have, and listed page by page', async t => {
  await withGfs(t, async gfs => {
    await gfs.mkdir('/a/b/c', { recursive: true });
    await gfs.mkdir('/a/b/c', { recursive: true });
    for (let i = 0; i < 10; i++) await gfs.writeFile(`/a/b/f${i}`, `${i}`);

    const names = (await gfs.readdir('/a/b')).map(({ name }) => name);
    t.deepEqual(names, ['c', ...Array.from({ length: 10 }, (_, i) => `f${i}`)]);
    t.is((await failure(t, gfs.rm('/a'))).code, 'IS_DIRECTORY');
    t.is((await failure(t, gfs.mkdir('/a'))).code, 'EXISTS');
    t.is((await failure(t, gfs.mkdir('/a/b/f1/x', { recursive: true }))).code, 'EXISTS');

    await gfs.rm('/a', { recursive: true });
    t.deepEqual(await gfs.readdir('/'), []);
    t.is((await failure(t, gfs.rm('/a'))).code, 'NOT_FOUND');
    await gfs.rm('/a', { force: true });
  });
});

test('a lock is released once', async t => {
  await withGfs(t, async (gfs, cluster) => {
    await gfs.writeFile('/f', 'x');

    const release = await gfs.lock('/f', { exclusive: false });
    await release();
    await release();

    t.is(cluster.requests('lock')[0]?.lock.kind, 'shared');
    t.is(cluster.count('unlock'), 1);
  });
});

test('paths are absolute, and dots and doubled slashes are taken out', t => {
  t.deepEqual(componentsOf('/a//b/./c/../d/'), ['a', 'b', 'd']);
  t.deepEqual(componentsOf('/../..'), []);
  t.throws(() => componentsOf('a/b'), { message: /absolute/ });
});

test('times are whole nanoseconds, and the first moment of 1970 is not taken for now', t => {
  t.is(nanosecondsOf(1.5), 1_500_000_000n);
  t.is(nanosecondsOf(new Date(2_000)), 2_000_000_000n);
  t.is(nanosecondsOf(7n), 7n);
  t.is(nanosecondsOf(new Date(0)), 1n);
});
