// Places of chunks that are read get old and are asked for again beside reading: a chunk that is read much has more copies after a while (paper, §2.4
// leaves it to the user to raise the number; document 001 does it by itself), and those who made it so must be the ones to use them.
import test from 'ava';
import type { GfsFileSystemClient } from '../../src/client/client.js';
import type { OpenFile } from '../../src/client/types.js';
import type { InodeId, ServerId } from '../../src/protocol/ids.js';
import { type FakeCluster, newFile, withCluster } from './fake-cluster.js';

const CHUNK_BYTES = 65_536;
const CHUNKS = 40;
const AGE_MS = 15_000;
/** Each reading asks the servers. */
const SETTINGS = { cacheBytes: 0, relocateMs: AGE_MS };
const data = Buffer.alloc(CHUNK_BYTES * CHUNKS, 'which chunk is it?');

async function sealedFile(cluster: FakeCluster): Promise<InodeId> {
  const { file } = await newFile(await cluster.connect());
  for (let at = 0; at < data.length; at += CHUNK_BYTES)
    await file.append([data.subarray(at, at + CHUNK_BYTES)], { split: true });
  cluster.seal(cluster.tailOf(file.inode));
  return file.inode as InodeId;
}

/** A copy of every chunk at a server that had none, as of now. */
function addCopy(cluster: FakeCluster, inode: InodeId, address: string): void {
  const file = cluster.files.get(inode)!;
  const replica = { server: address as ServerId, address, location: '' };
  file.extents = file.extents.map(extent => ({ ...extent, replicas: [...extent.replicas, replica] }));
}

async function readWhole(file: OpenFile): Promise<Buffer> {
  return Buffer.concat(await file.read(0, data.length));
}

async function opened(client: GfsFileSystemClient, inode: InodeId): Promise<OpenFile> {
  const file = await client.openInode(inode);
  if (!(await readWhole(file)).equals(data)) throw new Error('the first reading is wrong');
  return file;
}

test('document 001: a reader that was there before a chunk had more copies reads from the new ones after a while', async t => {
  await withCluster(
    t,
    async cluster => {
      const inode = await sealedFile(cluster);
      const file = await opened(await cluster.connect(SETTINGS), inode);
      t.is(cluster.count('locate'), 1);
      addCopy(cluster, inode, 'cs4:1');

      for (let passed = 0; passed < AGE_MS - 1_000; passed += 1_000) {
        t.true((await readWhole(file)).equals(data));
        await cluster.simulator.sleep(1_000);
      }
      t.is(cluster.count('read', 'cs4:1'), 0, 'places are good for a while');
      t.is(cluster.count('locate'), 1);
      for (let passed = 0; passed <= AGE_MS + 2_000; passed += 1_000) {
        t.true((await readWhole(file)).equals(data));
        await cluster.simulator.sleep(1_000);
      }

      t.true(cluster.count('read', 'cs4:1') > CHUNKS / 8);
      t.is(cluster.count('locate'), 2, 'one question for all chunks of a page');
    },
    { chunkSizeBytes: CHUNK_BYTES },
  );
});

test('one sequential reading of a file asks for its places once', async t => {
  await withCluster(
    t,
    async cluster => {
      const inode = await sealedFile(cluster);
      const client = await cluster.connect({ relocateMs: AGE_MS });
      const file = await client.openInode(inode);
      const parts: Buffer[] = [];
      for (let at = 0; at < data.length; at += 16_384) parts.push(...(await file.read(at, 16_384)));

      t.true(Buffer.concat(parts).equals(data));
      t.is(cluster.count('locate'), 1);
    },
    { chunkSizeBytes: CHUNK_BYTES },
  );
});

for (const bend of ['hang', 'STALE'] as const)
  test(`no read waits for newer places, and a question that ends with ${bend} is not put again at once`, async t => {
    await withCluster(
      t,
      async cluster => {
        const inode = await sealedFile(cluster);
        const file = await opened(await cluster.connect({ ...SETTINGS, opTimeoutMs: 4_500 }), inode);
        await cluster.simulator.sleep(2 * AGE_MS);
        cluster.bends.push(call => (call.kind === 'locate' ? bend : undefined));
        const asked = cluster.count('locate');

        for (let i = 0; i < 40; i++) {
          await file.attributes();
          const startMs = cluster.simulator.nowMs;
          t.true((await readWhole(file)).equals(data));
          t.true(cluster.simulator.nowMs - startMs < 10);
          await cluster.simulator.sleep(100);
        }
        t.is(cluster.count('locate'), asked + 1);
        await cluster.simulator.sleep(4_500 + AGE_MS);
        await readWhole(file);

        t.is(cluster.count('locate'), asked + 2);
      },
      { chunkSizeBytes: CHUNK_BYTES },
    );
  });

test('clients that began together do not ask together', async t => {
  await withCluster(
    t,
    async cluster => {
      const inode = await sealedFile(cluster);
      const clients = await Promise.all(Array.from({ length: 20 }, () => cluster.connect(SETTINGS)));
      const files = await Promise.all(clients.map(client => opened(client, inode)));
      const times: number[] = [];
      cluster.bends.push(call => {
        if (call.kind === 'locate') times.push(cluster.simulator.nowMs);
        return undefined;
      });
      const startMs = cluster.simulator.nowMs;
      for (let passed = 0; passed <= 2 * AGE_MS; passed += 500) {
        const at = ((passed / 500) % CHUNKS) * CHUNK_BYTES;
        await Promise.all(files.map(file => file.read(at, CHUNK_BYTES)));
        await cluster.simulator.sleep(500);
      }

      const first = times.slice(0, clients.length).map(time => time - startMs);
      t.true(first.every(time => time >= AGE_MS - 1_000));
      t.true(new Set(first).size >= 10, `asked at ${first.join(' ')}`);
      t.true(Math.max(...first) - Math.min(...first) > AGE_MS / 2);
    },
    { chunkSizeBytes: CHUNK_BYTES },
  );
});

test('places that are asked for while the file is cut are not taken for those of what it is then', async t => {
  await withCluster(
    t,
    async cluster => {
      const inode = await sealedFile(cluster);
      const file = await opened(await cluster.connect(SETTINGS), inode);
      await cluster.simulator.sleep(2 * AGE_MS);
      await file.attributes();
      let cut: Promise<unknown> | undefined;
      cluster.bends.push(call => {
        // The answer to this question is of before the cut, and arrives after it.
        if (call.kind === 'locate' && !cut)
          cut = file.truncate(0).then(() => file.append([Buffer.from('new')], { split: true }));
        return undefined;
      });

      // Cut in the middle of it, so any length is right that it had.
      const bytes = await readWhole(file);
      await cut;

      t.true(bytes.length === 0 || bytes.equals(data) || bytes.toString() === 'new');
      t.is(Buffer.concat(await file.read(0, 10)).toString(), 'new');
    },
    { chunkSizeBytes: CHUNK_BYTES },
  );
});
