// This client's session with the master: opened, kept alive, opened anew when the master lost it, with the files that are open in it. It never
// decides what an ended session means to locks; it tells.
import { type Clock, every, type Timer } from '../lib/clock.js';
import { within } from '../lib/deadline.js';
import { Serial } from '../lib/serial.js';
import { asGfsError, GfsError, hasCode } from '../protocol/errors.js';
import type { InodeId } from '../protocol/ids.js';
import { holderMs } from '../protocol/limits.js';
import type { Reply, Request } from '../protocol/messages.js';
import type { MasterLink } from './master-link.js';
import type { ClientParts } from './parts.js';
import { CLIENT_LIMITS } from './settings.js';

export type ClusterFacts = Omit<Reply<'openSession'>, 'session'>;

export interface SessionOptions {
  /** For people who look at sessions. */
  name: string;
  wantsChanges: boolean;
  /** The session ended and a new one stands; locks of the old one are gone. */
  onRenewed: () => void;
  /** The same session goes on, on another connection: changes between the two were told to nobody. */
  onResumed: () => void;
  /** The master was heard: the session lives. */
  onKept: () => void;
  /** By this process's clock the master may have ended it, and given its locks to others: sooner than the master does by its own. */
  onSilence: (silentMs: number) => void;
}

export class Session {
  #id = '';
  #facts: ClusterFacts | undefined;
  #renewing: Promise<void> | undefined;
  #keeping: { stop(): void } | undefined;
  #isClosed = false;
  /** The connection broke, and the master was not told of the next one since: it would send notices nowhere. */
  #isDetached = false;
  /** When the last question that the master answered was sent, and until when the session therefore lives in any case. */
  #heardMs = 0;
  #aliveUntilMs = 0;
  #silence: Timer | undefined;
  /** How many open files of this client there are per inode. */
  readonly #opens = new Map<InodeId, number>();
  /** Opening and closing one inode, one after another, so that a repeated close never undoes a later open. */
  readonly #turns = new Serial<InodeId>();
  readonly #clock: Clock;

  constructor(
    private readonly parts: ClientParts,
    private readonly link: MasterLink,
    private readonly options: SessionOptions,
  ) {
    this.#clock = parts.clock;
  }

  get id(): string {
    return this.#id;
  }

  /** '' until the first session stands. */
  get clusterId(): string {
    return this.#facts?.clusterId ?? '';
  }

  /** What the master said of the cluster. Requires: started. */
  get facts(): ClusterFacts {
    if (!this.#facts) throw new GfsError('UNREACHABLE', 'there is no session with the master');
    return this.#facts;
  }

  /** Whether the master cannot have ended it yet. */
  get isAlive(): boolean {
    return this.#clock.monotonicMs() < this.#aliveUntilMs;
  }

  /** Opens the first session. */
  async start(deadlineMs: number): Promise<void> {
    await this.#openSession(deadlineMs);
    const everyMs = Math.min(this.facts.ttlMs / 3, CLIENT_LIMITS.keepAliveMaxMs);
    this.#keeping = every(this.#clock, everyMs, () => this.keep());
  }

  /** Runs `work` with the session's id, and again in a new session when the master does not know it any more. */
  async within<T>(deadlineMs: number, work: (session: string) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const id = this.#id;
      try {
        return await work(id);
      } catch (error) {
        if (!hasCode(error, 'SESSION_EXPIRED') || attempt > CLIENT_LIMITS.sessionRetriesMax) throw error;
        await this.#renew(id, deadlineMs);
      }
    }
  }

