// Many names at the master: what creating, looking up and listing them costs, what the master needs in memory and on disk for them, and how soon it
// serves after a start. Real processes on this machine: a master, three chunkservers, this client, a mount.
// Run: npm run bench:names -- [--names 1000000] [--flat 100000] [--data 20000] [--json]. Small figures for a quick try: --names 20000 --flat 5000 --data 500.
import { spawnSync } from 'node:child_process';
import os from 'node:os';
import { parseArgs } from 'node:util';
import { connect, type Gfs } from '../src/client/index.js';
import { bytesPerChunk } from './names-chunk.js';
import { BenchCluster, type Memory, pause } from './names-cluster.js';

const { values } = parseArgs({
  options: {
    /** Files in a tree of directories, files in one directory, and small files with bytes. */
    names: { type: 'string', default: '1000000' },
    flat: { type: 'string', default: '100000' },
    data: { type: 'string', default: '20000' },
    'in-flight': { type: 'string', default: '64' },
    /** The same for the tree, which is large. */
    'fill-in-flight': { type: 'string', default: '256' },
    /** Calls of each measurement of single operations. */
    samples: { type: 'string', default: '5000' },
    fuse: { type: 'string', default: 'native,kernel' },
    'no-mount': { type: 'boolean', default: false },
    /** Passed to the master, if given. */
    'cache-entries': { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const numberOf = (name: 'names' | 'flat' | 'data' | 'in-flight' | 'fill-in-flight' | 'samples'): number =>
  Number(values[name]);
const [names, flat, dataFiles] = [numberOf('names'), numberOf('flat'), numberOf('data')];
const [inFlight, fillInFlight, samples] = [numberOf('in-flight'), numberOf('fill-in-flight'), numberOf('samples')];
const FILES_PER_DIRECTORY = 1000;
const SETTLE_MS = 5_000;
const SAMPLES_OF_GROWTH = 10;
const CONTENT = Buffer.from(
  'a small file of the benchmark of names, with a hundred bytes in it, so that the chunk table counts.\n',
);

const loadBefore = os.loadavg()[0]!.toFixed(1);
const rows: Array<[what: string, figure: string, note: string]> = [];
const stages: Stage[] = [];
const cluster = new BenchCluster(
  values['cache-entries'] === undefined ? [] : ['--cache-entries', values['cache-entries']],
);

/** The master with a number of names. */
interface Stage {
  names: number;
  chunks: number;
  /** After the work that made them, and after a start on them. */
  worked: Memory;
  restarted: Memory;
  diskBytes: number;
  starts: { clean: Start; killed: Start };
}

/** Milliseconds from the start of the process. */
interface Start {
  readyMs: number;
  firstStatMs: number;
  firstReadMs: number;
}

const MB = (bytes: number): string => (bytes / 1e6).toFixed(0);
const flatName = (i: number): string => `/flat/f${String(i).padStart(7, '0')}`;
const treeName = (i: number): string =>
  `/tree/d${String(Math.floor(i / FILES_PER_DIRECTORY)).padStart(5, '0')}/f${String(i % FILES_PER_DIRECTORY).padStart(4, '0')}`;
const dataName = (i: number): string => `/data/d${Math.floor(i / FILES_PER_DIRECTORY)}/f${i % FILES_PER_DIRECTORY}`;

/** Calls `work` for 0 to count - 1, `width` at a time. Settles with calls per second. */
async function each(
  count: number,
  width: number,
  what: string,
  work: (i: number) => Promise<unknown>,
): Promise<number> {
  let next = 0;
  let saidMs = performance.now();
  const startedMs = performance.now();
  await Promise.all(
    Array.from({ length: width }, async () => {
      while (next < count) {
        const i = next++;
        await work(i);
        if (performance.now() - saidMs < 10_000) continue;
        saidMs = performance.now();
        say(`${what}: ${i} of ${count}, ${Math.round((i * 1000) / (saidMs - startedMs))} /s`);
      }
    }),
  );
  return (count * 1000) / (performance.now() - startedMs);
}

/** Like each, as a row with the CPU time that one call takes in the master. */
async function measure(
  count: number,
  width: number,
  what: string,
  work: (i: number) => Promise<unknown>,
): Promise<void> {
  if (count === 0) return;
  const before = cluster.masterCpuSeconds();
  const perSecond = await each(count, width, what, work);
  const cpuMicroseconds = ((cluster.masterCpuSeconds() - before) * 1e6) / count;
  row(what, `${Math.round(perSecond)} /s`, `${Math.round(cpuMicroseconds)} µs of the master's CPU each`);
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

function row(what: string, figure: string, note = ''): void {
  say(`${what}: ${figure} ${note}`);
  rows.push([what, figure, note]);
}

async function create(gfs: Gfs, name: string): Promise<void> {
  const file = await gfs.open(name, 'wx');
  await file.close();
}

async function restart(signal: 'SIGTERM' | 'SIGKILL', readable: string): Promise<Start> {
  await cluster.stopMaster(signal);
  const startedMs = performance.now();
  const readyMs = await cluster.startMaster();
  const gfs = await connect({ master: cluster.address });
  try {
    await gfs.stat('/');
    const firstStatMs = performance.now() - startedMs;
    const bytes = await gfs.readFile(readable);
    if (!bytes.equals(CONTENT)) throw new Error(`${readable} does not hold what was written`);
    return { readyMs, firstStatMs, firstReadMs: performance.now() - startedMs };
  } finally {
    await gfs.close();
  }
}

/** Looks at the master as it is, and restarts it twice. */
async function stage(gfs: Gfs): Promise<void> {
  const { files } = await gfs.statfs();
  const worked = await cluster.memory();
  const diskBytes = cluster.disk().bytes;
  const killed = await restart('SIGKILL', dataName(0));
  const clean = await restart('SIGTERM', dataName(0));
  // The chunkservers come back at their next heartbeat, and name all their chunks.
  await pause(SETTLE_MS);
  const restarted = await cluster.memory();
  const chunks = Math.max(1, dataFiles * (stages.length > 0 ? 1 : 0));
  stages.push({ names: files, chunks, worked, restarted, diskBytes, starts: { clean, killed } });
  say(`${files} names: ${JSON.stringify(stages.at(-1))}`);
}

function random(count: number): number {
  return Math.floor(Math.random() * count);
}

/** A tool of the machine on the mount. */
function tool(what: string, amount: number, script: string): void {
  const startedMs = performance.now();
  const result = spawnSync('bash', ['-ec', script], { encoding: 'utf8', cwd: cluster.mountPoint, timeout: 600_000 });
  if (result.status !== 0) throw new Error(`${script}: ${result.stderr}`);
  const seconds = (performance.now() - startedMs) / 1000;
  row(what, `${seconds.toFixed(1)} s`, `${Math.round(amount / seconds)} entries/s`);
}

function lookFromMount(transport: string): void {
  cluster.mount(transport);
  const of = `of ${flat} entries, mount (${transport})`;
  tool(`ls -f ${of}`, flat, `[ $(ls -f flat | wc -l) = ${flat + 2} ]`);
  tool(`ls ${of}`, flat, `[ $(ls flat | wc -l) = ${flat} ]`);
  tool(`ls -l ${of}`, flat, `[ $(ls -l flat | wc -l) = ${flat + 1} ]`);
  const some = Math.min(flat, samples);
  tool(
    `stat of ${some} names of it, mount (${transport})`,
    some,
    `cd flat; [ $(ls | head -${some} | xargs stat -c %n | wc -l) = ${some} ]`,
  );
  cluster.unmount();
}

async function run(): Promise<void> {
  await cluster.start();
  let gfs = await connect({ master: cluster.address });
  for (const directory of ['/flat', '/tree', '/data', '/warm', '/single']) await gfs.mkdir(directory);
  for (let i = 0; i < dataFiles; i += FILES_PER_DIRECTORY) await gfs.mkdir(`/data/d${i / FILES_PER_DIRECTORY}`);
  const write = (i: number): Promise<void> => gfs.writeFile(dataName(i), CONTENT);
  await write(0);
  // The first seconds compile.
  await each(2000, inFlight, 'warming up', i => create(gfs, `/warm/f${i}`));
  await stage(gfs);

  await measure(samples, 1, 'create, one at a time', i => create(gfs, `/single/f${i}`));
  await measure(flat, inFlight, `create in one directory, ${inFlight} in flight`, i => create(gfs, flatName(i)));
  await measure(dataFiles - 1, inFlight, `create and write ${CONTENT.length} bytes, ${inFlight} in flight`, i =>
    write(i + 1),
  );
  await stage(gfs);

  for (let i = 0; i < names; i += FILES_PER_DIRECTORY) await gfs.mkdir(`/tree/d${treeName(i).slice(7, 12)}`);
  const grown: number[] = [];
  await measure(names, fillInFlight, `create in a tree, ${fillInFlight} in flight`, i => {
    if ((i + 1) % Math.ceil(names / SAMPLES_OF_GROWTH) === 0) grown.push(cluster.resident().anonymousBytes);
    return create(gfs, treeName(i));
  });
  row("the master's memory after each tenth of the tree", `${grown.map(MB).join(', ')} MB`);
  await stage(gfs);
  await gfs.close();

  gfs = await connect({ master: cluster.address });
  const lookUp = (count: number) => () => gfs.stat(treeName(random(count)));
  await measure(samples, 1, 'stat at random after the start, one at a time', lookUp(names));
  await measure(samples, inFlight, `stat at random after the start, ${inFlight} in flight`, lookUp(names));
  const WARM = Math.min(names, 5000);
  await each(WARM, inFlight, 'warming up', i => gfs.stat(treeName(i)));
  await measure(samples, 1, `stat at random of ${WARM} names seen before, one at a time`, lookUp(WARM));
  await measure(
    samples * 4,
    inFlight,
    `stat at random of ${WARM} names seen before, ${inFlight} in flight`,
    lookUp(WARM),
  );
  for (const round of ['first', 'second']) {
    const startedMs = performance.now();
    let count = 0;
    for await (const _entry of gfs.entries('/flat')) count++;
    if (count !== flat) throw new Error(`/flat lists ${count} entries, not ${flat}`);
    const seconds = (performance.now() - startedMs) / 1000;
    row(
      `list ${flat} entries with attributes, client, ${round} time`,
      `${seconds.toFixed(1)} s`,
      `${Math.round(count / seconds)} entries/s`,
    );
  }
  await gfs.close();

  for (const transport of values['no-mount'] ? [] : values.fuse.split(',')) lookFromMount(transport);
  print(await cluster.memory());
}

function print(last: Memory): void {
  const load = os.loadavg()[0]!.toFixed(1);
  const facts = `${names} names in a tree, ${flat} in one directory, ${dataFiles} small files; ${os.cpus().length} CPUs, load average ${loadBefore} at the start and ${load} at the end, ${new Date().toISOString().slice(0, 10)}`;
  if (values.json) {
    console.log(JSON.stringify({ facts, rows, stages, last }, undefined, 2));
    return;
  }
  console.log(`${facts}\n\n| what | figure | |\n|---|---|---|`);
  for (const cells of rows) console.log(`| ${cells.join(' | ')} |`);
  console.log(
    '\n| names | memory, of it heap and buffers, MB | after a start, MB | LevelDB on disk, MB | start: ready / first stat / first read, ms | after kill -9, ms |',
  );
  console.log('|---|---|---|---|---|---|');
  const memory = ({ anonymousBytes, heapBytes, buffersBytes, fileBytes }: Memory): string =>
    `${MB(anonymousBytes)} (${MB(heapBytes)}, ${MB(buffersBytes)}) + ${MB(fileBytes)} mapped`;
  const start = (times: Start): string =>
    [times.readyMs, times.firstStatMs, times.firstReadMs].map(Math.round).join(' / ');
  for (const { names, worked, restarted, diskBytes, starts } of stages)
    console.log(
      `| ${names} | ${memory(worked)} | ${memory(restarted)} | ${MB(diskBytes)} | ${start(starts.clean)} | ${start(starts.killed)} |`,
    );
  console.log(`\nAfter looking up and listing: ${memory(last)} MB.`);
  const bytes = bytesPerChunk();
  if (bytes !== undefined)
    console.log(`A chunk with three replicas takes ${Math.round(bytes)} bytes of the master's memory.`);
}

let isOver = false;
async function end(): Promise<void> {
  if (isOver) return;
  isOver = true;
  await cluster.end();
}
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void end().finally(() => process.exit(signal === 'SIGINT' ? 130 : 143)));

try {
  await run();
} finally {
  await end();
}
