// The file systems that transports.ts compares: how each is mounted, which processes serve it, and its end. It measures nothing.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

export interface Target {
  readonly name: string;
  /** Where files are made. */
  readonly directory: string;
  start(): Promise<void>;
  /** Every process that serves it, for CPU time. */
  pids(): number[];
  stop(): Promise<void>;
}

const root = path.resolve(import.meta.dirname, '../..');
const serveMemory = path.join(root, 'dist/test/mount/serve-memory.js');
const examples = '/usr/share/doc/libfuse3-dev/examples';
const KINDS = ['native', 'kernel'] as const;
/** As gfs-mount sets it for itself. */
const THREADS = { ...process.env, UV_THREADPOOL_SIZE: '8' };

/** All that can be compared here, and what is left out and why. */
export function targets(base: string): { list: Target[]; notes: string[] } {
  const notes: string[] = [];
  const passthrough = compilePassthrough(base);
  if (typeof passthrough === 'string') notes.push(`No passthrough in C: ${passthrough}.`);
  const list = [
    ...(typeof passthrough === 'string' ? [] : [passthrough]),
    ...KINDS.map(kind => new MemoryTarget(base, kind)),
    ...KINDS.map(kind => new ClusterTarget(base, kind)),
  ];
  return { list, notes };
}

class MemoryTarget implements Target {
  readonly name: string;
  readonly directory: string;
  private child: ChildProcess | undefined;

  constructor(
    base: string,
    private readonly kind: string,
  ) {
    this.name = `memory, ${kind}`;
    this.directory = path.join(base, `memory-${kind}`);
  }

  async start(): Promise<void> {
    fs.mkdirSync(this.directory);
    this.child = spawn(process.execPath, [serveMemory, this.kind, this.directory], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: THREADS,
    });
    await new Promise<void>((resolve, reject) => {
      this.child!.stdout!.once('data', line =>
        String(line).startsWith('mounted') ? resolve() : reject(new Error(line)),
      );
      this.child!.once('exit', code => reject(new Error(`serve-memory ended with ${code}`)));
    });
  }

  pids(): number[] {
    return [this.child!.pid!];
  }

  async stop(): Promise<void> {
    const ended = new Promise(resolve => this.child!.once('exit', resolve));
    this.child!.kill('SIGTERM');
    await ended;
  }
}

/** The embedded cluster: a master and three chunkservers on this machine, three copies of everything. */
class ClusterTarget implements Target {
  readonly name: string;
  readonly directory: string;
  private readonly pidFile: string;

  constructor(
    private readonly base: string,
    private readonly kind: string,
  ) {
    this.name = `cluster, ${kind}`;
    this.directory = path.join(base, `cluster-${kind}`);
    this.pidFile = `${this.directory}.pid`;
  }

  async start(): Promise<void> {
    fs.mkdirSync(this.directory);
    const data = path.join(this.base, `data-${this.kind}`);
    const args = ['--data', data, '--pid-file', this.pidFile, '--fuse', this.kind, this.directory];
    must(process.execPath, [path.join(root, 'bin/gfs-mount.js'), ...args]);
  }

  pids(): number[] {
    const mount = Number(fs.readFileSync(this.pidFile, 'utf8'));
    const children = must('bash', ['-c', `cat /proc/${mount}/task/*/children`]);
    return [mount, ...children.trim().split(/\s+/).filter(Boolean).map(Number)];
  }

  async stop(): Promise<void> {
    const mount = Number(fs.readFileSync(this.pidFile, 'utf8'));
    must('bash', ['-c', `umount ${this.directory}; while kill -0 ${mount} 2> /dev/null; do sleep 0.05; done`]);
  }
}

/** passthrough_ll of libfuse's examples, with its defaults, on a folder of a tmpfs. */
class PassthroughTarget implements Target {
  readonly name = 'C passthrough of a tmpfs';
  readonly directory: string;
  private readonly source = fs.mkdtempSync('/dev/shm/gfs-bench-');
  private child: ChildProcess | undefined;

  constructor(
    base: string,
    private readonly program: string,
  ) {
    this.directory = path.join(base, 'passthrough');
  }

  async start(): Promise<void> {
    fs.mkdirSync(this.directory);
    this.child = spawn(this.program, ['-f', '-o', `source=${this.source}`, this.directory], { stdio: 'inherit' });
    must('bash', ['-c', `for i in $(seq 100); do mountpoint -q ${this.directory} && exit; sleep 0.05; done; exit 1`]);
  }

  pids(): number[] {
    return [this.child!.pid!];
  }

  async stop(): Promise<void> {
    const ended = new Promise(resolve => this.child!.once('exit', resolve));
    must('umount', [this.directory]);
    await ended;
    fs.rmSync(this.source, { recursive: true });
  }
}

/** The target, or why there is none. */
function compilePassthrough(base: string): PassthroughTarget | string {
  const source = path.join(examples, 'passthrough_ll.c');
  if (!fs.existsSync(source)) return `${source} is missing (apt-get install libfuse3-dev gcc pkg-config)`;
  const program = path.join(base, 'passthrough_ll');
  const result = spawnSync('bash', ['-c', `gcc -O2 ${source} -o ${program} $(pkg-config --cflags --libs fuse3)`], {
    encoding: 'utf8',
  });
  return result.status === 0
    ? new PassthroughTarget(base, program)
    : `it does not compile: ${result.stderr.slice(0, 300)}`;
}

function must(program: string, args: readonly string[]): string {
  const result = spawnSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  if (result.status !== 0)
    throw new Error(`${program} ${args.join(' ')} ended with ${result.status}: ${result.stderr}`);
  return result.stdout;
}
