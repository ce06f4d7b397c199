// Answers clients that say a chunk takes no more appends for them: seals it when they are right about the version, and finds out what became
// of an append in doubt (DESIGN 4, rules 5 and 6; I3). It guesses nothing: what no replica can tell is UNAVAILABLE.
import { GfsError } from '../protocol/errors.js';
import type { ChunkHandle, ServerId } from '../protocol/ids.js';
import type { Reply, Request } from '../protocol/messages.js';
import { findChunk } from './chunks.js';
import { isCurrent } from './locations.js';
import type { MasterContext } from './master-context.js';
import type { ChunkRecord } from './records.js';
import type { Sealing } from './sealing.js';

/** Pause between two rounds of asking the replicas: the first, and the longest. */
const ASK_AGAIN_MS = 100;
const ASK_AGAIN_MAX_MS = 1_000;

type Append = NonNullable<Request<'complain'>['append']>;

export class Complaints {
  constructor(
    private readonly context: MasterContext,
    private readonly sealing: Sealing,
  ) {}

  /** Throws STALE (the chunk was collected with its file), UNAVAILABLE (at the deadline: ask again), SAFE_MODE. */
  async onComplain({ handle, version, append }: Request<'complain'>, deadlineMs: number): Promise<Reply<'complain'>> {
    const { store, safeMode, platform, settings } = this.context;
    if (safeMode.isOn) await safeMode.pass(Math.min(deadlineMs, platform.clock.monotonicMs() + settings.safeModeWait));
    // Collected, or given back unused: whoever asks about no append just looks at the file again.
    if (!append && !findChunk(store, handle)) return { outcome: 'again' };
    const chunk = this.find(handle);
    if (chunk.state === 'open') {
      // Only a complaint about the current version counts (rule 5), also when its lease was given back meanwhile: whoever cannot reach the primary
      // would otherwise be sent to it for ever, because a lease that nobody appends under is given back before the next complaint.
      if (!this.sealing.isSealing(handle) && version !== chunk.version) {
        await store.durable();
        return { outcome: 'again' };
      }
      if (chunk.garbageDueMs === undefined) await this.sealing.seal(handle, deadlineMs);
    }
    await store.durable();
    const sealed = this.find(handle);
    if (sealed.state === 'open') {
      // Its file was given up while it was open: nobody will ever read these bytes.
      if (sealed.garbageDueMs !== undefined) throw new GfsError('STALE', 'the file was deleted');
      return { outcome: 'again' };
    }
    if (!append) return { outcome: 'again' };
    if (sealed.lengthBytes === 0) return { outcome: 'absent' };
    const offset = await this.findAppend(handle, append, deadlineMs);
    return offset === undefined ? { outcome: 'absent' } : { outcome: 'stands', offset };
  }

  private async findAppend(handle: ChunkHandle, append: Append, deadlineMs: number): Promise<number | undefined> {
    const { platform, servers } = this.context;
    let pauseMs = ASK_AGAIN_MS;
    for (;;) {
      const chunk = this.find(handle);
      for (const server of this.toAsk(chunk)) {
        const answer = await this.ask(server, chunk, append);
        if (answer) return answer.offset;
      }
      this.context.blocked.note(handle);
      const leftMs = deadlineMs - platform.clock.monotonicMs();
      if (leftMs <= pauseMs)
        throw new GfsError('UNAVAILABLE', `no replica of chunk ${handle} can tell yet whether the append stands`);
      await servers.changed.wait(pauseMs);
      pauseMs = Math.min(pauseMs * 2, ASK_AGAIN_MAX_MS);
    }
  }

  /** The current replicas first; a member of the chain may have been fixed without our knowing. */
  private toAsk(chunk: ChunkRecord): ServerId[] {
    const { locations, servers } = this.context;
    const current = locations
      .get(chunk.handle)
      .filter(replica => isCurrent(replica, chunk))
      .map(({ server }) => server);
    const others = chunk.chain.map(({ server }) => server).filter(server => !current.includes(server));
    return [...current, ...others].filter(server => servers.isLive(server));
  }

  private async ask(server: ServerId, chunk: ChunkRecord, append: Append): Promise<Reply<'findAppend'> | undefined> {
    const { handle, lengthBytes } = chunk;
    try {
      return await this.context.orders.give(server, 'findAppend', { handle, lengthBytes, ...append });
    } catch (error) {
      this.context.platform.logger.debug(
        { handle, server, error: String(error) },
        'a replica cannot tell of an append',
      );
      return undefined;
    }
  }

  private find(handle: ChunkHandle): ChunkRecord {
    const chunk = findChunk(this.context.store, handle);
    if (!chunk) throw new GfsError('STALE', `chunk ${handle} was collected`);
    return chunk;
  }
}
