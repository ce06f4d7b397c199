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

/** Records appended in a second by `loops` per client, each of which waits for its record before it sends the next. */
async function rate(clients: readonly Gfs[], loops: number, file: string, recordBytes: number): Promise<number> {
  const record = Buffer.alloc(recordBytes, 'r');
  const files = await Promise.all(clients.map(client => client.open(file, 'a')));
  await Promise.all(files.map(open => open.recordAppend(record)));
  let count = 0;
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
  const result = count / ((performance.now() - started) / 1000);
  await Promise.all(files.map(open => open.close()));
  return result;
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]!;
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

  const rows = [];
  for (const recordBytes of RECORD_BYTES) {
    const single: number[] = [];
    const many: number[] = [];
    for (let round = 0; round < rounds; round++) {
      single.push(await rate(clients.slice(0, 1), APPENDERS, `/single-${recordBytes}-${round}`, recordBytes));
      many.push(await rate(clients, 1, `/many-${recordBytes}-${round}`, recordBytes));
    }
    const [one, sixteen] = [median(single), median(many)];
    rows.push({ recordBytes, single: one, many: sixteen, ratio: sixteen / one });
  }
  await Promise.all(clients.map(client => client.close()));

  if (values.json) console.log(JSON.stringify(rows, undefined, 2));
  else {
    console.log('| record | one client, 16 on their way | 16 clients | ratio |\n|---|---|---|---|');
    for (const { recordBytes, single, many, ratio } of rows)
      console.log(
        `| ${recordBytes} bytes | ${single.toFixed(0)} records/s | ${many.toFixed(0)} records/s | ${ratio.toFixed(2)} |`,
      );
  }
}

try {
  await run();
} finally {
  for (const child of children) child.kill('SIGTERM');
  await Promise.all(ends);
  fs.rmSync(base, { recursive: true, force: true });
}
