// Bits turned over in all copies of a chunk of real processes (issue 4): in different blocks all comes back, in the same block only that one is lost,
// named, and nothing goes away.
import fs from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import type { Gfs } from '../../src/client/index.js';
import { Cluster, until } from './cluster.js';
import { bytesOf, client, isWell, pause, report } from './healing.js';

const BLOCK = 65_536;
const LENGTH = 300_000;
const MASTER = ['--lease', '2s', '--dead-after', '1500ms', '--rereplicate-after', '1s'];
const CHUNKSERVER = ['--heartbeat', '200ms', '--lease-idle', '300ms', '--scrub-period', '2s'];
const PATIENCE_MS = 30_000;

function flip(file: string, at: number): void {
  const fd = fs.openSync(file, 'r+');
  const byte = Buffer.alloc(1);
  fs.readSync(fd, byte, 0, 1, at);
  byte[0]! ^= 0x20;
  fs.writeSync(fd, byte, 0, 1, at);
  fs.closeSync(fd);
}

/** A file of one chunk on each of three servers, and the three flat files. */
async function written(t: ExecutionContext): Promise<{ cluster: Cluster; gfs: Gfs; bytes: Buffer; files: string[] }> {
  const cluster = await Cluster.start(t, { servers: 3, master: MASTER, chunkserver: CHUNKSERVER });
  const gfs = await client(t, cluster);
  const bytes = bytesOf('/f', LENGTH);
  await gfs.writeFile('/f', bytes);
  const [chunk] = await gfs.chunks('/f');
  const files = chunk!.replicas.map(replica => replica.path);
  t.is(files.length, 3);
  return { cluster, gfs, bytes, files };
}

test.serial(
  'bits turned over in different blocks of all three copies: every read is right, and all three come back',
  async t => {
    t.timeout(120_000);
    const { cluster, gfs, bytes, files } = await written(t);
    // Each has what another lacks; of block 3 only one is good.
    for (const [i, block] of [
      [0, 0],
      [1, 1],
      [2, 2],
      [0, 3],
      [1, 3],
      [2, 4],
    ] as const)
      flip(files[i]!, block * BLOCK + 77);

    t.true((await gfs.readFile('/f')).equals(bytes));
    // A reader that has nothing in its cache, while they are found out and mended.
    for (const startMs = Date.now(); Date.now() - startMs < 3_000; await pause(100)) {
      const fresh = await client(t, cluster);
      t.true((await fresh.readFile('/f')).equals(bytes));
      await fresh.close();
    }
    await until(
      'all three are good again',
      async () => isWell(await report(cluster)) && files.every(file => fs.readFileSync(file).equals(bytes)),
      PATIENCE_MS,
    );

    const fsck = await cluster.gfs('fsck');
    t.is(fsck.code, 0, fsck.stdout + fsck.stderr);
    // Each server's scrubber goes round and round, and the report says so.
    await until(
      'the report shows the scrubbers',
      async () =>
        ((await cluster.gfs('report')).stdout.match(/\d+ % \(round [2-9]\d*\), \S+ ?\S*\/s/g)?.length ?? 0) === 3,
    );
    const { servers } = await cluster.json<{ servers: Array<{ scrub?: Record<string, number> }> }>('report');
    t.true(servers.every(({ scrub }) => scrub?.['totalBytes'] === LENGTH && scrub['roundsDone']! > 0));
  },
);

test.serial(
  'bits turned over in the same block of all three copies: that range fails and is named, the rest is read, no copy goes',
  async t => {
    t.timeout(120_000);
    const { cluster, gfs, bytes, files } = await written(t);
    const [from, end] = [2 * BLOCK, 3 * BLOCK];
    for (const file of files) flip(file, from + 77);
    // Beside it something that can be mended.
    flip(files[1]!, 10);
    const range = `bytes ${from} to ${end - 1}`;

    await until(
      'fsck names exactly the range',
      async () => (await cluster.gfs('fsck')).stdout.includes(`/f: ${range} cannot be read\n`),
      PATIENCE_MS,
    );
    const fsck = await cluster.gfs('fsck');
    t.is(fsck.code, 1);
    t.is(fsck.stdout.match(/^.f: .*cannot be read$/gm)?.length, 1, fsck.stdout);
    t.regex((await cluster.gfs('info', '/f')).stdout, new RegExp(`${range} cannot be read`));
    const info = JSON.parse((await cluster.gfs('info', '/f', '--json')).stdout);
    t.deepEqual(info.chunks[0].lost, [{ from, length: BLOCK }]);

    const error = await t.throwsAsync(gfs.readFile('/f'));
    t.is((error as { code?: string }).code, 'CORRUPT');
    t.true(error!.message.includes(range), error!.message);
    const file = await gfs.open('/f', 'r');
    const read = (offset: number, length: number): Promise<Buffer> => file.read(offset, length);
    t.true((await read(0, from)).equals(bytes.subarray(0, from)));
    t.true((await read(end, LENGTH - end)).equals(bytes.subarray(end)));
    await t.throwsAsync(read(end - 1, 1));
    await t.throwsAsync(read(from, 1));
    await file.close();
    await checkMount(t, cluster, bytes, { from, end });

    await pause(2_000);
    t.true(files.every(path => fs.statSync(path).size === LENGTH));
    t.true((await report(cluster)).chunks.lost === 1);
    // The byte comes back on one server: then an operator's word has everything mended.
    flip(files[2]!, from + 77);
    await cluster.gfs('fsck', '--repair');
    await until('all three are good again', async () => isWell(await report(cluster)), PATIENCE_MS);
    t.true((await (await client(t, cluster)).readFile('/f')).equals(bytes));
    t.true(files.every(path => fs.readFileSync(path).equals(bytes)));
  },
);

/** Each page of the file through a mount: right, or an I/O error where it is lost. */
async function checkMount(
  t: ExecutionContext,
  cluster: Cluster,
  bytes: Buffer,
  { from, end }: { from: number; end: number },
): Promise<void> {
  const fd = fs.openSync(`${await cluster.mount()}/f`, 'r');
  const page = Buffer.alloc(4_096);
  for (let at = 0; at < LENGTH; at += page.length) {
    const isLost = at >= from && at < end;
    const read = (): number => fs.readSync(fd, page, 0, page.length, at);
    if (isLost) t.is(t.throws(read, undefined, `page at ${at}`)?.message.slice(0, 4), 'EIO:');
    else t.true(page.subarray(0, read()).equals(bytes.subarray(at, at + page.length)), `page at ${at}`);
  }
  fs.closeSync(fd);
}
