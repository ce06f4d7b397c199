// The file of `gfs-master serve --correlation-file`: two location prefixes and a number from 0 to 1 on each line (docs/operating.md). It reads
// and checks; what the numbers mean is correlation.ts.
import type { Disk } from '../lib/disk.js';
import { GfsError } from '../protocol/errors.js';
import type { CorrelationRule } from './correlation.js';
import { partsOf } from './distance.js';

const RULES_MAX = 10_000;
const EXAMPLE = '/az1/pod1/rack1 /az1/pod1/rack2 0.2';

/** Reads the file. Throws USAGE, naming file and line, when it cannot be read or a line is wrong. */
export async function readCorrelationFile(disk: Disk, path: string): Promise<CorrelationRule[]> {
  let content: Buffer | undefined;
  try {
    content = await disk.readSmall(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new GfsError('USAGE', `--correlation-file ${path}: cannot be read (${code ?? message})`, { cause: error });
  }
  if (content === undefined) throw new GfsError('USAGE', `--correlation-file ${path}: there is no such file`);
  return parseCorrelationFile(content.toString('utf8'), path);
}

/** The rules in `text`. Throws USAGE with the first line that is wrong. */
export function parseCorrelationFile(text: string, path: string): CorrelationRule[] {
  const rules: CorrelationRule[] = [];
  const lineOf = new Map<string, number>();
  for (const [index, whole] of text.split('\n').entries()) {
    const line = index + 1;
    const refuse = (problem: string): never => {
      throw new GfsError('USAGE', `--correlation-file ${path}: line ${line}: ${problem}`);
    };
    const fields = whole.replace(/#.*/, '').trim().split(/\s+/);
    if (fields[0] === '') continue;
    if (fields.length !== 3) refuse(`has ${fields.length} fields instead of three (write it like ${EXAMPLE})`);
    const [left, right, number] = fields as [string, string, string];
    for (const prefix of [left, right]) if (!isPrefix(prefix)) refuse(`${prefix} is not a location like /az1/pod1`);
    if (!isShare(number)) refuse(`${number} is not a number from 0 to 1`);
    const pair = [left, right].sort().join(' ');
    const before = lineOf.get(pair);
    if (before !== undefined) refuse(`${left} and ${right} stand already on line ${before}`);
    if (rules.length >= RULES_MAX) refuse(`more than ${RULES_MAX} pairs`);
    lineOf.set(pair, line);
    rules.push({ left: partsOf(left), right: partsOf(right), correlation: Number(number) });
  }
  return rules;
}

/** `/` for everywhere, else /a/b without a slash at the end. */
function isPrefix(text: string): boolean {
  return text === '/' || /^(\/[^/]+)+$/.test(text);
}

function isShare(text: string): boolean {
  return /^(\d+(\.\d*)?|\.\d+)(e-?\d+)?$/i.test(text) && Number(text) <= 1;
}
