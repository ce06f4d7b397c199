// A process of its own that appends numbered, checksummed lines to a file until it is told to stop, and writes down locally which were
// acknowledged. Usage: node append-lines.js FILE WRITER LOCAL-LOG [sync]. SIGTERM ends it after the line in work; the last line of output is JSON.
import fs from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { lineOf } from './lines.js';

const [file, writer, log, mode] = process.argv.slice(2) as [string, string, string, string | undefined];

let stop = false;
process.on('SIGTERM', () => {
  stop = true;
});

/** Lines that took longer are told with their time, so that a stall can be laid to its cause. */
const STALL_MS = 500;
const stalls: Array<{ atMs: number; ms: number }> = [];
let longestStallMs = 0;
let acknowledged = 0;
const errors: Record<string, number> = {};
for (let number = 1; !stop; number++) {
  const started = performance.now();
  let fd: number | undefined;
  try {
    fd = fs.openSync(file, 'a');
    fs.writeSync(fd, lineOf(writer, number));
    if (mode === 'sync') fs.fsyncSync(fd);
    const closing = fd;
    fd = undefined;
    fs.closeSync(closing);
    fs.appendFileSync(log, `${number}\n`);
    acknowledged++;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    errors[code] = (errors[code] ?? 0) + 1;
    if (fd !== undefined) {
      try {
        fs.closeSync(fd);
      } catch {
        // The same failure, reported a second time by close(2).
      }
    }
  }
  const ms = Math.round(performance.now() - started);
  if (ms >= STALL_MS) stalls.push({ atMs: Date.now() - ms, ms });
  longestStallMs = Math.max(longestStallMs, ms);
  // Lets the signal in.
  await pause(1);
}
console.log(JSON.stringify({ writer, acknowledged, longestStallMs, errors, stalls }));
