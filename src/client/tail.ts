// The exact size of a file while somebody may be appending to it: the master knows the sealed part, the primary of the open chunk the rest.
// It never tells a size smaller than one told before in the same generation.
import { asGfsError, GfsError, hasCode } from '../protocol/errors.js';
import type { InodeId } from '../protocol/ids.js';
import type { Reply, WireAttributes, WireTail } from '../protocol/messages.js';
import { Backoff } from './backoff.js';
import type { InodeTable } from './inode-table.js';
import type { MasterLink } from './master-link.js';
import type { ClientParts } from './parts.js';
import type { Session } from './session.js';

/** What several answers of the master have in common. */
export interface Looked {
  attributes: WireAttributes;
  tail?: WireTail | undefined;
}

export class TailSizes {
  constructor(
    private readonly parts: ClientParts,
    private readonly link: MasterLink,
    private readonly session: Session,
    private readonly inodes: InodeTable,
  ) {}

  /** What the master says of an inode, noted; the size may be a lower bound. Rejects with STALE when it is gone. */
  async look(inode: InodeId, deadlineMs: number): Promise<Looked> {
    try {
      const looked = await this.session.within(deadlineMs, session =>
        this.link.call('lookup', { where: { start: inode, path: '' }, follow: false, session }, { deadlineMs }),
      );
      this.inodes.get(inode).note(looked.attributes, looked.tail, this.parts.clock.monotonicMs());
      return looked;
    } catch (error) {
      if (!hasCode(error, 'NOT_FOUND')) throw error;
      throw new GfsError('STALE', 'the file was deleted and collected', { cause: error });
    }
  }

  /** Attributes with the exact size. `looked`: an answer of the master that has just arrived. */
  async exact(inode: InodeId, deadlineMs: number, looked?: Looked): Promise<WireAttributes> {
    let now = looked ?? (await this.look(inode, deadlineMs));
    if (now.attributes.type !== 'file') return now.attributes;
    const state = this.inodes.get(inode);
    if (looked) state.note(now.attributes, now.tail, this.parts.clock.monotonicMs());
    const backoff = new Backoff(this.parts, deadlineMs);
    let failed: WireTail | undefined;
    for (;;) {
      const { tail } = now;
      if (!tail?.leased) return state.shown(now.attributes);
      const leftMs = deadlineMs - this.parts.clock.monotonicMs();
      if (leftMs <= 0) throw new GfsError('TIMED_OUT', 'the length of the open chunk could not be learned in time');
      try {
        const { committedBytes, changedMs } = await this.#ask(tail, leftMs);
        state.noteCommitted(now.attributes.generation, tail, committedBytes, changedMs);
        return state.shown(now.attributes);
      } catch (error) {
        const { code, message } = asGfsError(error);
        this.parts.logger.debug({ handle: tail.handle, code, reason: message }, 'a primary did not tell the length');
      }
      // The master may know already; when it does not, it is told that this primary does not answer.
      if (failed && failed.handle === tail.handle && failed.version === tail.version) {
        await this.link.call('complain', { handle: tail.handle, version: tail.version }, { deadlineMs, held: true });
        // An append would otherwise wait for this primary once more.
        state.noteClosed(tail);
        await backoff.pause();
      }
      failed = tail;
      now = await this.look(inode, deadlineMs);
    }
  }

  async #ask(tail: WireTail, leftMs: number): Promise<Reply<'tailLength'>> {
    const primary = tail.chain[0];
    if (!primary) throw new GfsError('UNAVAILABLE', 'the open chunk has no primary');
    const timeoutMs = Math.min(leftMs, this.parts.settings.tailTryMs);
    const { body } = await this.parts.peers
      .get(primary.address)
      .call('tailLength', { token: tail.token }, { timeoutMs });
    return body;
  }
}
