// What the handlers of the master share: the rooms they call, and the two ways to answer: a view of state and a change of it, both only when
// what they show is on disk (I6).
import type { WireOnce } from '../protocol/messages.js';
import type { Refusals } from '../rpc/refusals.js';
import type { CallContext } from '../rpc/types.js';
import type { AppendTargets } from './append-targets.js';
import type { Balancing } from './balancing.js';
import type { Complaints } from './complaints.js';
import type { FileViews } from './file-views.js';
import type { Garbage } from './garbage.js';
import type { Healing } from './healing.js';
import type { Heartbeats } from './heartbeats.js';
import type { LockClaims } from './lock-claims.js';
import type { LockTable } from './lock-table.js';
import { type MasterContext, momentOf } from './master-context.js';
import type { Moment } from './moment.js';
import { runOnce } from './once-table.js';
import type { Sealing } from './sealing.js';
import type { SessionTrace } from './session-trace.js';
import type { SessionTable } from './sessions.js';
import type { Change } from './store.js';
import type { UnusedChunks } from './unused-chunks.js';

export interface Rooms {
  readonly context: MasterContext;
  readonly sealing: Sealing;
  readonly targets: AppendTargets;
  readonly unusedChunks: UnusedChunks;
  readonly views: FileViews;
  readonly complaints: Complaints;
  readonly heartbeats: Heartbeats;
  readonly healing: Healing;
  readonly balancing: Balancing;
  readonly garbage: Garbage;
  readonly sessions: SessionTable;
  readonly locks: LockTable;
  readonly claims: LockClaims;
  readonly trace: SessionTrace;
  readonly refusals: Refusals;
}

/** Time for the answer to travel, taken off what the caller waits. */
const TRAVEL_MS = 50;

/** Monotonic time by which a handler must have an answer. */
export function deadlineOf({ context }: Rooms, call: Pick<CallContext, 'deadlineMs'>): number {
  return Math.min(call.deadlineMs - TRAVEL_MS, context.platform.clock.monotonicMs() + context.settings.sealDeadline);
}

/** What `work` answers (or throws), once everything it may have seen is on disk. */
export async function answerDurably<T>({ context }: Rooms, work: () => T | Promise<T>): Promise<T> {
  const { store } = context;
  // Then nothing that it may see is not on disk.
  const { isReadOnly } = store;
  try {
    return await work();
  } finally {
    if (!isReadOnly) await store.durable();
  }
}

/** A change of names: made once per (client, sequence), durable when it settles; then other sessions are told what `work` announced. */
export function changeOnce<T>(rooms: Rooms, once: WireOnce, work: (change: Change, at: Moment) => T): Promise<T> {
  const { context } = rooms;
  return answerDurably(rooms, () => {
    const at = momentOf(context);
    return context.store.change(change => runOnce(change, once, at.nowMs, () => work(change, at)));
  }).finally(() => context.notices.flush());
}
