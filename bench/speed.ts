// Speed of plain tools on a real mount with its embedded cluster: sequential write and read, echo >>, creating, stat, listing.
// Run: npm run bench -- [--mib 1024] [--fuse native|kernel] [--json]. Prints one table; figures are comparable within one run only.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

const root = path.resolve(import.meta.dirname, '../..');
const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '1024' },
    fuse: { type: 'string', default: 'auto' },
    json: { type: 'boolean', default: false },
  },
});

interface Row {
  what: string;
  figure: number;
  unit: string;
  /** CPU seconds of all processes of the system during it. */
  cpuSeconds: number;
}

const rows: Row[] = [];
const base = fs.mkdtempSync(path.join(os.tmpdir(), 'gfs-bench-'));
const point = path.join(base, 'mnt');
const pidFile = path.join(base, 'pid');
fs.mkdirSync(point);

function bash(script: string): string {
  const result = spawnSync('bash', ['-ec', script], { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (result.status !== 0) throw new Error(`${script}\n${result.stderr}`);
  return result.stdout;
}

/** CPU time of the mount and its children so far, in seconds. */
function cpuSeconds(): number {
  const mount = Number(fs.readFileSync(pidFile, 'utf8'));
  const children = bash(`cat /proc/${mount}/task/*/children`).trim().split(/\s+/).filter(Boolean).map(Number);
  let ticks = 0;
  for (const pid of [mount, ...children]) {
    const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / 100;
}

function measure(what: string, amount: number, unit: string, script: string): void {
  const cpuBefore = cpuSeconds();
  const started = performance.now();
  bash(script);
  const seconds = (performance.now() - started) / 1000;
  rows.push({ what, figure: amount / seconds, unit, cpuSeconds: cpuSeconds() - cpuBefore });
}

function remount(): void {
  unmount();
  mount();
}

function mount(): void {
  const result = spawnSync(
    process.execPath,
    [
      path.join(root, 'bin/gfs-mount.js'),
      '--data',
      path.join(base, 'data'),
      '--pid-file',
      pidFile,
      '--fuse',
      values.fuse,
      point,
    ],
    {
      encoding: 'utf8',
    },
  );
  if (result.status !== 0) throw new Error(result.stderr);
}

function unmount(): void {
  const pid = Number(fs.readFileSync(pidFile, 'utf8'));
  bash(`fusermount -u ${point}; while kill -0 ${pid} 2> /dev/null; do sleep 0.05; done`);
}

const mib = Number(values.mib);
const MB = (mib * 1024 * 1024) / 1e6;
try {
  bash(`head -c ${mib}M /dev/urandom > ${base}/random; cat ${base}/random > /dev/null`);
  mount();
  measure(`cp of ${mib} MiB into the mount`, MB, 'MB/s', `cp ${base}/random ${point}/large`);
  remount();
  measure(`cat of ${mib} MiB, nothing cached in the mount`, MB, 'MB/s', `cat ${point}/large > /dev/null`);
  bash(`cmp ${base}/random ${point}/large`);
  measure(
    'echo >> to one file, one shell',
    5000,
    '1/s',
    `for ((i = 0; i < 5000; i++)); do echo "line $i" >> ${point}/log; done`,
  );
  measure(
    'create of 2,000 files of 5 bytes',
    2000,
    '1/s',
    `mkdir ${point}/d; for ((i = 0; i < 2000; i++)); do echo "$i" > ${point}/d/f$i; done`,
  );
  remount();
  measure('ls -l of 2,000 files', 2000, '1/s', `ls -l ${point}/d > /dev/null`);
  measure('stat of 2,000 files', 2000, '1/s', `cd ${point}/d && stat -c %s * > /dev/null`);
  measure('cat of 2,000 small files', 2000, '1/s', `cd ${point}/d && cat * > /dev/null`);
  if (values.json) console.log(JSON.stringify(rows));
  else {
    console.log(`| what (--fuse ${values.fuse}) | figure | CPU seconds |\n|---|---|---|`);
    for (const row of rows)
      console.log(`| ${row.what} | ${Math.round(row.figure)} ${row.unit} | ${row.cpuSeconds.toFixed(1)} |`);
  }
} finally {
  if (spawnSync('mountpoint', ['-q', point]).status === 0) unmount();
  fs.rmSync(base, { recursive: true, force: true });
}
