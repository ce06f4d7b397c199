// Evens out how full the chunkservers are: now and then one chunk from a full one to an empty one, gently, when nothing more urgent is to do
// (paper, §4.3). A new empty server fills slowly, so that it is not flooded. Which server a chunk goes to is the placer's choice.
import type { ChunkHandle, ServerId } from '../protocol/ids.js';
import { findChunk } from './chunks.js';
import { CopyLimits } from './copy-limits.js';
import type { Healing } from './healing.js';
import { isCurrent } from './locations.js';
import type { MasterContext } from './master-context.js';
import type { Server } from './servers.js';

/** Chunks of the fullest server that are tried in one step. */
const TRIES_PER_STEP = 64;
/** More chunks than this waiting for healing: balancing rests. */
const HEALING_QUEUED_MAX = 16;

export class Balancing {
  private readonly limits: CopyLimits;
  /** Bytes on their way to (or, negative, from) a server, that its space does not show yet. */
  private readonly coming = new Map<ServerId, number>();
  /** Where the last step stopped in the chunks of a server. */
  private cursor = 0;
  movedCount = 0;

  constructor(
    private readonly context: MasterContext,
    private readonly healing: Healing,
  ) {
    const { platform, settings } = context;
    this.limits = new CopyLimits(platform.clock, {
      copiesMax: settings.balanceCopiesMax,
      copiesPerServer: settings.balanceCopiesMax,
      bytesPerSecond: settings.balanceRate,
    });
  }

  get running(): number {
    return this.limits.running;
  }

  /** One round. Called regularly; does nothing in safe mode or while much is to be healed. */
  step(): void {
    const { safeMode, servers, settings, locations } = this.context;
    if (safeMode.isOn || settings.balanceThreshold === 0 || this.limits.isFull) return;
    if (this.healing.queuedCount > HEALING_QUEUED_MAX) return;
    const up = servers.all().filter(({ state }) => state === 'up');
    if (up.length < 2) return;
    const fullest = up.reduce((a, b) => (this.fill(b) > this.fill(a) ? b : a));
    const emptier = up.filter(server => this.isMuchEmptier(server, fullest));
    if (emptier.length === 0) return;
    const handles = [...locations.handlesOf(fullest.id)];
    for (let tries = Math.min(TRIES_PER_STEP, handles.length); tries > 0; tries--) {
      const handle = handles[this.cursor++ % handles.length]!;
      if (this.tryMove(handle, fullest, emptier)) return;
    }
  }

  private tryMove(handle: ChunkHandle, from: Server, emptier: readonly Server[]): boolean {
    const { store, locations, servers } = this.context;
    const chunk = findChunk(store, handle);
    if (chunk?.state !== 'sealed' || chunk.lengthBytes === 0) return false;
    const holders = locations.get(handle);
    if (!holders.every(replica => isCurrent(replica, chunk) && servers.isLive(replica.server))) return false;
    const staying = holders.map(({ server }) => server).filter(server => server !== from.id);
    // A move that makes the one as full as the other was would be followed by one back, for ever.
    const { lengthBytes } = chunk;
    const free = emptier.filter(
      server => !staying.includes(server.id) && this.fill(server, lengthBytes) <= this.fill(from, -lengthBytes),
    );
    const to = this.target(free, staying, chunk);
    if (to === undefined) return false;
    const leave = this.limits.enter([from.id, to], chunk.lengthBytes);
    if (!leave) return false;
    const isMoving = this.healing.move(handle, { from: from.id, to }, () => {
      leave();
      this.note(from.id, chunk.lengthBytes);
      this.note(to, -chunk.lengthBytes);
    });
    if (!isMoving) {
      leave(0);
      return false;
    }
    this.movedCount++;
    this.note(from.id, -chunk.lengthBytes);
    this.note(to, chunk.lengthBytes);
    return true;
  }

  /** Where the chunk may go without being less safe there than it is. */
  private target(
    free: readonly Server[],
    staying: readonly ServerId[],
    chunk: { lengthBytes: number; goal: number },
  ): ServerId | undefined {
    const { servers, placer } = this.context;
    const candidates = free.flatMap(({ id }) => servers.candidate(id) ?? []);
    const beside = staying.flatMap(id => servers.candidate(id) ?? []);
    const roomy = candidates.filter(({ freeBytes }) => freeBytes >= chunk.lengthBytes);
    if (roomy.length === 0) return undefined;
    const needs = { goal: 1, least: 1, bytes: chunk.lengthBytes, beside, replicas: chunk.goal };
    const [chosen] = placer.choose(roomy, needs);
    if (!chosen || !placer.keepsSpread(chosen, beside, servers.candidates(1), chunk.goal)) return undefined;
    return chosen.id;
  }

  /** Part of its space that is used by chunks, with so many bytes more: 0 to 1. */
  private fill({ id, space }: Server, moreBytes = 0): number {
    const used = Math.max(0, space.usedBytes + (this.coming.get(id) ?? 0) + moreBytes);
    const all = space.usedBytes + space.freeBytes;
    return all === 0 ? 0 : used / all;
  }

  private isMuchEmptier(server: Server, fullest: Server): boolean {
    return (this.fill(fullest) - this.fill(server)) * 1000 > this.context.settings.balanceThreshold;
  }

  private note(server: ServerId, bytes: number): void {
    const sum = (this.coming.get(server) ?? 0) + bytes;
    if (sum === 0) this.coming.delete(server);
    else this.coming.set(server, sum);
  }
}
