// A small simulated cluster that tells what it does, line by line, in words for newcomers: one client, one file, three chunkservers by their roles.
// Stories are scripts over it; their transcripts are kept as snapshots (stories.test.ts).
import type { FileSystemClient, OpenFile } from '../../src/client/types.js';
import type { GfsError } from '../../src/protocol/errors.js';
import { asGfsError } from '../../src/protocol/errors.js';
import type { Kind } from '../../src/protocol/messages.js';
import { Cluster, type Machine } from './cluster.js';
import { type ObservedCall, observe, replyOf } from './observer.js';
import { Simulator } from './platform/simulator.js';
import { showAnswer, showCall, WriterNames } from './show-call.js';
import { at, NEW_FILE } from './workloads/workload.js';

/** What a transcript shows; the rest is heartbeats and names. */
const SHOWN: ReadonlySet<Kind> = new Set<Kind>([
  'append',
  'replicate',
  'appendTarget',
  'complain',
  'grant',
  'adopt',
  'fence',
  'fix',
  'copyChunk',
  'findAppend',
  'returnLease',
]);
const STEP_MS_MAX = 20_000;

export interface Moment {
  kind: Kind;
  /** The call arrives, or its answer leaves. */
  what: 'call' | 'answer';
  /** Role of the machine that handles it. */
  at: string;
}

export class Story {
  readonly lines: string[] = [];
  readonly simulator: Simulator;
  readonly cluster: Cluster;
  client: FileSystemClient | undefined;
  private readonly writers = new WriterNames();
  private readonly roles = new Map<string, string>([
    ['master', 'master'],
    ['c1', 'client'],
  ]);
  private readonly traps: Array<{ moment: Moment; act: () => void }> = [];
  private readonly hosts = new WeakMap<object, string>();

  constructor(seed: number) {
    this.simulator = new Simulator({ seed });
    this.cluster = new Cluster(
      this.simulator,
      { servers: 3, clients: 1, chunkSizeBytes: 4096, logLevel: 'silent', driftMax: 0, diskCapacityBytes: 2 ** 30, appendTryMs: 1_200 },
      {
        onBoot: (platform, host) => this.hosts.set(platform, host),
        onDeath: () => undefined,
        onClient: (_name, client) => {
          this.client = client;
        },
      },
    );
    observe(
      { onCall: call => this.onCall(call), onAnswer: (call, answer) => this.onAnswer(call, answer) },
      platform => this.hosts.get(platform as object) ?? '?',
    );
  }

  /** Cluster and client are up, the file is open. */
  async begin(): Promise<OpenFile> {
    this.cluster.startServers();
    for (const machine of this.cluster.clients) machine.start();
    await this.until(() => this.cluster.machines.every(machine => machine.isReady));
    await this.simulator.run(1_000);
    const { file } = await this.settle(this.client!.createFile(at('story'), NEW_FILE));
    return file;
  }

  say(line: string): void {
    this.lines.push(`# ${line}`);
  }

  /** Runs time until `work` settles. */
  async settle<T>(work: Promise<T>): Promise<T> {
    let isDone = false;
    const done = (): void => {
      isDone = true;
    };
    work.then(done, done);
    await this.until(() => isDone);
    return await work;
  }

  /** An append by the client, with its outcome as a line. */
  async append(file: OpenFile, text: string): Promise<void> {
    try {
      const offset = await this.settle(file.append([Buffer.from(text)], { split: false }));
      this.lines.push(`client: "${text}" stands at ${offset}`);
    } catch (error) {
      this.lines.push(`client: "${text}" failed with ${asGfsError(error).code}`);
    }
  }

  /** What the file holds for the client. */
  async read(file: OpenFile): Promise<void> {
    const buffers = await this.settle(file.read(0, 10_000));
    this.lines.push(`client reads "${Buffer.concat(buffers).toString()}"`);
  }

  /** Does something once, at the first such moment from now on. */
  once(moment: Moment, act: () => void): void {
    this.traps.push({ moment, act });
  }

  machine(role: string): Machine {
    const host = [...this.roles].find(([, name]) => name === role)?.[0] ?? role;
    return this.cluster.machines.find(({ name }) => name === host)!;
  }

  async pass(ms: number): Promise<void> {
    await this.simulator.run(ms);
  }

  private async until(isReached: () => boolean): Promise<void> {
    if (!(await this.simulator.runUntil(isReached, STEP_MS_MAX))) throw new Error(`the story got stuck:\n${this.lines.join('\n')}`);
  }

  private role(host: string): string {
    return this.roles.get(host) ?? host;
  }

  private onCall(call: ObservedCall): void {
    if (!SHOWN.has(call.kind)) return;
    this.lines.push(`${this.role(call.from)} → ${this.role(call.to)}: ${showCall(call, this.writers)}`);
    this.spring({ kind: call.kind, what: 'call', at: this.role(call.to) });
  }

  private onAnswer(call: ObservedCall, answer: { body?: unknown; error?: GfsError }): void {
    if (!SHOWN.has(call.kind)) return;
    if (call.kind === 'appendTarget' && !answer.error) this.nameRoles(replyOf(answer.body, 'appendTarget').target.chain);
    this.lines.push(`${this.role(call.from)} ← ${this.role(call.to)}: ${call.kind} ${showAnswer(call.kind, answer)}`);
    this.spring({ kind: call.kind, what: 'answer', at: this.role(call.to) });
  }

  /** Servers keep the role they had in the first chain. */
  private nameRoles(chain: ReadonlyArray<{ address: string }>): void {
    chain.forEach(({ address }, i) => {
      const host = address.slice(0, address.lastIndexOf(':'));
      if (!this.roles.has(host)) this.roles.set(host, i === 0 ? 'primary' : i === chain.length - 1 ? 'tail' : 'secondary');
    });
  }

  private spring(now: Moment): void {
    const index = this.traps.findIndex(({ moment }) => moment.kind === now.kind && moment.what === now.what && moment.at === now.at);
    if (index < 0) return;
    const [trap] = this.traps.splice(index, 1);
    // Not inside the event that set it off: the message is already on its way.
    this.simulator.schedule(0, trap!.act);
  }
}