  /** Registers one more open file of this inode. */
  openFile(inode: InodeId, deadlineMs: number): Promise<Reply<'openFile'>> {
    return this.#turns.run(inode, async () => {
      this.noteOpen(inode);
      try {
        return await this.within(deadlineMs, session => this.link.call('openFile', { session, inode }, { deadlineMs }));
      } catch (error) {
        this.#forgetOpen(inode);
        throw error;
      }
    });
  }

  /** An open file that the master registered with another call. */
  noteOpen(inode: InodeId): void {
    this.#opens.set(inode, (this.#opens.get(inode) ?? 0) + 1);
  }

  /**
   * Ends one open file; the master hears of the last, and then of a target that was never used. Never rejects: an ended session or a dead master ends
   * them as well.
   */
  closeFile(inode: InodeId, giveUpUnused: () => Request<'closeFile'>['unused']): Promise<void> {
    // From now on, and not from its turn: who opens the file next waits for it.
    const deadlineMs = this.link.deadline();
    return this.#turns.run(inode, async () => {
      this.#forgetOpen(inode);
      if (this.#opens.has(inode) || this.#isClosed) return;
      try {
        const unused = giveUpUnused();
        const request = { session: this.#id, inode, ...(unused ? { unused } : {}) };
        await this.link.call('closeFile', request, { deadlineMs });
      } catch (error) {
        this.parts.logger.debug({ inode, code: asGfsError(error).code }, 'a file was closed without the master');
      }
    });
  }

  /** A sign of life. Never rejects. */
  async keep(): Promise<void> {
    if (this.#isClosed) return;
    if (this.#isDetached && !this.#renewing) return await this.reconnect();
    const id = this.#id;
    const deadlineMs = this.#clock.monotonicMs() + Math.max(this.facts.ttlMs, this.parts.settings.masterTryMs);
    await this.#quietly(async () => {
      try {
        let sentMs = 0;
        const onAttempt = (): void => {
          sentMs = this.#clock.monotonicMs();
        };
        await this.link.call('keepSession', { session: id }, { deadlineMs, onAttempt });
        if (this.#id === id) this.#noteAlive(sentMs);
        this.options.onKept();
      } catch (error) {
        if (!hasCode(error, 'SESSION_EXPIRED')) throw error;
        await this.#renew(id, this.link.deadline());
      }
    });
  }

  /** The connection broke: makes the next one known as this session's, so that notices go on. Never rejects. */
  async reconnect(): Promise<void> {
    if (this.#isClosed || this.#id === '') return;
    const deadlineMs = this.#clock.monotonicMs() + Math.max(this.facts.ttlMs, this.parts.settings.masterTryMs);
    const id = this.#id;
    this.#isDetached = true;
    await this.#quietly(async () => {
      await this.#renew(id, deadlineMs);
      if (this.#id === id) this.options.onResumed();
    });
  }

  /** Ends it at the master, briefly. Never rejects. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#keeping?.stop();
    this.#silence?.cancel();
    if (this.#id === '') return;
    const deadlineMs = this.#clock.monotonicMs() + Math.min(1_000, this.parts.settings.masterTryMs);
    try {
      await this.link.call('closeSession', { session: this.#id }, { deadlineMs });
    } catch (error) {
      this.parts.logger.debug({ code: asGfsError(error).code }, 'the session was left to expire');
    }
  }

  /** The master counts from the arrival of what was sent at `sentMs`, which is later. */
  #noteAlive(sentMs: number): void {
    this.#heardMs = sentMs;
    this.#aliveUntilMs = sentMs + holderMs(this.facts.ttlMs);
    this.#silence?.cancel();
    if (this.#isClosed) return;
    const inMs = Math.max(0, this.#aliveUntilMs - this.#clock.monotonicMs());
    this.#silence = this.#clock.setTimer(
      inMs,
      () => this.options.onSilence(this.#clock.monotonicMs() - this.#heardMs),
      { background: true },
    );
  }

  #forgetOpen(inode: InodeId): void {
    const count = (this.#opens.get(inode) ?? 1) - 1;
    if (count > 0) this.#opens.set(inode, count);
    else this.#opens.delete(inode);
  }

  async #quietly(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (this.#isClosed) return;
      const { code, message } = asGfsError(error);
      this.parts.logger.warn({ code, reason: message }, 'the session is not known to be alive');
    }
  }

  /** Opens the session anew: the same one when the master still has it. Callers at the same time share it, each as long as it has time. */
  async #renew(expired: string, deadlineMs: number): Promise<void> {
    if (this.#id !== expired) return;
    this.#renewing ??= this.#openSession(Math.max(deadlineMs, this.link.deadline()))
      .then(() => {
        if (this.#id !== expired) this.options.onRenewed();
      })
      .finally(() => {
        this.#renewing = undefined;
      });
    await within(
      this.#clock,
      this.#renewing,
      deadlineMs,
      () => new GfsError('TIMED_OUT', 'the session with the master could not be opened anew in time'),
    );
  }

  async #openSession(deadlineMs: number): Promise<void> {
    let sentMs = 0;
    const onAttempt = (): void => {
      sentMs = this.#clock.monotonicMs();
    };
    const { session, ...facts } = await this.link.call(
      'openSession',
      {
        client: this.link.clientId,
        name: this.options.name,
        open: [...this.#opens.keys()].slice(0, CLIENT_LIMITS.openFilesMax),
        wantsChanges: this.options.wantsChanges,
      },
      { deadlineMs, onAttempt },
    );
    const before = this.#facts;
    if (before && before.clusterId !== facts.clusterId) {
      throw new GfsError('WRONG_CLUSTER', `the master now serves cluster ${facts.clusterId}, not ${before.clusterId}`);
    }
    this.#facts = facts;
    this.#id = session;
    this.#noteAlive(sentMs);
    this.#isDetached = false;
  }
}
