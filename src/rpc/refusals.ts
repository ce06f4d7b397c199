// Who was refused at the greeting, for the log and for people: each host with each reason once, however often it comes again. It refuses nobody.
import type { ErrorCode } from '../protocol/errors.js';
import type { Role } from './types.js';

export interface Refusal {
  host: string;
  role: Role;
  code: ErrorCode;
  reason: string;
  count: number;
  /** Monotonic times. */
  lastMs: number;
  loggedMs: number;
}

/** The one that was not seen for longest makes room. */
const REFUSALS_MAX = 64;
/** Who comes again and again is in the log once in this time. */
const LOGGED_EVERY_MS = 600_000;

export class Refusals {
  private readonly refusals = new Map<string, Refusal>();

  /** Takes one more down; true when it is to be logged. */
  note(who: Pick<Refusal, 'host' | 'role' | 'code' | 'reason'>, nowMs: number): boolean {
    const key = `${who.host} ${who.role} ${who.code} ${who.reason}`;
    const before = this.refusals.get(key);
    const isLogged = !before || nowMs - before.loggedMs >= LOGGED_EVERY_MS;
    const loggedMs = isLogged ? nowMs : before.loggedMs;
    // Behind all others, as the newest.
    this.refusals.delete(key);
    this.refusals.set(key, { ...who, count: (before?.count ?? 0) + 1, lastMs: nowMs, loggedMs });
    if (this.refusals.size > REFUSALS_MAX) this.refusals.delete(this.refusals.keys().next().value!);
    return isLogged;
  }

  /** Those refused since `sinceMs` (monotonic). */
  since(sinceMs: number): Refusal[] {
    return [...this.refusals.values()].filter(({ lastMs }) => lastMs >= sinceMs);
  }
}
