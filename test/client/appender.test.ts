// Appends of one open file against a cluster that answers badly: each stands once, in order, whatever is lost on the way.
import test from 'ava';
import { GfsError, hasCode } from '../../src/protocol/errors.js';
import { type FakeCluster, newFile, withCluster } from './fake-cluster.js';

const record = (i: number, bytes = 10): Buffer => Buffer.from(`${String(i).padStart(bytes - 1, '0')}\n`);
const records = (count: number, bytes = 10): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, i) => record(i, bytes)));

test('an append answers the offset where it stands', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());

    t.is(await file.append([record(0)], { split: false }), 0);
    t.is(await file.append([record(1)], { split: false }), 10);

    t.deepEqual(cluster.content(file.inode), records(2));
    t.is(cluster.count('appendTarget'), 1);
  });
});

test('appends travel together, each naming the one before it that has no answer yet', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    const startMs = cluster.simulator.nowMs;

    const offsets = await Promise.all(Array.from({ length: 10 }, (_, i) => file.append([record(i)], { split: false })));

    t.deepEqual(offsets, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
    const sent = cluster.requests('append');
    t.deepEqual(
      sent.map(({ sequence }) => sequence),
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    );
    t.deepEqual(
      sent.map(({ after }) => after),
      [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    );
    t.true(cluster.simulator.nowMs - startMs < 5, 'they did not wait for each other');
  });
});

test('no more appends are on their way than the window allows', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect({ appendsInFlight: 2 }));
    const startMs = cluster.simulator.nowMs;

    await Promise.all(Array.from({ length: 10 }, (_, i) => file.append([record(i)], { split: false })));

    t.true(cluster.simulator.nowMs - startMs >= 5);
    t.deepEqual(cluster.content(file.inode), records(10));
  });
});

test('an append says up to where the outcomes are known, and waits for none of those (I3)', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());

    await file.append([record(0)], { split: false });
    await Promise.all([1, 2, 3].map(i => file.append([record(i)], { split: false })));
    await file.append([record(4)], { split: false });

    t.deepEqual(
      cluster.requests('append').map(({ sequence, after, settled }) => [sequence, after, settled]),
      [
        [1, 0, 0],
        [2, 0, 1],
        [3, 2, 1],
        [4, 3, 1],
        [5, 0, 4],
      ],
    );
  });
});

test('an append whose answer was lost stands once when its chunk was sealed with it', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    cluster.bend('append', 'lose-reply');

    const offset = await file.append([record(0)], { split: false });
    const next = await file.append([record(1)], { split: false });

    t.deepEqual([offset, next], [0, 10]);
    t.deepEqual(cluster.content(file.inode), records(2));
    t.deepEqual(cluster.requests('complain')[0]?.append, {
      writer: cluster.requests('append')[0]!.writer,
      sequence: 1,
    });
  });
});

test('an append that was lost before it arrived goes to the next chunk', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    cluster.bend('append', 'lose-request');

    const offset = await file.append([record(0)], { split: false });

    t.is(offset, 0);
    t.deepEqual(cluster.content(file.inode), record(0));
    const sent = cluster.requests('append');
    t.is(new Set(sent.map(({ writer, sequence }) => `${writer} ${sequence}`)).size, 1, 'the same identity again');
    t.is(Number(cluster.tailOf(file.inode).handle), 2);
  });
});

for (const bend of [
  'lose-request',
  'lose-reply',
  'hang',
  'FENCED',
  'BROKEN',
  'PUSH_LOST',
  'UNREACHABLE',
  'BAD_TOKEN',
  'OVERLOADED',
] as const) {
  test(`appends keep their order and stand once when one of many meets ${bend}`, async t => {
    await withCluster(t, async cluster => {
      const { file } = await newFile(await cluster.connect());
      cluster.bend('append', bend, { skip: 4 });

      const offsets = await Promise.all(
        Array.from({ length: 20 }, (_, i) => file.append([record(i)], { split: false })),
      );

      t.deepEqual(cluster.content(file.inode), records(20));
      t.deepEqual(
        offsets,
        Array.from({ length: 20 }, (_, i) => i * 10),
      );
    });
  });
}

