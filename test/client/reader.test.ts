// Reads and sizes against a cluster that answers badly: right bytes, no shrinking, few round trips.
import test from 'ava';
import { hasCode } from '../../src/protocol/errors.js';
import type { InodeId } from '../../src/protocol/ids.js';
import { LIMITS } from '../../src/protocol/limits.js';
import { newFile, withCluster } from './fake-cluster.js';

const KiB = 1024;

function pattern(lengthBytes: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  let state = seed;
  for (let i = 0; i < lengthBytes; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

async function all(
  file: { read(offset: number, length: number): Promise<Buffer[]> },
  stepBytes: number,
): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (let offset = 0; ; ) {
    const part = Buffer.concat(await file.read(offset, stepBytes));
    if (part.length === 0) return Buffer.concat(parts);
    parts.push(part);
    offset += part.length;
  }
}

test('a file over many chunks is read back, whatever the steps', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    const data = pattern(100_000);
    await file.append([data], { split: true, expectedOffset: 0 });

    for (const stepBytes of [777, 4096, 65_536, 1_000_000]) {
      const reader = await (await cluster.connect()).openInode(file.inode);
      t.true((await all(reader, stepBytes)).equals(data), `in steps of ${stepBytes}`);
      await reader.close();
    }
    t.deepEqual(await file.read(100_000, 10), []);
    t.deepEqual(await file.read(200_000, 10), []);
  });
});

test('a reader sees what others append', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    const reader = await (await cluster.connect()).openInode(file.inode);
    await file.append([Buffer.from('one\n')], { split: false });
    t.is(Buffer.concat(await reader.read(0, 100)).toString(), 'one\n');

    await file.append([Buffer.from('two\n')], { split: false });

    t.is(Buffer.concat(await reader.read(4, 100)).toString(), 'two\n');
    t.is(Buffer.concat(await reader.read(0, 100)).toString(), 'one\ntwo\n');
  });
});

for (const bend of ['UNREACHABLE', 'CORRUPT', 'NO_CHUNK', 'hang', 'BAD_TOKEN'] as const) {
  test(`a read goes to the next replica when one answers ${bend}`, async t => {
    await withCluster(t, async cluster => {
      const { file } = await newFile(await cluster.connect());
      const data = pattern(3000);
      await file.append([data], { split: true });
      cluster.bend('read', bend, { count: 2 });
      const startMs = cluster.simulator.nowMs;

      const reader = await (await cluster.connect()).openInode(file.inode);

      t.true(Buffer.concat(await reader.read(0, 3000)).equals(data));
      t.is(cluster.count('read'), 3);
      t.is(new Set(cluster.calls.filter(({ kind }) => kind === 'read').map(({ address }) => address)).size, 3);
      t.true(cluster.simulator.nowMs - startMs < 5_000);
    });
  });
}

test('a server that failed a read is asked last for a while', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect();
    const { file } = await newFile(client);
    await file.append([pattern(30_000)], { split: true, expectedOffset: 0 });
    cluster.bends.push(call => (call.kind === 'read' && call.address === 'cs1:1' ? 'hang' : undefined));

    await file.read(0, 100);
    const triedBefore = cluster.count('read', 'cs1:1');
    for (const offset of [5_000, 10_000, 15_000, 20_000, 25_000]) await file.read(offset, 100);

    t.is(cluster.count('read', 'cs1:1'), triedBefore);
  });
});

test('bytes that every replica calls corrupt are an error, soon, and never wrong bytes', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    await file.append([pattern(100)], { split: false });
    cluster.bend('read', 'CORRUPT', { count: 1000 });
    const startMs = cluster.simulator.nowMs;

    const error = await t.throwsAsync(file.read(0, 100));

    t.true(hasCode(error, 'CORRUPT'));
    t.true(cluster.simulator.nowMs - startMs < 1_000);
  });
});

