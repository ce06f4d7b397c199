// Going to the background: the program starts itself again, detached, waits on a pipe for one line that says "ready" or "failed", and ends with it.
import { spawn } from 'node:child_process';
import { openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { makeDirectories } from '../lib/make-directories.js';
import { oneLine, usageError } from './exit.js';

/** What the detached process says, once, on its descriptor 3. */
export type Report = { ready: string[] } | { failed: string; exitCode: number };

const REPORT_FD = 3;
const MARK = 'GFS_REPORT_FD';
const REPORT_MS_MAX = 60_000;

/** Whether this process was started by `detach` and owes it a report. */
export function isDetached(): boolean {
  return process.env[MARK] === String(REPORT_FD);
}

export function report(value: Report): void {
  // Descendants must not believe that they owe one too.
  delete process.env[MARK];
  try {
    writeSync(REPORT_FD, `${JSON.stringify(value)}\n`);
  } catch (error) {
    // Whoever started us did not wait; the mount works all the same.
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  }
}

/** Starts this program once more, with the same arguments, in a session of its own; its output goes to `logFile`. Settles with its report. */
export async function detach(logFile: string): Promise<Report> {
  const log = await openLog(logFile);
  return await new Promise(resolve => {
    const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      stdio: ['ignore', log, log, 'pipe'],
      detached: true,
      env: { ...process.env, [MARK]: String(REPORT_FD) },
    });
    const pipe = child.stdio[REPORT_FD] as NodeJS.ReadableStream;
    let text = '';
    const stopChild = (): void => {
      child.kill('SIGTERM');
    };
    const finish = (value: Report): void => {
      clearTimeout(timer);
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.removeListener(signal, stopChild);
      child.unref();
      (pipe as unknown as { destroy(): void }).destroy();
      resolve(value);
    };
    const timer = setTimeout(() => {
      stopChild();
      finish({ failed: `it was not ready within ${REPORT_MS_MAX} ms; see ${logFile}`, exitCode: 1 });
    }, REPORT_MS_MAX);
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, stopChild);
    pipe.setEncoding('utf8');
    pipe.on('data', (piece: string) => {
      text += piece;
      if (text.includes('\n')) finish(JSON.parse(text) as Report);
    });
    child.once('error', error => finish({ failed: error.message, exitCode: 1 }));
    child.once('close', (code, signal) => {
      if (text === '') finish({ failed: `it ended with ${signal ?? code}; see ${logFile}`, exitCode: 1 });
    });
  });
}

async function openLog(path: string): Promise<number> {
  try {
    await makeDirectories(dirname(path));
    return openSync(path, 'a', 0o644);
  } catch (error) {
    throw usageError(`--log-file ${path}: ${oneLine((error as Error).message)}`);
  }
}
