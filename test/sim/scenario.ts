// One seed, from an empty cluster to the last check: builds it, lets workloads and faults run, heals, waits, reads everything back. The same seed
// and options give the same run, event for event.
import './small-units.js';

import { BOUNDS } from '../../src/chunkserver/settings.js';
import { AssertionError } from '../../src/lib/assert.js';
import type { GfsError } from '../../src/protocol/errors.js';
import { Actor } from './actor.js';
import { Caretaker } from './caretaker.js';
import { allCheckers } from './checkers.js';
import { Cluster, LEASE_MS, MASTER_ADDRESS, OPERATION_MS, SESSION_TTL_MS } from './cluster.js';
import { watchCopies } from './copy-watch.js';
import { watchDeletions } from './deletion-watch.js';
import { planFaults } from './fault-plan.js';
import { Faults } from './faults.js';
import { History, type Violation } from './history.js';
import { Judge } from './judge.js';
import { KnownFiles } from './known-files.js';
import { type ObservedCall, observe, readToken, replyOf, requestOf } from './observer.js';
import { Operator } from './operator.js';
import type { SimRandom } from './platform/sim-random.js';
import { Simulator } from './platform/simulator.js';
import { drawShape } from './shape.js';
import { showAnswer, showCall, WriterNames } from './show-call.js';
import { drawUnits } from './units.js';
import { chooseWorkloads } from './workloads/choose.js';

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
} as const;
/** Once the faults are over there is less to learn: workloads take longer pauses. */
const CALM_PACE = 5;
/** Seeds in which an operator drains servers and asks for other numbers of copies. */
const OPERATOR_CHANCE = 0.4;
/** Seeds in which deleted files go as soon as nobody has them open. */
const NO_TRASH_CHANCE = 0.3;
const SHORT_GRACE_MS = 2_500;
/** Of the time after which the master ends a session: its clock may be fast, and the client's word was on its way. */
const SILENCE_SHARE = 0.75;
const CHUNK_SIZES = [4, 8, 16, 64].map(kib => kib * 1024);
/** Seldom, as their bytes take long to compare. The last one takes appends that are pushed as the product ships. */
const LARGE_CHUNK_SIZES = [256, 512, 1024, 8192].map(kib => kib * 1024);
const LARGE_CHUNKS_CHANCE = 0.06;

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
  private readonly known = new KnownFiles();
  private readonly judge: Judge;
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
    const usual = CHUNK_SIZES[random.int(CHUNK_SIZES.length)]!;
    const sizes = this.simulator.random('sizes');
    const isLarge = sizes.chance(LARGE_CHUNKS_CHANCE);
    const chunkSizeBytes = isLarge ? LARGE_CHUNK_SIZES[sizes.int(LARGE_CHUNK_SIZES.length)]! : usual;
    drawUnits(sizes);
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
    this.operationMs = habits.chance(0.5) ? habits.between(2_000, 3_000) : OPERATION_MS;
    const revalidateMs = habits.chance(0.5) ? 300 : 5_000;
    const deafClients = habits.chance(0.4);
    const times = this.simulator.random('times of the master');
    this.keepsTrash = !times.chance(NO_TRASH_CHANCE);
    const masterTimes = {
      ...(this.keepsTrash ? {} : { trash: 0, gcGrace: SHORT_GRACE_MS }),
      // Tokens run out under load.
      ...(times.chance(0.25) ? { tokenLifetime: times.between(1_000, 3_000) } : {}),
    };
    const openFiles = {
      silenceMs: SESSION_TTL_MS * SILENCE_SHARE,
      isPurged: (inode: number) => this.known.purged.has(inode),
    };
    this.history = new History(
      () => this.simulator.nowMs,
      [this.known, ...allCheckers({ recoveryMs: TIMES.recoveryMs, copyLimits, openFiles })],
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
        masterTimes,
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
      power: isDurable ? 'all' : habits.chance(0.6) ? 'all but one' : 'one',
      disks: shape.disks,
      deletions: watchDeletions(() => this.simulator.nowMs),
      onFault: (fault, node) => this.history.tell({ kind: 'fault', fault, node, atMs: this.simulator.nowMs }),
      onGoOn: (node, sinceMs) => this.history.tell({ kind: 'wentOn', node, sinceMs, atMs: this.simulator.nowMs }),
    });
    this.judge = new Judge({
      ...{ simulator: this.simulator, cluster: this.cluster, history: this.history, known: this.known },
      keepsTrash: this.keepsTrash,
      pass: durationMs => this.pass(durationMs),
      until: (isReached, maxMs) => this.until(isReached, maxMs),
      fail: (promise, what) => this.fail(promise, what),
      bug: error => this.bug(error),
    });
    this.workloads = chooseWorkloads(random, this.cluster.clients.length, { isDurable });
  }

  private readonly operationMs: number;
  private readonly faultsMs: number;
  /** Appends count when they are on the disks, and then all machines may lose power. */
  private readonly isDurable: boolean;
  /** What is deleted can be restored for longer than the scenario lasts. */
  private readonly keepsTrash: boolean;

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
    await this.judge.judge();
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
        onPurge: inode => this.known.purged.add(inode),
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
      this.judge.onReader?.(actor);
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
    if (call.kind === 'keepSession') {
      if (!error) this.history.tell({ kind: 'kept', client: call.from, atMs });
      return;
    }
    this.simulator.trace(`${call.from} ← ${call.to} ${call.kind} ${showAnswer(call.kind, answer)}`);
    if (error) return;
    if (call.kind === 'append') {
      const { handle, version } = readToken(requestOf(call, 'append').token);
      // Where all machines may lose power what was acknowledged without a sync may be lost: no length is too short for it.
      const standsAt = replyOf(answer.body, 'append').offset;
      const endByte = this.isDurable ? 0 : standsAt + requestOf(call, 'append').lengthBytes;
      this.history.tell({ kind: 'acknowledged', server: call.to, handle, version, endByte, atMs });
    } else if (call.kind === 'fix') {
      const { handle, version, lengthBytes } = requestOf(call, 'fix');
      this.history.tell({ kind: 'settled', handle, version, lengthBytes, atMs });
    } else if (call.kind === 'read' && readToken(requestOf(call, 'read').token).right === 'copy') {
      const { incarnation } = this.cluster.servers.find(({ name }) => name === call.to)!.node;
      const bytes = requestOf(call, 'read').lengthBytes;
      this.history.tell({ kind: 'sentCopy', process: `${call.to}#${incarnation}`, bytes, atMs });
    } else if (call.kind === 'adopt') {
      const { handle, version, leaseMs, lengthBytes } = requestOf(call, 'adopt');
      this.history.tell({ kind: 'settled', handle, version, lengthBytes, atMs });
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
