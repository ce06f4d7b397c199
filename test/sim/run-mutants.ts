// Runs every mutant until a seed catches it, and writes the table docs/mutants.md: npm run sim:mutants [-- NAME …]. Takes long.
import { readFile, writeFile } from 'node:fs/promises';
import { MUTANTS } from './mutants.js';
import { runSeeds } from './run.js';

const SEEDS_MAX = 2_000;
const FIRST_SEED = 1;
const FILE = new URL('../../../docs/mutants.md', import.meta.url);

interface Row {
  seeds: number | undefined;
  promise: string;
}

async function catchMutant(name: string): Promise<Row> {
  let caught: { seed: number; promise: string } | undefined;
  await runSeeds({ first: FIRST_SEED, seeds: SEEDS_MAX, jobs: 2, mutant: name }, ({ seed, violations }) => {
    const promise = violations[0]?.promise;
    if (promise !== undefined && (!caught || seed < caught.seed)) caught = { seed, promise };
    return caught ? 'stop' : 'go on';
  });
  return { seeds: caught && caught.seed - FIRST_SEED + 1, promise: caught?.promise ?? '' };
}

/** The rows that a former run wrote, by the mutant's name, to be kept when only some are run. */
async function formerRows(): Promise<Map<string, string>> {
  const text = await readFile(FILE, 'utf8').catch(() => '');
  return new Map(text.split('\n').flatMap(line => (line.startsWith('| `') ? [[line.split('`')[1]!, line]] : [])));
}

const names = process.argv.slice(2);
const rows = await formerRows();
for (const { name, breaks } of MUTANTS) {
  if (names.length > 0 && !names.includes(name)) continue;
  const { seeds, promise } = await catchMutant(name);
  console.log(
    `${name}: ${seeds === undefined ? `NOT caught within ${SEEDS_MAX} seeds` : `${seeds} seeds. ${promise}`}`,
  );
  if (seeds === undefined) process.exitCode = 1;
  rows.set(name, `| \`${name}\` | ${breaks} | ${seeds ?? `not within ${SEEDS_MAX}`} | ${promise} |`);
}
const table = MUTANTS.flatMap(({ name }) => rows.get(name) ?? []);
await writeFile(
  FILE,
  `# Mutants

Each mutant breaks one rule of the protocol in the simulator (test/sim/mutants.ts). The table says how many seeds, from ${FIRST_SEED} on, it took until a
checker noticed, and which promise was seen broken. Without a mutant the same seeds break none. Written by \`npm run sim:mutants\`. Those of locks alone have a run of
their own (test/sim/locks.test.ts).

| mutant | the rule that it breaks | seeds | promise seen broken |
|---|---|---|---|
${table.join('\n')}
`,
);
