// Sessions of clients with the files they have open, in memory: a client that outlives the master opens its session again and names them. A pure
// table: time comes in as an argument, and expired sessions are handed out for others (locks) to end what belongs to them.
import { GfsError } from '../protocol/errors.js';
import type { InodeId } from '../protocol/ids.js';

export interface SessionLimits {
  ttlMs: number;
  sessionsMax: number;
  openFilesPerSessionMax: number;
}

export interface Session {
  /** 16 hex digits. */
  readonly id: string;
  readonly client: string;
  readonly name: string;
  readonly wantsChanges: boolean;
  readonly open: Set<InodeId>;
  expiresMs: number;
  /** The newest of the client's connections that was heard of. */
  connection: number;
}

export interface OpenSessionOptions {
  /** A fresh id, used unless the client has a session already. */
  id: string;
  client: string;
  name: string;
  open: readonly InodeId[];
  wantsChanges: boolean;
  connection?: number | undefined;
}

export class SessionTable {
  readonly #limits: SessionLimits;
  readonly #sessions = new Map<string, Session>();
  readonly #byClient = new Map<string, Session>();
  /** How many sessions have an inode open. INVARIANT: the sum over all sessions' `open`. */
  readonly #openCounts = new Map<InodeId, number>();
  /** Called when a session is heard on a newer connection: what came on older ones and is in work was given up. */
  onMoved: (session: Session) => void = () => undefined;

  constructor(limits: SessionLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#sessions.size;
  }

  /**
   * A session for the client: the one it has (so that sending the request again is harmless), else a new one. Throws OVERLOADED, SUPERSEDED. Call
   * `expire` before.
   */
  open({ id, client, name, open, wantsChanges, connection }: OpenSessionOptions, nowMs: number): Session {
    const existing = this.#byClient.get(client);
    if (existing) this.hear(existing.id, connection);
    const heldCount = existing?.open.size ?? 0;
    if (existing === undefined && this.#sessions.size >= this.#limits.sessionsMax) {
      throw new GfsError('OVERLOADED', `there are ${this.#limits.sessionsMax} sessions already`);
    }
    if (heldCount + open.length > this.#limits.openFilesPerSessionMax) throw this.#tooManyOpen();
    const session: Session = {
      id: existing?.id ?? id,
      client,
      name,
      wantsChanges,
      open: existing?.open ?? new Set(),
      expiresMs: nowMs + this.#limits.ttlMs,
      connection: existing?.connection ?? connection ?? 0,
    };
    this.#sessions.set(session.id, session);
    this.#byClient.set(client, session);
    for (const inode of open) this.#addOpen(session, inode);
    return session;
  }

  /** The session. Throws SESSION_EXPIRED when it ended. */
  get(id: string): Session {
    const session = this.#sessions.get(id);
    if (session === undefined) throw new GfsError('SESSION_EXPIRED');
    return session;
  }

  /**
   * The session, for a request that changes what it has and came on its client's connection of this number. Throws SESSION_EXPIRED, and SUPERSEDED for one
   * that was given up: it would undo what the client did since.
   */
  hear(id: string, connection: number | undefined): Session {
    const session = this.get(id);
    if (connection === undefined || connection === session.connection) return session;
    if (connection < session.connection)
      throw new GfsError('SUPERSEDED', 'this request was given up: its client has been heard on a newer connection');
    session.connection = connection;
    this.onMoved(session);
    return session;
  }

  /** Extends the session. Throws SESSION_EXPIRED. */
  keep(id: string, nowMs: number): void {
    this.get(id).expiresMs = nowMs + this.#limits.ttlMs;
  }

  /** Ends a session; one that ended is fine. Returns it if it was there: then its locks have to go as well. */
  close(id: string): Session | undefined {
    const session = this.#sessions.get(id);
    if (session === undefined) return undefined;
    this.#sessions.delete(id);
    this.#byClient.delete(session.client);
    for (const inode of [...session.open]) this.#removeOpen(session, inode);
    return session;
  }

  /** Ends the sessions that nobody kept, and returns them. */
  expire(nowMs: number): Session[] {
    const expired = [...this.#sessions.values()].filter(session => session.expiresMs <= nowMs);
    for (const { id } of expired) this.close(id);
    return expired;
  }

  /** The session has the inode open; twice is once. Throws SESSION_EXPIRED, SUPERSEDED, OVERLOADED. */
  openFile(id: string, inode: InodeId, connection?: number): void {
    const session = this.hear(id, connection);
    if (!session.open.has(inode) && session.open.size >= this.#limits.openFilesPerSessionMax) throw this.#tooManyOpen();
    this.#addOpen(session, inode);
  }

  /** The session has closed the inode altogether. Throws SESSION_EXPIRED, SUPERSEDED. */
  closeFile(id: string, inode: InodeId, connection?: number): void {
    this.#removeOpen(this.hear(id, connection), inode);
  }

  /** Whether any session has the inode open. */
  isOpen(inode: InodeId): boolean {
    return this.#openCounts.has(inode);
  }

  list(): Session[] {
    return [...this.#sessions.values()];
  }

  #addOpen(session: Session, inode: InodeId): void {
    if (session.open.has(inode)) return;
    session.open.add(inode);
    this.#openCounts.set(inode, (this.#openCounts.get(inode) ?? 0) + 1);
  }

  #removeOpen(session: Session, inode: InodeId): void {
    if (!session.open.delete(inode)) return;
    const left = this.#openCounts.get(inode)! - 1;
    if (left > 0) this.#openCounts.set(inode, left);
    else this.#openCounts.delete(inode);
  }

  #tooManyOpen(): GfsError {
    return new GfsError('OVERLOADED', `a session has at most ${this.#limits.openFilesPerSessionMax} open files`);
  }
}
