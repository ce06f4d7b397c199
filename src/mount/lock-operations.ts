// System calls on advisory locks: fcntl(2) ranges and flock(2), held at the master so that they hold across mounts. The mount keeps no lock state
// beyond who has any, so that closing a file asks the master only when it must.

import { GfsError, hasCode } from '../protocol/errors.js';
import type { WireLockRange } from '../protocol/messages.js';
import type { MountContext } from './context.js';
import type { LockRange } from './fuse-operations.js';
import { MOUNT_LIMITS } from './settings.js';

type Space = WireLockRange['space'];

export class LockOperations {
  /** Owners that may hold locks, as "inode space owner". */
  private readonly holders = new Set<string>();

  constructor(private readonly context: MountContext) {}

  async test(handle: number, lock: LockRange): Promise<LockRange | undefined> {
    const { inode } = this.context.handles.get(handle).file;
    const conflict = await this.context.client.testLock(inode, wireLock(lock));
    if (!conflict) return undefined;
    const { kind, startByte, endByte, pid } = conflict;
    return { owner: 0n, kind, startByte, endByte, pid, flock: conflict.space === 'flock' };
  }

  async set(handle: number, lock: LockRange, options: { wait: boolean; signal?: AbortSignal }): Promise<void> {
    const { inode } = this.context.handles.get(handle).file;
    if (lock.kind === 'unlock') return this.unlock(inode, lock);
    this.holders.add(holderKey(inode, spaceOf(lock), lock.owner));
    if (!options.wait) return this.context.client.lock(inode, wireLock(lock), { waitMs: 0 });
    return this.waitFor(inode, lock, options.signal);
  }

  /** The owner closed the file: its locks of this kind go. */
  async ownerGone(inode: number, owner: bigint, space: Space): Promise<void> {
    const key = holderKey(inode, space, owner);
    if (!this.holders.delete(key)) return;
    const all = { owner: ownerName(owner), startByte: 0, endByte: Number.MAX_SAFE_INTEGER, space };
    await this.context.client.unlock(inode, all);
  }

  private async unlock(inode: number, lock: LockRange): Promise<void> {
    const { startByte, endByte } = lock;
    await this.context.client.unlock(inode, { owner: ownerName(lock.owner), startByte, endByte, space: spaceOf(lock) });
  }

  /** Asks again and again until granted; each question is held by the master for a bounded time. */
  private async waitFor(inode: number, lock: LockRange, signal: AbortSignal | undefined): Promise<void> {
    for (;;) {
      if (signal?.aborted) throw new GfsError('INTERRUPTED');
      const asked = this.context.client.lock(inode, wireLock(lock), { waitMs: MOUNT_LIMITS.lockWaitMs });
      try {
        await untilAborted(asked, signal);
        return;
      } catch (error) {
        if (hasCode(error, 'INTERRUPTED')) this.undo(inode, lock, asked);
        if (!hasCode(error, 'LOCKED')) throw error;
      }
    }
  }

  /** Nobody waits any more: should the master grant it still, it is given back. */
  private undo(inode: number, lock: LockRange, asked: Promise<void>): void {
    asked
      .then(() => this.unlock(inode, lock))
      .catch(error => this.context.logger.debug({ inode, error }, 'an abandoned lock was not granted'));
  }
}

function untilAborted(work: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(new GfsError('INTERRUPTED'));
    signal.addEventListener('abort', onAbort, { once: true });
    const done = (): void => signal.removeEventListener('abort', onAbort);
    work.then(resolve, reject).finally(done);
  });
}

function wireLock(lock: LockRange): WireLockRange {
  const { startByte, endByte, pid } = lock;
  const kind = lock.kind === 'shared' ? 'shared' : 'exclusive';
  return { owner: ownerName(lock.owner), kind, startByte, endByte, space: spaceOf(lock), pid };
}

function spaceOf(lock: LockRange): Space {
  return lock.flock ? 'flock' : 'posix';
}

function ownerName(owner: bigint): string {
  return owner.toString(16);
}

function holderKey(inode: number, space: Space, owner: bigint): string {
  return `${inode} ${space} ${owner}`;
}
