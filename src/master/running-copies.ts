// The copies that healing has going: each within the limits, known by its chunk, and stopped when the chunk has enough good copies without it. It
// chooses neither chunks nor targets.
import type { ChunkHandle, ServerId } from '../protocol/ids.js';
import { countGood } from './chunk-health.js';
import { findChunk } from './chunks.js';
import type { CopyLimits } from './copy-limits.js';
import type { HealingStep } from './healing-plan.js';
import type { MasterContext } from './master-context.js';
import type { Mending } from './mending.js';
import type { ChunkRecord } from './records.js';
import type { CopyTarget, Moved, ReplicaCopies } from './replica-copies.js';

interface Running {
  readonly chunk: ChunkRecord;
  readonly server: ServerId;
  isStopped: boolean;
}

export class RunningCopies {
  private readonly running = new Map<ChunkHandle, Running>();

  constructor(
    private readonly context: MasterContext,
    private readonly copies: ReplicaCopies,
    private readonly mending: Mending,
    private readonly limits: CopyLimits,
  ) {}

  /** Begins a copy, unless the limits forbid it now. `tryFix`: the replica may need nothing but the recorded length. */
  start(chunk: ChunkRecord, target: CopyTarget, { tryFix }: { tryFix: boolean }): Promise<void> | undefined {
    const running: Running = { chunk, server: target.server, isStopped: false };
    const work = this.enter(chunk, target, sources => this.bring(chunk, { ...target, sources, tryFix }));
    if (!work) return undefined;
    this.running.set(chunk.handle, running);
    return work.finally(() => this.running.delete(chunk.handle));
  }

  /** A copy that nobody but its owner may end: of a chunk that has enough. */
  move(chunk: ChunkRecord, server: ServerId): Promise<void> | undefined {
    const target = { server, whole: false };
    return this.enter(chunk, target, sources => this.bring(chunk, { ...target, sources, tryFix: false }));
  }

  /** Has damaged replicas mended one after another, unless the limits forbid it now: each takes part, as target or as source, and so do those behind. */
  mend(chunk: ChunkRecord, servers: readonly ServerId[]): Promise<void> | undefined {
    const { locations, servers: known } = this.context;
    const behind = locations
      .get(chunk.handle)
      .filter(replica => replica.lengthBytes < chunk.lengthBytes && known.isLive(replica.server));
    const [server] = servers;
    const others = [...servers.slice(1), ...behind.map(replica => replica.server)];
    return this.enter(
      chunk,
      { server: server!, whole: true },
      sources => this.mending.mend(chunk, servers, sources),
      others,
    );
  }

  /** Stops those that are not needed any more: a server came back in time. `plan`: what the chunk would need if none ran. */
  stopNeedless(plan: (chunk: ChunkRecord) => HealingStep): void {
    for (const copy of this.running.values()) {
      const chunk = findChunk(this.context.store, copy.chunk.handle);
      if (copy.isStopped || (chunk && this.isNeeded(chunk, copy, plan(chunk)))) continue;
      copy.isStopped = true;
      void this.copies.stop(copy.chunk, copy.server);
    }
  }

  private isNeeded(chunk: ChunkRecord, { server }: Running, step: HealingStep): boolean {
    if (step.kind === 'none' || step.kind === 'delete') return false;
    if (step.kind !== 'repair' || step.server === server) return true;
    // A replica came back that lacks less, perhaps nothing but the recorded length: with it there are enough.
    const isLast = countGood(this.context, chunk).lasting + 1 >= chunk.goal;
    const missing = (at: ServerId): number => this.copies.bytesMissing(chunk, { server: at, whole: false });
    return !(isLast && missing(step.server) < missing(server));
  }

  /** What is paid for and does not move is given back. */
  private enter(
    chunk: ChunkRecord,
    target: CopyTarget,
    work: (sources: ServerId[]) => Promise<Moved>,
    others: readonly ServerId[] = [],
  ): Promise<void> | undefined {
    const sources = this.copies.sourcesOf(chunk, target.server, server => this.limits.copiesAt(server));
    const places = new Set([target.server, ...others, ...sources.slice(0, 1)]);
    const leave = this.limits.enter([...places], this.copies.bytesMissing(chunk, target));
    if (!leave) return undefined;
    return this.pay(work(sources), leave);
  }

  private async pay(work: Promise<Moved>, leave: (movedBytes?: number) => void): Promise<void> {
    let movedBytes: number | undefined;
    try {
      const moved = await work;
      movedBytes = moved.movedBytes;
      if (moved.failure) throw moved.failure;
    } finally {
      // Where it is not known how much moved, all of it, for the limit's sake.
      leave(movedBytes);
    }
  }

  private async bring(chunk: ChunkRecord, copy: Parameters<ReplicaCopies['bring']>[1]): Promise<Moved> {
    return { movedBytes: await this.copies.bring(chunk, copy) };
  }
}
