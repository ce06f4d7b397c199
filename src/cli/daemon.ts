// What all long-running programs share: signals, the pid file, the line that says "ready", and an end in good time.
// It knows nothing of what runs; a daemon is a start and a stop.
import { accessSync, constants, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { deferred } from '../lib/deferred.js';
import { EXIT, failWith, usageError } from './exit.js';

export interface Running {
  /** Printed on standard output, as in `gfs-master ready on 127.0.0.1:9400`. */
  readyLine: string;
  /** Called once. */
  stop(): Promise<void>;
  /** Settles when it ended by itself, which ends the program too; rejects when it failed, which is the program's failure. */
  ended?: Promise<void>;
}

export interface DaemonOptions {
  name: string;
  pidFile?: string;
  /** A stop that takes longer is cut short with exit code 1. */
  stopMsMax: number;
  start(): Promise<Running>;
  /** Called with the ready line once it was printed. */
  onReady?(readyLine: string): void;
}

/** Starts, says so, and settles when the daemon has stopped: on SIGTERM, SIGINT, SIGHUP, at its own end, or when the process that spawned it with an ipc channel is gone. */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  const stopAsked = deferred<void>();
  const onSignal = (): void => stopAsked.resolve();
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, onSignal);
  // Whoever waits for the ready line may leave at any time; that is no reason to die.
  process.stdout.on('error', () => undefined);
  if (process.channel) {
    process.on('disconnect', onSignal);
    process.channel.unref();
  }

  const running = await options.start();
  try {
    if (options.pidFile !== undefined) writePidFile(options.pidFile);
    process.stdout.write(`${running.readyLine}\n`);
    options.onReady?.(running.readyLine);
    await Promise.race([stopAsked.promise, ...(running.ended ? [running.ended] : [])]);
  } finally {
    await stopInTime(options, running);
    if (options.pidFile !== undefined) removePidFile(options.pidFile);
  }
}

/** Throws USAGE when the file could not be written later on. */
export function checkPidFile(path: string | undefined): void {
  if (path === undefined) return;
  if (!statSync(dirname(path), { throwIfNoEntry: false })?.isDirectory())
    throw usageError(`--pid-file ${path}: there is no such directory`);
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw usageError(`--pid-file ${path}: is a directory`);
  try {
    accessSync(dirname(path), constants.W_OK);
  } catch (error) {
    throw usageError(`--pid-file ${path}: cannot be written (${(error as NodeJS.ErrnoException).code})`);
  }
}

async function stopInTime(options: DaemonOptions, running: Running): Promise<void> {
  const giveUp = setTimeout(() => {
    process.stderr.write(`${options.name}: did not stop within ${options.stopMsMax} ms and is cut short\n`);
    if (options.pidFile !== undefined) removePidFile(options.pidFile);
    process.exit(EXIT.failed);
  }, options.stopMsMax);
  try {
    await running.stop();
  } catch (error) {
    process.exitCode = failWith(options.name, error);
  } finally {
    clearTimeout(giveUp);
  }
}

function writePidFile(path: string): void {
  writeFileSync(path, `${process.pid}\n`);
}

/** Only our own: another process may have taken over the name. */
function removePidFile(path: string): void {
  try {
    if (readFileSync(path, 'utf8').trim() === String(process.pid)) rmSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
