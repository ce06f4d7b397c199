// What became of appends that may stand in a chunk: the master is told that the chunk takes no more, and asked for each piece. Doubts that the master
// cannot end yet stay. It sends no append and fails none itself.
import { asGfsError, GfsError } from '../protocol/errors.js';
import type { ChunkHandle } from '../protocol/ids.js';
import type { WireTarget } from '../protocol/messages.js';
import type { AppendQueue, Piece, Write } from './append-queue.js';
import type { InodeState } from './inode-state.js';
import type { MasterLink } from './master-link.js';
import type { ClientParts } from './parts.js';

export class AppendDoubts {
  /** Full disks kept the last question that was not cut short from being answered. */
  lacksSpace = false;

  constructor(
    private readonly parts: ClientParts & { link: MasterLink },
    private readonly state: InodeState,
    private readonly queue: AppendQueue,
    /** Fails a write and all behind it. */
    private readonly fail: (write: Write, error: GfsError) => void,
  ) {}

  /** Some piece may stand somewhere. */
  get isAny(): boolean {
    return this.queue.pieces.some(piece => piece.maybe.size > 0);
  }

  /** Some piece may stand in another chunk than this. */
  isAnyElsewhere(handle: ChunkHandle): boolean {
    return this.queue.pieces.some(piece => elsewhere(piece, handle).length > 0);
  }

  /** Tells the master that this chunk takes no more, and learns what became of every piece that may stand in it. */
  async complain(wire: WireTarget): Promise<void> {
    const doubtful = this.queue.pieces.filter(piece => piece.maybe.has(wire.handle));
    if (doubtful.length > 0)
      await Promise.all(doubtful.map(piece => this.#resolve(piece, piece.maybe.get(wire.handle)!)));
    else if (this.queue.head) await this.#complainWithWitness(wire);
  }

  /** Learns of every doubt what it can. */
  async resolveAll(): Promise<void> {
    const doubts = this.queue.pieces.flatMap(piece => [...piece.maybe.values()].map(wire => ({ piece, wire })));
    await Promise.all(doubts.map(({ piece, wire }) => this.#resolve(piece, wire)));
  }

  /** Learns what became of pieces that may stand in other chunks than this (DESIGN 4, rule 5). */
  async resolveElsewhere(handle: ChunkHandle): Promise<void> {
    await Promise.all(
      this.queue.pieces.map(async piece => {
        for (const wire of elsewhere(piece, handle)) if (piece.maybe.has(wire.handle)) await this.#resolve(piece, wire);
      }),
    );
  }

  /** Nothing is in doubt here; what was acknowledged may be lost. */
  async #complainWithWitness({ handle, version }: WireTarget): Promise<void> {
    const witness = this.state.unsynced.get(handle)?.last;
    const append = witness ? { append: { writer: witness.writer, sequence: witness.sequence } } : {};
    try {
      const { outcome } = await this.parts.link.call('complain', { handle, version, ...append }, this.#callOptions());
      if (outcome === 'stands') this.state.unsynced.delete(handle);
      if (outcome === 'absent' && witness) {
        this.parts.logger.error({ handle, version, ...witness }, 'an acknowledged append is not in its sealed chunk');
        this.state.noteLost(handle);
      }
    } catch (error) {
      // The next target tells more: the master may know nothing of this chunk any more.
      this.parts.logger.debug({ handle, code: asGfsError(error).code }, 'a complaint was refused');
    }
  }

  /** Asks the master whether `piece` stands in this chunk. Leaves the doubt when it does not know yet. */
  async #resolve(piece: Piece, wire: WireTarget): Promise<void> {
    const { handle, version } = wire;
    const { writer, sequence, write } = piece;
    // Nobody waits for it any more.
    if (write.hasFailed) return;
    try {
      const request = { handle, version, append: { writer, sequence } };
      const { outcome, offset } = await this.parts.link.call('complain', request, this.#callOptions());
      if (outcome === 'again' || piece.isLanded) return;
      if (outcome === 'absent') {
        // This says nothing of the earlier ones, which power may have taken; a sync will ask for them.
        piece.maybe.delete(handle);
        return;
      }
      if (offset === undefined) throw new GfsError('BAD_MESSAGE', 'the master did not say where the append stands');
      // What stands in a sealed chunk is on the disks, and so is all before it.
      const unsynced = this.state.unsynced.get(handle);
      if (unsynced && unsynced.endByte <= offset + piece.lengthBytes) this.state.unsynced.delete(handle);
      this.state.noteCommitted(wire.generation, wire, offset + piece.lengthBytes);
      this.queue.land(piece, wire.base + offset);
    } catch (error) {
      const failure = asGfsError(error);
      this.parts.logger.debug({ handle, version, code: failure.code }, 'the outcome of an append is not known');
      if (failure.code !== 'TIMED_OUT') this.lacksSpace = failure.code === 'NO_SPACE';
      if (failure.retryable && failure.code !== 'STOPPING') return;
      if (!write.hasFailed && !piece.isLanded) this.fail(write, failure);
    }
  }

  /** No question outlives the write that must have its outcome first, whichever piece it is about. */
  #callOptions(): { deadlineMs: number; held: true } {
    return { deadlineMs: this.queue.endsMs, held: true };
  }
}

function elsewhere(piece: Piece, handle: ChunkHandle): WireTarget[] {
  return [...piece.maybe.values()].filter(wire => wire.handle !== handle);
}
