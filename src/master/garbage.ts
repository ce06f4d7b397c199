// Deletes what nothing refers to: files whose time in the trash is over, chunks whose grace is over, replicas that the master does not know
// (paper, §4.4). FAULTS promise 8 rules here: whatever hints that the metadata is old stops deletion instead.
import { asGfsError } from '../protocol/errors.js';
import { type ChunkHandle, handleName, type InodeId, type ServerId } from '../protocol/ids.js';
import { LIMITS } from '../protocol/limits.js';
import type { WireChunkReport } from '../protocol/messages.js';
import { findChunk, forgetGarbage, garbageDue } from './chunks.js';
import { readCounters } from './counters.js';
import { isLost } from './lost-handles.js';
import { type MasterContext, momentOf } from './master-context.js';
import { BOUNDS } from './settings.js';
import { Shortage } from './shortage.js';
import { keyOf, Strangers } from './strangers.js';
import { type CollectOptions, collectDue, releaseEarly, type TrashPlace } from './trash.js';

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

/** A replica of a chunk that the metadata does not know, left alone until an operator looks at it. */
export type UnclearReplica = Omit<Deletion, 'notBeforeMs'>;

export class Garbage {
  private readonly deletions = new Map<string, Deletion>();
  private readonly collected = new Set<ChunkHandle>();
  /** Chunks whose records are being removed, with servers that name a replica meanwhile. */
  private readonly collecting = new Map<ChunkHandle, Set<ServerId>>();
  /** Replicas that are left alone until an operator looks at them. */
  readonly strangers = new Strangers();
  /** Servers that were down when a replica on them was to be deleted: nothing would name it again unless they register. */
  private readonly missed = new Set<ServerId>();
  private readonly shortage: Shortage;
  /** How far files left the trash early; undefined: the next look begins with the oldest. */
  private releasedTo: TrashPlace | undefined;
  private inFlight = 0;

  constructor(
    private readonly context: MasterContext,
    private readonly isInodeOpen: (inode: InodeId) => boolean,
    /** Clients may have files open that they have not named yet. */
    private readonly mayBeOpen: () => boolean,
  ) {
    this.shortage = new Shortage(context);
  }

  get deletionCount(): number {
    return this.deletions.size;
  }

  /** A server holds a replica of a chunk that the master does not know. */
  onUnknownReplica(server: ServerId, report: WireChunkReport): void {
    const { store, safeMode, firstHandle, platform } = this.context;
    const { handle, version } = report;
    const { nextHandle } = readCounters(store);
    if (handle >= nextHandle) {
      this.strangers.noteUnknown(server, report);
      safeMode.distrustMetadata(
        `chunkserver ${server} holds chunk ${handleName(handle)}, which this metadata has never given out: it is an old copy`,
      );
      return;
    }
    const collecting = this.collecting.get(handle);
    if (collecting) {
      collecting.add(server);
      return;
    }
    // Handles are given out in order and durably: one below the first of this process was given out and collected before.
    const isLostOnly = isLost(store, handle);
    if ((handle < firstHandle && !isLostOnly) || this.collected.has(handle))
      this.enqueue({ server, handle, version, notBeforeMs: 0 });
    else {
      platform.logger.warn({ server, handle, version }, 'an unknown replica is left alone: its origin is not clear');
      this.strangers.noteUnknown(server, report);
    }
  }

  /** A server holds a version that the master has never given: the metadata is older than the cluster. */
  onNewerReplica(server: ServerId, report: WireChunkReport, version: number): void {
    this.strangers.noteNewer(server, report);
    this.context.safeMode.distrustMetadata(
      `chunkserver ${server} holds version ${report.version} of chunk ${handleName(report.handle)}, this metadata knows ${version}: it is an old copy`,
    );
  }

  /** Unknown replicas on live servers whose origin is not clear. */
  unclearReplicas(): UnclearReplica[] {
    const { store, servers } = this.context;
    const { unknown } = this.strangers;
    for (const [key, { report }] of unknown) if (findChunk(store, report.handle)) unknown.delete(key);
    return [...unknown.values()]
      .filter(({ server }) => servers.isLive(server))
      .map(({ server, report: { handle, version } }) => ({ server, handle, version }));
  }

  /** Replicas on live servers of versions that this metadata never gave. */
  newerReplicas(): Array<UnclearReplica & { known: number }> {
    const { store, servers } = this.context;
    return [...this.strangers.newer.values()].flatMap(({ server, report: { handle, version } }) => {
      const known = findChunk(store, handle)?.version ?? 0;
      return servers.isLive(server) && known > 0 && known < version ? [{ server, handle, version, known }] : [];
    });
  }

  /**
   * An operator wants the unclear ones gone: those whose handle was given out and has a record no more, which only goes when a chunk is collected, so
   * that nothing refers to it. A handle that was never given out, or perhaps by metadata that is lost, stays.
   */
  deleteUnclear(): void {
    const { store } = this.context;
    const { nextHandle } = readCounters(store);
    for (const replica of this.unclearReplicas()) {
      if (replica.handle >= nextHandle || isLost(store, replica.handle)) continue;
      this.enqueue({ ...replica, notBeforeMs: 0 });
      this.strangers.unknown.delete(keyOf(replica.server, replica.handle));
    }
  }

