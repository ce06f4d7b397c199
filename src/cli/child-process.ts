// One child of the embedded cluster: a program of this package in a process of its own, which says when it is ready, is started again when it dies,
// and ends when we do (an ipc channel tells it, also after SIGKILL). It knows nothing of what the program does.
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { deferred } from '../lib/deferred.js';
import type { Logger } from '../lib/logger.js';
import { GfsError } from '../protocol/errors.js';

export interface ChildOptions {
  /** As in bin/: gfs-master. */
  program: string;
  args: readonly string[];
  logger: Logger;
  /** A start that is not ready by then has failed. */
  readyMsMax: number;
}

const RESTART_FIRST_MS = 100;
const RESTART_MS_MAX = 5000;
const ERROR_TEXT_MAX = 4096;

/** From dist/src/cli/ to bin/. */
export function programPath(program: string): string {
  return fileURLToPath(new URL(`../../../bin/${program}.js`, import.meta.url));
}

export class ClusterChild {
  private readonly options: ChildOptions;
  private process: ChildProcess | undefined;
  private gone: Promise<void> = Promise.resolve();
  private isStopping = false;
  private restartDelayMs = RESTART_FIRST_MS;
  private restartTimer: NodeJS.Timeout | undefined;

  constructor(options: ChildOptions) {
    this.options = options;
  }

  /** Settles when the program printed its ready line; rejects with its last word when it ends before. From then on it is kept running. */
  async start(): Promise<void> {
    await this.spawnOnce();
  }

  /** Asks it to end, and ends it by force after `killAfterMs`. Settles when it is gone. */
  async stop(killAfterMs: number): Promise<void> {
    this.isStopping = true;
    clearTimeout(this.restartTimer);
    const { process: child } = this;
    if (!child) return;
    child.kill('SIGTERM');
    const force = setTimeout(() => child.kill('SIGKILL'), killAfterMs);
    await this.gone;
    clearTimeout(force);
  }

  private spawnOnce(): Promise<void> {
    const { program, args, readyMsMax, logger } = this.options;
    const ready = deferred<void>();
    const gone = deferred<void>();
    // A process group of its own: Ctrl-C on a terminal is for the mount, which ends its children when everything is flushed.
    const child = spawn(process.execPath, [programPath(program), ...args], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      detached: true,
    });
    this.process = child;
    this.gone = gone.promise;
    let isReady = false;
    let errorText = '';
    const timer = setTimeout(() => {
      ready.reject(new GfsError('TIMED_OUT', `${program} was not ready within ${readyMsMax} ms`));
      child.kill('SIGKILL');
    }, readyMsMax);
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      if (isReady || !/ ready\b/.test(text)) return;
      isReady = true;
      clearTimeout(timer);
      this.restartDelayMs = RESTART_FIRST_MS;
      ready.resolve();
    });
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      errorText = (errorText + text).slice(-ERROR_TEXT_MAX);
    });
    child.once('error', error => ready.reject(error));
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      if (this.process === child) this.process = undefined;
      gone.resolve();
      const lastWord = errorText.trim().split('\n').at(-1) || `${program} ended with ${signal ?? code}`;
      if (!isReady) ready.reject(new GfsError('FAILED', lastWord));
      else if (!this.isStopping) this.restartLater(lastWord);
      if (!this.isStopping) logger.warn({ program, code, signal, lastWord }, 'a process of the embedded cluster ended');
    });
    return ready.promise;
  }

  private restartLater(reason: string): void {
    const delayMs = this.restartDelayMs;
    this.restartDelayMs = Math.min(delayMs * 2, RESTART_MS_MAX);
    this.options.logger.info({ program: this.options.program, delayMs, reason }, 'starting it again');
    this.restartTimer = setTimeout(() => {
      this.spawnOnce().catch(error => {
        if (!this.isStopping) this.restartLater((error as Error).message);
      });
    }, delayMs);
  }
}
