// Advisory locks of files and who waits for them, in memory. They belong to sessions and end with them. A pure table: time comes in as an argument,
// and whoever's wait is over is handed out for the caller to answer.
import { assert } from '../lib/assert.js';
import { GfsError } from '../protocol/errors.js';
import type { InodeId } from '../protocol/ids.js';
import type { WireLockRange } from '../protocol/messages.js';
import { findConflict, type HeldRange, isSameOwner, withoutRange, withRange } from './byte-ranges.js';

export interface LockLimits {
  /** Held ranges, and waiters, of all files together. */
  locksMax: number;
  waitersMax: number;
}

type LockSpace = WireLockRange['space'];

/** A wait for a lock; the caller keeps it to recognise the answer. */
export interface LockWait {
  readonly session: string;
  readonly inode: InodeId;
  readonly lock: WireLockRange;
  readonly untilMs: number;
}

export type LockOutcome = { granted: true; woken: LockWait[] } | { granted: false; conflict: WireLockRange };

interface FileLocks {
  inode: InodeId;
  space: LockSpace;
  held: HeldRange[];
  /** In the order of arrival. */
  waiting: LockWait[];
}

export class LockTable {
  readonly #limits: LockLimits;
  /** INVARIANT: none without a held range or a waiter. */
  readonly #files = new Map<string, FileLocks>();
  #heldCount = 0;
  #waitingCount = 0;

  constructor(limits: LockLimits) {
    this.#limits = limits;
  }

