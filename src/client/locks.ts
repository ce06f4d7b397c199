// Advisory locks of this client: taken at the master, remembered here, and claimed again in a new session when the master was started anew. It decides no
// conflict; the master does. Whoever holds a lock that cannot be claimed is told that it is lost.
import { asGfsError, GfsError, hasCode } from '../protocol/errors.js';
import type { InodeId } from '../protocol/ids.js';
import type { Reply, Request, WireLockRange } from '../protocol/messages.js';
import { type LockDoubt, LockDoubts, type OwnedRange } from './lock-doubts.js';
import type { MasterLink } from './master-link.js';
import type { ClientParts } from './parts.js';
import type { Session } from './session.js';
import { CLIENT_LIMITS } from './settings.js';

interface Held {
  readonly inode: InodeId;
  readonly lock: WireLockRange;
  readonly onLost: OnLost | undefined;
}

interface Piece {
  startByte: number;
  endByte: number;
  held?: Held;
}

/** The master has not answered. */
const SILENCE = ['TIMED_OUT', 'UNREACHABLE', 'CONNECTION_LOST', 'STOPPING'] as const;

/** Called once when a lock is not held any more, for whatever `reason`. */
export type OnLost = (reason: string) => void;
type Answer = Reply<'lock'>;

export class Locks {
  #held: Held[] = [];
  readonly #doubts: LockDoubts;
  /** How often a new session stood; and the claims after it. */
  #renewals = 0;
  #claiming: Promise<void> | undefined;

  constructor(
    private readonly parts: ClientParts,
    private readonly link: MasterLink,
    private readonly session: Session,
  ) {
    this.#doubts = new LockDoubts(parts.clock, parts.logger, doubt => this.#settle(doubt));
  }

