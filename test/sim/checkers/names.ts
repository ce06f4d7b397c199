// Checks of names: what one client was told excludes what another was told.
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
