// The error table and its documentation are the same.
import fs from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { asGfsError, ERRNO, ERRORS, GfsError } from '../../src/protocol/errors.js';

const page = fs.readFileSync(path.resolve(import.meta.dirname, '../../../docs/errors.md'), 'utf8');

test('docs/errors.md has one row for each code of the table, and no other', t => {
  const rows = page.split('\n').filter(line => /^\| [A-Z_]+ \|/.test(line));
  const expected = Object.entries(ERRORS).map(
    ([code, row]) => `| ${code} | ${row.errno} | ${row.retryable ? 'yes' : 'no'} | ${row.meaning} |`,
  );
  t.deepEqual(rows, expected);
});

test('every errno has a number that FUSE accepts (1 to 999)', t => {
  for (const number of Object.values(ERRNO)) t.true(number >= 1 && number <= 999);
});

test('a disk without space is NO_SPACE, a GfsError stays itself, anything else is FAILED with its cause', t => {
  const full = Object.assign(new Error('write'), { code: 'ENOSPC' });
  t.is(asGfsError(full).code, 'NO_SPACE');
  const own = new GfsError('FULL');
  t.is(asGfsError(own), own);
  const odd = new Error('odd');
  t.is(asGfsError(odd).code, 'FAILED');
  t.is(asGfsError(odd).cause, odd);
});