test('damaged in different blocks, the copies make up a whole; damaged in the same one, exactly those bytes are an error that names them', async t => {
  const BLOCK = 65_536;
  const bad: Record<string, number[]> = { 'cs1:1': [0, 2], 'cs2:1': [1, 2], 'cs3:1': [3] };
  const isBad = (address: string, offset: number, lengthBytes: number): boolean =>
    bad[address]!.some(block => block * BLOCK < offset + lengthBytes && (block + 1) * BLOCK > offset);
  await withCluster(
    t,
    async cluster => {
      const { file } = await newFile(await cluster.connect());
      const data = pattern(5 * BLOCK);
      for (let at = 0; at < data.length; at += BLOCK)
        await file.append([data.subarray(at, at + BLOCK)], { split: false });
      cluster.bends.push(({ kind, address, request }) =>
        kind === 'read' && isBad(address, request.offset as number, request.lengthBytes as number)
          ? 'CORRUPT'
          : undefined,
      );

      const reader = await (await cluster.connect()).openInode(file.inode);
      t.true(Buffer.concat(await reader.read(0, data.length)).equals(data));

      bad['cs3:1']!.push(2);
      const later = await (await cluster.connect()).openInode(file.inode);
      const error = await t.throwsAsync(later.read(0, data.length));
      t.true(hasCode(error, 'CORRUPT'));
      t.regex(error!.message, /bytes 131072 to 196607 of the file cannot be read/);
      t.true(Buffer.concat(await later.read(1, 2 * BLOCK - 1)).equals(data.subarray(1, 2 * BLOCK)));
      t.true(Buffer.concat(await later.read(3 * BLOCK, 2 * BLOCK)).equals(data.subarray(3 * BLOCK)));
      t.regex((await t.throwsAsync(later.read(3 * BLOCK - 1, 5)))!.message, /bytes 196607 to 196607 /);
    },
    { chunkSizeBytes: 1_048_576 },
  );
});

test('a large read with damaged bytes in it asks for no more at once than a server hands out', async t => {
  const MiB = 1024 * KiB;
  const asked: number[] = [];
  await withCluster(
    t,
    async cluster => {
      const { file } = await newFile(await cluster.connect());
      const data = pattern(10 * MiB);
      for (let at = 0; at < data.length; at += MiB) await file.append([data.subarray(at, at + MiB)], { split: false });
      cluster.bends.push(({ kind, request }) => {
        if (kind !== 'read') return undefined;
        asked.push(request.lengthBytes as number);
        return (request.offset as number) < 65_536 ? 'CORRUPT' : undefined;
      });

      const reader = await (await cluster.connect()).openInode(file.inode);
      const error = await t.throwsAsync(reader.read(0, data.length));
      t.true(hasCode(error, 'CORRUPT'));
      t.true(Math.max(...asked) <= LIMITS.readBytesMax, `${Math.max(...asked)} bytes`);
    },
    { chunkSizeBytes: 16 * MiB },
  );
});

test('a read without a reachable replica fails with UNAVAILABLE, and works again when one is back', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect({ readPatienceMs: 3_000 }));
    const data = pattern(100);
    await file.append([data], { split: false });
    let isDown = true;
    cluster.bends.push(call => (isDown && call.kind === 'read' ? 'UNREACHABLE' : undefined));

    const error = await t.throwsAsync(file.read(0, 100));

    t.true(hasCode(error, 'UNAVAILABLE'));
    isDown = false;
    t.true(Buffer.concat(await file.read(0, 100)).equals(data));
  });
});

test('a piece that no replica serves fails while the next one is still being located: the read fails, and nothing is left unhandled', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    await file.append([pattern(30_000)], { split: true, expectedOffset: 0 });
    const client = await cluster.connect({ readPatienceMs: 300, opTimeoutMs: 3_000 });
    const reader = await client.openInode(file.inode);
    await reader.read(0, 100);
    await file.append([pattern(30_000)], { split: true, expectedOffset: 30_000 });
    await reader.attributes();
    cluster.bends.push(({ kind }) => (kind === 'read' ? 'UNREACHABLE' : kind === 'locate' ? 'hang' : undefined));
    const unhandled: unknown[] = [];
    const note = (error: unknown): void => void unhandled.push(error);
    process.on('unhandledRejection', note);
    t.teardown(() => process.off('unhandledRejection', note));

    const error = await t.throwsAsync(reader.read(0, 60_000));

    t.true(hasCode(error, 'UNAVAILABLE') || hasCode(error, 'TIMED_OUT'), String(error));
    t.true(cluster.count('locate') > 0);
    t.deepEqual(unhandled, []);
  });
});

test('a short answer is not taken for the bytes', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    const data = pattern(100);
    await file.append([data], { split: false });
    const { bytes } = cluster.tailOf(file.inode);
    let isFirst = true;
    cluster.bends.push(call => {
      if (call.kind !== 'read' || !isFirst) return undefined;
      isFirst = false;
      // Cut for one virtual moment, while this call is answered.
      const { server } = cluster;
      cluster.server = (...args) => {
        cluster.server = server;
        const answer = server.apply(cluster, args);
        return { ...answer, payload: answer.payload.map(part => part.subarray(0, 50)) };
      };
      return undefined;
    });

    t.true(Buffer.concat(await file.read(0, 100)).equals(bytes));
  });
});

