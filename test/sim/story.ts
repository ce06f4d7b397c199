// A small simulated cluster that tells what it does, line by line, in words for newcomers: one client, one file, three chunkservers by their roles in
// the chain of the chunk that a line is about. What happens at the same time is told in a fixed order.
// Stories are scripts over it; their transcripts are kept as snapshots (stories.test.ts).
import type { FileSystemClient, OpenFile } from '../../src/client/types.js';
import type { GfsError } from '../../src/protocol/errors.js';
import { asGfsError } from '../../src/protocol/errors.js';
import type { Kind, Reply } from '../../src/protocol/messages.js';
import { Cluster, type Machine } from './cluster.js';
import { hostName, type ObservedCall, observe, readToken } from './observer.js';
import { SimRandom } from './platform/sim-random.js';
import { Simulator } from './platform/simulator.js';
import { showAnswer, showCall, WriterNames } from './show-call.js';
import { at, NEW_FILE } from './workloads/workload.js';

/** What a transcript shows; the rest is heartbeats and names. */
const SHOWN: ReadonlySet<Kind> = new Set<Kind>([
  'append',
  'replicate',
  'createFile',
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
const ROLES = ['primary', 'secondary', 'tail'];
const STEP_MS_MAX = 20_000;

export interface Moment {
  kind: Kind;
  /** The call arrives, or its answer leaves. */
  what: 'call' | 'answer';
  /** Role of the machine that handles it. */
  at: string;
}

export class Story {
  private readonly told: Array<{ line: string; order: string }> = [];
  readonly simulator: Simulator;
  readonly cluster: Cluster;
  client: FileSystemClient | undefined;
  private readonly writers = new WriterNames();
  /** Hosts of each chunk's chain. */
  private readonly chains = new Map<number, string[]>();
  private readonly traps: Array<{ moment: Moment; act: () => void }> = [];
  private readonly hosts = new WeakMap<object, string>();

  /** `knowledgeMs`: clients hear of no changes, and go by what they know of a file for so long. */
  constructor(seed: number, { knowledgeMs }: { knowledgeMs?: number } = {}) {
    this.simulator = new CalmSimulator({ seed });
    this.cluster = new Cluster(
      this.simulator,
      {
        servers: 3,
        clients: 1,
        chunkSizeBytes: 4096,
        logLevel: 'silent',
        driftMax: 0,
        diskCapacityBytes: 2 ** 30,
        appendTryMs: 1_200,
        // Healing is another story.
        rereplicateAfterMs: 3_600_000,
        ...(knowledgeMs === undefined ? {} : { revalidateMs: knowledgeMs, deafClients: true }),
      },
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

  /** Another client has the file open, too. */
  async join(name: string): Promise<{ machine: Machine; file: OpenFile }> {
    const mine = this.client;
    const machine = this.cluster.addClient(name);
    await this.until(() => this.client !== mine);
    const { file } = await this.settle(this.client!.createFile(at('story'), NEW_FILE));
    this.client = mine;
    return { machine, file };
  }

  say(line: string): void {
    this.tell(`# ${line}`);
  }

  /** The transcript: runs of lines that differ only in the server they are about are sorted, for their order is chance. */
  get lines(): string[] {
    const lines: string[] = [];
    for (let from = 0; from < this.told.length; ) {
      let to = from + 1;
      while (to < this.told.length && this.told[from]!.order !== '' && this.told[to]!.order === this.told[from]!.order)
        to++;
      lines.push(
        ...this.told
          .slice(from, to)
          .map(({ line }) => line)
          .sort(),
      );
      from = to;
    }
    return lines;
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
      this.tell(`client: "${text}" stands at ${offset}`);
    } catch (error) {
      this.tell(`client: "${text}" failed with ${asGfsError(error).code}`);
    }
  }

  /** What the file holds for the client. */
  async read(file: OpenFile, lengthBytes = 10_000): Promise<void> {
    const buffers = await this.settle(file.read(0, lengthBytes));
    this.tell(`client reads "${Buffer.concat(buffers).toString()}"`);
  }

  /** Does something once, at the first such moment from now on. */
  once(moment: Moment, act: () => void): void {
    this.traps.push({ moment, act });
  }

  /** The machine with this role in the first chunk's chain. */
  machine(role: 'primary' | 'secondary' | 'tail' | 'master'): Machine {
    const [first] = this.chains.values();
    const host = role === 'master' ? role : first?.[ROLES.indexOf(role)];
    return this.cluster.machines.find(({ name }) => name === host)!;
  }

  async pass(ms: number): Promise<void> {
    await this.simulator.run(ms);
  }

  private async until(isReached: () => boolean): Promise<void> {
    if (!(await this.simulator.runUntil(isReached, STEP_MS_MAX)))
      throw new Error(`the story got stuck:\n${this.lines.join('\n')}`);
  }

  private tell(line: string, order = ''): void {
    this.told.push({ line, order });
  }

  private role(host: string, handle: number | undefined): string {
    if (host === 'master') return host;
    if (/^c\d/.test(host)) return host === 'c1' ? 'client' : 'another client';
    const chain = (handle === undefined ? undefined : this.chains.get(handle)) ?? [];
    return ROLES[chain.indexOf(host)] ?? 'another server';
  }

  private onCall(call: ObservedCall): void {
    if (!SHOWN.has(call.kind)) return;
    const handle = handleOf(call);
    this.tell(
      `${this.role(call.from, handle)} → ${this.role(call.to, handle)}: ${showCall(call, this.writers)}`,
      isOrder(call.kind) ? `→ ${call.kind} ${handle}` : '',
    );
    this.spring({ kind: call.kind, what: 'call', at: this.role(call.to, handle) });
  }

  private onAnswer(call: ObservedCall, answer: { body?: unknown; error?: GfsError }): void {
    if (!SHOWN.has(call.kind)) return;
    const handle = handleOf(call);
    if (!answer.error && (call.kind === 'appendTarget' || call.kind === 'createFile')) {
      const { target } = answer.body as Partial<Reply<'appendTarget'>>;
      if (target)
        this.chains.set(
          target.handle,
          target.chain.map(({ address }) => hostName(address)),
        );
    }
    this.tell(
      `${this.role(call.from, handle)} ← ${this.role(call.to, handle)}: ${call.kind} ${showAnswer(call.kind, answer)}`,
      isOrder(call.kind) ? `← ${call.kind} ${handle}` : '',
    );
    this.spring({ kind: call.kind, what: 'answer', at: this.role(call.to, handle) });
  }

  private spring(now: Moment): void {
    const index = this.traps.findIndex(
      ({ moment }) => moment.kind === now.kind && moment.what === now.what && moment.at === now.at,
    );
    if (index < 0) return;
    const [trap] = this.traps.splice(index, 1);
    // Not inside the event that set it off: the message is already on its way.
    this.simulator.schedule(0, trap!.act);
  }
}

/** Everything takes its usual time, nothing is late: then what is told depends on the protocol alone. Ids and choices are still by chance. */
class CalmSimulator extends Simulator {
  override random(stream: string): SimRandom {
    return new CalmRandom(this.seed, stream);
  }
}

class CalmRandom extends SimRandom {
  override between(low: number, high: number): number {
    return (low + high) / 2;
  }

  override chance(): boolean {
    return false;
  }
}

/** Given to all members of a chain at once. */
function isOrder(kind: Kind): boolean {
  return kind === 'fence' || kind === 'fix' || kind === 'grant';
}

function handleOf({ request }: ObservedCall): number | undefined {
  const { handle, token } = request as { handle?: number; token?: Buffer };
  return handle ?? (token && readToken(token).handle);
}
