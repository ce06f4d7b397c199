// The processes that names.ts measures: one master that is stopped and started again on its data, three chunkservers, a mount; with their memory,
// CPU time and disk, and the end of all of them. It measures no speeds.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '../..');
const SERVERS = 3;
const WAIT_MS = 120_000;
const KiB = 1024;

/** Memory of a process, in bytes. */
export interface Memory {
  /** Resident memory that is its own, and resident pages of files (LevelDB maps its tables), which the kernel takes back when it needs them. */
  anonymousBytes: number;
  fileBytes: number;
  /** After a full garbage collection. */
  heapBytes: number;
  buffersBytes: number;
}

/** Answers SIGUSR2 with what is left on the heap after a full collection. */
const PRELOAD = `
  import fs from 'node:fs';
  process.on('SIGUSR2', () => {
    gc(); gc();
    const file = process.env.GFS_BENCH_MEMORY;
    fs.writeFileSync(file + '.new', JSON.stringify(process.memoryUsage()));
    fs.renameSync(file + '.new', file);
  });`;

interface Running {
  child: ChildProcess;
  ended: Promise<void>;
  /** Milliseconds from its start to its ready line. */
  readyMs: number;
  address: string;
}

export class BenchCluster {
  readonly base = fs.mkdtempSync(path.join(os.tmpdir(), 'gfs-bench-names-'));
  readonly masterData = path.join(this.base, 'master');
  readonly mountPoint = path.join(this.base, 'mnt');
  private readonly memoryFile = path.join(this.base, 'memory.json');
  private master: Running | undefined;
  private readonly others: Running[] = [];
  private masterAddress = '127.0.0.1:0';
  private isMounted = false;

  constructor(private readonly masterArgs: readonly string[]) {}

  get address(): string {
    return this.masterAddress;
  }

  get masterPid(): number {
    return this.master!.child.pid!;
  }

  async start(): Promise<void> {
    const format = spawnSync(process.execPath, [program('gfs-master'), 'format', '--data', this.masterData]);
    if (format.status !== 0) throw new Error(String(format.stderr));
    await this.startMaster();
    for (let i = 0; i < SERVERS; i++) {
      const data = ['--data', path.join(this.base, `c${i}`), '--master', this.masterAddress];
      this.others.push(await run('gfs-chunkserver', ['serve', ...data, '--listen', '127.0.0.1:0']));
    }
  }

  /** Settles with the milliseconds from its start to its ready line. */
  async startMaster(): Promise<number> {
    const args = ['serve', '--data', this.masterData, '--listen', this.masterAddress, ...this.masterArgs];
    const preload = `data:text/javascript,${encodeURIComponent(PRELOAD)}`;
    this.master = await run('gfs-master', args, ['--expose-gc', '--import', preload], {
      GFS_BENCH_MEMORY: this.memoryFile,
    });
    this.masterAddress = this.master.address;
    return this.master.readyMs;
  }

  async stopMaster(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    this.master!.child.kill(signal);
    await this.master!.ended;
  }

  async memory(): Promise<Memory> {
    fs.rmSync(this.memoryFile, { force: true });
    this.master!.child.kill('SIGUSR2');
    for (const endMs = performance.now() + WAIT_MS; !fs.existsSync(this.memoryFile); await pause(20))
      if (performance.now() > endMs) throw new Error('the master did not say how much memory it uses');
    const said = JSON.parse(fs.readFileSync(this.memoryFile, 'utf8')) as NodeJS.MemoryUsage;
    return { ...this.resident(), heapBytes: said.heapUsed, buffersBytes: said.external };
  }

  /** As it is, without a collection. */
  resident(): Pick<Memory, 'anonymousBytes' | 'fileBytes'> {
    const status = fs.readFileSync(`/proc/${this.masterPid}/status`, 'utf8');
    const field = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1]) * KiB;
    return { anonymousBytes: field('RssAnon'), fileBytes: field('RssFile') };
  }

  /** CPU time of the master so far. */
  masterCpuSeconds(): number {
    const TICKS_PER_SECOND = 100;
    const fields = fs.readFileSync(`/proc/${this.masterPid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }

  /** What the master has on its disk. */
  disk(): { bytes: number; files: number } {
    const entries = fs.readdirSync(this.masterData, { recursive: true, withFileTypes: true });
    const files = entries.filter(entry => entry.isFile());
    const bytes = files.reduce((sum, { parentPath, name }) => sum + sizeOf(path.join(parentPath, name)), 0);
    return { bytes, files: files.length };
  }

  mount(transport: string): void {
    fs.mkdirSync(this.mountPoint, { recursive: true });
    const args = ['--master', this.masterAddress, '--fuse', transport, this.mountPoint];
    const result = spawnSync(process.execPath, [program('gfs-mount'), ...args], { encoding: 'utf8' });
    if (result.status !== 0) throw new Error(`gfs-mount failed: ${result.stderr}`);
    this.isMounted = true;
  }

  unmount(): void {
    this.isMounted = false;
    spawnSync('fusermount', ['-u', this.mountPoint]);
  }

  /** Ends everything and removes the folder. May be called at any time. */
  async end(): Promise<void> {
    if (this.isMounted) spawnSync('fusermount', ['-u', '-z', this.mountPoint]);
    const all = [...(this.master ? [this.master] : []), ...this.others];
    for (const { child } of all) child.kill('SIGKILL');
    await Promise.all(all.map(({ ended }) => ended));
    fs.rmSync(this.base, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms));
}

function program(name: string): string {
  return path.join(root, 'bin', `${name}.js`);
}

/** LevelDB removes files whenever it likes. */
function sizeOf(file: string): number {
  return fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

async function run(
  name: string,
  args: readonly string[],
  nodeArgs: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Promise<Running> {
  const startedMs = performance.now();
  const child = spawn(process.execPath, [...nodeArgs, program(name), ...args, '--log-level', 'error'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
  });
  const ended = new Promise<void>(resolve => child.once('close', () => resolve()));
  const address = await new Promise<string>((resolve, reject) => {
    let output = '';
    child.stdout!.setEncoding('utf8').on('data', text => {
      output += text;
      const found = / ready on (\S+)/.exec(output)?.[1];
      if (found) resolve(found);
    });
    child.once('close', code => reject(new Error(`${name} ended with ${code}\n${output}`)));
  });
  return { child, ended, readyMs: performance.now() - startedMs, address };
}
