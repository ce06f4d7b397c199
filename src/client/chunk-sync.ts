// Brings acknowledged appends to the disks of every replica: asks the primary while the chunk is open, and makes sure that it was sealed with
// them otherwise, for sealing syncs (DESIGN 4, Seal). Sealed chunks need nothing.
import { asGfsError, GfsError } from '../protocol/errors.js';
import { Backoff } from './backoff.js';
import type { InodeState, UnsyncedChunk } from './inode-state.js';
import type { MasterLink } from './master-link.js';
import type { ClientParts } from './parts.js';

export class ChunkSync {
  constructor(
    private readonly parts: ClientParts,
    private readonly link: MasterLink,
  ) {}

  /**
   * Settles when every append to this file that was acknowledged before is durable, or is known to be lost (`state.losses`). Rejects with TIMED_OUT, or
   * what the cluster says.
   */
  async sync(state: InodeState, deadlineMs: number): Promise<void> {
    await Promise.all([...state.unsynced.values()].map(chunk => this.#syncChunk(state, chunk, deadlineMs)));
  }

  async #syncChunk(state: InodeState, wanted: UnsyncedChunk, deadlineMs: number): Promise<void> {
    const { clock, logger } = this.parts;
    const backoff = new Backoff(this.parts, deadlineMs);
    let chunk: Pick<UnsyncedChunk, 'version' | 'token' | 'chain'> = wanted;
    while (clock.monotonicMs() < deadlineMs) {
      try {
        await this.#askPrimary(chunk, wanted.endByte, deadlineMs);
        const now = state.unsynced.get(wanted.handle);
        if (now && now.endByte <= wanted.endByte) state.unsynced.delete(wanted.handle);
        return;
      } catch (error) {
        const { code, message } = asGfsError(error);
        logger.debug(
          { handle: wanted.handle, version: chunk.version, code, reason: message },
          'a chunk was not synced',
        );
      }
      if (await this.#isSealed(state, wanted, chunk.version, deadlineMs)) return;
      chunk = (await this.#newTarget(state, wanted, deadlineMs)) ?? chunk;
      await backoff.pause();
    }
    throw new GfsError('TIMED_OUT', `chunk ${wanted.handle} could not be brought to the disks in time`);
  }

  async #askPrimary(
    chunk: Pick<UnsyncedChunk, 'token' | 'chain'>,
    lengthBytes: number,
    deadlineMs: number,
  ): Promise<void> {
    const primary = chunk.chain[0];
    if (!primary) throw new GfsError('BROKEN', 'the chunk has no primary');
    const leftMs = deadlineMs - this.parts.clock.monotonicMs();
    const timeoutMs = Math.max(1, Math.min(leftMs, this.parts.settings.syncTryMs));
    await this.parts.peers.get(primary.address).call('syncChunk', { token: chunk.token, lengthBytes }, { timeoutMs });
  }

  /** Complains with the last append as witness: when the sealed chunk has it, it has all before it. */
  async #isSealed(state: InodeState, wanted: UnsyncedChunk, version: number, deadlineMs: number): Promise<boolean> {
    const { handle } = wanted;
    const append = { writer: wanted.last.writer, sequence: wanted.last.sequence };
    const { outcome } = await this.link.call('complain', { handle, version, append }, { deadlineMs, held: true });
    if (outcome === 'again') return false;
    if (outcome === 'absent') {
      this.parts.logger.error({ handle, version, ...append }, 'an acknowledged append is not in its sealed chunk');
      state.noteLost(handle);
      return true;
    }
    state.unsynced.delete(handle);
    return true;
  }

  /** The same chunk under a newer lease; undefined when the file is at another one, or has none now. */
  async #newTarget(
    state: InodeState,
    wanted: UnsyncedChunk,
    deadlineMs: number,
  ): Promise<Pick<UnsyncedChunk, 'version' | 'token' | 'chain'> | undefined> {
    const askedMs = this.parts.clock.monotonicMs();
    try {
      const request = this.link.appendRequest(state.inode);
      const { target } = await this.link.call('appendTarget', request, { deadlineMs, held: true });
      state.noteTarget(target, askedMs);
      return target.handle === wanted.handle ? target : undefined;
    } catch (error) {
      this.parts.logger.debug({ inode: state.inode, code: asGfsError(error).code }, 'no target to sync at');
      return undefined;
    }
  }
}
