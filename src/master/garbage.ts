// Deletes what nothing refers to: files whose time in the trash is over, chunks whose grace is over, replicas that the master does not know
// (paper, §4.4). FAULTS promise 8 rules here: whatever hints that the metadata is old stops deletion instead.
import { asGfsError } from '../protocol/errors.js';
import { type ChunkHandle, handleName, type InodeId, type ServerId } from '../protocol/ids.js';
import type { WireChunkReport } from '../protocol/messages.js';
import { findChunk, forgetGarbage, garbageDue } from './chunks.js';
import { readCounters } from './counters.js';
import { type MasterContext, momentOf } from './master-context.js';
import { BOUNDS } from './settings.js';
import { collectDue } from './trash.js';

/** Of one step. */
const FILES_PER_STEP = 256;
const EXTENTS_PER_STEP = 4_096;
const CHUNKS_PER_STEP = 256;
/** Replicas that wait to be deleted. Above it collecting pauses; unknown ones are named again when their server registers. */
const DELETIONS_MAX = 50_000;
/** Handles that this process collected; a late report of one of them is no sign of old metadata. */
const COLLECTED_MAX = 200_000;
const RETRY_MS = 5_000;

interface Deletion {
  server: ServerId;
  handle: ChunkHandle;
  version: number;
  /** Monotonic time before which it is not tried (again). */
  notBeforeMs: number;
}

export class Garbage {
  private readonly deletions = new Map<string, Deletion>();
  private readonly collected = new Set<ChunkHandle>();
  private inFlight = 0;

  constructor(
    private readonly context: MasterContext,
    private readonly isInodeOpen: (inode: InodeId) => boolean,
  ) {}

  get deletionCount(): number {
    return this.deletions.size;
  }

  /** A server holds a replica of a chunk that the master does not know. */
  onUnknownReplica(server: ServerId, report: WireChunkReport): void {
    const { store, safeMode, firstHandle, platform } = this.context;
    const { handle, version } = report;
    const { nextHandle } = readCounters(store);
    if (handle >= nextHandle) {
      safeMode.distrustMetadata(
        `chunkserver ${server} holds chunk ${handleName(handle)}, which this metadata has never given out: it is an old copy`,
      );
      return;
    }
    // Handles are given out in order and durably: one below the first of this process was given out and collected before.
    if (handle < firstHandle || this.collected.has(handle)) this.enqueue({ server, handle, version, notBeforeMs: 0 });
    else platform.logger.warn({ server, handle, version }, 'an unknown replica is left alone: its origin is not clear');
  }

  /** A server holds a version that the master has never given: the metadata is older than the cluster. */
  onNewerReplica(server: ServerId, report: WireChunkReport, version: number): void {
    this.context.safeMode.distrustMetadata(
      `chunkserver ${server} holds version ${report.version} of chunk ${handleName(report.handle)}, this metadata knows ${version}: it is an old copy`,
    );
  }

  /** One round. Called regularly; does nothing in safe mode. */
  async step(): Promise<void> {
    const { store, safeMode } = this.context;
    if (safeMode.isOn) return;
    const at = momentOf(this.context);
    await collectDue(store, {
      at,
      isOpen: this.isInodeOpen,
      filesMax: FILES_PER_STEP,
      extentsMax: EXTENTS_PER_STEP,
    });
    if (this.deletions.size < DELETIONS_MAX) await this.collectChunks(at.nowMs);
    this.deleteSome();
  }

  private async collectChunks(nowMs: number): Promise<void> {
    const { store, locations, leases, servers } = this.context;
    const handles = await garbageDue(store, nowMs, CHUNKS_PER_STEP);
    if (handles.length === 0) return;
    const gone = handles.flatMap(handle => {
      const chunk = findChunk(store, handle);
      return chunk && store.change(change => forgetGarbage(change, handle)) ? [chunk] : [];
    });
    // The record is gone from the disk before a replica goes: otherwise a crash could leave a chunk without bytes.
    await store.durable();
    for (const { handle, version, chain } of gone) {
      leases.drop(handle);
      this.noteCollected(handle);
      const holders = new Set([...locations.get(handle), ...chain].map(({ server }) => server));
      for (const server of holders)
        if (servers.isLive(server)) this.enqueue({ server, handle, version, notBeforeMs: 0 });
      locations.forget(handle);
    }
  }

  private enqueue(deletion: Deletion): void {
    const key = `${deletion.handle}@${deletion.server}`;
    if (this.deletions.size >= DELETIONS_MAX && !this.deletions.has(key)) return;
    this.deletions.set(key, deletion);
  }

  private deleteSome(): void {
    const { servers, platform } = this.context;
    const now = platform.clock.monotonicMs();
    for (const [key, deletion] of this.deletions) {
      if (this.inFlight >= BOUNDS.deletionsAtOnce) return;
      if (deletion.notBeforeMs > now) continue;
      this.deletions.delete(key);
      // It will name the replica again when it registers.
      if (servers.isLive(deletion.server)) void this.delete(deletion);
    }
  }

  private async delete(deletion: Deletion): Promise<void> {
    const { orders, store, platform, safeMode } = this.context;
    const { server, handle, version } = deletion;
    if (safeMode.isOn || findChunk(store, handle)) return;
    this.inFlight++;
    try {
      await orders.give(server, 'deleteChunk', { handle, version });
      platform.logger.debug({ server, handle, version }, 'replica of a collected chunk deleted');
    } catch (error) {
      platform.logger.debug({ server, handle, code: asGfsError(error).code }, 'a deletion was put off');
      this.enqueue({ ...deletion, notBeforeMs: platform.clock.monotonicMs() + RETRY_MS });
    } finally {
      this.inFlight--;
      if (this.inFlight === 0) this.deleteSome();
    }
  }

  private noteCollected(handle: ChunkHandle): void {
    if (this.collected.size >= COLLECTED_MAX) this.collected.delete(this.collected.values().next().value!);
    this.collected.add(handle);
  }
}