  get counts(): { held: number; waiting: number } {
    return { held: this.#heldCount, waiting: this.#waitingCount };
  }

  /**
   * Takes the lock in place of what its owner holds there, unless another owner's conflicts. A weaker lock may end other waits (`woken`: they hold
   * theirs now). Throws INVALID (an empty range), NO_LOCKS.
   */
  lock(session: string, inode: InodeId, lock: WireLockRange): LockOutcome {
    checkRange(lock);
    const file = this.#file(inode, lock.space);
    const wanted = heldRange(session, lock);
    const conflict = findConflict(file.held, wanted);
    if (conflict !== undefined) return { granted: false, conflict: wireRange(conflict, lock.space) };
    if (this.#heldCount >= this.#limits.locksMax) throw new GfsError('NO_LOCKS');
    this.#setHeld(file, withRange(file.held, wanted));
    return { granted: true, woken: this.#wake(file) };
  }

  /** What a `lock` would be refused for, or undefined. */
  test(session: string, inode: InodeId, lock: WireLockRange): WireLockRange | undefined {
    checkRange(lock);
    const conflict = findConflict(this.#file(inode, lock.space).held, heldRange(session, lock));
    return conflict === undefined ? undefined : wireRange(conflict, lock.space);
  }

  /**
   * Queues for a lock that was just refused. Throws DEADLOCK when those in the way wait, directly or not, for this owner, and NO_LOCKS when the queue
   * is full.
   */
  wait(session: string, inode: InodeId, lock: WireLockRange, untilMs: number): LockWait {
    checkRange(lock);
    const file = this.#file(inode, lock.space);
    const wait: LockWait = { session, inode, lock, untilMs };
    assert(findConflict(file.held, heldRange(session, lock)) !== undefined, 'only a refused lock is waited for');
    if (this.#waitingCount >= this.#limits.waitersMax) throw new GfsError('NO_LOCKS', 'too many wait for locks');
    if (this.#wouldDeadlock(file, wait)) throw new GfsError('DEADLOCK');
    file.waiting.push(wait);
    this.#waitingCount++;
    this.#files.set(fileKey(inode, lock.space), file);
    return wait;
  }

  /** Ends a wait without the lock (the caller is gone). One that is over is fine. */
  cancel(wait: LockWait): void {
    this.#removeWaits(this.#file(wait.inode, wait.lock.space), other => other === wait);
  }

  /** Gives up what an owner holds in a range; returns the waits that hold their locks now. Throws INVALID (an empty range). */
  unlock(
    session: string,
    inode: InodeId,
    range: Pick<WireLockRange, 'owner' | 'startByte' | 'endByte' | 'space'>,
  ): LockWait[] {
    checkRange(range);
    const file = this.#file(inode, range.space);
    const { startByte, endByte } = wholeOf(range);
    this.#setHeld(file, withoutRange(file.held, { session, owner: range.owner, startByte, endByte }));
    return this.#wake(file);
  }

  /** Gives up all that sessions hold and wait for; returns the waits of others that hold their locks now. */
  endSessions(sessions: readonly string[]): LockWait[] {
    const ended = new Set(sessions);
    const woken: LockWait[] = [];
    for (const file of [...this.#files.values()]) {
      this.#removeWaits(file, wait => ended.has(wait.session));
      this.#setHeld(
        file,
        file.held.filter(range => !ended.has(range.session)),
      );
      woken.push(...this.#wake(file));
    }
    return woken;
  }

  /** Sessions that hold any. */
  holders(): Set<string> {
    return new Set([...this.#files.values()].flatMap(({ held }) => held.map(({ session }) => session)));
  }

  /** Ends the waits whose time is over and returns them, without their locks. */
  expire(nowMs: number): LockWait[] {
    const over: LockWait[] = [];
    for (const file of [...this.#files.values()]) {
      over.push(...this.#removeWaits(file, wait => wait.untilMs <= nowMs));
    }
    return over;
  }

  /** Grants, in the order of arrival, what nothing held stands in the way of any more. */
  #wake(file: FileLocks): LockWait[] {
    const woken: LockWait[] = [];
    for (const wait of [...file.waiting]) {
      const wanted = heldRange(wait.session, wait.lock);
      if (findConflict(file.held, wanted) !== undefined) continue;
      this.#setHeld(file, withRange(file.held, wanted));
      this.#removeWaits(file, other => other === wait);
      woken.push(wait);
    }
    return woken;
  }

  /** Follows from whoever is in the way to what they wait for. Owners of the two spaces are apart. */
  #wouldDeadlock(file: FileLocks, wait: LockWait): boolean {
    const waits = [...this.#files.values()].flatMap(other => other.waiting.map(waiting => ({ file: other, waiting })));
    const seen = new Set<LockWait>();
    const open = [{ file, waiting: wait }];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      for (const blocker of blockersOf(next.file, next.waiting)) {
        const isWaiter = blocker.session === wait.session && blocker.owner === wait.lock.owner;
        if (isWaiter && next.file.space === file.space && next.waiting !== wait) return true;
        for (const other of waits) {
          const waitsHere = isSameOwner(blocker, { session: other.waiting.session, owner: other.waiting.lock.owner });
          if (!waitsHere || other.file.space !== file.space || seen.has(other.waiting)) continue;
          seen.add(other.waiting);
          open.push(other);
        }
      }
    }
    return false;
  }

  #file(inode: InodeId, space: LockSpace): FileLocks {
    return this.#files.get(fileKey(inode, space)) ?? { inode, space, held: [], waiting: [] };
  }

  #setHeld(file: FileLocks, held: HeldRange[]): void {
    this.#heldCount += held.length - file.held.length;
    file.held = held;
    this.#keepOrForget(file);
  }

  #removeWaits(file: FileLocks, isOver: (wait: LockWait) => boolean): LockWait[] {
    const over = file.waiting.filter(isOver);
    if (over.length === 0) return over;
    file.waiting = file.waiting.filter(wait => !over.includes(wait));
    this.#waitingCount -= over.length;
    this.#keepOrForget(file);
    return over;
  }

  #keepOrForget(file: FileLocks): void {
    const key = fileKey(file.inode, file.space);
    if (file.held.length > 0 || file.waiting.length > 0) this.#files.set(key, file);
    else this.#files.delete(key);
  }
}

function blockersOf(file: FileLocks, wait: LockWait): HeldRange[] {
  const wanted = heldRange(wait.session, wait.lock);
  return file.held.filter(range => findConflict([range], wanted) !== undefined);
}

function fileKey(inode: InodeId, space: LockSpace): string {
  return `${space} ${inode}`;
}

function checkRange({ startByte, endByte }: { startByte: number; endByte: number }): void {
  if (endByte < startByte) throw new GfsError('INVALID', 'a lock covers at least one byte');
}

/** flock(2) knows whole files only. */
function wholeOf(range: Pick<WireLockRange, 'startByte' | 'endByte' | 'space'>): {
  startByte: number;
  endByte: number;
} {
  if (range.space === 'flock') return { startByte: 0, endByte: Number.MAX_SAFE_INTEGER };
  return { startByte: range.startByte, endByte: range.endByte };
}

function heldRange(session: string, lock: WireLockRange): HeldRange {
  return { session, owner: lock.owner, kind: lock.kind, pid: lock.pid, ...wholeOf(lock) };
}

function wireRange({ owner, kind, startByte, endByte, pid }: HeldRange, space: LockSpace): WireLockRange {
  return { owner, kind, startByte, endByte, pid, space };
}
