// Real processes for tests: starts the programs of bin/, waits for their ready lines, and takes every process, mount and folder away again
// when the test ends, also when it failed. It never touches a mount itself from a process that serves one. Logs are kept in the folder
// GFS_TEST_LOGS, where that is set, at the level GFS_LOG_LEVEL.
import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { ExecutionContext } from 'ava';

export const root = path.resolve(import.meta.dirname, '../../..');
const READY_TIMEOUT_MS = 20_000;

export interface ShellResult {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a bash script; rejects only when it cannot be started or outlives `timeoutMs`. */
export function shell(
  script: string,
  options: { cwd?: string; env?: NodeJS.ProcessEnv; timeoutMs?: number } = {},
): Promise<ShellResult> {
  return run('bash', ['-c', script], options);
}

/** Like shell, but a script that fails fails the test, with its output. */
export async function must(
  t: ExecutionContext,
  script: string,
  options: Parameters<typeof shell>[1] = {},
): Promise<string> {
  const result = await shell(`set -e\n${script}`, options);
  if (result.code !== 0) {
    t.log(`script: ${script}\nexit code ${result.code}\n${result.stdout.slice(-4000)}\n${result.stderr.slice(-4000)}`);
    throw new Error(`script failed with ${result.code}: ${result.stderr.slice(-500)}`);
  }
  return result.stdout;
}

export function run(
  program: string,
  args: string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv; timeoutMs?: number; input?: Buffer } = {},
): Promise<ShellResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: options.cwd ?? root,
      env: { ...process.env, ...options.env },
      stdio: [options.input ? 'pipe' : 'ignore', 'pipe', 'pipe'],
      detached: true,
    });
    let stdout = '';
    let stderr = '';
    child.stdout!.setEncoding('utf8').on('data', text => {
      stdout += text;
    });
    child.stderr!.setEncoding('utf8').on('data', text => {
      stderr += text;
    });
    if (options.input) child.stdin!.end(options.input);
    const timeoutMs = options.timeoutMs ?? 120_000;
    const timer = setTimeout(() => {
      signalGroup(child, 'SIGKILL');
      reject(
        new Error(
          `${program} ${args.join(' ').slice(0, 300)} did not end within ${timeoutMs} ms\n${stdout.slice(-2000)}\n${stderr.slice(-2000)}`,
        ),
      );
    }, timeoutMs);
    child.once('error', error => {
      clearTimeout(timer);
      reject(error);
    });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code: code ?? (signal ? 128 : 1), stdout, stderr });
    });
  });
}

/** One of the programs of the package, run to its end. `within`: a command that it is run with, such as nsenter. */
export function program(
  name: 'gfs' | 'gfs-mount' | 'gfs-master' | 'gfs-chunkserver',
  args: string[],
  options: Parameters<typeof run>[2] & { within?: readonly string[] } = {},
): Promise<ShellResult> {
  const [command, ...rest] = [...(options.within ?? []), process.execPath, path.join(root, 'bin', `${name}.js`)];
  return run(command!, [...rest, ...args], options);
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    process.kill(-child.pid!, signal);
  } catch {
    // It is gone already.
  }
}

/** A fresh folder that goes with the test. */
export function folder(t: ExecutionContext, prefix = 'gfs-test-'): string {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), prefix));
  t.teardown(() => fs.rmSync(made, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }));
  return made;
}

/** A server process that runs until it is stopped. */
export class Daemon {
  readonly output: { text: string };
  readonly exited: Promise<number>;

  private constructor(
    readonly name: string,
    readonly child: ChildProcess,
    output: { text: string },
  ) {
    this.output = output;
    this.exited = new Promise(resolve => child.once('close', (code, signal) => resolve(code ?? (signal ? 128 : 1))));
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** Starts a program and settles with it when it printed its ready line. */
  static async start(
    name: 'gfs-master' | 'gfs-chunkserver' | 'gfs-mount',
    args: string[],
    options: { env?: NodeJS.ProcessEnv; within?: readonly string[] } = {},
  ): Promise<{ daemon: Daemon; ready: string }> {
    const file = path.join(root, 'bin', `${name}.js`);
    const [command, ...rest] = [...(options.within ?? []), process.execPath, '--enable-source-maps', file];
    const child = spawn(command!, [...rest, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...options.env },
    });
    const output = { text: '' };
    const daemon = new Daemon(name, child, output);
    const ready = new Promise<string>((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`${name} ${args.join(' ')} was not ready in time:\n${output.text}`)),
        READY_TIMEOUT_MS,
      );
      let seen = '';
      const kept = process.env['GFS_TEST_LOGS'];
      if (kept) {
        const file = fs.createWriteStream(path.join(kept, `${name}-${child.pid}.log`));
        child.stdout!.pipe(file, { end: false });
        child.stderr!.pipe(file, { end: false });
      }
      child.stdout!.setEncoding('utf8').on('data', text => {
        output.text += text;
        seen += text;
        const line = seen.split('\n').find(candidate => / ready\b/.test(candidate));
        if (line) {
          clearTimeout(timer);
          resolve(line);
        }
      });
      child.stderr!.setEncoding('utf8').on('data', text => {
        output.text = (output.text + text).slice(-200_000);
      });
      void daemon.exited.then(code => {
        clearTimeout(timer);
        reject(new Error(`${name} ${args.join(' ')} ended with ${code} before it was ready:\n${output.text}`));
      });
    });
    try {
      return { daemon, ready: await ready };
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Ends it at once, without letting a stopped one run before. */
  kill(): Promise<number> {
    this.child.kill('SIGKILL');
    return this.exited;
  }

  /** Ends it and settles with its exit code. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill('SIGCONT');
      this.child.kill(signal);
    }
    return this.exited;
  }
}
