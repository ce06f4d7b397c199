// gfs lock: an advisory lock held while a program runs, across all machines, like flock(1). The lock ends with this process.
import { spawn } from 'node:child_process';
import { type Command, Option } from 'commander';
import { duration } from '../../lib/settings.js';
import { GfsError, hasCode } from '../../protocol/errors.js';
import { EXIT } from '../exit.js';
import { checkSetting } from '../options.js';
import { ownIds } from '../own-ids.js';
import { about, optionsOf, placeOf, printJson, type SessionOptions, withClient } from './session.js';

const WAIT = duration(0, '', { max: 365 * 86_400_000 });
/** One question to the master; repeated until granted or the time is over. */
const ASK_MS_MAX = 5000;
const FILE_MODE = 0o644;

export function addLockCommand(program: Command): void {
  program
    .command('lock')
    .description(
      'hold a lock on a file (made when absent) while a program runs; without a program, until standard input ends',
    )
    .argument('<PATH>', 'a path in the file system')
    .argument('[COMMAND...]', 'a program and its arguments, after --')
    .option('--shared', 'share it with others who share it')
    .addOption(
      new Option('--wait <DURATION>', 'give up when it is not granted in this time (default: wait for ever)').argParser(
        text => checkSetting('--wait', WAIT, text),
      ),
    )
    .action((path, program_, _, command) => lock(path, program_, optionsOf(command)));
}

async function lock(
  path: string,
  program: readonly string[],
  options: SessionOptions & { shared?: boolean; wait?: number },
): Promise<void> {
  const where = placeOf(path);
  await withClient(options, async client => {
    const { attributes, file } = await about(path, () =>
      client.createFile(where, { mode: FILE_MODE, ...ownIds(), exclusive: false, truncate: false }),
    );
    const range = {
      owner: `gfs-lock-${process.pid}`,
      kind: options.shared ? ('shared' as const) : ('exclusive' as const),
      startByte: 0,
      endByte: Number.MAX_SAFE_INTEGER,
      space: 'flock' as const,
      pid: process.pid,
    };
    const lost = new AbortController();
    const onLost = (reason: string): void => {
      process.stderr.write(`gfs: ${path}: the lock is lost: ${reason}\n`);
      lost.abort();
    };
    const endMs = options.wait === undefined ? Number.POSITIVE_INFINITY : Date.now() + options.wait;
    for (;;) {
      const waitMs = Math.max(0, Math.min(ASK_MS_MAX, endMs - Date.now()));
      try {
        await client.lock(attributes.inode, range, { waitMs, onLost });
        break;
      } catch (error) {
        if (!hasCode(error, 'LOCKED')) throw error;
        if (Date.now() >= endMs) throw new GfsError('LOCKED', `${path}: another holder has the lock`);
      }
    }
    if (options.json) printJson({ path, locked: true });
    const code = program.length > 0 ? await runProgram(program, lost.signal) : await untilInputEnds(lost.signal);
    await client.unlock(attributes.inode, range);
    await file.close();
    process.exitCode = lost.signal.aborted && code === 0 ? EXIT.failed : code;
  });
}

/** Its exit code; 128 and the signal's number when one ended it. */
function runProgram([name, ...args]: readonly string[], lost: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(name!, args, { stdio: 'inherit' });
    // On a terminal both get the signal; the program decides, we stay until it ended.
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
    // What it does under the lock must not go on without it.
    lost.addEventListener('abort', () => child.kill('SIGTERM'));
    child.once('error', error => reject(new GfsError('FAILED', `${name}: cannot be run (${error.message})`)));
    child.once('close', (code, signal) => resolve(code ?? (signal ? 128 : 1)));
  });
}

function untilInputEnds(lost: AbortSignal): Promise<number> {
  return new Promise(resolve => {
    process.stdin.once('end', () => resolve(0));
    lost.addEventListener('abort', () => {
      process.stdin.destroy();
      resolve(EXIT.failed);
    });
    process.stdin.resume();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve(0));
  });
}
