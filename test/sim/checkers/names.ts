// Checks of names and locks: what one client was told excludes what another was told.
import type { Checker, HistoryEvent } from '../history.js';

export class OneCreator implements Checker {
  readonly promise = 'Of many clients that create one name exclusively, one is told that it did.';
  private readonly creators = new Map<string, string>();

  on(event: HistoryEvent): string | undefined {
    if (event.kind !== 'ended' || event.outcome.kind !== 'createExclusive' || !event.outcome.created) return undefined;
    const { asked, client } = event.operation;
    if (asked.kind !== 'createExclusive') return undefined;
    const known = this.creators.get(asked.name);
    this.creators.set(asked.name, client);
    return known === undefined ? undefined : `${known} and ${client} created ${asked.name}.`;
  }
}

/** A lock ends with its session, which a holder that was cut off cannot know: only undisturbed holders are judged. */
export class LocksExclude implements Checker {
  readonly promise = 'An exclusive lock has one holder.';
  private readonly holders = new Map<number, { client: string; owner: string; sinceMs: number }>();
  private lastFaultMs = -1;

  on(event: HistoryEvent): string | undefined {
    if (event.kind === 'fault' || event.kind === 'wentOn') this.lastFaultMs = event.atMs;
    if (event.kind === 'began' && event.operation.asked.kind === 'unlock')
      this.holders.delete(event.operation.asked.file);
    if (event.kind !== 'ended' || event.operation.asked.kind !== 'lock') return undefined;
    const { asked, client } = event.operation;
    const known = this.holders.get(asked.file);
    this.holders.set(asked.file, { client, owner: asked.owner, sinceMs: event.atMs });
    if (!known || this.lastFaultMs >= known.sinceMs - LocksExclude.settleMs) return undefined;
    return `${client} was granted inode ${asked.file} while ${known.client} held it (since ${known.sinceMs} ms).`;
  }

  /** A fault this long before a grant may still undo it. */
  private static readonly settleMs = 5_000;
}
