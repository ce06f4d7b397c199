// The end of a scenario: what was deleted is restored, everything is read back by clients that have seen nothing, the metadata is checked, the cluster has to
// become well; then some seeds do something more (endings.ts). It lets time pass only through its owner.
import type { Actor } from './actor.js';
import { findContradiction, findUnclean } from './checked.js';
import { type Cluster, MASTER_ADDRESS } from './cluster.js';
import { CLEAN, decommission, HEALED, loseBlock, wantFewer } from './endings.js';
import { findUnhealed } from './healed.js';
import type { History } from './history.js';
import type { KnownFiles } from './known-files.js';
import { restoreFile } from './operator.js';
import type { Simulator } from './platform/simulator.js';
import { at } from './workloads/workload.js';

const TIMES = {
  /** The last reads succeed within this. */
  finalMs: 40_000,
  /** Then every chunk has its copies, and what nobody needs is gone, within this: the grace of garbage and a round of scrubbing are in it. */
  healedMs: 120_000,
  /** After that the master's own check finds nothing more within this. */
  cleanMs: 30_000,
} as const;
const LOOK_EVERY_MS = 2_000;
/** Seeds that end with something more. */
const ENDING_CHANCE = 0.25;

export interface JudgeParts {
  simulator: Simulator;
  cluster: Cluster;
  history: History;
  known: KnownFiles;
  /** The trash still holds what was deleted. */
  keepsTrash: boolean;
  /** Lets time pass; false when the scenario is to end. */
  pass: (durationMs: number) => Promise<boolean>;
  until: (isReached: () => boolean, maxMs: number) => Promise<boolean>;
  fail: (promise: string, what: string) => void;
  bug: (error: unknown) => void;
}

export class Judge {
  /** For the next client that connects. */
  onReader: ((actor: Actor) => void) | undefined;

  constructor(private readonly parts: JudgeParts) {}

  private get isFailed(): boolean {
    return this.parts.history.violations.length > 0;
  }

  /** Everything is read back by clients that have seen nothing, and the master's rows are checked. */
  async judge(): Promise<void> {
    await this.restoreAll();
    for (const name of ['last1', 'last2']) if (!(await this.withReader(name, actor => this.readAll(actor)))) return;
    const master = this.parts.cluster.masterProcess;
    if (!master) return this.parts.fail('The master runs when all is well.', 'It does not.');
    // Garbage may be collected while its rows are read, so this is not the strict check of a store at rest.
    const contradiction = await this.awaitNothing(() => findContradiction(this.parts.cluster), 0);
    if (contradiction !== undefined) this.parts.fail('The rows of the metadata agree with one another.', contradiction);
    for (const server of this.parts.cluster.serverProcesses.values()) server.checkInvariants();
    const unhealed = await this.awaitNothing(async () => findUnhealed(this.parts.cluster), TIMES.healedMs);
    if (unhealed !== undefined) this.parts.fail(HEALED, unhealed);
    const unclean = await this.awaitNothing(() => findUnclean(this.parts.cluster), TIMES.cleanMs);
    if (unclean !== undefined) this.parts.fail(CLEAN, unclean);
    if (!this.isFailed) await this.end();
  }

  /** What was deleted gets a name again out of the trash, where it has to be unless a disk ran full. */
  private async restoreAll(): Promise<void> {
    const inodes = this.parts.known.deleted;
    let isDone = inodes.length === 0 || !this.parts.keepsTrash;
    if (isDone || (this.parts.simulator.faultCounts.get('full disk') ?? 0) > 0) return;
    this.parts.cluster.addOperator('restorer', async platform => {
      for (const inode of inodes) {
        const path = `restored-${inode}`;
        const code = await restoreFile(platform, { master: MASTER_ADDRESS, inode, path });
        if (code === undefined) this.parts.known.restored.set(inode, path);
        else this.parts.fail('The trash holds what was deleted for its time.', `Inode ${inode} is not there: ${code}.`);
      }
      isDone = true;
    });
    await this.parts.until(() => isDone, TIMES.finalMs);
    if (!isDone && !this.isFailed)
      this.parts.fail('The trash holds what was deleted for its time.', 'It does not answer.');
  }

  private async end(): Promise<void> {
    const { cluster, simulator } = this.parts;
    const random = simulator.random('ending');
    const ending = random.chance(ENDING_CHANCE) ? [loseBlock, wantFewer, decommission][random.int(3)] : undefined;
    await ending?.({
      ...{ cluster, random },
      files: new Set([...this.parts.known.files.keys()].filter(inode => this.parts.known.mustStay(inode))),
      withReader: (name, work) => this.withReader(name, work),
      readAll: (actor, except) => this.readAll(actor, except),
      await: async (promise, look) => {
        const wrong = await this.awaitNothing(look, TIMES.healedMs);
        if (wrong !== undefined) this.parts.fail(promise, wrong);
      },
      until: isReached => this.parts.until(isReached, TIMES.healedMs),
      fail: (promise, what) => this.parts.fail(promise, what),
      isFailed: () => this.isFailed,
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
        error => this.parts.bug(error),
      );
    };
    this.parts.cluster.addClient(name);
    if (await this.parts.until(() => isDone, TIMES.finalMs)) return true;
    if (!this.isFailed)
      this.parts.fail('What was acknowledged can be read when all is well.', 'The last reads did not end.');
    return false;
  }

  /** Looks again and again until nothing is wrong: what still is when the time for it is over. */
  private async awaitNothing(look: () => Promise<string | undefined>, maxMs: number): Promise<string | undefined> {
    for (let waitedMs = 0; ; waitedMs += LOOK_EVERY_MS) {
      let found: { wrong: string | undefined } | undefined;
      look().then(
        wrong => {
          found = { wrong };
        },
        error => this.parts.bug(error),
      );
      if (!(await this.parts.until(() => found !== undefined, TIMES.finalMs)))
        return this.isFailed ? undefined : 'It cannot be seen: the look at it never ends.';
      if (found?.wrong === undefined) return undefined;
      if (waitedMs >= maxMs) return found.wrong;
      if (!(await this.parts.pass(LOOK_EVERY_MS))) return undefined;
    }
  }

  private async readAll(actor: Actor, except?: number): Promise<void> {
    for (const { file: inode, style } of this.parts.known.files.values()) {
      if (inode === except) continue;
      for (let attempt = 1; ; attempt++) {
        const error = await actor.attempt(async () => {
          const file = await actor.client.openInode(inode);
          const { sizeBytes } = await actor.size(file);
          await actor.read(file, 0, sizeBytes + 1, { final: true, watchCuts: style.kind === 'cut' });
          await file.close();
          const path = this.parts.known.restored.get(inode) ?? this.parts.known.names.get(inode);
          if (path !== undefined && (await actor.client.lookup(at(path))).inode !== inode)
            actor.history.violate('A name that was acknowledged stays.', `${path} is not inode ${inode}.`);
        });
        // Deleted for good, as its workload wanted.
        const isGone = error?.code === 'STALE' || error?.code === 'NOT_FOUND';
        if (!error || (isGone && !this.parts.known.mustStay(inode))) break;
        if (this.isFailed) return;
        if (attempt === 5)
          return this.parts.fail(
            'What was acknowledged can be read when all is well.',
            `Inode ${inode}: ${error.code} ${error.message}`,
          );
        await actor.sleep(500);
      }
    }
  }
}
