// A process of its own that appends numbered, checksummed lines by record append, as many at once as a file may have on their way, until it is told to
// stop, and writes down locally which were acknowledged at which offset. Usage: node append-records.js MASTER FILE WRITER LOCAL-LOG. SIGTERM ends it
// after the lines in work; the last line of output is JSON.
import fs from 'node:fs';
import { connect, GfsError } from '../../src/client/index.js';
import { LIMITS } from '../../src/protocol/limits.js';
import { lineOf } from './lines.js';

const STALL_MS = 500;
const [master, path, writer, log] = process.argv.slice(2) as [string, string, string, string];

let stop = false;
process.on('SIGTERM', () => {
  stop = true;
});

const stalls: Array<{ atMs: number; ms: number }> = [];
const errors: Record<string, number> = {};
let longestStallMs = 0;
let acknowledged = 0;
let number = 0;

const gfs = await connect({ master, name: writer });
const file = await gfs.open(path, 'a');
await Promise.all(Array.from({ length: LIMITS.appendsInFlightMax }, () => appendUntilStopped()));
await file.close();
await gfs.close();
console.log(JSON.stringify({ writer, acknowledged, longestStallMs, errors, stalls }));

async function appendUntilStopped(): Promise<void> {
  while (!stop) {
    const mine = ++number;
    const started = performance.now();
    try {
      const offset = await file.recordAppend(lineOf(writer, mine));
      fs.appendFileSync(log, `${mine} ${offset}\n`);
      acknowledged++;
    } catch (error) {
      const code = error instanceof GfsError ? error.code : String(error);
      errors[code] = (errors[code] ?? 0) + 1;
    }
    const ms = Math.round(performance.now() - started);
    if (ms >= STALL_MS) stalls.push({ atMs: Date.now() - ms, ms });
    longestStallMs = Math.max(longestStallMs, ms);
  }
}
