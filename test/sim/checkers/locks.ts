// Checks of locks: who believes to hold what, from the grant it was told of until it gives it back, hears that it is lost, or ends; against what others are granted.
// A session ends by the master's clock and locks are given up by the holder's own, so that only a clock that is more wrong than clocks are, or a holder that
// stands still, may believe too long.
import type { Checker, HistoryEvent, LockRange } from '../history.js';

/** A fault makes a clock wrong for up to 5 s; a session that lived then may last 4 s more. */
const WRONG_CLOCKS_MS = 9_500;
/** Who stood still is told what it missed after it has gone on. */
const WAKING_MS = 1;

interface Belief extends LockRange {
  readonly client: string;
  readonly sinceMs: number;
}

export class LocksExclude implements Checker {
  readonly promise = 'Nobody is granted a lock while somebody else believes to hold one that conflicts.';
  private beliefs: Belief[] = [];
  /** Until when a client stands still, or wakes up. */
  private readonly stoppedUntilMs = new Map<string, number>();
  private wrongUntilMs = 0;

  on(event: HistoryEvent): string | undefined {
    if (event.kind === 'fault' && event.fault === 'clock drift') this.wrongUntilMs = event.atMs + WRONG_CLOCKS_MS;
    if (event.kind === 'fault' && event.fault === 'pause')
      this.stoppedUntilMs.set(event.node, Number.POSITIVE_INFINITY);
    if (event.kind === 'wentOn') this.stoppedUntilMs.set(event.node, event.atMs + WAKING_MS);
    if (event.kind === 'died') this.beliefs = this.beliefs.filter(({ client }) => client !== event.client);
    if (event.kind === 'lockLost') this.forget(event.client, event.lock);
    if (event.kind !== 'began' && event.kind !== 'ended') return undefined;
    const { asked, client } = event.operation;
    if (event.kind === 'began' && asked.kind === 'unlock') this.forget(client, asked);
    if (event.kind !== 'ended' || asked.kind !== 'lock') return undefined;
    const { file, space, owner, exclusive, startByte, endByte } = asked;
    const lock = { file, space, owner, exclusive, startByte, endByte };
    const other = this.beliefs.find(belief => this.conflicts(belief, { ...lock, client }, event.atMs));
    this.forget(client, lock);
    this.beliefs.push({ ...lock, client, sinceMs: event.atMs });
    if (!other || event.atMs < this.wrongUntilMs) return undefined;
    return `${client} (${owner}) was granted ${show(lock)} while ${other.client} (${other.owner}) held ${show(other)} since ${other.sinceMs.toFixed(0)} ms.`;
  }

  private conflicts(belief: Belief, lock: LockRange & { client: string }, atMs: number): boolean {
    if (belief.client === lock.client && belief.owner === lock.owner) return false;
    if (atMs < (this.stoppedUntilMs.get(belief.client) ?? 0)) return false;
    return overlap(belief, lock) && (belief.exclusive || lock.exclusive);
  }

  /** The owner holds nothing in this range any more; what lies around it stays. */
  private forget(client: string, range: LockRange): void {
    this.beliefs = this.beliefs.flatMap(belief => {
      const isMine = belief.client === client && belief.owner === range.owner;
      if (!isMine || !overlap(belief, range)) return [belief];
      const before = { ...belief, endByte: range.startByte - 1 };
      const behind = { ...belief, startByte: range.endByte + 1 };
      return [before, behind].filter(({ startByte, endByte }) => startByte <= endByte);
    });
  }
}

function overlap(a: LockRange, b: LockRange): boolean {
  return a.file === b.file && a.space === b.space && a.startByte <= b.endByte && a.endByte >= b.startByte;
}

function show({ file, space, exclusive, startByte, endByte }: LockRange): string {
  return `${exclusive ? 'exclusive' : 'shared'} ${space} ${startByte}-${endByte} of inode ${file}`;
}
