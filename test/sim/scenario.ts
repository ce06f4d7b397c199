// One seed, from an empty cluster to the last check: builds it, lets workloads and faults run, heals, waits, reads everything back. The same seed
// and options give the same run, event for event.
import './small-units.js';

import { BOUNDS } from '../../src/chunkserver/settings.js';
import { AssertionError } from '../../src/lib/assert.js';
import type { GfsError } from '../../src/protocol/errors.js';
import { Actor } from './actor.js';
import { Caretaker } from './caretaker.js';
import { findContradiction, findUnclean } from './checked.js';
import { allCheckers } from './checkers.js';
import { Cluster, LEASE_MS, MASTER_ADDRESS, OPERATION_MS } from './cluster.js';
import { watchCopies } from './copy-watch.js';
import { watchDeletions } from './deletion-watch.js';
import { CLEAN, decommission, HEALED, loseBlock, wantFewer } from './endings.js';
import { planFaults } from './fault-plan.js';
import { Faults } from './faults.js';
import { findUnhealed } from './healed.js';
import { type Checker, History, type HistoryEvent, type Violation } from './history.js';
import { type ObservedCall, observe, readToken, replyOf, requestOf } from './observer.js';
import { Operator, restoreFile } from './operator.js';
import type { SimRandom } from './platform/sim-random.js';
import { Simulator } from './platform/simulator.js';
import { drawShape } from './shape.js';
import { showAnswer, showCall, WriterNames } from './show-call.js';
import { chooseWorkloads } from './workloads/choose.js';
import { at } from './workloads/workload.js';

export interface ScenarioOptions {
  /** Indices of planned faults to leave out. */
  skipFaults?: ReadonlySet<number>;
  onTrace?: (line: string) => void;
}

export interface ScenarioResult {
  seed: number;
  /** The first ones: the scenario stops at once. Empty when all promises were kept. */
  violations: Violation[];
  /** Injected, by kind. */
  faults: Record<string, number>;
  faultsPlanned: number;
  /** What happened, by kind of event. */
  counts: Record<string, number>;
  virtualMs: number;
  events: number;
  trace: readonly string[];
  /** Equal for equal runs. */
  fingerprint: string;
}

const TIMES = {
  /** The cluster and its clients are up by then. */
  startMs: 10_000,
  /** Faults come for between these. */
  faultsMs: [3_000, 8_000],
  /** After the last fault appends succeed again within this. */
  recoveryMs: 6_000,
  /** Work goes on for so long after that. */
  calmMs: 1_500,
  /** The last reads succeed within this. */
  finalMs: 40_000,
  /** Then every chunk has its copies, and what nobody needs is gone, within this: the grace of garbage and a round of scrubbing are in it. */
  healedMs: 120_000,
  /** After that the master's own check finds nothing more within this. */
  cleanMs: 30_000,
} as const;
const HEALED_EVERY_MS = 2_000;
/** Once the faults are over there is less to learn: workloads take longer pauses. */
const CALM_PACE = 5;
/** Seeds in which an operator drains servers and asks for other numbers of copies. */
const OPERATOR_CHANCE = 0.4;
/** Seeds that end with something more. */
const ENDING_CHANCE = 0.25;
const CHUNK_SIZES = [4, 8, 16, 64].map(kib => kib * 1024);

export async function runScenario(seed: number, options: ScenarioOptions = {}): Promise<ScenarioResult> {
  return await new Scenario(seed, options).run();
}

class Scenario {
  private readonly simulator: Simulator;
  private readonly random: SimRandom;
  private readonly history: History;
  private readonly cluster: Cluster;
  private readonly faults: Faults;
  private readonly plannedFaults: ReturnType<typeof planFaults>;
  private readonly hosts = new WeakMap<object, string>();
  private readonly writers = new WriterNames();
  private readonly files = new Map<number, HistoryEvent & { kind: 'file' }>();
  /** Files that were deleted, and of those the names they got out of the trash. */
  private readonly unlinked = new Set<number>();
  private readonly purged = new Set<number>();
  /** The names that were acknowledged last. */
  private readonly names = new Map<number, string>();
  /** Files whose deletion was asked for. */
  private readonly mayBeGone = new Set<number>();
  private readonly restored = new Map<number, string>();
  private readonly workloads: ReturnType<typeof chooseWorkloads>;
  /** Runs of workloads on processes that live. */
  private readonly lives = new Map<string, number>();
  private isHealed = false;
  private isOver = false;
  private writerCount = 0;

