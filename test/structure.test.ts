// The walls of the house: imports point down, each third-party package and each door to the platform has one way in.
import fs from 'node:fs';
import path from 'node:path';
import test from 'ava';

const root = path.resolve(import.meta.dirname, '../..');
const sources = listSources(path.join(root, 'src'));

function listSources(folder: string): string[] {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    const full = path.join(folder, entry.name);
    if (entry.isDirectory()) return listSources(full);
    return entry.name.endsWith('.ts') ? [full] : [];
  });
}

/** What each folder may import from, itself included. */
const MAY_IMPORT: Record<string, string[]> = {
  lib: ['lib'],
  protocol: ['protocol', 'lib'],
  rpc: ['rpc', 'protocol', 'lib'],
  master: ['master', 'rpc', 'protocol', 'lib'],
  chunkserver: ['chunkserver', 'rpc', 'protocol', 'lib'],
  client: ['client', 'rpc', 'protocol', 'lib'],
  mount: ['mount', 'client', 'protocol', 'lib'],
  cli: ['cli', 'mount', 'client', 'master', 'chunkserver', 'rpc', 'protocol', 'lib'],
};

/** Third-party packages and modules of Node that touch the outside, and where they may come in. */
const ENTRIES: Record<string, RegExp> = {
  level: /^lib\/level-kv\.ts$/,
  'classic-level': /^lib\/level-kv\.ts$/,
  'lru-cache': /^lib\/lru\.ts$/,
  msgpackr: /^protocol\/wire-values\.ts$/,
  commander: /^cli\//,
  pino: /^cli\/pino-logger\.ts$/,
  'fuse-native': /^mount\/fuse-native\.ts$/,
  'node:net': /^(lib\/|cli\/)/,
  'node:fs': /^(lib\/|cli\/|mount\/(fuse-native|transports|mount-table)\.ts|mount\/kernel\/)/,
  'node:fs/promises': /^(lib\/|cli\/|mount\/(fuse-native|transports|mount-table)\.ts|mount\/kernel\/)/,
  'node:child_process': /^(cli\/|mount\/(fuse-native|mount-table)\.ts|mount\/kernel\/)/,
  'node:timers': /^lib\//,
  'node:timers/promises': /^lib\//,
  'node:worker_threads': /^$/,
  'node:v8': /^lib\/system-memory\.ts$/,
  'node:os': /^((lib|cli)\/|mount\/(fuse-native|mount-table)\.ts|mount\/kernel\/)/,
  'node:dgram': /^$/,
  'node:http': /^$/,
};

function importsOf(file: string): string[] {
  const text = fs.readFileSync(file, 'utf8');
  return [...text.matchAll(/(?:from|import\(|require\()\s*['"]([^'"]+)['"]/g)].map(match => match[1]!);
}

test('imports between folders of src point down only (ARCHITECTURE, Layout)', t => {
  for (const file of sources) {
    const from = path.relative(path.join(root, 'src'), file).split(path.sep)[0]!;
    for (const name of importsOf(file).filter(name => name.startsWith('.'))) {
      const target = path.relative(path.join(root, 'src'), path.resolve(path.dirname(file), name)).split(path.sep)[0]!;
      t.true(MAY_IMPORT[from]?.includes(target), `${path.relative(root, file)} imports ${name}`);
    }
  }
});

test('each third-party package and each door to the platform enters through its own files', t => {
  for (const file of sources) {
    const inside = path.relative(path.join(root, 'src'), file);
    for (const name of importsOf(file).filter(name => !name.startsWith('.'))) {
      const entry = ENTRIES[name];
      if (entry) t.regex(inside, entry, `${inside} imports ${name}`);
      else
        t.regex(
          name,
          /^node:(buffer|crypto|zlib|path|url|util|events|stream|process|module|readline|perf_hooks)/,
          `${inside} imports ${name}, which has no entry in this test`,
        );
    }
  }
});

test('time, timers and chance come from the platform in src/lib and src/cli only', t => {
  const forbidden =
    /\bDate\.now\(|\bnew Date\(\)|\bMath\.random\(|(?<![.\w])set(?:Timeout|Interval|Immediate)\(|\bprocess\.hrtime|\bperformance\.now|\bprocess\.nextTick\(|AbortSignal\.timeout/;
  for (const file of sources) {
    const inside = path.relative(path.join(root, 'src'), file);
    if (
      /^(lib\/(system|tcp|node|level|shm)-|cli\/|mount\/(fuse-native|mount-table)\.ts|mount\/kernel\/session\.ts)/.test(
        inside,
      )
    )
      continue;
    const lines = fs.readFileSync(file, 'utf8').split('\n');
    for (const [i, line] of lines.entries()) t.notRegex(line.replace(/\/\/.*$/, ''), forbidden, `${inside}:${i + 1}`);
  }
});