  /** See FileSystemClient.lock. */
  lock(inode: InodeId, lock: WireLockRange, waitMs: number, onLost?: OnLost): Promise<void> {
    const untilMs = this.parts.clock.monotonicMs() + waitMs;
    const deadlineMs = this.link.deadline() + waitMs;
    return this.#doubts.asking({ inode, ...lock }, deadlineMs, () =>
      this.#take({ inode, lock, onLost }, { untilMs, deadlineMs }),
    );
  }

  /** What fails is done in the background as soon as it can be. */
  async unlock(inode: InodeId, lock: OwnedRange): Promise<void> {
    this.#forget(inode, lock);
    try {
      await this.#giveBack(inode, lock);
    } catch (error) {
      this.#doubts.add({ inode, ...lock });
      throw error;
    }
  }

  /** The master was heard. */
  onHeard(): void {
    void this.#doubts.run();
  }

  /** The master may have given the locks of this session to others by now. */
  onSilence(silentMs: number): void {
    const reason = `the session with the master had ended by this client's clock: no answer for ${Math.round(silentMs / 1_000)} s`;
    for (const held of [...this.#held]) {
      this.#doubts.add({ inode: held.inode, ...held.lock });
      this.#lose(held, reason);
    }
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
    this.#doubts.clear();
    this.#claiming ??= this.#claimAll().finally(() => {
      this.#claiming = undefined;
    });
    return this.#claiming;
  }

  async #take(wanted: Held, { untilMs, deadlineMs }: { untilMs: number; deadlineMs: number }): Promise<void> {
    const { clock } = this.parts;
    const { inode, lock } = wanted;
    let attempts = 0;
    let answers = 0;
    const onAttempt = (): void => {
      attempts++;
    };
    try {
      for (;;) {
        const leftMs = Math.max(0, Math.ceil(untilMs - clock.monotonicMs()));
        const stepMs = Math.min(leftMs, CLIENT_LIMITS.lockWaitMs);
        const { granted, conflict } = await this.#ask(inode, lock, { waitMs: stepMs, deadlineMs, onAttempt }).catch(
          error => {
            if (!hasCode(error, ...SILENCE)) answers++;
            throw error;
          },
        );
        answers++;
        if (granted) break;
        if (clock.monotonicMs() >= untilMs) {
          const holder = conflict ? ` by ${conflict.owner} (${conflict.kind})` : '';
          throw new GfsError('LOCKED', `the lock is held${holder}`);
        }
      }
      if (!this.session.isAlive) {
        answers = 0;
        throw new GfsError('TIMED_OUT', 'the lock was granted too late to say that it is still held');
      }
    } catch (error) {
      // An attempt without an answer may have been granted, or may wait: nobody would give it back.
      if (attempts > answers) this.#doubts.add({ inode, ...lock });
      throw error;
    }
    this.#forget(inode, lock);
    this.#held.push(wanted);
  }

  /** Has the master hold for this owner in this range what is held here, and wait for nothing. */
  async #settle(doubt: LockDoubt): Promise<void> {
    const { id } = this.session;
    try {
      for (const { startByte, endByte, held } of this.#piecesOf(doubt)) {
        if (held) await this.#holdAgain(id, held);
        else await this.#giveBack(doubt.inode, { ...doubt, startByte, endByte }, { endWaits: true, session: id });
      }
    } catch (error) {
      // Then the locks ended with their session.
      if (!hasCode(error, 'SESSION_EXPIRED') && this.session.id === id) throw error;
    }
  }

  async #holdAgain(session: string, held: Held): Promise<void> {
    const { inode, lock } = held;
    const request = { session, inode, lock, waitMs: 0, endWaits: true };
    const { granted } = await this.link.call('lock', request, { deadlineMs: this.link.deadline() });
    if (!granted) this.#lose(held, 'others hold it by now');
    else if (!this.#held.includes(held)) await this.#giveBack(inode, lock);
  }

  /** The range cut into what is held here, as it is held, and the rest. */
  #piecesOf({ inode, owner, space, startByte, endByte }: LockDoubt): Piece[] {
    const mine = this.#held
      .filter(({ inode: other, lock }) => other === inode && lock.owner === owner && lock.space === space)
      .filter(({ lock }) => lock.startByte <= endByte && lock.endByte >= startByte)
      .sort((a, b) => a.lock.startByte - b.lock.startByte);
    const pieces: Piece[] = [];
    let at = startByte;
    for (const held of mine) {
      if (held.lock.startByte > at) pieces.push({ startByte: at, endByte: held.lock.startByte - 1 });
      pieces.push({ startByte: held.lock.startByte, endByte: held.lock.endByte, held });
      at = held.lock.endByte + 1;
    }
    if (at <= endByte) pieces.push({ startByte: at, endByte });
    return pieces;
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
      const { granted } = await this.#ask(held.inode, held.lock, {
        waitMs: 0,
        deadlineMs: this.link.deadline(),
        claim: true,
      });
      if (!granted) this.#lose(held, 'the session with the master had ended, and others may have held it since');
      if (this.#held.includes(held) || !granted) return;
      // Given up meanwhile, or in part: the claim may have come after that.
      await this.#giveBack(held.inode, held.lock);
      this.#renewals++;
    } catch (error) {
      this.#lose(held, asGfsError(error).message);
    }
  }

  /** Without `session`: in whichever there is. */
  async #giveBack(
    inode: InodeId,
    { owner, startByte, endByte, space }: OwnedRange,
    options: { endWaits?: true; session?: string } = {},
  ): Promise<void> {
    const { session: only, ...more } = options;
    const deadlineMs = this.link.deadline();
    const tell = (session: string): Promise<unknown> =>
      this.link.call('unlock', { session, inode, owner, startByte, endByte, space, ...more }, { deadlineMs });
    if (only) await tell(only);
    else await this.session.within(deadlineMs, tell);
  }

  #lose(held: Held, reason: string): void {
    if (!this.#held.includes(held)) return;
    this.#held = this.#held.filter(other => other !== held);
    this.parts.logger.warn({ inode: held.inode, owner: held.lock.owner, reason }, 'a lock was lost');
    held.onLost?.(reason);
  }

  async #ask(
    inode: InodeId,
    lock: WireLockRange,
    options: { waitMs: number; deadlineMs: number; claim?: true; onAttempt?: () => void },
  ): Promise<Answer> {
    const { waitMs, claim, onAttempt } = options;
    const deadlineMs = Math.min(options.deadlineMs, this.link.deadline() + waitMs);
    const how = { deadlineMs, waitMs, ...(onAttempt ? { onAttempt } : {}) };
    try {
      return await this.session.within(deadlineMs, session => {
        const request: Request<'lock'> = { session, inode, lock, waitMs, ...(claim ? { claim } : {}) };
        return this.link.call('lock', request, how);
      });
    } catch (error) {
      // Until the locks of before are claimed, each of them may be held.
      if (hasCode(error, 'GRACE')) return { granted: false };
      throw error;
    }
  }

  /** Takes a range out of what this owner holds; what lies around it stays. */
  #forget(inode: InodeId, range: OwnedRange): void {
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
