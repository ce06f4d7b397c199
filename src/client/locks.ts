// Advisory locks of this client: taken at the master, remembered here, and claimed again in a new session when the master was started anew. It decides no
// conflict; the master does. Whoever holds a lock that cannot be claimed is told that it is lost.
import { asGfsError, GfsError, hasCode } from '../protocol/errors.js';
import type { InodeId } from '../protocol/ids.js';
import type { Reply, Request, WireLockRange } from '../protocol/messages.js';
import type { MasterLink } from './master-link.js';
import type { ClientParts } from './parts.js';
import type { Session } from './session.js';
import { CLIENT_LIMITS } from './settings.js';

type Unlock = Pick<WireLockRange, 'owner' | 'startByte' | 'endByte' | 'space'>;

interface Held {
  readonly inode: InodeId;
  readonly lock: WireLockRange;
  readonly onLost: OnLost | undefined;
}

/** Called once when a lock is not held any more, for whatever `reason`. */
export type OnLost = (reason: string) => void;
type Answer = Reply<'lock'>;

export class Locks {
  #held: Held[] = [];
  /** How often a new session stood; and the claims after it. */
  #renewals = 0;
  #claiming: Promise<void> | undefined;

  constructor(
    private readonly parts: ClientParts,
    private readonly link: MasterLink,
    private readonly session: Session,
  ) {}

  /** See FileSystemClient.lock. */
  async lock(inode: InodeId, lock: WireLockRange, waitMs: number, onLost?: OnLost): Promise<void> {
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
    this.#held.push({ inode, lock, onLost });
  }

  async unlock(inode: InodeId, lock: Unlock): Promise<void> {
    this.#forget(inode, lock);
    await this.#giveBack(inode, lock);
  }

  async test(inode: InodeId, lock: WireLockRange): Promise<WireLockRange | undefined> {
    const deadlineMs = this.link.deadline();
    const { conflict } = await this.session.within(deadlineMs, session =>
      this.link.call('testLock', { session, inode, lock }, { deadlineMs }),
    );
    return conflict;
  }

  /** In a new session: claims again what the session before held, and says when that is all. Never rejects. */
  claim(): Promise<void> {
    this.#renewals++;
    this.#claiming ??= this.#claimAll().finally(() => {
      this.#claiming = undefined;
    });
    return this.#claiming;
  }

  async #claimAll(): Promise<void> {
    for (;;) {
      const seen = this.#renewals;
      const { id } = this.session;
      for (const held of [...this.#held]) if (this.#held.includes(held)) await this.#claimOne(held);
      const isSame = (): boolean => seen === this.#renewals && id === this.session.id;
      // In a session that ended meanwhile all is claimed once more.
      if (isSame()) await this.#sayClaimed(id);
      if (isSame()) return;
    }
  }

  async #sayClaimed(session: string): Promise<void> {
    const deadlineMs = this.link.deadline();
    try {
      await this.link.call('keepSession', { session, claimed: true }, { deadlineMs });
    } catch (error) {
      // Others wait a little longer for their locks.
      this.parts.logger.debug({ code: asGfsError(error).code }, 'the master was not told that all locks are claimed');
    }
  }

  async #claimOne(held: Held): Promise<void> {
    try {
      const { granted } = await this.#ask(held.inode, held.lock, 0, true);
      if (!granted) this.#lose(held, 'the session with the master had ended, and others may have held it since');
      if (this.#held.includes(held) || !granted) return;
      // Given up meanwhile, or in part: the claim may have come after that.
      await this.#giveBack(held.inode, held.lock);
      this.#renewals++;
    } catch (error) {
      this.#lose(held, asGfsError(error).message);
    }
  }

  async #giveBack(inode: InodeId, { owner, startByte, endByte, space }: Unlock): Promise<void> {
    const deadlineMs = this.link.deadline();
    await this.session.within(deadlineMs, session =>
      this.link.call('unlock', { session, inode, owner, startByte, endByte, space }, { deadlineMs }),
    );
  }

  #lose(held: Held, reason: string): void {
    if (!this.#held.includes(held)) return;
    this.#held = this.#held.filter(other => other !== held);
    this.parts.logger.warn({ inode: held.inode, owner: held.lock.owner, reason }, 'a lock was lost');
    held.onLost?.(reason);
  }

  async #ask(inode: InodeId, lock: WireLockRange, waitMs: number, claim = false): Promise<Answer> {
    const deadlineMs = this.link.deadline() + waitMs;
    try {
      return await this.session.within(deadlineMs, session => {
        const request: Request<'lock'> = { session, inode, lock, waitMs, ...(claim ? { claim } : {}) };
        return this.link.call('lock', request, { deadlineMs, waitMs });
      });
    } catch (error) {
      // Until the locks of before are claimed, each of them may be held.
      if (hasCode(error, 'GRACE')) return { granted: false };
      throw error;
    }
  }

  /** Takes a range out of what this owner holds; what lies around it stays. */
  #forget(inode: InodeId, range: Unlock): void {
    this.#held = this.#held.flatMap(held => {
      const { lock } = held;
      const isOther = held.inode !== inode || lock.owner !== range.owner || lock.space !== range.space;
      if (isOther || lock.endByte < range.startByte || lock.startByte > range.endByte) return [held];
      const rest: Held[] = [];
      if (lock.startByte < range.startByte) rest.push({ ...held, lock: { ...lock, endByte: range.startByte - 1 } });
      if (lock.endByte > range.endByte) rest.push({ ...held, lock: { ...lock, startByte: range.endByte + 1 } });
      return rest;
    });
  }
}