test('before an append goes to another chunk, the master has said of every chunk where it may stand that it does not', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    // Given: its answer is lost, the first complaint decides nothing, and the file moves on meanwhile.
    cluster.bend('append', 'lose-reply');
    cluster.bends.push(call => {
      if (call.kind !== 'complain' || cluster.count('complain') > 1) return undefined;
      cluster.tailOf(file.inode).version++;
      return undefined;
    });
    cluster.bends.push(call => {
      if (call.kind === 'appendTarget' && cluster.count('appendTarget') === 2) cluster.seal(cluster.tailOf(file.inode));
      return undefined;
    });

    const offset = await file.append([record(0)], { split: false });

    t.is(offset, 0);
    t.deepEqual(cluster.content(file.inode), record(0));
    t.is(cluster.count('append'), 1, 'it was not sent to the second chunk');
    t.is(cluster.count('complain'), 2);
  });
});

test('a doubt that is not resolved holds the append back until it is', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect({ patienceMs: 0 }));
    cluster.bend('append', 'lose-reply');
    cluster.bend('complain', 'SAFE_MODE', { count: 5 });
    cluster.bends.push(call => {
      if (call.kind === 'complain' && cluster.count('complain') === 1) cluster.seal(cluster.tailOf(file.inode));
      return undefined;
    });

    await file.append([record(0)], { split: false });

    t.is(cluster.count('append'), 1);
    t.deepEqual(cluster.content(file.inode), record(0));
  });
});

test('a record that does not fit goes whole to the next chunk, without padding', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());

    const offsets = await Promise.all(
      Array.from({ length: 9 }, (_, i) => file.append([record(i, 1000)], { split: false })),
    );

    t.deepEqual(offsets, [0, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000]);
    t.deepEqual(cluster.content(file.inode), records(9, 1000));
    t.deepEqual(
      [...cluster.chunks.values()].map(({ bytes }) => bytes.length),
      [4000, 4000, 1000],
    );
  });
});

test('a record that meets a chunk filled by others goes to the next one', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect();
    const { file } = await newFile(client);
    await file.append([record(0)], { split: false });
    const other = await (await cluster.connect()).openInode(file.inode);
    for (let i = 0; i < 4; i++) await other.append([record(i, 1000)], { split: false });

    const offset = await file.append([record(1, 500)], { split: false });

    t.is(offset, 4010);
    t.deepEqual(
      [...cluster.chunks.values()].map(({ bytes }) => bytes.length),
      [4010, 500],
    );
  });
});

test('a stream write at a known offset fills each chunk exactly', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    const data = records(1000, 10);

    const offset = await file.append([data.subarray(0, 7), data.subarray(7)], { split: true, expectedOffset: 0 });

    t.is(offset, 0);
    t.deepEqual(cluster.content(file.inode), data);
    t.deepEqual(
      [...cluster.chunks.values()].map(({ bytes }) => bytes.length),
      [4096, 4096, 1808],
    );
  });
});

test('a stream write is in order and whole when attempts fail in every chunk', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    const data = records(2000, 10);
    let count = 0;
    const bends = ['lose-reply', 'lose-request', 'BROKEN', 'hang'] as const;
    cluster.bends.push(call => (call.kind === 'append' && ++count % 7 === 0 ? bends[(count / 7) % 4] : undefined));

    const offset = await file.append([data], { split: true, expectedOffset: 0 });

    t.is(offset, 0);
    t.deepEqual(cluster.content(file.inode), data);
  });
});

test('a record over the limit is refused before anything is sent', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());

    const error = await t.throwsAsync(file.append([record(0, 1025)], { split: false }));

    t.true(hasCode(error, 'TOO_LARGE'));
    t.is(cluster.count('append'), 0);
  });
});

