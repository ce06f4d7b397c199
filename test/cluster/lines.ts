// Starts append-lines processes and checks what they left: no acknowledged line missing, doubled or torn, each writer's lines in order.
import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import type { ExecutionContext } from 'ava';

/** Line `number` of a writer, with its checksum. */
export function lineOf(name: string, number: number): string {
  const head = `${name} ${number} ${'.'.repeat((number * 37) % 200)}`;
  return `${head} ${crc32(head).toString(16).padStart(8, '0')}\n`;
}

export interface LineAccount {
  writer: string;
  acknowledged: number;
  longestStallMs: number;
  errors: Record<string, number>;
  /** Lines that took longer than half a second: when they began, and how long they took. */
  stalls: Array<{ atMs: number; ms: number }>;
}

export interface LineWriter {
  name: string;
  log: string;
  /** Ends it after the line in work and settles with its own account. */
  stop(): Promise<LineAccount>;
}

export function startWriter(
  t: ExecutionContext,
  file: string,
  name: string,
  folder: string,
  mode: 'close' | 'sync' = 'close',
): LineWriter {
  return start(t, name, folder, log => [process.execPath, script('append-lines.js'), file, name, log, mode]);
}

/** The same by record append of the client library, many on their way at once, without a mount. */
export function startRecordWriter(
  t: ExecutionContext,
  target: { master: string; file: string; within?: readonly string[] },
  name: string,
  folder: string,
): LineWriter {
  const { master, file, within = [] } = target;
  return start(t, name, folder, log => [
    ...within,
    ...[process.execPath, script('append-records.js'), master, file, name, log],
  ]);
}

function script(name: string): string {
  return path.join(import.meta.dirname, name);
}

function start(t: ExecutionContext, name: string, folder: string, commandOf: (log: string) => string[]): LineWriter {
  const log = path.join(folder, `acknowledged-${name}`);
  fs.writeFileSync(log, '');
  const [command, ...args] = commandOf(log);
  const child: ChildProcess = spawn(command!, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout!.setEncoding('utf8').on('data', text => {
    output += text;
  });
  const ended = new Promise<void>(resolve => child.once('close', () => resolve()));
  t.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await ended;
  });
  return {
    name,
    log,
    stop: async () => {
      child.kill('SIGTERM');
      await ended;
      return JSON.parse(output.trim().split('\n').at(-1)!) as LineAccount;
    },
  };
}

/** Throws at the first line that is torn, doubled, out of order, or acknowledged and missing. Returns how many lines stand. */
export function checkLines(text: string, writers: readonly LineWriter[]): number {
  if (text !== '' && !text.endsWith('\n'))
    throw new Error(`the last line is torn: ${JSON.stringify(text.slice(-100))}`);
  const lines = text === '' ? [] : text.slice(0, -1).split('\n');
  const last = new Map<string, number>();
  const standing = new Map<string, Set<number>>();
  for (const [index, line] of lines.entries()) {
    const match = /^((\w+) (\d+) \.*) ([0-9a-f]{8})$/.exec(line);
    if (!match || crc32(match[1]!).toString(16).padStart(8, '0') !== match[4])
      throw new Error(`line ${index + 1} is torn: ${JSON.stringify(line)}`);
    const [name, number] = [match[2]!, Number(match[3])];
    if (number <= (last.get(name) ?? 0))
      throw new Error(`line ${index + 1}: ${name} ${number} stands after ${last.get(name)}: doubled or out of order`);
    last.set(name, number);
    const numbers = standing.get(name) ?? new Set<number>();
    standing.set(name, numbers.add(number));
  }
  for (const { name, log } of writers) {
    for (const entry of fs.readFileSync(log, 'utf8').split('\n').filter(Boolean)) {
      const [number, offset] = entry.split(' ').map(Number) as [number, number | undefined];
      if (!standing.get(name)?.has(number)) throw new Error(`acknowledged line ${name} ${number} is missing`);
      // Lines are ASCII, so offsets in bytes are offsets in the text.
      if (offset !== undefined && !text.startsWith(lineOf(name, number), offset))
        throw new Error(`line ${name} ${number} does not stand at ${offset}, where it was acknowledged`);
    }
  }
  return lines.length;
}
