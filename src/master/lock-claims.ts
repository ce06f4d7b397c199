// Who may claim locks after a start of the master. Locks are in memory; the store has a row per client that holds any, so that the next master lets those
// clients claim them before it grants others: for as long as a session lives, or until all of them have. Which locks they are the clients say themselves.
import type { Logger } from '../lib/logger.js';
import { lockHolderKey, lockHolderRange, parseLockHolderKey } from './keys.js';
import { LOCK_HOLDER } from './records.js';
import type { Change, Store } from './store.js';

/** Rows read at the start: as many as there can be sessions. */
const HOLDERS_MAX = 1_000_000;

export class LockClaims {
  /** Clients with a row. */
  private readonly marked = new Set<string>();
  /** Those of them that may have locks from before the start and have not said that they claimed all. */
  private readonly unclaimed = new Set<string>();
  private untilMs = 0;

  constructor(
    private readonly store: Store,
    private readonly logger: Logger,
  ) {}

  /** Reads who held locks. `untilMs`: when their sessions are over, as far as the master before could have kept them. */
  async load(untilMs: number): Promise<void> {
    for (const [key] of await this.store.scan({ ...lockHolderRange(), limit: HOLDERS_MAX })) {
      const client = parseLockHolderKey(key);
      this.marked.add(client);
      this.unclaimed.add(client);
    }
    this.untilMs = untilMs;
    if (this.unclaimed.size > 0)
      this.logger.info(
        { clients: this.unclaimed.size },
        'clients that held locks are awaited before others get new ones',
      );
  }

  /** Nobody gets a new lock: it may be one that is still to be claimed. */
  isAwaiting(nowMs: number): boolean {
    return this.unclaimed.size > 0 && nowMs < this.untilMs;
  }

  mayClaim(client: string, nowMs: number): boolean {
    return this.isAwaiting(nowMs) && this.unclaimed.has(client);
  }

  /** The client has claimed all that it held. */
  settle(client: string): void {
    if (this.unclaimed.delete(client) && this.unclaimed.size === 0)
      this.logger.info({}, 'all clients have claimed their locks');
  }

  /** The client holds a lock now; durable with the store's next `durable`. */
  hold(client: string): void {
    if (this.marked.has(client)) return;
    this.marked.add(client);
    const key = lockHolderKey(client);
    this.write(change => change.put(key, LOCK_HOLDER.encode(key, { client })));
  }

  /** The client's session is over: it holds none. */
  release(client: string): void {
    this.unclaimed.delete(client);
    // A row too much makes the next master wait for this client, no more.
    if (this.store.isReadOnly) return;
    if (this.marked.delete(client)) this.write(change => change.del(lockHolderKey(client)));
  }

  /** Forgets those that hold nothing any more, and those that did not come to claim. */
  expire(nowMs: number, holders: ReadonlySet<string>): void {
    if (this.unclaimed.size > 0 && nowMs >= this.untilMs) {
      this.logger.warn({ clients: this.unclaimed.size }, 'locks of clients that did not come back are free now');
      this.unclaimed.clear();
    }
    for (const client of this.marked) if (!holders.has(client) && !this.unclaimed.has(client)) this.release(client);
  }

  private write(work: (change: Change) => void): void {
    this.store.change(work);
  }
}
