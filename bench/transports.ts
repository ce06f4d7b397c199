// Both FUSE transports side by side in one run, on a file system in memory and on a real cluster, beside a passthrough in C from libfuse's examples where
// Debian's libfuse3-dev is installed. Run: npm run bench:transports -- [--mib 256] [--rounds 3]. As root. Prints one table of medians.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { type Target, targets } from './transport-targets.js';

const { values } = parseArgs({
  options: { mib: { type: 'string', default: '256' }, rounds: { type: 'string', default: '3' } },
});
const mib = Number(values.mib);
const rounds = Number(values.rounds);
const GIB = 1024;
const APPENDS = 1000;
const FILES = 1000;
const RANDOM_READS = 12_000;
const READ_THREADS = 8;
const randomReads = path.resolve(import.meta.dirname, '../../bench/random-reads.py');

function bash(script: string): string {
  const result = spawnSync('bash', ['-ec', script], { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (result.status !== 0) throw new Error(`${script}\n${result.stderr}`);
  return result.stdout;
}

/** CPU time of the processes so far, in seconds. */
function cpuSeconds(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / 100;
}

/** Figures of one target, each as often as there are rounds. */
class Figures {
  readonly byRow = new Map<string, number[]>();

  add(row: string, figure: number): void {
    this.byRow.set(row, [...(this.byRow.get(row) ?? []), figure]);
  }

  median(row: string): number | undefined {
    return this.byRow.get(row)?.toSorted((a, b) => a - b)[Math.floor((this.byRow.get(row)?.length ?? 0) / 2)];
  }
}

function secondsOf(script: string): number {
  const started = performance.now();
  bash(script);
  return (performance.now() - started) / 1000;
}

/** Takes the pages of a file out of the kernel's cache, not those of its replicas or of the process that serves it. */
function forgetPages(file: string): void {
  bash(
    `python3 -c 'import os; f = os.open("${file}", os.O_RDONLY); os.posix_fadvise(f, 0, 0, os.POSIX_FADV_DONTNEED)'`,
  );
}

/** Names and attributes, of the whole machine: the kernel offers nothing narrower. */
function forgetNames(): void {
  fs.writeFileSync('/proc/sys/vm/drop_caches', '2');
}

function measure(target: Target, figures: Figures, source: string, round: number): void {
  const place = `${target.directory}/round${round}`;
  const large = `${place}/large`;
  bash(`mkdir ${place}`);
  const stream = (row: string, script: string): void => {
    const before = cpuSeconds(target.pids());
    const seconds = secondsOf(script);
    figures.add(`${row}, MB/s`, (mib * 1.048576) / seconds);
    figures.add(`${row}, CPU s/GiB`, ((cpuSeconds(target.pids()) - before) * GIB) / mib);
  };
  stream('sequential write', `dd if=${source} of=${large} bs=1M 2> /dev/null`);
  forgetPages(large);
  stream('sequential read', `dd if=${large} of=/dev/null bs=1M 2> /dev/null`);
  forgetPages(large);
  const reads = Math.min(RANDOM_READS, mib * 200);
  figures.add(
    `random 4 KiB reads, ${READ_THREADS} threads, 1/s`,
    Number(bash(`python3 ${randomReads} ${large} ${reads} ${READ_THREADS}`)),
  );
  const perSecond = (row: string, count: number, script: string): void =>
    figures.add(`${row}, 1/s`, count / secondsOf(script));
  perSecond('echo >>', APPENDS, `for ((i = 0; i < ${APPENDS}; i++)); do echo "line $i" >> ${place}/log; done`);
  bash(`mkdir ${place}/d`);
  perSecond(
    'create and write 5 bytes',
    FILES,
    `for ((i = 1000; i < 1000 + ${FILES}; i++)); do echo "$i" > ${place}/d/$i; done`,
  );
  forgetNames();
  perSecond('ls of names and types, cold', FILES, `ls -U --file-type ${place}/d > /dev/null`);
  forgetNames();
  perSecond('ls -l, cold', FILES, `ls -l ${place}/d > /dev/null`);
  forgetNames();
  perSecond('stat by name, cold', FILES, `cd ${place}/d && stat -c %s $(seq 1000 ${999 + FILES}) > /dev/null`);
  perSecond('stat by name, again', FILES, `cd ${place}/d && stat -c %s $(seq 1000 ${999 + FILES}) > /dev/null`);
}

const base = fs.mkdtempSync(path.join(os.tmpdir(), 'gfs-bench-'));
const source = '/dev/shm/gfs-bench-source';
const columns: Array<{ name: string; figures: Figures }> = [];
try {
  bash(`head -c ${mib}M /dev/urandom > ${source}`);
  const { list, notes } = targets(base);
  // Round by round over all targets, so that a busy moment of the machine meets all of them.
  const open = [];
  try {
    for (const target of list) {
      await target.start();
      open.push(target);
      columns.push({ name: target.name, figures: new Figures() });
    }
    for (let round = 0; round < rounds; round++)
      for (const [i, target] of list.entries()) measure(target, columns[i]!.figures, source, round);
  } finally {
    for (const target of open.toReversed()) await target.stop();
  }
  console.log(
    `load average ${os
      .loadavg()
      .map(load => load.toFixed(1))
      .join(' ')}, ${os.cpus().length} processors\n`,
  );
  console.log(`| median of ${rounds} rounds, ${mib} MiB | ${columns.map(({ name }) => name).join(' | ')} |`);
  console.log(`|---|${columns.map(() => '---').join('|')}|`);
  for (const row of columns[0]!.figures.byRow.keys()) {
    const cells = columns.map(({ figures }) => {
      const figure = figures.median(row) ?? Number.NaN;
      return figure < 20 ? figure.toFixed(1) : String(Math.round(figure));
    });
    console.log(`| ${row} | ${cells.join(' | ')} |`);
  }
  for (const note of notes) console.log(`\n${note}`);
} finally {
  fs.rmSync(source, { force: true });
  fs.rmSync(base, { recursive: true, force: true });
}
