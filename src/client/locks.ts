// Advisory locks of this client: taken at the master, remembered here, and taken again in a new session when the master lost the old one.
// It decides no conflict; the master does.
import { asGfsError, GfsError } from '../protocol/errors.js';
import type { InodeId } from '../protocol/ids.js';
import type { Request, WireLockRange } from '../protocol/messages.js';
import type { MasterLink } from './master-link.js';
import type { ClientParts } from './parts.js';
import type { Session } from './session.js';
import { CLIENT_LIMITS } from './settings.js';

type Unlock = Pick<WireLockRange, 'owner' | 'startByte' | 'endByte' | 'space'>;

interface Held {
  readonly inode: InodeId;
  readonly lock: WireLockRange;
}

export class Locks {
  #held: Held[] = [];

  constructor(
    private readonly parts: ClientParts,
    private readonly link: MasterLink,
    private readonly session: Session,
  ) {}

  /** See FileSystemClient.lock. */
  async lock(inode: InodeId, lock: WireLockRange, waitMs: number): Promise<void> {
    const { clock } = this.parts;
    const untilMs = clock.monotonicMs() + waitMs;
    for (;;) {
      const leftMs = Math.max(0, Math.ceil(untilMs - clock.monotonicMs()));
      const stepMs = Math.min(leftMs, CLIENT_LIMITS.lockWaitMs);
      const { granted, conflict } = await this.#ask(inode, lock, stepMs);
      if (granted) break;
      if (clock.monotonicMs() >= untilMs) {
        const holder = conflict ? ` by ${conflict.owner} (${conflict.kind})` : '';
        throw new GfsError('LOCKED', `the lock is held${holder}`);
      }
    }
    this.#forget(inode, lock);
    this.#held.push({ inode, lock });
  }

  async unlock(inode: InodeId, lock: Unlock): Promise<void> {
    const { owner, startByte, endByte, space } = lock;
    const deadlineMs = this.link.deadline();
    this.#forget(inode, lock);
    await this.session.within(deadlineMs, session =>
      this.link.call('unlock', { session, inode, owner, startByte, endByte, space }, { deadlineMs }),
    );
  }

  async test(inode: InodeId, lock: WireLockRange): Promise<WireLockRange | undefined> {
    const deadlineMs = this.link.deadline();
    const { conflict } = await this.session.within(deadlineMs, session =>
      this.link.call('testLock', { session, inode, lock }, { deadlineMs }),
    );
    return conflict;
  }

  /** In a new session: takes again what is still free. */
  async retake(): Promise<void> {
    for (const held of [...this.#held]) {
      try {
        const { granted } = await this.#ask(held.inode, held.lock, 0);
        if (granted) continue;
        throw new GfsError('LOCKED', 'somebody else took it meanwhile');
      } catch (error) {
        this.#held = this.#held.filter(other => other !== held);
        const { code, message } = asGfsError(error);
        this.parts.logger.warn({ inode: held.inode, owner: held.lock.owner, code, reason: message }, 'a lock was lost');
      }
    }
  }

  #ask(inode: InodeId, lock: WireLockRange, waitMs: number): Promise<{ granted: boolean; conflict?: WireLockRange }> {
    const deadlineMs = this.link.deadline() + waitMs;
    return this.session.within(deadlineMs, session => {
      const request: Request<'lock'> = { session, inode, lock, waitMs };
      return this.link.call('lock', request, { deadlineMs, waitMs });
    });
  }

  /** Takes a range out of what this owner holds; what lies around it stays. */
  #forget(inode: InodeId, range: Unlock): void {
    this.#held = this.#held.flatMap(held => {
      const { lock } = held;
      const isOther = held.inode !== inode || lock.owner !== range.owner || lock.space !== range.space;
      if (isOther || lock.endByte < range.startByte || lock.startByte > range.endByte) return [held];
      const rest: Held[] = [];
      if (lock.startByte < range.startByte) rest.push({ inode, lock: { ...lock, endByte: range.startByte - 1 } });
      if (lock.endByte > range.endByte) rest.push({ inode, lock: { ...lock, startByte: range.endByte + 1 } });
      return rest;
    });
  }
}