test('an append that expects another end is refused, with those queued behind it, and stands nowhere', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    await file.append([record(0)], { split: false });

    const results = await Promise.allSettled([
      file.append([record(1)], { split: true, expectedOffset: 5 }),
      file.append([record(2)], { split: false }),
    ]);

    t.true(results.every(result => result.status === 'rejected' && hasCode(result.reason, 'OFFSET_MISMATCH')));
    t.deepEqual(cluster.content(file.inode), record(0));
    t.is(await file.append([record(1)], { split: false, expectedOffset: 10 }), 10);
  });
});

test('an expected offset before the open chunk is refused without sealing anything', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    await file.append([records(500, 10)], { split: true, expectedOffset: 0 });
    const { handle } = cluster.tailOf(file.inode);

    const error = await t.throwsAsync(file.append([record(1)], { split: true, expectedOffset: 10 }));

    t.true(hasCode(error, 'OFFSET_MISMATCH'));
    t.is(cluster.tailOf(file.inode).handle, handle);
  });
});

test('an append ends at its deadline, those queued behind it fail too, and later ones go on', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect({ opTimeoutMs: 5_000 }));
    let isDown = true;
    cluster.bends.push(call => (isDown && (call.kind === 'append' || call.kind === 'complain') ? 'hang' : undefined));
    const startMs = cluster.simulator.nowMs;

    const results = await Promise.allSettled([
      file.append([record(0)], { split: false }),
      file.append([record(1)], { split: false }),
    ]);

    t.true(results.every(result => result.status === 'rejected' && hasCode(result.reason, 'TIMED_OUT')));
    t.true(cluster.simulator.nowMs - startMs <= 5_100);
    isDown = false;
    t.is(await file.append([record(2)], { split: false }), 0);
    const writers = cluster.requests('append').map(({ writer }) => writer);
    t.not(writers[0], writers.at(-1), 'what is in doubt and what comes later have different writers');
  });
});

/** When a promise rejects, in ms of virtual time since `startMs`, and with what. */
async function failureOf(
  cluster: FakeCluster,
  startMs: number,
  work: Promise<unknown>,
): Promise<{ afterMs: number; error: unknown }> {
  try {
    await work;
  } catch (error) {
    return { afterMs: cluster.simulator.nowMs - startMs, error };
  }
  throw new Error('it did not fail');
}

for (const { what, hangs, targetAtMs, appendTryMs } of [
  {
    what: 'complaints about both get no answer',
    hangs: ['append', 'complain'],
    targetAtMs: 28_000,
    appendTryMs: 1_500,
  },
  { what: 'the later one is on its way', hangs: ['append'], targetAtMs: 0, appendTryMs: 40_000 },
  { what: 'there is no target', hangs: [], targetAtMs: 35_000, appendTryMs: 3_000 },
]) {
  test(`an append ends at its own deadline when another was asked long after it and ${what}; what comes then stands once`, async t => {
    await withCluster(t, async cluster => {
      cluster.leaseMs = 5_000;
      const { file } = await newFile(await cluster.connect({ opTimeoutMs: 30_000, appendTryMs }));
      await file.append([record(0)], { split: false });
      await cluster.simulator.sleep(cluster.leaseMs);
      cluster.leaseMs = 60_000;
      let isDown = true;
      const startMs = cluster.simulator.nowMs;
      cluster.bends.push(({ kind }) => {
        if (kind === 'appendTarget' && cluster.simulator.nowMs < startMs + targetAtMs) return 'UNREACHABLE';
        return isDown && hangs.includes(kind) ? 'hang' : undefined;
      });

      const first = failureOf(cluster, startMs, file.append([record(1)], { split: false }));
      await cluster.simulator.sleep(29_000);
      const second = failureOf(cluster, startMs, file.append([record(2)], { split: false }));
      const { afterMs, error } = await first;
      t.true(afterMs >= 29_900 && afterMs <= 30_100, `it ended after ${afterMs} ms`);
      t.true(hasCode(error, 'TIMED_OUT'));
      // Those behind it may not stand without it.
      t.true(hasCode((await second).error, 'TIMED_OUT'));

      isDown = false;
      t.is(await file.append([record(3)], { split: false }), 10);
      t.deepEqual(cluster.content(file.inode), Buffer.concat([record(0), record(3)]));
      t.true(cluster.simulator.nowMs - startMs < 61_000);
    });
  });
}

