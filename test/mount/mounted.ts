// A mount of MemoryOperations in a process of its own, and shell commands in it from further processes. For transport.test.ts.
// The test process itself never touches the mount: it only waits for children.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';
import type { FuseTransportOptions } from '../../src/mount/fuse-operations.js';
import { readMountTable, removeDeadMount, runProgram, unmountDirectory } from '../../src/mount/mount-table.js';

const PROGRAM = fileURLToPath(new URL('./serve-memory.js', import.meta.url));

export class Mounted {
  readonly directory: string;
  readonly server: ChildProcess;
  /** The server's exit status, or the name of the signal that ended it. */
  readonly exit: Promise<number | string | null>;

  constructor(directory: string, server: ChildProcess) {
    this.directory = directory;
    this.server = server;
    this.exit = new Promise(resolve => server.once('exit', (code, signal) => resolve(code ?? signal)));
  }

  /** Runs a bash script in the mount; its output, and its status when it is not 0. */
  async sh(script: string): Promise<string> {
    const result = await runProgram('timeout', ['60', 'bash', '-c', `cd "$0" && { ${script}\n}`, this.directory]);
    const output = result.output.replace(/\n$/, '');
    return result.status === 0 ? output : `${output}\nstatus ${result.status}`.trim();
  }
}

/** Keeps a new file open in the mount, by a process that ends when the test does. Settles once it is open. */
export async function holdOpen(t: ExecutionContext, mounted: Mounted): Promise<void> {
  const holder = spawn('bash', ['-c', 'exec 5> "$0/held" && echo ready && exec sleep 60', mounted.directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => holder.kill());
  const line = await firstLine(holder);
  if (line !== 'ready') throw new Error(`the holder said: ${line}`);
}

export interface MountedOptions {
  options?: Partial<FuseTransportOptions>;
  /** Operations that never settle. */
  stuck?: string[];
}

/** Starts a server and settles when it has mounted. Everything is gone again after the test. */
export async function mountMemory(t: ExecutionContext, kind: string, given: MountedOptions = {}): Promise<Mounted> {
  const directory = await mkdtemp(join(tmpdir(), `gfs-${kind}-`));
  const server = spawn(process.execPath, [PROGRAM, kind, directory, JSON.stringify(given.options ?? {})], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, SERVE_STUCK: (given.stuck ?? []).join(',') },
  });
  const mounted = new Mounted(directory, server);
  t.teardown(async () => {
    if (server.exitCode === null && server.signalCode === null) {
      server.kill('SIGTERM');
      await mounted.exit;
    }
    await removeDeadMount(directory);
    await rmdir(directory);
  });
  const line = await firstLine(server);
  if (line !== 'mounted') throw new Error(`the server said: ${line}`);
  return mounted;
}

export async function isMounted(directory: string): Promise<boolean> {
  return (await readMountTable()).some(entry => entry.mountPoint === directory);
}

export { removeDeadMount, unmountDirectory };

function firstLine(server: ChildProcess): Promise<string> {
  return new Promise(resolve => {
    let text = '';
    server.stdout?.on('data', (data: Buffer) => {
      text += data.toString();
      if (text.includes('\n')) resolve(text.split('\n', 1)[0] as string);
    });
    server.once('exit', code => resolve(`exit ${code} ${text}`));
  });
}