test('acknowledged bytes are read once and then come from the cache', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    await file.append([pattern(50_000)], { split: true, expectedOffset: 0 });
    await all(file, 10_000);
    const reads = cluster.count('read');

    await all(file, 7_000);

    t.is(cluster.count('read'), reads);
  });
});

test('without a cache each read asks the servers, for what it wants and nothing ahead', async t => {
  await withCluster(
    t,
    async cluster => {
      const { file } = await newFile(await cluster.connect());
      const data = pattern(3_000_000);
      await file.append([data], { split: true, expectedOffset: 0 });
      const reader = await (await cluster.connect({ cacheBytes: 0 })).openInode(file.inode);

      for (let round = 1; round <= 2; round++) {
        t.true((await all(reader, 128 * KiB)).equals(data));
        const bytesAsked = cluster.requests('read').reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
        t.is(bytesAsked, round * data.length);
      }
    },
    { chunkSizeBytes: 64 * KiB * KiB },
  );
});

test('a sequential reader is served ahead with several requests at once', async t => {
  await withCluster(
    t,
    async cluster => {
      const { file } = await newFile(await cluster.connect());
      const data = pattern(3_000_000);
      await file.append([data], { split: true, expectedOffset: 0 });
      const reader = await (await cluster.connect()).openInode(file.inode);
      const startMs = cluster.simulator.nowMs;

      t.true((await all(reader, 128 * KiB)).equals(data));

      t.true(cluster.simulator.nowMs - startMs < 15, 'far fewer waits than the 23 steps');
      t.true(cluster.count('read') <= 12, 'requests are large');
      const bytesAsked = cluster.requests('read').reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
      t.is(bytesAsked, data.length, 'nothing was asked for twice');
    },
    { chunkSizeBytes: 64 * KiB * KiB },
  );
});

test('a small file costs few round trips', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    await file.append([pattern(1000)], { split: false });
    cluster.seal(cluster.tailOf(file.inode));
    const client = await cluster.connect();
    const before = cluster.calls.length;

    const { inode } = await client.lookup({ start: 1 as InodeId, path: 'f' });
    const reader = await client.openInode(inode);
    await reader.read(0, 1000);

    t.deepEqual(
      cluster.calls.slice(before).map(({ kind }) => kind),
      ['lookup', 'openFile', 'locate', 'read'],
    );
  });
});

test('holes read as zeros without asking a server', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    const { extents, attributes } = cluster.files.get(file.inode as InodeId)!;
    const hole = { handle: 0 as never, chunkOffset: 0, version: 0, replicas: [] };
    extents.push({ fileOffset: 0, lengthBytes: 100_000, ...hole });
    attributes.sizeBytes = 100_000;

    t.true((await all(file, 30_000)).equals(Buffer.alloc(100_000)));
    t.is(cluster.count('read'), 0);
  });
});

test('the size never shrinks within a generation, whatever answers say', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect();
    const { file } = await newFile(client);
    await file.append([pattern(1000)], { split: false });
    // The master knows nothing of the open chunk's bytes, and its lease is over.
    cluster.bend('tailLength', 'FENCED', { count: 1 });
    const file2 = cluster.files.get(file.inode as InodeId)!;
    const sizes: number[] = [];

    sizes.push((await file.attributes()).sizeBytes);
    file2.tail = undefined;
    sizes.push((await client.lookup({ start: 1 as InodeId, path: 'f' })).sizeBytes);

    t.deepEqual(sizes, [1000, 1000]);
  });
});

test('a cut file is shown with its new size and never with its old bytes', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect();
    const { file } = await newFile(client);
    await file.append([Buffer.from('old content\n')], { split: false });
    t.is(Buffer.concat(await file.read(0, 100)).toString(), 'old content\n');

    const attributes = await file.truncate(0);
    await file.append([Buffer.from('new\n')], { split: false });

    t.is(attributes.sizeBytes, 0);
    t.is((await file.attributes()).sizeBytes, 4);
    t.is(Buffer.concat(await file.read(0, 100)).toString(), 'new\n');
  });
});

