// Concurrent record append (paper, §3.3 and figure 3): 16 clients that append to one file, one record at a time each, against a single client with 16
// records on their way. Master and three chunkservers are processes of their own; all clients live in this one.
// Run: npm run bench:record-append -- [--seconds 4] [--rounds 3] [--json]. Figures are comparable within one run only.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { connect, type Gfs } from '../src/client/index.js';

const root = path.resolve(import.meta.dirname, '../..');
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '3' },
    json: { type: 'boolean', default: false },
  },
});
const seconds = Number(values.seconds);
const rounds = Number(values.rounds);

const APPENDERS = 16;
const SERVERS = 3;
const RECORD_BYTES = [100, 4096, 65_536];

const base = fs.mkdtempSync(path.join(os.tmpdir(), 'gfs-bench-'));
const children: ChildProcess[] = [];
const ends: Array<Promise<void>> = [];

function start(program: string, args: string[]): Promise<string> {
  const child = spawn(process.execPath, [path.join(root, 'bin', `${program}.js`), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  ends.push(new Promise(resolve => child.once('close', () => resolve())));
  return new Promise((resolve, reject) => {
    let output = '';
    child.stdout!.setEncoding('utf8').on('data', text => {
      output += text;
      const address = / ready on (\S+)/.exec(output)?.[1];
      if (address) resolve(address);
    });
    child.once('close', code => reject(new Error(`${program} ended with ${code}\n${output}`)));
  });
}

interface Figures {
  recordsPerSecond: number;
  /** CPU time per record in the servers, and in this process with all its clients. */
  serverMicroseconds: number;
  clientMicroseconds: number;
}

/** CPU time of the servers so far, in microseconds. */
function serverMicroseconds(): number {
  const MICROSECONDS_PER_TICK = 10_000;
  let ticks = 0;
  for (const { pid } of children) {
    const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * MICROSECONDS_PER_TICK;
}

function clientMicroseconds(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** Records appended by `loops` per client, each of which waits for its record before it sends the next. */
async function measure(clients: readonly Gfs[], loops: number, file: string, recordBytes: number): Promise<Figures> {
  const record = Buffer.alloc(recordBytes, 'r');
  const files = await Promise.all(clients.map(client => client.open(file, 'a')));
  await Promise.all(files.map(open => open.recordAppend(record)));
  let count = 0;
  const before = { server: serverMicroseconds(), client: clientMicroseconds() };
  const started = performance.now();
  const endMs = started + seconds * 1000;
  await Promise.all(
    files.flatMap(open =>
      Array.from({ length: loops }, async () => {
        while (performance.now() < endMs) {
          await open.recordAppend(record);
          count++;
        }
      }),
    ),
  );
  const figures = {
    recordsPerSecond: count / ((performance.now() - started) / 1000),
    serverMicroseconds: (serverMicroseconds() - before.server) / count,
    clientMicroseconds: (clientMicroseconds() - before.client) / count,
  };
  await Promise.all(files.map(open => open.close()));
  return figures;
}

function median(all: readonly Figures[], figure: keyof Figures): number {
  const sorted = all.map(figures => figures[figure]).sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}

async function run(): Promise<void> {
  const data = path.join(base, 'master');
  const format = spawnSync(process.execPath, [path.join(root, 'bin/gfs-master.js'), 'format', '--data', data]);
  if (format.status !== 0) throw new Error(String(format.stderr));
  const quiet = ['--log-level', 'error'];
  const master = await start('gfs-master', ['serve', '--data', data, '--listen', '127.0.0.1:0', ...quiet]);
  const serve = (i: number): string[] => ['serve', '--data', path.join(base, `c${i}`), '--master', master];
  await Promise.all(
    Array.from({ length: SERVERS }, (_, i) =>
      start('gfs-chunkserver', [...serve(i), '--listen', '127.0.0.1:0', ...quiet]),
    ),
  );
  const clients = await Promise.all(Array.from({ length: APPENDERS }, () => connect({ master })));

  // The first second compiles.
  await measure(clients, 1, '/warm', RECORD_BYTES[0]!);
  const rows = [];
  for (const recordBytes of RECORD_BYTES) {
    const single: Figures[] = [];
    const many: Figures[] = [];
    for (let round = 0; round < rounds; round++) {
      single.push(await measure(clients.slice(0, 1), APPENDERS, `/single-${recordBytes}-${round}`, recordBytes));
      many.push(await measure(clients, 1, `/many-${recordBytes}-${round}`, recordBytes));
    }
    rows.push({ recordBytes, single, many });
  }
  await Promise.all(clients.map(client => client.close()));

  if (values.json) console.log(JSON.stringify(rows, undefined, 2));
  else {
    console.log(
      '| record | one client, 16 on their way | 16 clients | ratio | CPU per record, one client | CPU per record, 16 clients |',
    );
    console.log('|---|---|---|---|---|---|');
    for (const { recordBytes, single, many } of rows) {
      const [one, sixteen] = [single, many].map(all => median(all, 'recordsPerSecond')) as [number, number];
      const cells = [
        `${recordBytes} bytes`,
        `${one.toFixed(0)} /s`,
        `${sixteen.toFixed(0)} /s`,
        (sixteen / one).toFixed(2),
      ];
      console.log(`| ${[...cells, cpuOf(single), cpuOf(many)].join(' | ')} |`);
    }
  }
}

function cpuOf(all: readonly Figures[]): string {
  const [servers, clients] = [median(all, 'serverMicroseconds'), median(all, 'clientMicroseconds')];
  return `${servers.toFixed(0)} µs servers, ${clients.toFixed(0)} µs clients`;
}

try {
  await run();
} finally {
  for (const child of children) child.kill('SIGTERM');
  await Promise.all(ends);
  fs.rmSync(base, { recursive: true, force: true });
}