  constructor(seed: number, options: ScenarioOptions) {
    const { onTrace } = options;
    this.simulator = new Simulator({ seed, traceLinesMax: 20_000, ...(onTrace ? { onTrace } : {}) });
    this.random = this.simulator.random('scenario');
    const { random } = this;
    // A stream of its own, as for all that came later: what was drawn before stays as it was.
    const limits = this.simulator.random('copy limits');
    const chunkSizeBytes = CHUNK_SIZES[random.int(CHUNK_SIZES.length)]!;
    const copyLimits = {
      copiesMax: 1 + limits.int(6),
      copiesPerServer: 1 + limits.int(3),
      // Enough for a chunk within the time that a copy may take.
      copyRate: [0, 0, 2, 8][limits.int(4)]! * chunkSizeBytes,
      serverCopyRate: [0, 0, 4, 16][limits.int(4)]! * Math.max(chunkSizeBytes, BOUNDS.pieceBytes),
      chunkSizeBytes,
      pieceBytes: BOUNDS.pieceBytes,
    };
    const shape = drawShape(this.simulator.random('shape'));
    const habits = this.simulator.random('client habits');
    // Short enough that faults outlive it.
    this.operationMs = habits.chance(0.3) ? habits.between(2_000, 3_000) : OPERATION_MS;
    const revalidateMs = habits.chance(0.5) ? 300 : 5_000;
    const deafClients = habits.chance(0.4);
    this.history = new History(
      () => this.simulator.nowMs,
      [this.collector(), ...allCheckers({ recoveryMs: TIMES.recoveryMs, copyLimits })],
      line => this.simulator.trace(line()),
    );
    this.cluster = new Cluster(
      this.simulator,
      {
        servers: 3 + random.int(3),
        clients: 2 + random.int(3),
        chunkSizeBytes,
        logLevel: onTrace ? 'info' : 'warn',
        driftMax: [0, 0.001, 0.02][random.int(3)]!,
        ...shape,
        appendTryMs: [250, 500, 1_200][random.int(3)]!,
        copyLimits,
        operationMs: this.operationMs,
        revalidateMs,
        deafClients,
      },
      {
        onBoot: (platform, host) => this.hosts.set(platform, host),
        onDeath: host => this.onDeath(host),
        onClient: (name, client, platform) => this.onClient(name, client, platform.clock),
      },
    );
    const isDurable = random.chance(0.2);
    this.isDurable = isDurable;
    const faultsMs = random.between(TIMES.faultsMs[0], TIMES.faultsMs[1]);
    this.plannedFaults = planFaults(random, { fromMs: 300, untilMs: faultsMs, isDurable });
    this.faultsMs = faultsMs;
    this.faults = new Faults(this.cluster, {
      plan: this.plannedFaults,
      skip: options.skipFaults ?? new Set(),
      isDurable,
      disks: shape.disks,
      deletions: watchDeletions(() => this.simulator.nowMs),
      onFault: (fault, node) => this.history.tell({ kind: 'fault', fault, node, atMs: this.simulator.nowMs }),
      onGoOn: (node, sinceMs) => this.history.tell({ kind: 'wentOn', node, sinceMs, atMs: this.simulator.nowMs }),
    });
    this.workloads = chooseWorkloads(random, this.cluster.clients.length, { isDurable });
  }

  private readonly operationMs: number;
  private readonly faultsMs: number;
  /** Appends count when they are on the disks, and then all machines may lose power. */
  private readonly isDurable: boolean;

  async run(): Promise<ScenarioResult> {
    observe(
      { onCall: call => this.onCall(call), onAnswer: (call, answer) => this.onAnswer(call, answer) },
      platform => this.hosts.get(platform as object) ?? '?',
    );
    watchCopies({
      onCopy: ({ handle, servers, inAll }) => {
        const fullest = servers.reduce((a, b) => (b.count > a.count ? b : a));
        const { server, count: atServer } = fullest;
        this.history.tell({ kind: 'copying', handle, server, atServer, inAll, atMs: this.simulator.nowMs });
      },
      onCopied: copied => this.history.tell({ kind: 'copied', ...copied, atMs: this.simulator.nowMs }),
      nowMs: () => this.simulator.nowMs,
    });
    const onRejection = (error: unknown): void => this.bug(error);
    process.on('unhandledRejection', onRejection);
    try {
      await this.live();
    } catch (error) {
      this.bug(error);
    } finally {
      process.off('unhandledRejection', onRejection);
    }
    const { simulator, history } = this;
    return {
      seed: simulator.seed,
      violations: history.violations,
      faults: Object.fromEntries(simulator.faultCounts),
      faultsPlanned: this.plannedFaults.length,
      counts: history.counts,
      virtualMs: simulator.nowMs,
      events: simulator.eventCount,
      trace: simulator.traceLines,
      fingerprint: simulator.fingerprint,
    };
  }

