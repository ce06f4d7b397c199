// echo >> from many shells and from two mounts: every line stands once, none is torn, each shell's lines are in order.
import fs from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Cluster } from './cluster.js';
import { must } from './processes.js';

/** 10,000 with `npm run test:appends`: CI has no time for all of them. */
const ALTERNATING = Number(process.env['GFS_TEST_ALTERNATING'] ?? 2000);

/** Checks lines "writer number padding" of a file: all there once, whole, each writer's in order. */
function checkLines(t: ExecutionContext, text: string, writers: Map<string, number>): void {
  t.true(text.endsWith('\n'), 'the last line is whole');
  const lines = text.slice(0, -1).split('\n');
  const last = new Map<string, number>();
  for (const line of lines) {
    const match = /^(\w+) (\d+) x{20}$/.exec(line);
    if (!match) throw new Error(`torn line: ${JSON.stringify(line)}`);
    const number = Number(match[2]);
    if (number !== (last.get(match[1]!) ?? 0) + 1) throw new Error(`${line}: after ${last.get(match[1]!)}`);
    last.set(match[1]!, number);
  }
  t.deepEqual(new Map([...last].sort()), new Map([...writers].sort()));
}

const loop = (file: string, writer: string, count: number): string =>
  `for ((i = 1; i <= ${count}; i++)); do echo "${writer} $i xxxxxxxxxxxxxxxxxxxx" >> ${file}; done`;

async function readLocally(t: ExecutionContext, cluster: Cluster, file: string): Promise<string> {
  const copy = path.join(cluster.folder, 'copy');
  await must(t, `cat ${file} > ${copy}`);
  return fs.readFileSync(copy, 'utf8');
}

test.serial('10,000 times echo >> to one file: every line there once and in order (§3.3)', async t => {
  const cluster = await Cluster.start(t, { chunkSize: '64KiB' });
  const point = await cluster.mount();

  const started = Date.now();
  await must(t, loop(`${point}/f`, 'a', 10_000), { timeoutMs: 170_000 });
  t.log(`${Math.round(10_000_000 / (Date.now() - started))} echo >> per second`);

  checkLines(t, await readLocally(t, cluster, `${point}/f`), new Map([['a', 10_000]]));
});

test.serial('four shells appending 1,000 lines each at the same time: none torn, lost or doubled (§3.3)', async t => {
  const cluster = await Cluster.start(t, { chunkSize: '64KiB' });
  const point = await cluster.mount();

  await Promise.all(
    ['a', 'b', 'c', 'd'].map(writer => must(t, loop(`${point}/f`, writer, 1000), { timeoutMs: 170_000 })),
  );

  const text = await readLocally(t, cluster, `${point}/f`);
  checkLines(t, text, new Map(['a', 'b', 'c', 'd'].map(writer => [writer, 1000])));
});

test.serial(
  `two mounts appending ${ALTERNATING} lines to one file in turns: none torn, lost, doubled or out of turn (§3.3)`,
  async t => {
    t.timeout(900_000);
    const cluster = await Cluster.start(t, { chunkSize: '64KiB' });
    const [one, two] = [await cluster.mount(), await cluster.mount()];
    const pairs = ALTERNATING / 2;

    const started = Date.now();
    await must(
      t,
      `for ((i = 1; i <= ${pairs}; i++)); do echo "a $i xxxxxxxxxxxxxxxxxxxx" >> ${one}/f; echo "b $i xxxxxxxxxxxxxxxxxxxx" >> ${two}/f; done`,
      { timeoutMs: 800_000 },
    );
    t.log(`${Math.round((1000 * ALTERNATING) / (Date.now() - started))} echo >> per second`);

    const text = await readLocally(t, cluster, `${one}/f`);
    const writers = new Map(['a', 'b'].map(writer => [writer, pairs]));
    checkLines(t, text, writers);
    t.is(text.replace(/ .*\n/g, ''), 'ab'.repeat(pairs));
  },
);

test.serial(
  'two mounts, two shells on each, appending 1,000 lines each at the same time: none torn, lost or doubled (§3.3)',
  async t => {
    const cluster = await Cluster.start(t, { chunkSize: '64KiB' });
    const points = [await cluster.mount(), await cluster.mount()];
    const writers = ['a', 'b', 'c', 'd'];

    await Promise.all(
      writers.map((writer, i) => must(t, loop(`${points[i % 2]}/f`, writer, 1000), { timeoutMs: 170_000 })),
    );

    for (const point of points) {
      const text = await readLocally(t, cluster, `${point}/f`);
      checkLines(t, text, new Map(writers.map(writer => [writer, 1000])));
    }
  },
);
