// Checks that a primary's word ends with its lease: what the master granted, and until when, against who acknowledges.
import type { Checker, HistoryEvent } from '../history.js';

/** An append that was taken in time may be acknowledged this much later: the chain's timeouts, and what clocks may differ. */
const SLACK_MS = 1_200;

/** A server that stood still may tell late of what was taken in time: all replicas had it, so a seal meanwhile kept it. */
export class LeasesEnd implements Checker {
  readonly promise = 'No server acknowledges appends in a version whose lease ran out long ago.';
  private readonly untilMs = new Map<string, number>();
  private readonly stops: Array<{ node: string; fromMs: number; toMs: number }> = [];

  on(event: HistoryEvent): string | undefined {
    if (event.kind === 'wentOn') this.stops.push({ node: event.node, fromMs: event.sinceMs, toMs: event.atMs });
    if (event.kind !== 'leased' && event.kind !== 'acknowledged') return undefined;
    const key = `${event.handle} ${event.version}`;
    const untilMs = this.untilMs.get(key) ?? 0;
    if (event.kind === 'leased') {
      this.untilMs.set(key, Math.max(untilMs, event.untilMs));
      return undefined;
    }
    let lastMs = untilMs + SLACK_MS;
    for (const { node, fromMs, toMs } of this.stops)
      if (node === event.server && fromMs <= lastMs) lastMs = Math.max(lastMs, toMs + SLACK_MS);
    if (event.atMs <= lastMs) return undefined;
    return `${event.server} did in chunk ${event.handle} version ${event.version}, ${Math.round(event.atMs - untilMs)} ms after it.`;
  }
}
