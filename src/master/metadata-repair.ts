// Contradictions in the metadata, for operators: found by reading all rows, shown with what a repair would do, and at their word put right. A repair is made of
// ordinary changes of the store, in the very turn in which nothing has changed since the rows were read. What is at stake is said, not done.
import { AssertionError } from '../lib/assert.js';
import { GfsError, hasCode } from '../protocol/errors.js';
import { ROOT_INODE } from '../protocol/ids.js';
import type { Reply, Request } from '../protocol/messages.js';
import type { Rooms } from './api-context.js';
import { findContradictions } from './check.js';
import { adviceOn, type Contradiction, ROUNDS, roundOf } from './contradiction.js';
import { refuseInSafeMode } from './fsck.js';
import { type MasterContext, momentOf } from './master-context.js';
import { repairOne } from './repair-steps.js';
import type { Store } from './store.js';

type MetadataReply = Reply<'checkMetadata'>;
type Repaired = NonNullable<MetadataReply['repaired']>;

/** Passes over the metadata while it changes. */
const PASSES_MAX = 4;
/** Contradictions kept of one pass, and those of them that are shown. */
const PROBLEMS_MAX = 10_000;
const SHOWN_MAX = 500;
const TEXT_LENGTH_MAX = 400;
/** Rounds of a repair, each after another look at all rows; repairs that are named in the answer (all are in the log). */
const LOOKS_MAX = 100;
const REPAIRED_MAX = 500;

/** A repair is durable when `answerDurably` settles. Throws SAFE_MODE, WRONG_DATA, UNAVAILABLE (repair: the metadata does not keep still). */
export async function checkMetadata(rooms: Rooms, { repair }: Request<'checkMetadata'>): Promise<MetadataReply> {
  const { context } = rooms;
  const repaired = repair ? await repairAll(context) : undefined;
  const { problems: found, exact, damage } = await look(context.store);
  const problems = found.slice(0, SHOWN_MAX - 1);
  return {
    problems: [...problems.map(({ text }) => clip(text)), ...(damage ? [clip(damage)] : [])],
    exact,
    remedies: [
      ...problems.map(problem => remedyOf(context, problem)),
      ...(damage ? [{ repairable: false, text: 'start the master on an older copy of its metadata' }] : []),
    ],
    ...(repaired ? { repaired } : {}),
  };
}

interface Look {
  problems: Contradiction[];
  /** Nothing changed from the first row read to this turn. */
  exact: boolean;
  /** A row cannot be read, which ended the check. */
  damage?: string;
}

/** Exactly, when nothing changes while it is read; else what several passes found in the same words. */
async function look(store: Store): Promise<Look> {
  let problems: Contradiction[] | undefined;
  for (let pass = 0; pass < PASSES_MAX; pass++) {
    const before = opsOf(store);
    try {
      const found = await findContradictions(store, PROBLEMS_MAX);
      const exact = before === opsOf(store);
      const earlier = problems;
      problems = exact || !earlier ? found : found.filter(({ text }) => earlier.some(problem => problem.text === text));
      if (exact || problems.length === 0) return { problems, exact };
    } catch (error) {
      if (!hasCode(error, 'WRONG_DATA')) throw error;
      return { problems: [], exact: before === opsOf(store), damage: error.message };
    }
  }
  return { problems: problems!, exact: false };
}

function opsOf({ counters }: Store): number {
  return counters.ops + counters.pendingOps;
}

async function repairAll(context: MasterContext): Promise<Repaired> {
  const { store } = context;
  refuseInSafeMode(context);
  const repaired: Repaired = [];
  const hopeless = new Set<string>();
  for (let i = 0; i < LOOKS_MAX; i++) {
    const { problems, exact, damage } = await look(store);
    if (damage !== undefined) throw new GfsError('WRONG_DATA', `${damage}: nothing more is repaired`);
    const open = problems.filter(problem => roundOf(problem) !== undefined && !hopeless.has(problem.text));
    if (open.length === 0) return repaired;
    if (!exact)
      throw new GfsError(
        'UNAVAILABLE',
        'nothing is repaired while files are changed: stop what writes (gfs report counts the clients), and ask again',
      );
    refuseInSafeMode(context);
    // From the look to here nothing was waited for.
    for (const [problem, action] of repairRound(context, open)) {
      if (action === undefined) hopeless.add(problem.text);
      else if (repaired.length < REPAIRED_MAX) repaired.push({ problem: clip(problem.text), action: clip(action) });
    }
    await store.durable();
  }
  return repaired;
}

/** Does what can be done of the earliest kinds. One step finds the matter settled by another, or does nothing: undefined. */
function repairRound(
  context: MasterContext,
  problems: readonly Contradiction[],
): Array<[Contradiction, string | undefined]> {
  const { store, platform, notices } = context;
  const at = momentOf(context);
  const round = Math.min(...problems.map(problem => roundOf(problem)!));
  const results: Array<[Contradiction, string | undefined]> = [];
  for (const kind of ROUNDS[round]!)
    for (const problem of problems.filter(other => other.kind === kind)) {
      const action = attempt(() => store.change(change => repairOne(change, problem, at)));
      results.push([problem, action]);
      if (action === undefined) continue;
      platform.logger.warn({ problem: problem.text, action }, 'a contradiction in the metadata was repaired');
      if (problem.inode !== undefined) notices.inodeChanged(problem.inode);
      const { parent, name } = problem;
      if (parent !== undefined && name !== undefined) notices.entryChanged({ parent, name });
    }
  notices.inodeChanged(ROOT_INODE);
  // Where another step of the round settled it, it does not come up again.
  return results;
}

function remedyOf(context: MasterContext, problem: Contradiction): { repairable: boolean; text: string } {
  let action: string | undefined;
  const undo = new Error('only to see what it would do');
  attempt(() => {
    try {
      return context.store.change(change => {
        action = repairOne(change, problem, momentOf(context));
        throw undo;
      });
    } catch (error) {
      if (error !== undo) throw error;
      return undefined;
    }
  });
  return action === undefined
    ? { repairable: false, text: clip(adviceOn(problem)) }
    : { repairable: true, text: clip(action) };
}

/** What the rows are like is not certain here, so an assertion that does not hold is one more thing that is wrong with them. */
function attempt(work: () => string | undefined): string | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof AssertionError || error instanceof GfsError) return undefined;
    throw error;
  }
}

function clip(text: string): string {
  return text.slice(0, TEXT_LENGTH_MAX);
}
