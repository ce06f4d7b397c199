// Sends one piece to the primary of a target: with its request when it is small, pushed ahead in parts when it is large. One attempt, no retries.
import { GfsError } from '../protocol/errors.js';
import { LIMITS } from '../protocol/limits.js';
import type { Reply, WireTarget } from '../protocol/messages.js';
import type { Piece } from './append-queue.js';
import type { ClientParts } from './parts.js';

export class AppendSender {
  #nextPush = 1;

  constructor(private readonly parts: ClientParts) {}

  /**
   * `after`: sequence of this writer's append that must be in the chunk before (0: none); `settled`: up to which sequence it knows the outcome of all. The
   * call is on its way when this returns, so pieces arrive in the order of the calls.
   */
  send(
    piece: Piece,
    target: WireTarget,
    order: { after: number; settled: number },
    timeoutMs: number,
  ): Promise<Reply<'append'>> {
    const primary = target.chain[0];
    if (!primary) return Promise.reject(new GfsError('BROKEN', 'the chunk has no primary'));
    const peer = this.parts.peers.get(primary.address);
    const { expectedOffset } = piece.write.options;
    const request = {
      token: target.token,
      writer: piece.writer,
      sequence: piece.sequence,
      ...order,
      lengthBytes: piece.lengthBytes,
      crc: piece.crc,
      ...(expectedOffset === undefined ? {} : { expectedOffset: expectedOffset + piece.at - target.base }),
    };
    if (piece.lengthBytes <= LIMITS.inlineAppendBytesMax || piece.inline || peer.connectionNumber === 0) {
      const options = { timeoutMs, payload: piece.buffers, payloadCrc: piece.crc };
      return peer.call('append', request, options).then(({ body }) => body);
    }
    const push = this.#nextPush++;
    let part = 0;
    for (const payload of inParts(piece.buffers, LIMITS.pushBytesMax)) {
      peer.send('push', { token: target.token, push, part: part++, position: 0 }, payload);
    }
    // Sent in one go, so on the same connection; should it break in between, the primary answers PUSH_LOST.
    return peer.call('append', { ...request, push }, { timeoutMs }).then(({ body }) => body);
  }
}

/** The same bytes as lists of buffers of at most `partBytes` each. */
function* inParts(buffers: readonly Buffer[], partBytes: number): Generator<Buffer[]> {
  let part: Buffer[] = [];
  let filled = 0;
  for (let buffer of buffers) {
    while (buffer.length > 0) {
      const piece = buffer.subarray(0, partBytes - filled);
      part.push(piece);
      filled += piece.length;
      buffer = buffer.subarray(piece.length);
      if (filled < partBytes) continue;
      yield part;
      part = [];
      filled = 0;
    }
  }
  if (filled > 0) yield part;
}
