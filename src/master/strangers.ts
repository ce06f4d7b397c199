// Replicas that the metadata cannot explain, as their servers reported them: of chunks it does not know, and of versions it has never given. A table for
// operators to look at and decide; it judges and deletes nothing.
import type { ChunkHandle, ServerId } from '../protocol/ids.js';
import type { WireChunkReport } from '../protocol/messages.js';

export interface Stranger {
  server: ServerId;
  report: WireChunkReport;
}

/** Of each of the two kinds. What does not fit is named again when its server registers. */
const STRANGERS_MAX = 100_000;

export class Strangers {
  /** Of chunks without a record. */
  readonly unknown = new Map<string, Stranger>();
  /** Of a version above the recorded one. */
  readonly newer = new Map<string, Stranger>();
  private maxHandle = 0;

  /** The greatest handle that any server named. */
  get handleMax(): number {
    return this.maxHandle;
  }

  noteUnknown(server: ServerId, report: WireChunkReport): void {
    this.maxHandle = Math.max(this.maxHandle, report.handle);
    note(this.unknown, server, report);
  }

  noteNewer(server: ServerId, report: WireChunkReport): void {
    note(this.newer, server, report);
  }

  forgetServer(server: ServerId): void {
    for (const map of [this.unknown, this.newer])
      for (const [key, stranger] of map) if (stranger.server === server) map.delete(key);
  }

  /** By chunk, in the order of handles. */
  static byChunk(strangers: Iterable<Stranger>): Map<ChunkHandle, Stranger[]> {
    const chunks = new Map<ChunkHandle, Stranger[]>();
    for (const stranger of strangers) {
      const { handle } = stranger.report;
      const others = chunks.get(handle);
      if (others) others.push(stranger);
      else chunks.set(handle, [stranger]);
    }
    return new Map([...chunks].sort(([a], [b]) => a - b));
  }
}

function note(map: Map<string, Stranger>, server: ServerId, report: WireChunkReport): void {
  const key = keyOf(server, report.handle);
  if (map.size < STRANGERS_MAX || map.has(key)) map.set(key, { server, report });
}

export function keyOf(server: ServerId, handle: ChunkHandle): string {
  return `${handle}@${server}`;
}
