// The test cases of source document 000 (create and append, read, appends one and at once, recovery), with its sizes: chunks of 8,192 bytes,
// appends of at most 2,048.
import fs from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { connect } from '../../src/client/index.js';
import { Cluster, until } from './cluster.js';
import { must } from './processes.js';

interface Info {
  size: number;
  chunks: Array<{
    index: number;
    handle: string | number;
    version: number;
    state: string;
    length: number;
    offset: number;
    replicas: Array<{
      server: string;
      address: string;
      path: string;
      version: number;
      length: number;
      primary: boolean;
      state: string;
    }>;
  }>;
}

const OPTIONS = { chunkSize: '8KiB', master: ['--lease', '2s', '--dead-after', '1s', '--rereplicate-after', '1s'] };

function record(letter: string, bytes: number): string {
  return letter.repeat(bytes - 1).concat('\n');
}

/** Appends as one record and settles with the size of the file that the command answers. */
async function append(t: ExecutionContext, cluster: Cluster, file: string, content: string): Promise<number> {
  const local = path.join(cluster.folder, `record-${content[0]}-${content.length}`);
  fs.writeFileSync(local, content);
  const result = await cluster.gfs('append', '--json', file, local);
  t.is(result.code, 0, result.stderr);
  return (JSON.parse(result.stdout) as { fileSize: number }).fileSize;
}

test.serial('normal: create and append, then the chunks and their table are right', async t => {
  const cluster = await Cluster.start(t, OPTIONS);
  const records = 'abcdefghi'.split('').map(letter => record(letter, 2000));

  for (const [i, content] of records.entries())
    t.is(await append(t, cluster, '/file1.txt', content), 2000 * (i + 1), 'an append answers the size of the file');

  const info = await cluster.json<Info>('info', '/file1.txt');
  t.is(info.size, 18_000);
  // Four records of 2,000 bytes fit in 8,192; the fifth starts a new chunk. Nothing is padded.
  t.deepEqual(
    info.chunks.map(chunk => chunk.length),
    [8000, 8000, 2000],
  );
  t.deepEqual(
    info.chunks.map(chunk => chunk.offset),
    [0, 8000, 16_000],
  );
  for (const chunk of info.chunks) {
    t.is(chunk.replicas.length, 3);
    for (const replica of chunk.replicas) t.is(fs.readFileSync(replica.path).length, chunk.length);
  }
  const table = await cluster.gfs('info', '/file1.txt');
  t.regex(table.stdout, /active chunk: 2, 2000 bytes/);
  for (const heading of ['chunk', 'size', 'local file', 'servers', 'availability', 'version', 'time'])
    t.regex(table.stdout.toLowerCase(), new RegExp(heading));
});

test.serial(
  'create with a value, append a value, read a size at an offset: by commands and by the library',
  async t => {
    const cluster = await Cluster.start(t, OPTIONS);
    const local = path.join(cluster.folder, 'value');
    fs.writeFileSync(local, 'initial value\n');

    t.is((await cluster.gfs('put', local, '/by-command')).code, 0);
    t.is(await append(t, cluster, '/by-command', 'and more\n'), 23);
    t.is(await append(t, cluster, '/by-command', ''), 23);
    fs.writeFileSync(local, 'x'.repeat(20_000));
    const long = await cluster.json<{ size: number; fileSize: number }>('append', '/by-command', local);
    t.like(long, { size: 20_000, fileSize: 20_023 });

    const gfs = await connect({ master: cluster.masterAddress });
    t.teardown(() => gfs.close());
    await gfs.writeFile('/by-library', 'initial value\n');
    const file = await gfs.open('/by-library', 'a+');
    // The offset of what was appended and its length are the size of the file.
    t.is(await file.append('and more\n'), 14);
    t.is((await file.read(8, 10)).toString(), 'value\nand ');
    t.is((await file.stat()).size, 23);
  },
);

test.serial('read: within one chunk and across chunks', async t => {
  const cluster = await Cluster.start(t, OPTIONS);
  const whole = 'abcdefghijkl'
    .split('')
    .map(letter => record(letter, 2048))
    .join('');
  for (let at = 0; at < whole.length; at += 2048) await append(t, cluster, '/f', whole.slice(at, at + 2048));

  t.is((await cluster.gfs('cat', '/f')).stdout, whole);
  const point = await cluster.mount();
  t.is(await must(t, `dd if=${point}/f bs=1 skip=100 count=50 2> /dev/null`), whole.slice(100, 150));
  t.is(await must(t, `dd if=${point}/f bs=10000 skip=1 count=1 2> /dev/null`), whole.slice(10_000, 20_000));
});