test('an append whose outcome is known ends with it, also when those behind it are in doubt until the end', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect({ opTimeoutMs: 30_000 }));
    cluster.bend('append', 'lose-reply', { count: 2 });
    let isDown = true;
    cluster.bends.push(({ kind, request }) =>
      isDown && kind === 'complain' && (request.append as { sequence: number }).sequence === 2 ? 'hang' : undefined,
    );

    const appends = [record(0), record(1)].map(bytes => file.append([bytes], { split: false }));
    t.is(await appends[0], 0);
    await cluster.simulator.sleep(20_000);
    isDown = false;

    t.is(await appends[1], 10);
    t.is(cluster.count('append'), 2);
    t.deepEqual(cluster.content(file.inode), records(2));
  });
});

test('an append that may stand is given up before the servers forget its writer, however long operations may take (I3)', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect({ opTimeoutMs: 600_000 }));
    cluster.bend('append', 'lose-reply');
    cluster.bends.push(call => (call.kind === 'complain' ? 'hang' : undefined));
    const startMs = cluster.simulator.nowMs;

    const { afterMs, error } = await failureOf(cluster, startMs, file.append([record(0)], { split: false }));

    t.true(hasCode(error, 'TIMED_OUT'));
    t.true(afterMs >= 59_000 && afterMs <= 64_000, `it ended after ${afterMs} ms`);
  });
});

test('an append that stands nowhere waits as long as operations may take', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect({ opTimeoutMs: 600_000 }));
    cluster.bend('append', 'lose-request');
    let isDown = true;
    cluster.bends.push(call =>
      isDown && call.kind === 'appendTarget' && cluster.count('append') > 0 ? 'hang' : undefined,
    );

    const append = file.append([record(0)], { split: false });
    await cluster.simulator.sleep(200_000);
    isDown = false;

    t.is(await append, 0);
    t.deepEqual(cluster.content(file.inode), record(0));
  });
});

test('a refusal that cannot change is told at once', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    cluster.bend('appendTarget', 'NO_SPACE');
    const startMs = cluster.simulator.nowMs;

    const error = await t.throwsAsync(file.append([record(0)], { split: false }));

    t.true(hasCode(error, 'NO_SPACE'));
    t.true(cluster.simulator.nowMs - startMs < 100);
  });
});

test('safe mode is waited out for a while', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    cluster.bend('appendTarget', 'SAFE_MODE', { count: 8 });
    t.is(await file.append([record(0)], { split: false }), 0);

    cluster.seal(cluster.tailOf(file.inode));
    cluster.bend('appendTarget', 'SAFE_MODE', { count: 100_000 });
    const error = await t.throwsAsync(file.append([record(1)], { split: false }));
    t.true(hasCode(error, 'SAFE_MODE'));
  });
});

test('a lease that may be over is asked for again instead of complained about', async t => {
  await withCluster(t, async cluster => {
    cluster.leaseMs = 1_000;
    const { file } = await newFile(await cluster.connect());
    await file.append([record(0)], { split: false });
    await cluster.simulator.sleep(2_000);

    await file.append([record(1)], { split: false });

    t.is(cluster.count('complain'), 0);
    t.is(cluster.count('appendTarget'), 2);
    t.is(cluster.chunks.size, 1);
  });
});

