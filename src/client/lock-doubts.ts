// Ranges that the master may hold for an owner of this client, or may be waiting to, though nobody here knows of it: the answer was lost, or this client gave a
// lock up by its own clock. They are settled in the background as soon as the master is heard, or nobody could take them while this client lives.
import type { Clock } from '../lib/clock.js';
import type { Logger } from '../lib/logger.js';
import { asGfsError, GfsError } from '../protocol/errors.js';
import type { InodeId } from '../protocol/ids.js';
import type { WireLockRange } from '../protocol/messages.js';
import { CLIENT_LIMITS } from './settings.js';

export type OwnedRange = Pick<WireLockRange, 'owner' | 'startByte' | 'endByte' | 'space'>;

export interface LockDoubt extends OwnedRange {
  readonly inode: InodeId;
}

export class LockDoubts {
  #doubts: LockDoubt[] = [];
  /** How many questions of an owner are on their way: what comes of them must not be taken for a doubt. */
  readonly #asking = new Map<string, number>();
  #running: Promise<void> | undefined;
  /** The one that is being settled: what comes to be in doubt meanwhile may come too late for it. */
  #settling: LockDoubt | undefined;

  /** `settle` has the master hold in this range what is held here, and nothing else; rejects when it is not known to. */
  constructor(
    private readonly clock: Clock,
    private readonly logger: Logger,
    private readonly settle: (doubt: LockDoubt) => Promise<void>,
  ) {}

  add(doubt: LockDoubt): void {
    const { inode, owner, space, startByte, endByte } = doubt;
    const isCovered = this.#doubts.some(
      other =>
        other !== this.#settling &&
        keyOf(other) === keyOf(doubt) &&
        other.startByte <= startByte &&
        other.endByte >= endByte,
    );
    if (isCovered) return;
    if (this.#doubts.length >= CLIENT_LIMITS.lockDoubtsMax) {
      this.#doubts.shift();
      this.logger.warn(
        { doubts: CLIENT_LIMITS.lockDoubtsMax },
        'too many locks are in doubt: one stays until the session ends',
      );
    }
    this.#doubts.push({ inode, owner, space, startByte, endByte });
  }

  /** The locks that were in doubt ended with their session. */
  clear(): void {
    this.#doubts = [];
  }

  /** Runs `ask`, which takes a lock, once nothing of its owner is in doubt any more. Rejects with TIMED_OUT when that cannot be had until `deadlineMs`. */
  async asking<T>(of: LockDoubt, deadlineMs: number, ask: () => Promise<T>): Promise<T> {
    const key = keyOf(of);
    // Twice: the first run may have passed this owner by.
    for (let i = 0; i < 2 && this.#has(key) && !this.#asking.has(key); i++) await this.#until(deadlineMs, this.run());
    if (this.#has(key) && !this.#asking.has(key))
      throw new GfsError('TIMED_OUT', 'the master does not say what became of an earlier lock of this owner');
    this.#asking.set(key, (this.#asking.get(key) ?? 0) + 1);
    try {
      return await ask();
    } finally {
      const left = this.#asking.get(key)! - 1;
      if (left > 0) this.#asking.set(key, left);
      else this.#asking.delete(key);
      if (this.#has(key)) void this.run();
    }
  }

  /** Settles what can be settled now. Never rejects. */
  run(): Promise<void> {
    if (this.#doubts.length === 0) return Promise.resolve();
    this.#running ??= this.#settleAll().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #settleAll(): Promise<void> {
    for (const doubt of [...this.#doubts]) {
      if (!this.#doubts.includes(doubt) || this.#asking.has(keyOf(doubt))) continue;
      this.#settling = doubt;
      try {
        await this.settle(doubt);
        this.#doubts = this.#doubts.filter(other => other !== doubt);
      } catch (error) {
        // The next sign of life from the master begins anew.
        const { code, message } = asGfsError(error);
        this.logger.debug({ inode: doubt.inode, owner: doubt.owner, code, reason: message }, 'a lock stays in doubt');
        return;
      } finally {
        this.#settling = undefined;
      }
    }
  }

  #until(deadlineMs: number, work: Promise<void>): Promise<void> {
    return new Promise(resolve => {
      const timer = this.clock.setTimer(Math.max(0, deadlineMs - this.clock.monotonicMs()), resolve);
      void work.then(() => {
        timer.cancel();
        resolve();
      });
    });
  }

  #has(key: string): boolean {
    return this.#doubts.some(doubt => keyOf(doubt) === key);
  }
}

function keyOf({ inode, owner, space }: LockDoubt): string {
  return `${inode} ${space} ${owner}`;
}
