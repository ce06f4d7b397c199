// Check of files that lost their last name while their writer has them open: they are there until it closes them, or its session may have ended.
import type { Checker, HistoryEvent } from '../history.js';

export interface OpenFilesOptions {
  /** Silence of a client after which the master may end its session, by any clock. */
  silenceMs: number;
  /** Somebody took the file away for good. */
  isPurged: (file: number) => boolean;
}

export class OpenFilesStay implements Checker {
  readonly promise =
    'A file that is open stays after its last name went, as long as the session lives that has it open.';
  /** The one who appended first, which goes on having it open. */
  private readonly owners = new Map<number, { client: string; sinceMs: number }>();
  private readonly unlinked = new Set<number>();
  private readonly keptMs = new Map<string, number>();
  /** When a client had last been silent for too long. */
  private readonly silentMs = new Map<string, number>();

  constructor(private readonly options: OpenFilesOptions) {}

  on(event: HistoryEvent): string | undefined {
    if (event.kind === 'unlinked') this.unlinked.add(event.file);
    if (event.kind === 'kept') this.hear(event.client, event.atMs);
    if (event.kind === 'began' && event.operation.asked.kind === 'append') {
      const { asked, client } = event.operation;
      if (!this.owners.has(asked.file)) this.owners.set(asked.file, { client, sinceMs: event.atMs });
    }
    if (event.kind !== 'failed' || (event.code !== 'STALE' && event.code !== 'NOT_FOUND')) return undefined;
    const { asked, client, id } = event.operation;
    if (!('file' in asked) || !this.unlinked.has(asked.file) || this.options.isPurged(asked.file)) return undefined;
    const owner = this.owners.get(asked.file);
    if (owner?.client !== client) return undefined;
    this.hear(client, event.atMs);
    if ((this.silentMs.get(client) ?? -1) >= owner.sinceMs) return undefined;
    return `#${id}, ${asked.kind} of inode ${asked.file}, which ${client} has open, failed with ${event.code}.`;
  }

  private hear(client: string, atMs: number): void {
    if (atMs - (this.keptMs.get(client) ?? 0) >= this.options.silenceMs) this.silentMs.set(client, atMs);
    this.keptMs.set(client, atMs);
  }
}