const LARGE = { chunkSizeBytes: 16 * 1024 * 1024 };

test('a large append is pushed ahead in parts on the same connection', async t => {
  await withCluster(
    t,
    async cluster => {
      const { file } = await newFile(await cluster.connect());
      await file.append([record(0)], { split: false });
      const data = Buffer.alloc(1_500_000, 'x');

      t.is(await file.append([data], { split: false }), 10);

      t.is(cluster.count('push'), 6);
      t.is(typeof cluster.requests('append')[1]?.push, 'number');
      t.true(cluster.content(file.inode).equals(Buffer.concat([record(0), data])));
    },
    LARGE,
  );
});

test('bytes that were pushed and lost are sent again with the append, in the same chunk', async t => {
  await withCluster(
    t,
    async cluster => {
      const { file } = await newFile(await cluster.connect());
      await file.append([record(0)], { split: false });
      cluster.bend('push', 'lose-request', { skip: 1, count: 1000 });
      const data = Buffer.alloc(1_500_000, 'x');

      const offsets = await Promise.all([
        file.append([data], { split: false }),
        file.append([record(1)], { split: false }),
      ]);

      t.deepEqual(offsets, [10, 1_500_010]);
      t.is(cluster.count('complain'), 0);
      t.true(cluster.content(file.inode).equals(Buffer.concat([record(0), data, record(1)])));
    },
    LARGE,
  );
});

test('short-lived open files share a writer, so that tables of chunks do not fill', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect();
    for (let i = 0; i < 5; i++) {
      const { file } = await newFile(client);
      await file.append([record(i)], { split: false });
      await file.close();
    }

    t.is(new Set(cluster.requests('append').map(({ writer }) => writer)).size, 1);
    t.is(cluster.count('appendTarget'), 1, 'the target is remembered too');
  });
});

async function appendAndLoseSync(cluster: FakeCluster, bend: 'FENCED' | 'hang' | 'lose-reply'): Promise<number> {
  const { file } = await newFile(await cluster.connect());
  await file.append([record(0)], { split: false });
  cluster.bend('syncChunk', bend);
  await file.sync();
  await file.sync();
  return cluster.count('syncChunk');
}

test('sync asks the primary of the open chunk, once', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    await file.append([record(0)], { split: false });

    await file.sync();
    await file.sync();

    t.is(cluster.count('syncChunk'), 1);
    t.is(cluster.requests('syncChunk')[0]?.lengthBytes, 10);
  });
});

for (const bend of ['FENCED', 'hang', 'lose-reply'] as const) {
  test(`sync makes sure that the chunk was sealed with the bytes when the primary answers ${bend}`, async t => {
    await withCluster(t, async cluster => {
      t.is(await appendAndLoseSync(cluster, bend), 1);
      t.true([...cluster.chunks.values()][0]?.isSealed);
    });
  });
}

test('sync reports once that power took what was acknowledged, and confirms what comes later; every open file reports it', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect();
    const { file } = await newFile(client);
    const other = await client.openInode(file.inode);
    await file.append([record(0)], { split: false });
    const chunk = cluster.tailOf(file.inode);
    chunk.bytes = Buffer.alloc(0);
    chunk.writers.clear();
    cluster.bend('syncChunk', 'FENCED');

    t.is((await t.throwsAsync(file.sync(), { instanceOf: GfsError }))?.code, 'UNAVAILABLE');
    await file.append([record(1)], { split: false });
    await file.sync();

    t.is((await t.throwsAsync(other.sync(), { instanceOf: GfsError }))?.code, 'UNAVAILABLE');
    await other.sync();
  });
});

test('sync follows a chunk to its new lease', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect());
    await file.append([record(0)], { split: false });
    cluster.tailOf(file.inode).version++;

    await file.sync();

    t.is(cluster.count('syncChunk'), 2);
    t.false(cluster.tailOf(file.inode).isSealed);
  });
});
