// Probability of losing data when 1 % of the nodes fail at once: three replicas anywhere, against copysets dealt by src/master/copysets.ts, beside
// the figures of the Copysets paper (Cidon et al., USENIX ATC 2013). Run: npm run bench:copysets -- [--trials 100000]. Prints one table.
import { parseArgs } from 'node:util';
import { type Random, randomInt } from '../src/lib/random.js';
import { SeededRandom } from '../src/lib/seeded-random.js';
import { CopysetTable } from '../src/master/copysets.js';
import { Correlation } from '../src/master/correlation.js';
import type { ServerId } from '../src/protocol/ids.js';

const { values } = parseArgs({ options: { trials: { type: 'string', default: '100000' } } });
const TRIALS = Number(values.trials);
/** Whatever is not done by then is left out, with a note: the whole stays below two minutes. */
const BUDGET_MS = 105_000;
const DEAL_PAIRS = 10_000_000;
const REPLICAS = 3;
const FAILED_SHARE = 0.01;
/** About as many as an HDFS node has. It decides for random placement alone. */
const CHUNKS_PER_NODE = 10_000;
const NODES_PER_RACK = 20;
/** Each, and up to which cluster: dealing many sets to many nodes takes minutes. */
const WIDTHS = [
  { scatterWidth: 2, nodesMax: 10_000 },
  { scatterWidth: 10, nodesMax: 10_000 },
  { scatterWidth: 50, nodesMax: 1_000 },
];
/** Placing each chunk of a larger cluster takes more memory than a laptop has; there the formula alone must do. */
const SIMULATED_RANDOM_NODES_MAX = 1_000;
const CLUSTERS = [100, 300, 1_000, 3_000, 5_000, 10_000];
/** Abstract of the paper, 5000 nodes, for random and copyset replication. */
const PAPER: Record<string, string> = {
  '5000 random': '99.99 % (RAMCloud), 22.8 % (HDFS at Facebook, which limits scatter)',
  '5000 2': '0.15 % (RAMCloud)',
  '5000 10': '0.78 % (HDFS at Facebook)',
};

interface Row {
  nodes: number;
  placement: string;
  sets: number;
  computed: number;
  simulated?: number;
}

const random = new SeededRandom('bench/copysets');

function choose(n: number, k: number): number {
  let result = 1;
  for (let i = 0; i < k; i++) result *= (n - i) / (k - i);
  return result;
}

/** That one of `count` chunks or sets, as if each were drawn by itself, lies within the failed nodes. */
function computed(nodes: number, count: number): number {
  const hit = choose(failedCount(nodes), REPLICAS) / choose(nodes, REPLICAS);
  return -Math.expm1(count * Math.log1p(-hit));
}

function failedCount(nodes: number): number {
  return Math.round(nodes * FAILED_SHARE);
}

/** The share of trials in which `isLost` holds for a random choice of failed nodes, in rising order. */
function simulate(nodes: number, trials: number, isLost: (failed: Int32Array) => boolean): number {
  const order = Int32Array.from({ length: nodes }, (_, node) => node);
  const count = failedCount(nodes);
  let lost = 0;
  for (let trial = 0; trial < trials; trial++) {
    for (let i = 0; i < count; i++) {
      const j = i + randomInt(random, nodes - i);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    if (isLost(order.slice(0, count).sort())) lost++;
  }
  return lost / trials;
}

function randomRow(nodes: number): Row {
  const chunks = Math.round((nodes * CHUNKS_PER_NODE) / REPLICAS);
  const possible = choose(nodes, REPLICAS);
  const row: Row = {
    nodes,
    placement: 'random',
    sets: Math.round(-possible * Math.expm1(-chunks / possible)),
    computed: computed(nodes, chunks),
  };
  if (nodes > SIMULATED_RANDOM_NODES_MAX) return row;
  const keyOf = (a: number, b: number, c: number): number => (a * nodes + b) * nodes + c;
  const keys = new Float64Array(chunks);
  for (let chunk = 0; chunk < chunks; chunk++) keys[chunk] = keyOf(...threeOf(random, nodes));
  keys.sort();
  // Each trial looks up to all triples of failed nodes.
  row.simulated = simulate(nodes, TRIALS / 5, failed => {
    for (let a = 0; a < failed.length; a++)
      for (let b = a + 1; b < failed.length; b++)
        for (let c = b + 1; c < failed.length; c++)
          if (has(keys, keyOf(failed[a]!, failed[b]!, failed[c]!))) return true;
    return false;
  });
  return row;
}

/** Undefined when the time is over. */
function copysetRow(nodes: number, scatterWidth: number): Row | undefined {
  const correlation = new Correlation();
  const table = new CopysetTable({ replicas: REPLICAS, scatterWidth, correlation, random });
  const servers = Array.from({ length: nodes }, (_, node) => ({
    id: String(node).padStart(16, '0') as ServerId,
    location: `/az/pod/rack${Math.floor(node / NODES_PER_RACK)}/host${node}`,
  }));
  table.follow(servers);
  while (!table.deal(DEAL_PAIRS)) if (performance.now() > BUDGET_MS) return undefined;
  const setsOf = servers.map(({ id }) => table.setsOf(id).map(set => set.map(Number)));
  const isFailed = new Uint8Array(nodes);
  const simulated = simulate(nodes, TRIALS, failed => {
    isFailed.fill(0);
    for (const node of failed) isFailed[node] = 1;
    return failed.some(node => setsOf[node]!.some(set => set.every(member => isFailed[member] === 1)));
  });
  return {
    nodes,
    placement: `copysets, scatter width ${scatterWidth}`,
    sets: table.count,
    computed: computed(nodes, table.count),
    simulated,
  };
}

/** Three different nodes in rising order. */
function threeOf(random: Random, nodes: number): [number, number, number] {
  const a = randomInt(random, nodes);
  const b = randomInt(random, nodes);
  const c = randomInt(random, nodes);
  if (a === b || b === c || a === c) return threeOf(random, nodes);
  const [low, middle, high] = [a, b, c].sort((x, y) => x - y) as [number, number, number];
  return [low, middle, high];
}

function has(sorted: Float64Array, key: number): boolean {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return sorted[low] === key;
}

function percent(share: number | undefined): string {
  if (share === undefined) return '–';
  const text = (share * 100).toFixed(share > 0.1 ? 2 : 3);
  return `${share > 0.9999 ? (share === 1 ? '100' : '> 99.99') : text} %`;
}

let skipped = 0;
console.log('| nodes | failed | placement | different sets | computed | simulated | paper |');
console.log('|---|---|---|---|---|---|---|');
for (const nodes of CLUSTERS) {
  print(randomRow(nodes), 'random');
  for (const { scatterWidth, nodesMax } of WIDTHS)
    if (nodes <= nodesMax) print(copysetRow(nodes, scatterWidth), String(scatterWidth));
}
if (skipped > 0)
  console.error(`${skipped} rows are left out: they did not fit into ${BUDGET_MS / 1000} s on this machine`);

function print(row: Row | undefined, kind: string): void {
  if (!row) {
    skipped++;
    return;
  }
  const paper = PAPER[`${row.nodes} ${kind}`] ?? '';
  console.log(
    `| ${row.nodes} | ${failedCount(row.nodes)} | ${row.placement} | ${row.sets} | ${percent(row.computed)} | ${percent(row.simulated)} | ${paper} |`,
  );
}