  /** The server is gone for good; if it comes back it names what it has again. */
  forgetServer(server: ServerId): void {
    for (const [key, deletion] of this.deletions) {
      if (deletion.server !== server) continue;
      this.deletions.delete(key);
      this.shortage.onKept(server, deletion.handle);
    }
    this.strangers.forgetServer(server);
    this.missed.delete(server);
  }

  /** Whether a server that is back holds replicas that were to be deleted while it was down: it has to report all that it holds. */
  mustReport(server: ServerId): boolean {
    return this.missed.has(server);
  }

  /** It begins to report all that it holds. */
  onRegister(server: ServerId): void {
    this.missed.delete(server);
  }

  /** One round. Called regularly; does nothing in safe mode. */
  async step(): Promise<void> {
    const { store, safeMode } = this.context;
    if (safeMode.isOn) return;
    const at = momentOf(this.context);
    const isShort = await this.shortage.judge();
    if (safeMode.isOn) return;
    // Clients that outlived the master before say what they have open within the life of a session.
    if (!this.mayBeOpen()) {
      const bounds = { at, isOpen: this.isInodeOpen, filesMax: FILES_PER_STEP, extentsMax: EXTENTS_PER_STEP };
      await collectDue(store, bounds);
      this.releasedTo = isShort ? await this.releaseEarly(bounds) : undefined;
    }
    // All that is collected finds a place.
    if (this.deletions.size <= DELETIONS_MAX - CHUNKS_PER_STEP * LIMITS.replicasMax)
      await this.collectChunks(isShort ? at.nowMs + this.hurryMs : at.nowMs);
    this.deleteSome();
  }

  /** Gives up files before their time until there is room enough, or on its way: what they leave stays for a while, and so would too many of them go. */
  private releaseEarly(bounds: CollectOptions): Promise<TrashPlace | undefined> {
    const { shortage } = this;
    const { store, safeMode } = this.context;
    return releaseEarly(store, {
      ...bounds,
      after: this.releasedTo,
      isEnough: () => safeMode.isOn || shortage.isEnoughComing(),
      onGarbage: handles => shortage.note(handles),
    });
  }

  /** While space is short chunks stay for a tenth of the grace only. */
  private get hurryMs(): number {
    return Math.floor(this.context.settings.gcGrace * 0.9);
  }

  private async collectChunks(nowMs: number): Promise<void> {
    const { store, locations, leases, servers, safeMode } = this.context;
    const handles = await garbageDue(store, nowMs, CHUNKS_PER_STEP);
    if (handles.length === 0 || safeMode.isOn) return;
    const gone = handles.flatMap(handle => {
      const chunk = findChunk(store, handle);
      if (!chunk || !store.change(change => forgetGarbage(change, handle))) return [];
      this.collecting.set(handle, new Set());
      return [chunk];
    });
    try {
      // The record is gone from the disk before a replica goes: otherwise a crash could leave a chunk without bytes.
      await store.durable();
    } catch (error) {
      this.collecting.clear();
      throw error;
    }
    for (const { handle, version, chain } of gone) {
      leases.drop(handle);
      this.noteCollected(handle);
      const holders = new Set(this.collecting.get(handle));
      this.collecting.delete(handle);
      for (const { server } of [...locations.get(handle), ...chain]) holders.add(server);
      const live = new Set([...holders].filter(server => servers.isLive(server)));
      for (const server of holders) {
        if (live.has(server)) this.enqueue({ server, handle, version, notBeforeMs: 0 });
        else this.missed.add(server);
      }
      this.shortage.onCollected(handle, live);
      locations.forget(handle);
    }
  }

  private enqueue(deletion: Deletion): void {
    const key = `${deletion.handle}@${deletion.server}`;
    if (this.deletions.size >= DELETIONS_MAX && !this.deletions.has(key)) return;
    // One that was refused comes back here, and its server may have named a newer version meanwhile.
    const version = Math.max(deletion.version, this.deletions.get(key)?.version ?? 0);
    this.deletions.set(key, { ...deletion, version });
  }

  private deleteSome(): void {
    const { servers, platform, safeMode } = this.context;
    // What was taken from the queue and not deleted would be forgotten until its server names all it has.
    if (safeMode.isOn) return;
    const now = platform.clock.monotonicMs();
    for (const [key, deletion] of this.deletions) {
      if (this.inFlight >= BOUNDS.deletionsAtOnce) return;
      if (deletion.notBeforeMs > now) continue;
      this.deletions.delete(key);
      if (servers.isLive(deletion.server)) void this.delete(deletion);
      else {
        this.missed.add(deletion.server);
        this.shortage.onKept(deletion.server, deletion.handle);
      }
    }
  }

  private async delete(deletion: Deletion): Promise<void> {
    const { orders, store, platform } = this.context;
    const { server, handle, version } = deletion;
    if (findChunk(store, handle)) {
      this.shortage.onKept(server, handle);
      return;
    }
    this.inFlight++;
    try {
      await orders.give(server, 'deleteChunk', { handle, version });
      this.shortage.onDeleted(server, handle);
      platform.logger.debug({ server, handle, version }, 'replica of a collected chunk deleted');
    } catch (error) {
      platform.logger.debug({ server, handle, code: asGfsError(error).code }, 'a deletion was put off');
      this.shortage.onKept(server, handle);
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