  private async live(): Promise<void> {
    const { cluster, history, faults } = this;
    cluster.startServers();
    for (const client of cluster.clients) client.start();
    if (!(await this.until(() => cluster.machines.every(machine => machine.isReady), TIMES.startMs)))
      return this.fail(
        'The cluster starts.',
        `${cluster.machines.filter(machine => !machine.isReady).map(({ name }) => name)} did not.`,
      );
    if (this.simulator.random('has operator').chance(OPERATOR_CHANCE)) this.startOperator();
    faults.schedule();
    if (!(await this.pass(this.faultsMs))) return;
    faults.heal();
    this.isHealed = true;
    history.tell({ kind: 'healed', atMs: this.simulator.nowMs });
    if (faults.lostServers.length > 0) this.startCaretaker();
    if (!(await this.pass(TIMES.recoveryMs + TIMES.calmMs))) return;
    this.isOver = true;
    const isQuiet = (): boolean => history.pendingCount === 0 && [...this.lives.values()].every(count => count === 0);
    if (!(await this.until(isQuiet, 4 * OPERATION_MS))) {
      if (history.violations.length > 0) return;
      const late = history.overdue().map(({ id, client, asked }) => `#${id} (${asked.kind} of ${client})`);
      return this.fail(
        'No operation outlives its deadline.',
        `These never ended: ${late.join(', ')}; workloads: ${JSON.stringify([...this.lives])}.`,
      );
    }
    history.tell({ kind: 'quiet', atMs: this.simulator.nowMs });
    await this.judge();
  }

  private startOperator(): void {
    const { cluster, simulator } = this;
    this.lives.set('operator', 1);
    cluster.addOperator('operator', async platform => {
      const operator = new Operator(platform, {
        master: MASTER_ADDRESS,
        servers: cluster.servers.map(({ name }) => `${name}:9411`),
        random: simulator.random('operator'),
        isOver: () => this.isHealed,
        onPurge: inode => this.purged.add(inode),
        onRepaired: what => this.fail('The rows of the metadata agree with one another.', what),
        trace: line => simulator.trace(line),
      });
      await operator.run();
      this.lives.set('operator', 0);
    });
  }

  private startCaretaker(): void {
    const { cluster, simulator, faults } = this;
    this.lives.set('caretaker', 1);
    cluster.addOperator('caretaker', async platform => {
      const caretaker = new Caretaker(platform, cluster, {
        lost: faults.lostServers,
        forgets: simulator.random('forgets').chance(0.5),
        trace: line => simulator.trace(line),
        violate: (promise, what) => this.fail(promise, what),
      });
      await caretaker.run();
      this.lives.set('caretaker', 0);
    });
  }

  /** What was deleted gets a name again out of the trash, where it has to be unless a disk ran full. */
  private async restoreAll(): Promise<void> {
    const inodes = [...this.unlinked].filter(inode => !this.purged.has(inode)).sort((a, b) => a - b);
    let isDone = inodes.length === 0;
    if (isDone || (this.simulator.faultCounts.get('full disk') ?? 0) > 0) return;
    this.cluster.addOperator('restorer', async platform => {
      for (const inode of inodes) {
        const path = `restored-${inode}`;
        const code = await restoreFile(platform, { master: MASTER_ADDRESS, inode, path });
        if (code === undefined) this.restored.set(inode, path);
        else this.fail('The trash holds what was deleted for its time.', `Inode ${inode} is not there: ${code}.`);
      }
      isDone = true;
    });
    await this.until(() => isDone, TIMES.finalMs);
    if (!isDone && this.history.violations.length === 0)
      this.fail('The trash holds what was deleted for its time.', 'It does not answer.');
  }

  /** Everything is read back by clients that have seen nothing, and the master's rows are checked. */
  private async judge(): Promise<void> {
    await this.restoreAll();
    for (const name of ['last1', 'last2']) if (!(await this.withReader(name, actor => this.readAll(actor)))) return;
    const master = this.cluster.masterProcess;
    if (!master) return this.fail('The master runs when all is well.', 'It does not.');
    // Garbage may be collected while its rows are read, so this is not the strict check of a store at rest.
    const contradiction = await this.awaitNothing(() => findContradiction(this.cluster), 0);
    if (contradiction !== undefined) this.fail('The rows of the metadata agree with one another.', contradiction);
    for (const server of this.cluster.serverProcesses.values()) server.checkInvariants();
    const unhealed = await this.awaitNothing(async () => findUnhealed(this.cluster), TIMES.healedMs);
    if (unhealed !== undefined) this.fail(HEALED, unhealed);
    const unclean = await this.awaitNothing(() => findUnclean(this.cluster), TIMES.cleanMs);
    if (unclean !== undefined) this.fail(CLEAN, unclean);
    if (this.history.violations.length === 0) await this.end();
  }

