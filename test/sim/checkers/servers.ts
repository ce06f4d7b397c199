// Checks of what servers do, and of time: who acknowledges, how long operations take, and that work goes on once the faults are over.
import type { Checker, HistoryEvent } from '../history.js';

/** What is known of one version of a chunk. */
interface VersionSeen {
  /** Where what was acknowledged in it ends. */
  acknowledgedBytes: number;
  /** Where what was acknowledged in earlier ones has to end. */
  settledBytes: number;
}

export class OnePrimary implements Checker {
  readonly promise =
    'At most one server acknowledges appends in a version of a chunk, and nothing beyond the length at which a later one began or the chunk was sealed.';
  private readonly primaries = new Map<string, string>();
  private readonly versions = new Map<number, Map<number, VersionSeen>>();

  on(event: HistoryEvent): string | undefined {
    if (event.kind !== 'acknowledged' && event.kind !== 'settled') return undefined;
    const versions = this.versions.get(event.handle) ?? new Map<number, VersionSeen>();
    this.versions.set(event.handle, versions);
    const seen = versions.get(event.version) ?? { acknowledgedBytes: 0, settledBytes: Number.POSITIVE_INFINITY };
    versions.set(event.version, seen);
    if (event.kind === 'settled') seen.settledBytes = Math.min(seen.settledBytes, event.lengthBytes);
    else seen.acknowledgedBytes = Math.max(seen.acknowledgedBytes, event.endByte);
    for (const [earlier, { acknowledgedBytes }] of versions) {
      for (const [later, { settledBytes }] of versions)
        if (earlier < later && acknowledgedBytes > settledBytes)
          return `Chunk ${event.handle}: ${acknowledgedBytes} bytes were acknowledged in version ${earlier}, and version ${later} began with ${settledBytes}.`;
    }
    if (event.kind === 'settled') return undefined;
    const key = `${event.handle} ${event.version}`;
    const known = this.primaries.get(key);
    this.primaries.set(key, event.server);
    if (known === undefined || known === event.server) return undefined;
    return `${known} and ${event.server} did, in chunk ${event.handle} version ${event.version}.`;
  }
}

/** While its process stands still nobody can answer a client; it then has as much more time. */
export class DeadlinesHold implements Checker {
  readonly promise = 'No operation outlives its deadline.';
  private readonly stops = new Map<string, Array<{ fromMs: number; toMs: number }>>();

  on(event: HistoryEvent): string | undefined {
    if (event.kind === 'wentOn') {
      const stops = this.stops.get(event.node) ?? [];
      this.stops.set(event.node, [...stops, { fromMs: event.sinceMs, toMs: event.atMs }]);
    }
    if (event.kind !== 'ended' && event.kind !== 'failed') return undefined;
    const { operation } = event;
    let deadlineMs = operation.deadlineMs;
    for (const { fromMs, toMs } of this.stops.get(operation.client) ?? [])
      deadlineMs += Math.max(0, toMs - Math.max(fromMs, operation.beganMs));
    if (event.atMs <= deadlineMs) return undefined;
    return `#${operation.id} (${operation.asked.kind} of ${operation.client}) ended ${event.atMs - deadlineMs} ms late.`;
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
    // A right answer where others append; and where a file was collected that has no name, which is OpenFilesStay's business.
    if (event.kind === 'failed' && (event.code === 'OFFSET_MISMATCH' || event.code === 'STALE')) return undefined;
    // An append that took longer tried again and again, which is no better than one that failed.
    const tookMs = event.kind === 'began' ? 0 : event.atMs - Math.max(operation.beganMs, this.healedMs);
    if (tookMs > this.recoveryMs)
      return `#${operation.id} of ${operation.client} ${event.kind} ${tookMs} ms after it was asked and all was well.`;
    if (event.kind === 'failed' && operation.beganMs > this.healedMs + this.recoveryMs)
      return `#${operation.id} of ${operation.client} began ${operation.beganMs - this.healedMs} ms after it and failed with ${event.code}.`;
    return undefined;
  }
}
