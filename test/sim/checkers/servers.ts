// Checks of what servers do, and of time: who acknowledges, how long operations take, and that work goes on once the faults are over.
import type { Checker, HistoryEvent } from '../history.js';

export class OnePrimary implements Checker {
  readonly promise = 'At most one server acknowledges appends in one version of a chunk.';
  private readonly primaries = new Map<string, string>();

  on(event: HistoryEvent): string | undefined {
    if (event.kind !== 'acknowledged') return undefined;
    const key = `${event.handle} ${event.version}`;
    const known = this.primaries.get(key);
    this.primaries.set(key, event.server);
    if (known === undefined || known === event.server) return undefined;
    return `${known} and ${event.server} did, in chunk ${event.handle} version ${event.version}.`;
  }
}

export class DeadlinesHold implements Checker {
  readonly promise = 'No operation outlives its deadline.';

  on(event: HistoryEvent): string | undefined {
    if (event.kind !== 'ended' && event.kind !== 'failed') return undefined;
    const { operation } = event;
    if (event.atMs <= operation.deadlineMs) return undefined;
    return `#${operation.id} (${operation.asked.kind} of ${operation.client}) ended ${event.atMs - operation.deadlineMs} ms late.`;
  }
}

/** Times in ms after the end of the faults. */
export class WorkGoesOn implements Checker {
  readonly promise: string;
  private healedMs: number | undefined;
  private acknowledged = 0;
  private asked = 0;

  constructor(private readonly recoveryMs: number) {
    this.promise = `Appends succeed again within ${recoveryMs} ms after the last fault.`;
  }

  on(event: HistoryEvent): string | undefined {
    if (event.kind === 'healed') this.healedMs = event.atMs;
    if (this.healedMs === undefined) return undefined;
    if (event.kind === 'quiet')
      return this.acknowledged === 0 && this.asked > 0 ? `None of ${this.asked} did.` : undefined;
    if (event.kind !== 'began' && event.kind !== 'ended' && event.kind !== 'failed') return undefined;
    const { operation } = event;
    if (operation.asked.kind !== 'append') return undefined;
    if (event.kind === 'began') this.asked++;
    if (event.kind === 'ended') this.acknowledged++;
    if (
      event.kind === 'failed' &&
      operation.beganMs > this.healedMs + this.recoveryMs &&
      event.code !== 'OFFSET_MISMATCH'
    )
      return `#${operation.id} of ${operation.client} began ${operation.beganMs - this.healedMs} ms after it and failed with ${event.code}.`;
    return undefined;
  }
}