  private async end(): Promise<void> {
    const { cluster, simulator, history } = this;
    const random = simulator.random('ending');
    const ending = random.chance(ENDING_CHANCE) ? [loseBlock, wantFewer, decommission][random.int(3)] : undefined;
    await ending?.({
      ...{ cluster, random },
      files: new Set(this.files.keys()),
      withReader: (name, work) => this.withReader(name, work),
      readAll: (actor, except) => this.readAll(actor, except),
      await: async (promise, look) => {
        const wrong = await this.awaitNothing(look, TIMES.healedMs);
        if (wrong !== undefined) this.fail(promise, wrong);
      },
      until: isReached => this.until(isReached, TIMES.healedMs),
      fail: (promise, what) => this.fail(promise, what),
      isFailed: () => history.violations.length > 0,
    });
  }

  /** Lets a client that has seen nothing do `work`; false when the scenario is to end. */
  private async withReader(name: string, work: (actor: Actor) => Promise<void>): Promise<boolean> {
    let isDone = false;
    this.onReader = (actor: Actor) => {
      work(actor).then(
        () => {
          isDone = true;
        },
        error => this.bug(error),
      );
    };
    this.cluster.addClient(name);
    if (await this.until(() => isDone, TIMES.finalMs)) return true;
    if (this.history.violations.length === 0)
      this.fail('What was acknowledged can be read when all is well.', 'The last reads did not end.');
    return false;
  }

  /** Looks again and again until nothing is wrong: what still is when the time for it is over. */
  private async awaitNothing(look: () => Promise<string | undefined>, maxMs: number): Promise<string | undefined> {
    for (let waitedMs = 0; ; waitedMs += HEALED_EVERY_MS) {
      let found: { wrong: string | undefined } | undefined;
      look().then(
        wrong => {
          found = { wrong };
        },
        error => this.bug(error),
      );
      if (!(await this.until(() => found !== undefined, TIMES.finalMs)) || found?.wrong === undefined) return undefined;
      if (waitedMs >= maxMs) return found.wrong;
      if (!(await this.pass(HEALED_EVERY_MS))) return undefined;
    }
  }

  private onReader: ((actor: Actor) => void) | undefined;

  private async readAll(actor: Actor, except?: number): Promise<void> {
    for (const { file: inode, style } of this.files.values()) {
      if (inode === except) continue;
      for (let attempt = 1; ; attempt++) {
        const error = await actor.attempt(async () => {
          const file = await actor.client.openInode(inode);
          const { sizeBytes } = await actor.size(file);
          await actor.read(file, 0, sizeBytes + 1, { final: true, watchCuts: style.kind === 'cut' });
          await file.close();
          const path = this.restored.get(inode) ?? this.names.get(inode);
          if (path !== undefined && (await actor.client.lookup(at(path))).inode !== inode)
            actor.history.violate('A name that was acknowledged stays.', `${path} is not inode ${inode}.`);
        });
        // Deleted for good, as its workload wanted.
        const isGone = error?.code === 'STALE' || error?.code === 'NOT_FOUND';
        if (!error || (isGone && this.mayBeGone.has(inode) && !this.restored.has(inode))) break;
        if (this.history.violations.length > 0) return;
        if (attempt === 5)
          return this.fail(
            'What was acknowledged can be read when all is well.',
            `Inode ${inode}: ${error.code} ${error.message}`,
          );
        await actor.sleep(500);
      }
    }
  }

