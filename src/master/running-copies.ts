// The copies that healing has going: each within the limits, known by its chunk, and stopped when the chunk has enough good copies without it. It
// chooses neither chunks nor targets.
import type { ChunkHandle, ServerId } from '../protocol/ids.js';
import type { CopyLimits } from './copy-limits.js';
import type { Mending } from './mending.js';
import type { ChunkRecord } from './records.js';
import type { CopyTarget, ReplicaCopies } from './replica-copies.js';

interface Running {
  readonly chunk: ChunkRecord;
  readonly server: ServerId;
  isStopped: boolean;
}

export class RunningCopies {
  private readonly running = new Map<ChunkHandle, Running>();

  constructor(
    private readonly copies: ReplicaCopies,
    private readonly mending: Mending,
    private readonly limits: CopyLimits,
  ) {}

  /** Begins a copy, unless the limits forbid it now. `tryFix`: the replica may need nothing but the recorded length. */
  start(chunk: ChunkRecord, target: CopyTarget, { tryFix }: { tryFix: boolean }): Promise<void> | undefined {
    const running: Running = { chunk, server: target.server, isStopped: false };
    const work = this.enter(chunk, target, sources => this.copies.bring(chunk, { ...target, sources, tryFix }));
    if (!work) return undefined;
    this.running.set(chunk.handle, running);
    return work.finally(() => this.running.delete(chunk.handle));
  }

  /** A copy that nobody but its owner may end: of a chunk that has enough. */
  move(chunk: ChunkRecord, server: ServerId): Promise<void> | undefined {
    const target = { server, whole: false };
    return this.enter(chunk, target, sources => this.copies.bring(chunk, { ...target, sources, tryFix: false }));
  }

  /** Has damaged replicas mended, unless the limits forbid it now. */
  mend(chunk: ChunkRecord, servers: readonly ServerId[]): Promise<void> | undefined {
    return this.enter(chunk, { server: servers[0]!, whole: true }, () => this.mending.mend(chunk, servers));
  }

  /** Stops those that are not needed any more: a server came back in time. */
  stopNeedless(isNeeded: (handle: ChunkHandle) => boolean): void {
    for (const [handle, copy] of this.running) {
      if (copy.isStopped || isNeeded(handle)) continue;
      copy.isStopped = true;
      void this.copies.stop(copy.chunk, copy.server);
    }
  }

  /** What is paid for and does not move is given back. */
  private enter(
    chunk: ChunkRecord,
    target: CopyTarget,
    work: (sources: ServerId[]) => Promise<number>,
  ): Promise<void> | undefined {
    const sources = this.copies.sourcesOf(chunk, target.server, server => this.limits.copiesAt(server));
    const leave = this.limits.enter([target.server, ...sources.slice(0, 1)], this.copies.bytesMissing(chunk, target));
    if (!leave) return undefined;
    return work(sources).then(leave, error => {
      // How much has moved is not known: all of it, for the limit's sake.
      leave();
      throw error;
    });
  }
}
