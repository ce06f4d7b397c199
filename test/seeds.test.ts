// docs/seeds.md says for each demand of the source documents which tests show it: there are such documents, and such tests.
import fs from 'node:fs';
import path from 'node:path';
import test from 'ava';

const root = path.resolve(import.meta.dirname, '../..');

interface Row {
  document: string;
  asks: string;
  met: string;
  shown: Array<{ file: string; title: string }>;
}

function rows(): Row[] {
  const lines = fs.readFileSync(path.join(root, 'docs/seeds.md'), 'utf8').split('\n');
  return lines
    .filter(line => /^\| \d/.test(line))
    .map(line => {
      const [, document, asks, met, tests] = line.split('|').map(cell => cell.trim());
      const shown = tests!
        .split('<br>')
        .filter(text => text !== '')
        .map(text => {
          const [, file, title] = /^`([^`]+)` (.+)$/.exec(text)!;
          return { file: file!, title: title! };
        });
      return { document: document!, asks: asks!, met: met!, shown };
    });
}

/** Titles that stand in a test file as plain text. */
function titlesIn(file: string): Set<string> {
  const source = fs.readFileSync(path.join(root, 'test', `${file}.test.ts`), 'utf8');
  const calls = source.matchAll(/\b(?:\w*[tT]est|serial)\(\s*(['"])((?:\\.|(?!\1).)*)\1,/g);
  return new Set([...calls].map(match => match[2]!.replace(/\\(.)/g, '$1')));
}

test('each demand of the source documents names tests that there are', t => {
  const all = rows();
  t.deepEqual([...new Set(all.map(({ document }) => document))], ['000', '001', '002', '003', '004']);
  for (const { document, asks, met, shown } of all) {
    if (met !== 'not built yet') t.true(shown.length > 0, `${document}, ${asks}: no test`);
    for (const { file, title } of shown)
      t.true(titlesIn(file).has(title), `${document}, ${asks}: ${file} has no test "${title}"`);
  }
});
