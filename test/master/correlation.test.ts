// How likely two places fail together: by distance, or as a file says.
import test from 'ava';
import fc from 'fast-check';
import { Correlation } from '../../src/master/correlation.js';
import { parseCorrelationFile, readCorrelationFile } from '../../src/master/correlation-file.js';
import { GfsError } from '../../src/protocol/errors.js';

function fromFile(...lines: string[]): Correlation {
  return new Correlation(parseCorrelationFile(lines.join('\n'), 'F'));
}

test('without a file the same place is 1, and each level up to where two places part makes it four times less', t => {
  const correlation = new Correlation();

  t.is(correlation.of('/z/p/r/h', '/z/p/r/h'), 1);
  t.is(correlation.of('/z/p/r/h', '/z/p/r/g'), 1 / 4);
  t.is(correlation.of('/z/p/r/h', '/z/p/s/h'), 1 / 16);
  t.is(correlation.of('/z/p/r/h', '/y/p/r/h'), 1 / 256);
  t.is(correlation.of('', ''), 1);
});

test('a line of the file counts for all places below its two prefixes, in either order', t => {
  const correlation = fromFile('# one power line', '/z/p/r1  /y/q/r7 0.5 # since May', '');

  t.is(correlation.of('/z/p/r1/h1', '/y/q/r7/h9'), 0.5);
  t.is(correlation.of('/y/q/r7/h9', '/z/p/r1/h1'), 0.5);
  t.is(correlation.of('/z/p/r2/h1', '/y/q/r7/h9'), 1 / 256);
  t.is(correlation.of('/z/p/r10/h1', '/y/q/r7/h9'), 1 / 256);
});

test('of several lines the narrowest counts, and the greater number of two that are as narrow', t => {
  const correlation = fromFile('/ / 0.01', '/z /y 0.02', '/z/p /y 0.03', '/z /y/q 0.04');

  t.is(correlation.of('/x/a/b', '/w/a/b'), 0.01);
  t.is(correlation.of('/z/o/b', '/y/o/b'), 0.02);
  t.is(correlation.of('/z/p/b', '/y/o/b'), 0.03);
  t.is(correlation.of('/z/p/b', '/y/q/b'), 0.04);
});

test('a line for one prefix twice says how its parts fail together and leaves what is nearer as it is', t => {
  const correlation = fromFile('/z/p /z/p 0.1');

  t.is(correlation.of('/z/p/r1/h1', '/z/p/r2/h1'), 0.1);
  t.is(correlation.of('/z/p/r1/h1', '/z/p/r1/h2'), 1 / 4);
  t.is(correlation.of('/z/p/r1/h1', '/z/q/r1/h1'), 1 / 64);
});

test('the first line that is wrong is refused with its number', t => {
  for (const [lines, message] of [
    ['/a /b', 'line 1: has 2 fields instead of three (write it like /az1/pod1/rack1 /az1/pod1/rack2 0.2)'],
    [
      '\n# fine\n/a /b 0.1 0.2',
      'line 3: has 4 fields instead of three (write it like /az1/pod1/rack1 /az1/pod1/rack2 0.2)',
    ],
    ['/a b 0.1', 'line 1: b is not a location like /az1/pod1'],
    ['/a/ /b 0.1', 'line 1: /a/ is not a location like /az1/pod1'],
    ['/a /b 1.01', 'line 1: 1.01 is not a number from 0 to 1'],
    ['/a /b -0.1', 'line 1: -0.1 is not a number from 0 to 1'],
    ['/a /b NaN', 'line 1: NaN is not a number from 0 to 1'],
    ['/a /b 0.1\n/b /a 0.2', 'line 2: /b and /a stand already on line 1'],
  ] as const) {
    const error = t.throws(() => parseCorrelationFile(lines, '/etc/c'), { instanceOf: GfsError });
    t.is(error?.code, 'USAGE');
    t.is(error?.message, `--correlation-file /etc/c: ${message}`);
  }
});

test('a file that is not there or cannot be read is refused by name', async t => {
  const disk = (readSmall: () => Promise<Buffer | undefined>): Parameters<typeof readCorrelationFile>[0] =>
    ({ readSmall }) as unknown as Parameters<typeof readCorrelationFile>[0];

  await t.throwsAsync(
    readCorrelationFile(
      disk(async () => undefined),
      'F',
    ),
    { code: 'USAGE', message: /F: there is no such file/ },
  );
  const denied = Object.assign(new Error('no'), { code: 'EACCES' });
  await t.throwsAsync(
    readCorrelationFile(
      disk(() => Promise.reject(denied)),
      'F',
    ),
    { code: 'USAGE', message: /F: cannot be read \(EACCES\)/ },
  );
  t.is(
    (
      await readCorrelationFile(
        disk(async () => Buffer.from('/a /b 1e-3\r\n/c / 1')),
        'F',
      )
    ).length,
    2,
  );
});

const location = fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 4 }).map(parts => `/${parts.join('/')}`);

test('correlation is symmetric and from 0 to 1, whatever the file says', t => {
  const rule = fc.tuple(location, location, fc.double({ min: 0, max: 1, noNaN: true }));
  fc.assert(
    fc.property(
      fc.uniqueArray(rule, { selector: ([a, b]) => [a, b].sort().join() }),
      location,
      location,
      (rules, a, b) => {
        const correlation = fromFile(...rules.map(([left, right, number]) => `${left} ${right} ${number}`));
        const value = correlation.of(a, b);
        t.is(value, correlation.of(b, a));
        t.true(value >= 0 && value <= 1);
      },
    ),
  );
});

test('the least correlated are those of the least sum, and those within a tenth of it', t => {
  const correlation = fromFile('/x /a 0.50', '/x /b 0.54', '/x /c 0.56');
  const items = ['/a', '/b', '/c'].map(location => ({ location, place: correlation.place(location) }));

  const least = correlation.least(items, [correlation.place('/x')]);

  t.deepEqual(
    least.map(({ location }) => location),
    ['/a', '/b'],
  );
  t.is(correlation.least(items, []).length, 3);
});
