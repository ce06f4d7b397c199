// A whole cluster of real processes for one test: a master, chunkservers, mounts, each of which can be killed, stopped and started again.
import fs from 'node:fs';
import path from 'node:path';
import type { ExecutionContext } from 'ava';
import { Daemon, folder, program, shell } from './processes.js';

/** Where a process runs: its address, and the command that brings it there. */
export interface Place {
  host: string;
  within: readonly string[];
}

const HERE: Place = { host: '127.0.0.1', within: [] };

export interface ClusterOptions {
  servers?: number;
  chunkSize?: string;
  replicas?: number;
  minReplicas?: number;
  master?: string[];
  chunkserver?: string[];
  /** Called with the cluster's folder before anything is made in it (`master`, `c0`, `c1`, … are the data directories). */
  prepare?: (folder: string) => Promise<void>;
  /** Of `master`, `c0`, `c1`, …; this machine's loopback by default. */
  place?: (name: string) => Place;
}

export class Cluster {
  master!: Daemon;
  masterAddress: string;
  readonly servers: Array<{ daemon: Daemon; address: string; data: string }> = [];
  private readonly mounts: string[] = [];

  private constructor(
    readonly t: ExecutionContext,
    readonly folder: string,
    readonly options: ClusterOptions,
  ) {
    this.masterAddress = `${this.place('master').host}:0`;
  }

  /** Formats and starts a cluster that goes with the test. */
  static async start(t: ExecutionContext, options: ClusterOptions = {}): Promise<Cluster> {
    const cluster = new Cluster(t, folder(t, 'gfs-cluster-'), options);
    await options.prepare?.(cluster.folder);
    t.teardown(() => cluster.end());
    const format = await program('gfs-master', [
      ...['format', '--data', cluster.masterData, '--chunk-size', options.chunkSize ?? '1MiB'],
      ...['--replicas', String(options.replicas ?? 3), '--min-replicas', String(options.minReplicas ?? 2)],
    ]);
    if (format.code !== 0) throw new Error(`format failed: ${format.stderr}`);
    await cluster.startMaster();
    await Promise.all(Array.from({ length: options.servers ?? 3 }, (_, i) => cluster.startServer(i)));
    return cluster;
  }

  private place(name: string): Place {
    return this.options.place?.(name) ?? HERE;
  }

  get masterData(): string {
    return path.join(this.folder, 'master');
  }

  async startMaster(): Promise<void> {
    const args = [
      'serve',
      '--data',
      this.masterData,
      '--listen',
      this.masterAddress,
      ...(this.options.master ?? ['--lease', '2s', '--dead-after', '2s']),
    ];
    const { daemon, ready } = await Daemon.start('gfs-master', args, this.place('master'));
    this.master = daemon;
    this.masterAddress = addressIn(ready);
  }

  async startServer(index: number): Promise<void> {
    const data = this.servers[index]?.data ?? path.join(this.folder, `c${index}`);
    const place = this.place(`c${index}`);
    const listen = this.servers[index]?.address ?? `${place.host}:0`;
    const args = [
      ...['serve', '--data', data, '--master', this.masterAddress, '--listen', listen],
      ...(this.options.chunkserver ?? ['--heartbeat', '300ms']),
    ];
    const { daemon, ready } = await Daemon.start('gfs-chunkserver', args, place);
    this.servers[index] = { daemon, address: addressIn(ready), data };
  }

  /** Restarts every process of the cluster, politely. */
  async restart(): Promise<void> {
    await Promise.all(this.servers.map(server => server.daemon.stop()));
    await this.master.stop();
    await this.startMaster();
    await Promise.all(this.servers.map((_, i) => this.startServer(i)));
  }

  /** The `gfs` command against this cluster. */
  gfs(...args: string[]): ReturnType<typeof program> {
    return program('gfs', ['--master', this.masterAddress, ...args], { within: this.place('master').within });
  }

  /** `gfs … --json`, parsed; a failure fails the test. */
  async json<T>(...args: string[]): Promise<T> {
    const result = await this.gfs(...args, '--json');
    if (result.code !== 0) throw new Error(`gfs ${args.join(' ')} failed: ${result.stderr}`);
    return JSON.parse(result.stdout) as T;
  }

  /** Mounts on a fresh directory, in the background, and settles with the mount point when it works. */
  async mount(options: { args?: string[]; name?: string } = {}): Promise<string> {
    const point = path.join(this.folder, options.name ?? `mnt${this.mounts.length}`);
    // Mounted before: a mount that was killed may lie there, and looking at it fails.
    if (!this.mounts.includes(point)) {
      fs.mkdirSync(point, { recursive: true });
      this.mounts.push(point);
    }
    const pidFile = `${point}.pid`;
    const result = await program('gfs-mount', [
      '--master',
      this.masterAddress,
      '--pid-file',
      pidFile,
      '--log-file',
      `${point}.log`,
      ...(options.args ?? []),
      point,
    ]);
    if (result.code !== 0) throw new Error(`gfs-mount failed with ${result.code}: ${result.stderr}${result.stdout}`);
    return point;
  }

  mountPid(point: string): number {
    return Number(fs.readFileSync(`${point}.pid`, 'utf8'));
  }

  /** Unmounts and settles once the serving process is gone. */
  async unmount(point: string): Promise<void> {
    const pid = this.mountPid(point);
    const result = await shell(`fusermount -u ${point}`);
    if (result.code !== 0) throw new Error(`fusermount -u failed: ${result.stderr}`);
    await gone(pid);
  }

  private async end(): Promise<void> {
    for (const point of this.mounts) {
      const pidText = fs.existsSync(`${point}.pid`) ? fs.readFileSync(`${point}.pid`, 'utf8') : '';
      await shell(`mountpoint -q ${point} && umount -l ${point}`);
      if (Number(pidText) > 1) await gone(Number(pidText), 3000).catch(() => killQuietly(Number(pidText)));
    }
    const kept = process.env['GFS_TEST_LOGS'];
    if (kept)
      for (const point of this.mounts.filter(mounted => fs.existsSync(`${mounted}.log`)))
        fs.copyFileSync(`${point}.log`, path.join(kept, `${path.basename(point)}-${process.pid}.log`));
    await Promise.all([
      ...this.servers.map(server => server.daemon.stop('SIGKILL')),
      ...(this.master ? [this.master.stop('SIGKILL')] : []),
    ]);
    if (!this.t.passed) {
      for (const point of this.mounts)
        if (fs.existsSync(`${point}.log`))
          this.t.log(`${point}: ${fs.readFileSync(`${point}.log`, 'utf8').slice(-3000)}`);
      for (const daemon of [this.master, ...this.servers.map(server => server.daemon)])
        this.t.log(`${daemon?.name}: ${daemon?.output.text.slice(-3000)}`);
    }
  }
}

function addressIn(ready: string): string {
  const match = /([\w.[\]:]+:\d+)/.exec(ready);
  if (!match) throw new Error(`no address in the ready line: ${ready}`);
  return match[1]!;
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It is gone already.
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Settles when a process that is not our child is gone. */
export async function gone(pid: number, timeoutMs = 10_000): Promise<void> {
  for (let waited = 0; isAlive(pid); waited += 20) {
    if (waited > timeoutMs) throw new Error(`process ${pid} is still there`);
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}

/** Calls `check` until it holds; for conditions of other processes that nothing announces. */
export async function until(what: string, check: () => Promise<boolean> | boolean, timeoutMs = 20_000): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!(await check())) {
    if (Date.now() > end) throw new Error(`still not so after ${timeoutMs} ms: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}
