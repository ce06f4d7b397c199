// Checks that a primary's word ends with its lease: what the master granted, and until when by its own clock, against who acknowledges. Holders give a lease up
// early by as much as clocks may differ, so nothing is allowed beyond it, but where a fault made a clock run more wrong than that.
import type { Checker, HistoryEvent } from '../history.js';

/** Within this after such a fault: it lasts up to 5 s, and leases from its time up to 2 s more. */
const WRONG_CLOCKS_MS = 7_500;
/** Two clocks that are wrong by 10 % each, over a lease of 2 s. */
const WRONG_CLOCKS_SLACK_MS = 450;

export class LeasesEnd implements Checker {
  readonly promise = 'No server acknowledges appends in a version whose lease has ended by the clock of the master.';
  private readonly untilMs = new Map<string, number>();
  private wrongUntilMs = 0;

  on(event: HistoryEvent): string | undefined {
    if (event.kind === 'fault' && event.fault === 'clock drift') this.wrongUntilMs = event.atMs + WRONG_CLOCKS_MS;
    if (event.kind !== 'leased' && event.kind !== 'acknowledged') return undefined;
    const key = `${event.handle} ${event.version}`;
    const untilMs = this.untilMs.get(key) ?? 0;
    if (event.kind === 'leased') {
      this.untilMs.set(key, Math.max(untilMs, event.untilMs));
      return undefined;
    }
    const slackMs = event.atMs < this.wrongUntilMs ? WRONG_CLOCKS_SLACK_MS : 0;
    if (event.atMs <= untilMs + slackMs) return undefined;
    return `${event.server} did in chunk ${event.handle} version ${event.version}, ${(event.atMs - untilMs).toFixed(1)} ms after it.`;
  }
}