test('a cut by another client is noticed at once with a notice and within a second without', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    await file.append([Buffer.from('old content\n')], { split: false });
    await file.read(0, 100);
    const writer = await (await cluster.connect()).openInode(file.inode);
    const hooks = cluster.hooks!;

    await writer.truncate(0);
    await writer.append([Buffer.from('new\n')], { split: false });
    await cluster.simulator.sleep(1_001);
    t.is(Buffer.concat(await file.read(0, 4)).toString(), 'new\n');

    await file.truncate(0);
    await file.append([Buffer.from('newer\n')], { split: false });
    hooks.onNotice('master:9400', 'changed', { inodes: [file.inode], entries: [] });
    t.is(Buffer.concat(await writer.read(0, 100)).toString(), 'newer\n');
  });
});

test('stat of a file being written asks the primary, and complains when it does not answer', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    await file.append([pattern(500)], { split: false });
    const client = await cluster.connect();
    cluster.bend('tailLength', 'hang', { count: 2 });

    const { sizeBytes } = await client.lookup({ start: 1 as InodeId, path: 'f' });

    t.is(sizeBytes, 500);
    t.is(cluster.count('tailLength'), 2);
    t.is(cluster.count('complain'), 1);
  });
});

test('an append after a complaint about the primary does not wait for it again', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect();
    const { file } = await newFile(client);
    await file.append([Buffer.from('one')], { split: false });
    cluster.bend('tailLength', 'hang', { count: 2 });
    const { sizeBytes } = await client.lookup({ start: 1 as InodeId, path: 'f' });
    t.is(sizeBytes, 3);
    t.is(cluster.count('complain'), 1);

    await file.append([Buffer.from('two')], { split: false });

    t.is(cluster.count('append'), 2, 'it went to the new chunk at once');
    t.deepEqual(cluster.content(file.inode), Buffer.from('onetwo'));
  });
});

test('stat ends at its deadline when nobody knows the size', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    await file.append([pattern(500)], { split: false });
    const client = await cluster.connect({ opTimeoutMs: 3_000 });
    cluster.bends.push(call => (call.kind === 'tailLength' || call.kind === 'complain' ? 'hang' : undefined));
    const startMs = cluster.simulator.nowMs;

    const error = await t.throwsAsync(client.lookup({ start: 1 as InodeId, path: 'f' }));

    t.true(hasCode(error, 'TIMED_OUT'));
    t.true(cluster.simulator.nowMs - startMs <= 3_100);
  });
});

test('reading goes on while the master does not answer', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    const data = pattern(3000);
    await file.append([data], { split: true });
    await file.attributes();
    await cluster.simulator.sleep(5_000);
    cluster.bends.push(call => (call.address === 'master:9400' ? 'hang' : undefined));
    const startMs = cluster.simulator.nowMs;

    t.true(Buffer.concat(await file.read(0, 3000)).equals(data));

    t.true(cluster.simulator.nowMs - startMs < 1_500);
  });
});

for (const masterAnswers of [true, false]) {
  const when = masterAnswers
    ? 'as soon as it asks'
    : 'as far as it knows where they are, while the master does not answer';
  test(`a reader that knows of the last chunk only reads no bytes there that were never committed, and the right ones ${when} (I7)`, async t => {
    await withCluster(t, async cluster => {
      const { file: writer } = await newFile(await cluster.connect());
      const data = pattern(100);
      await writer.append([data], { split: false });
      const client = await cluster.connect({ opTimeoutMs: 5_000 });
      const file = await client.openInode(writer.inode);
      await file.attributes();
      // An append that came no further than the primary; whoever sent it is gone, and others have sealed the chunk without it.
      const first = cluster.tailOf(file.inode);
      first.leftovers.set('cs2:1', Buffer.alloc(50, 'x'));
      cluster.seal(first);
      const own = Buffer.from('0123456789');
      t.is(await file.append([own], { split: false }), 100);
      cluster.bends.push(call => (!masterAnswers && call.address === 'master:9400' ? 'hang' : undefined));

      t.true(Buffer.concat(await file.read(0, 50)).equals(data.subarray(0, 50)));
      if (masterAnswers) t.true(Buffer.concat(await file.read(0, 200)).equals(Buffer.concat([data, own])));
      else t.true(hasCode(await t.throwsAsync(file.read(90, 20)), 'TIMED_OUT'));
      t.true(Buffer.concat(await file.read(10, 90)).equals(data.subarray(10)));
    });
  });
}