  private onClient(
    name: string,
    client: ConstructorParameters<typeof Actor>[0]['client'],
    clock: { setTimer(ms: number, fire: () => void): unknown },
  ): void {
    const random = this.simulator.random(`actor ${name} ${this.writerCount}`);
    const actor = new Actor({
      name,
      client,
      history: this.history,
      random,
      sleep: ms => new Promise(resolve => void clock.setTimer(this.isHealed ? ms * CALM_PACE : ms, () => resolve())),
      isOver: () => this.isOver,
      operationMs: name.startsWith('last') ? OPERATION_MS : this.operationMs,
      isDurable: this.isDurable,
      nextWriter: () => ++this.writerCount,
    });
    if (name.startsWith('last')) {
      this.onReader?.(actor);
      return;
    }
    const index = this.cluster.clients.findIndex(machine => machine.name === name);
    const mine = this.workloads[index]!;
    this.lives.set(name, mine.length);
    const incarnation = this.cluster.clients[index]!.node.incarnation;
    for (const workload of mine) {
      this.simulator.trace(`${name} begins: ${workload.name}`);
      const ended = (): void => {
        if (this.cluster.clients[index]!.node.incarnation === incarnation)
          this.lives.set(name, this.lives.get(name)! - 1);
      };
      workload.run(actor).then(ended, error => {
        this.bug(error);
        ended();
      });
    }
  }

  /** No judge: notes which files there are. */
  private collector(): Checker {
    return {
      promise: '',
      on: event => {
        if (event.kind === 'file') this.files.set(event.file, event);
        if (event.kind === 'unlinked') this.unlinked.add(event.file);
        if (event.kind === 'named') {
          if (event.path === undefined) this.names.delete(event.file);
          else this.names.set(event.file, event.path);
          if (event.mayGo) this.mayBeGone.add(event.file);
        }
        return undefined;
      },
    };
  }

  private onDeath(host: string): void {
    this.lives.delete(host);
    this.history.abandon(host);
  }

  private onCall(call: ObservedCall): void {
    if (call.kind === 'heartbeat' || call.kind === 'keepSession') return;
    this.simulator.trace(`${call.from} → ${call.to} ${showCall(call, this.writers)}`);
    if (call.kind === 'fence' || call.kind === 'grant') this.faults.onVersionRaised();
  }

  private onAnswer(call: ObservedCall, answer: { body?: unknown; error?: GfsError }): void {
    const atMs = this.simulator.nowMs;
    const { error } = answer;
    if (error?.code === 'FAILED' || error?.cause instanceof AssertionError) this.bug(error.cause ?? error);
    if (call.kind === 'heartbeat') {
      if (error) return;
      for (const { handle, version } of replyOf(answer.body, 'heartbeat').extended)
        this.history.tell({ kind: 'leased', handle, version, untilMs: this.byMaster(LEASE_MS), atMs });
      return;
    }
    if (call.kind === 'keepSession') return;
    this.simulator.trace(`${call.from} ← ${call.to} ${call.kind} ${showAnswer(call.kind, answer)}`);
    if (error) return;
    if (call.kind === 'append') {
      const { handle, version } = readToken(requestOf(call, 'append').token);
      this.history.tell({ kind: 'acknowledged', server: call.to, handle, version, atMs });
    } else if (call.kind === 'read' && readToken(requestOf(call, 'read').token).right === 'copy') {
      const { incarnation } = this.cluster.servers.find(({ name }) => name === call.to)!.node;
      const bytes = requestOf(call, 'read').lengthBytes;
      this.history.tell({ kind: 'sentCopy', process: `${call.to}#${incarnation}`, bytes, atMs });
    } else if (call.kind === 'adopt') {
      const { handle, version, leaseMs } = requestOf(call, 'adopt');
      this.history.tell({ kind: 'leased', handle, version, untilMs: this.byMaster(leaseMs), atMs });
    } else if (call.kind === 'appendTarget' || call.kind === 'createFile') {
      const { target } = answer.body as { target?: { handle: number; version: number; leaseMs: number } };
      if (target)
        this.history.tell({
          kind: 'leased',
          handle: target.handle,
          version: target.version,
          untilMs: this.byMaster(target.leaseMs),
          atMs,
        });
    }
  }

  /** The virtual time at which so much has passed by the master's clock. */
  private byMaster(durationMs: number): number {
    return this.simulator.nowMs + durationMs / this.cluster.master.node.clock.rate;
  }

  /** A broken assertion, or a failure that nobody expected. */
  private bug(error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.fail('Assertions hold and failures are foreseen.', text.split('\n').slice(0, 6).join(' | '));
  }

  private fail(promise: string, what: string): void {
    this.history.violate(promise, what);
  }

  /** Lets time pass; false when the scenario is to end. */
  private async pass(durationMs: number): Promise<boolean> {
    return !(await this.simulator.runUntil(() => this.history.violations.length > 0, durationMs));
  }

  private async until(isReached: () => boolean, maxMs: number): Promise<boolean> {
    const { violations } = this.history;
    await this.simulator.runUntil(() => violations.length > 0 || isReached(), maxMs);
    return violations.length === 0 && isReached();
  }
}
