// The command line of the simulator: runs many seeds in parallel processes, sums up, and shows the shortest trace of what failed.
//
//   npm run sim -- --seeds 1000 [--first N] [--mutant NAME] [--jobs 2]      many seeds; with a mutant until one seed catches it
//   npm run sim -- --seeds 1 --first N --trace                              one seed, with its whole trace
import './small-units.js';

import { fork } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { applyMutant, MUTANTS } from './mutants.js';
import { runScenario, type ScenarioResult } from './scenario.js';
import { shrink } from './shrink.js';

interface Arguments {
  seeds: number;
  first: number;
  jobs: number;
  mutant: string | undefined;
  trace: boolean;
  worker: boolean;
}

/** What a worker sends: without the trace, which is made again for the seed that is shown. */
type Report = Omit<ScenarioResult, 'trace'>;

const TRACE_LINES_SHOWN = 150;
const FAILURES_SHOWN = 3;

function parseArguments(argv: readonly string[]): Arguments {
  const result: Arguments = {
    seeds: 100,
    first: randomInt(1, 2 ** 31),
    jobs: 2,
    mutant: undefined,
    trace: false,
    worker: false,
  };
  for (let i = 0; i < argv.length; i++) {
    const name = argv[i]!;
    if (name === '--trace' || name === '--worker') {
      result[name.slice(2) as 'trace' | 'worker'] = true;
      continue;
    }
    const value = argv[++i];
    if (value === undefined) throw usage(`${name} needs a value`);
    if (name === '--mutant') result.mutant = value;
    else if (name === '--seeds' || name === '--first' || name === '--jobs') {
      const number = Number(value);
      if (!Number.isSafeInteger(number) || number < 1) throw usage(`${name} takes a whole number, not ${value}`);
      result[name.slice(2) as 'seeds' | 'first' | 'jobs'] = number;
    } else throw usage(`there is no option ${name}`);
  }
  if (result.mutant !== undefined && !MUTANTS.some(({ name }) => name === result.mutant))
    throw usage(`there is no mutant ${result.mutant}; there are ${MUTANTS.map(({ name }) => name).join(', ')}`);
  return result;
}

function usage(problem: string): Error {
  return new Error(`${problem}\nusage: sim [--seeds N] [--first N] [--jobs N] [--mutant NAME] [--trace]`);
}

/** Runs seeds as the parent names them. */
function work(mutant: string | undefined): void {
  if (mutant !== undefined) applyMutant(mutant);
  // Meant for the parent, which then sends no more seeds.
  process.on('SIGINT', () => undefined);
  process.on('message', (seed: number) => {
    void runScenario(seed).then(({ trace: _, ...report }) => process.send!(report satisfies Report));
  });
  process.send!('ready');
}

/** Runs seeds first … first+count-1 in `jobs` processes; calls `onReport` as they end, in any order, until it says stop. */
export async function runSeeds(
  { first, seeds, jobs, mutant }: Pick<Arguments, 'first' | 'seeds' | 'jobs' | 'mutant'>,
  onReport: (report: Report) => 'go on' | 'stop',
): Promise<void> {
  let next = first;
  let isStopped = false;
  const lives = Array.from({ length: Math.min(jobs, seeds) }, () => {
    const argv = ['--worker', ...(mutant === undefined ? [] : ['--mutant', mutant])];
    const child = fork(fileURLToPath(import.meta.url), argv, { execArgv: ['--enable-source-maps'] });
    return new Promise<void>((resolve, reject) => {
      child.on('message', (message: Report | 'ready') => {
        if (message !== 'ready' && onReport(message) === 'stop') isStopped = true;
        if (isStopped || next >= first + seeds) child.disconnect();
        else child.send(next++);
      });
      child.on('error', reject);
      child.on('exit', code => {
        if (code === 0) resolve();
        else
          reject(
            new Error(`a worker of the simulator ended with code ${code}; the last seed given out was ${next - 1}`),
          );
      });
    });
  });
  await Promise.all(lives);
}

async function runAll(options: Arguments): Promise<void> {
  const startMs = performance.now();
  const totals = { scenarios: 0, virtualMs: 0, acknowledged: 0 };
  const faults: Record<string, number> = {};
  const failed: Report[] = [];
  console.log(
    `seeds ${options.first} to ${options.first + options.seeds - 1}${options.mutant ? `, mutant ${options.mutant}` : ''}`,
  );
  // What was run until then is summed up.
  let isInterrupted = false;
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => {
      isInterrupted = true;
    });
  await runSeeds(options, report => {
    totals.scenarios++;
    totals.virtualMs += report.virtualMs;
    totals.acknowledged += report.counts['ended append'] ?? 0;
    for (const [kind, count] of Object.entries(report.faults)) faults[kind] = (faults[kind] ?? 0) + count;
    if (report.violations.length === 0) return isInterrupted ? 'stop' : 'go on';
    failed.push(report);
    if (failed.length <= FAILURES_SHOWN || options.mutant) show(report, options.mutant);
    return options.mutant === undefined && !isInterrupted ? 'go on' : 'stop';
  });
  const seconds = (performance.now() - startMs) / 1000;
  console.log(
    `${totals.scenarios} seeds in ${seconds.toFixed(1)} s (${(totals.scenarios / seconds).toFixed(1)} a second), ${(totals.virtualMs / 3_600_000).toFixed(2)} virtual hours, ${totals.acknowledged} acknowledged appends`,
  );
  const kinds = Object.entries(faults).sort(([a], [b]) => (a < b ? -1 : 1));
  console.log(`faults: ${kinds.map(([kind, count]) => `${kind} ${count}`).join(', ') || 'none'}`);
  if (options.mutant) {
    console.log(failed[0] ? `caught after ${failed[0].seed - options.first + 1} seeds` : 'NOT caught');
    if (!failed[0]) process.exitCode = 1;
    return;
  }
  console.log(
    failed.length === 0
      ? 'no failures'
      : `${failed.length} FAILED: ${failed
          .map(({ seed }) => seed)
          .slice(0, 20)
          .join(' ')}`,
  );
  if (failed.length === 0) return;
  process.exitCode = 1;
  const smallest = failed.reduce((a, b) => (b.virtualMs < a.virtualMs ? b : a));
  const { result, skipped } = await shrink(smallest.seed);
  console.log(`\nthe shortest trace of seed ${smallest.seed}, without ${skipped} of its faults:`);
  for (const line of result.trace.slice(-TRACE_LINES_SHOWN)) console.log(line);
  show(result, undefined);
}

function show({ seed, violations }: Pick<Report, 'seed' | 'violations'>, mutant: string | undefined): void {
  for (const { promise, what, atMs } of violations.slice(0, 2))
    console.log(`seed ${seed} at ${atMs.toFixed(0)} ms: ${promise}\n    ${what}`);
  console.log(`    npm run sim -- --seeds 1 --first ${seed} --trace${mutant ? ` --mutant ${mutant}` : ''}`);
}

async function traceOne(options: Arguments): Promise<void> {
  if (options.mutant !== undefined) applyMutant(options.mutant);
  const result = await runScenario(options.first, { onTrace: line => process.stdout.write(`${line}\n`) });
  if (result.violations.length > 0) {
    show(result, options.mutant);
    process.exitCode = 1;
  }
  console.log(
    JSON.stringify({
      virtualMs: result.virtualMs,
      faults: result.faults,
      counts: result.counts,
      fingerprint: result.fingerprint,
    }),
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    const options = parseArguments(process.argv.slice(2));
    if (options.worker) work(options.mutant);
    else if (options.trace) await traceOne(options);
    else await runAll(options);
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode = 2;
  }
}
