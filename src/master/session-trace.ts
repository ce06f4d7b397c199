// That there are sessions, as one row of the store, so that the next master knows whether clients may come back with files open: until a session's life after
// its start is over, it collects no deleted file. Which files they are the clients say themselves.
import { metaKey } from './keys.js';
import { SESSION_TRACE } from './records.js';
import type { Store } from './store.js';

const KEY = metaKey('sessions');

export class SessionTrace {
  private untilMs = Number.NEGATIVE_INFINITY;

  constructor(private readonly store: Store) {}

  /** `untilMs`: when sessions of the master before are over. */
  load(untilMs: number): void {
    if (this.isMarked) this.untilMs = untilMs;
  }

  private get isMarked(): boolean {
    return this.store.get(KEY) !== undefined;
  }

  /** Clients of the master before may still come back. */
  isAwaiting(nowMs: number): boolean {
    return nowMs < this.untilMs;
  }

  /** How many sessions there are now; durable with the store's next `durable`. */
  note(sessions: number, nowMs: number): void {
    if (sessions > 0 === this.isMarked || (sessions === 0 && (this.isAwaiting(nowMs) || this.store.isReadOnly))) return;
    this.store.change(change =>
      sessions > 0 ? change.put(KEY, SESSION_TRACE.encode(KEY, { sessions })) : change.del(KEY),
    );
  }
}