test.serial(
  'append: one that is larger than a record may be is refused by recordAppend, and gfs append splits nothing up to the limit',
  async t => {
    const cluster = await Cluster.start(t, OPTIONS);
    await append(t, cluster, '/f', record('a', 2048));

    const local = path.join(cluster.folder, 'large');
    fs.writeFileSync(local, record('b', 2049));
    const refused = await cluster.gfs('append', '--record', '/f', local);
    t.is(refused.code, 1);
    t.regex(refused.stderr, /2048/);
    t.is((await cluster.json<Info>('info', '/f')).size, 2048);
  },
);

test.serial('concurrent appends: each stands once and whole', async t => {
  const cluster = await Cluster.start(t, OPTIONS);
  const points = [await cluster.mount(), await cluster.mount()];
  const letters = 'abcdefgh'.split('');

  await Promise.all(
    letters.map((letter, i) =>
      must(
        t,
        `for n in 1 2 3 4 5; do head -c 1500 /dev/zero | tr '\\0' ${letter} | dd of=${points[i % 2]}/f bs=1500 oflag=append conv=notrunc 2> /dev/null; done`,
      ),
    ),
  );

  const text = (await cluster.gfs('cat', '/f')).stdout;
  t.is(text.length, letters.length * 5 * 1500);
  const runs = text.match(/(.)\1*/g)!;
  for (const run of runs) t.is(run.length % 1500, 0, `${run.length} of ${run[0]}`);
  for (const letter of letters) t.is(text.split(letter).length - 1, 7500);
});

test.serial(
  'recovery: a server is off during appends, reads and appends go on; when it is back it copies what it missed',
  async t => {
    // No fourth server that could hold the third copy in its place.
    const cluster = await Cluster.start(t, { ...OPTIONS, servers: 3 });
    for (const letter of 'abcde') await append(t, cluster, '/f', record(letter, 2000));
    const before = await cluster.json<Info>('info', '/f');
    const away = before.chunks.at(-1)!.replicas.findLast(replica => !replica.primary)!.address;
    const victim = cluster.servers.findIndex(({ address }) => address === away);

    await cluster.servers[victim]!.daemon.stop('SIGKILL');
    const had = before.chunks.map(({ replicas }) => fs.statSync(replicas.find(at(away))!.path).size);
    for (const letter of 'fghij') await append(t, cluster, '/f', record(letter, 2000));
    const expected = 'abcdefghij'
      .split('')
      .map(letter => record(letter, 2000))
      .join('');
    t.is((await cluster.gfs('cat', '/f')).stdout, expected);

    await cluster.startServer(victim);
    let info!: Info;
    await until('it holds every chunk as the others do', async () => {
      info = await cluster.json<Info>('info', '/f');
      return info.chunks.every(chunk => {
        const replica = chunk.replicas.find(at(away));
        return replica?.state === 'current' && replica.length === chunk.length && replica.version === chunk.version;
      });
    });
    const flat = info.chunks.map(({ replicas }) => fs.readFileSync(replicas.find(at(away))!.path, 'utf8'));
    t.is(flat.join(''), expected);
    t.is(info.size, 20_000);

    // Only what it missed, not what it had.
    const missed = info.chunks.reduce((sum, { length }, i) => sum + length - (had[i] ?? 0), 0);
    t.true(missed >= 10_000);
    const copied = async (): Promise<number> =>
      (await cluster.json<{ healing: { copiedBytes: number } }>('report')).healing.copiedBytes;
    await until('the copies are counted', async () => (await copied()) >= missed);
    t.is(await copied(), missed);

    // And it serves again: the other two are off.
    for (const [i, server] of cluster.servers.entries()) if (i !== victim) await server.daemon.stop('SIGKILL');
    t.is((await cluster.gfs('cat', '/f')).stdout, expected);
  },
);

function at(address: string): (replica: { address: string }) => boolean {
  return replica => replica.address === address;
}
