// No operation outlives its own deadline: neither when it has several steps, nor when it waits for what another one has begun.
import test, { type ExecutionContext } from 'ava';
import { hasCode } from '../../src/protocol/errors.js';
import type { InodeId } from '../../src/protocol/ids.js';
import { type Bend, type Call, type FakeCluster, MASTER, newFile, withCluster } from './fake-cluster.js';

const at = (path: string) => ({ start: 1 as InodeId, path });
const LIMIT_MS = 5_000;
/** An answer takes 1 ms, and a failure may wait a little for a better reason. */
const SLACK_MS = 100;

/** `work` is asked now and ends with TIMED_OUT at the end of its time. */
async function endsInTime(t: ExecutionContext, cluster: FakeCluster, work: Promise<unknown>): Promise<void> {
  const startMs = cluster.simulator.nowMs;
  const error = await t.throwsAsync(work);
  const afterMs = cluster.simulator.nowMs - startMs;
  t.true(hasCode(error, 'TIMED_OUT'), error?.message);
  t.true(afterMs >= LIMIT_MS - SLACK_MS && afterMs <= LIMIT_MS + SLACK_MS, `it ended after ${afterMs} ms`);
}

/** The calls of this kind are refused until `ms` from now, and get no answer after that. */
function downThenSilent(cluster: FakeCluster, kinds: readonly string[], ms: number): (call: Call) => Bend {
  const untilMs = cluster.simulator.nowMs + ms;
  return ({ kind }) => {
    if (!kinds.includes(kind)) return undefined;
    return cluster.simulator.nowMs < untilMs ? 'UNREACHABLE' : 'hang';
  };
}

test('a truncation behind an append without an answer', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(await cluster.connect({ opTimeoutMs: LIMIT_MS }));
    cluster.bends.push(({ kind }) => (['append', 'complain', 'truncate'].includes(kind) ? 'hang' : undefined));
    const append = t.throwsAsync(file.append([Buffer.from('x')], { split: false }));
    await cluster.simulator.sleep(1_000);

    await endsInTime(t, cluster, file.truncate(0));
    await append;
  });
});

test('a durable close of a file whose append had no answer for long', async t => {
  await withCluster(t, async cluster => {
    const { file } = await newFile(
      await cluster.connect({ opTimeoutMs: LIMIT_MS, syncTryMs: 60_000, appendTryMs: 4_000 }),
    );
    await file.append([Buffer.from('x')], { split: false });
    // The append takes 4 s, and stands; the sync has no answer.
    let isLost = false;
    cluster.bends.push(({ kind }) => {
      if (kind === 'syncChunk') return 'hang';
      if (kind !== 'append' || isLost) return undefined;
      isLost = true;
      return 'hang';
    });
    const append = file.append([Buffer.from('y')], { split: false });

    await endsInTime(t, cluster, file.close({ durable: true }));
    await append;
  });
});

test('a change of attributes that asks for the size afterwards', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect({ opTimeoutMs: LIMIT_MS });
    const { file } = await newFile(client);
    await file.append([Buffer.from('x')], { split: false });
    cluster.bends.push(downThenSilent(cluster, ['tailLength', 'complain'], 0));
    cluster.bends.push(({ kind }) =>
      kind === 'setAttributes' && cluster.simulator.nowMs < startMs + 4_000 ? 'UNREACHABLE' : undefined,
    );
    const startMs = cluster.simulator.nowMs;

    await endsInTime(t, cluster, client.setAttributes(at('f'), { mode: 0o600 }));
  });
});

test('an operation that finds its session ended while another one renews it', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect({ opTimeoutMs: LIMIT_MS });
    await newFile(client);
    cluster.session = '00000000000000bb';
    cluster.bends.push(({ kind }) => (kind === 'openSession' ? 'hang' : undefined));
    // A session is worth more patience than an operation has.
    cluster.hooks!.onLost(MASTER);

    await endsInTime(t, cluster, client.lookup(at('f')));
  });
});

test('a read that waits for bytes which a later one has asked for', async t => {
  await withCluster(t, async cluster => {
    const { file: writer } = await newFile(await cluster.connect());
    await writer.append([Buffer.alloc(100, 'x')], { split: false });
    cluster.seal(cluster.tailOf(writer.inode));
    const client = await cluster.connect({ opTimeoutMs: LIMIT_MS, revalidateMs: 60_000 });
    const file = await client.openInode(writer.inode);
    // The first one looks for the end for 4 s; meanwhile the second one begins to ask where the bytes are, and gets no answer.
    const startMs = cluster.simulator.nowMs;
    cluster.bends.push(({ kind }) => {
      if (kind === 'lookup' && cluster.simulator.nowMs < startMs + 4_000) return 'UNREACHABLE';
      return kind === 'locate' ? 'hang' : undefined;
    });

    const first = endsInTime(t, cluster, file.read(0, 200));
    await cluster.simulator.sleep(3_000);
    await endsInTime(t, cluster, file.read(0, 50));
    await first;
  });
});

test('a file that is opened while it is being closed', async t => {
  await withCluster(t, async cluster => {
    const client = await cluster.connect({ opTimeoutMs: LIMIT_MS });
    const { file } = await newFile(client);
    cluster.bends.push(({ kind }) => (kind === 'closeFile' ? 'hang' : undefined));
    cluster.bends.push(({ kind }) => (kind === 'openFile' ? 'hang' : undefined));
    await file.close();
    await cluster.simulator.sleep(1_000);
    const { file: again } = await newFile(client);
    await again.close();
    await cluster.simulator.sleep(1_000);

    await endsInTime(t, cluster, client.openInode(file.inode));
  });
});
