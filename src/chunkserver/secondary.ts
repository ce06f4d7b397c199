// A secondary's rules (DESIGN 4): it takes exactly the append that continues its replica, in this version and this life, and refuses everything
// else, which ends the chain. It never chooses an offset and acknowledges only to the replica before it. Keeps I1 and I2.
import { GfsError } from '../protocol/errors.js';
import type { Request } from '../protocol/messages.js';
import type { Token } from '../protocol/token.js';
import type { CallContext } from '../rpc/types.js';
import type { Chain, ChainServer } from './chain.js';
import type { Chunk } from './chunk.js';
import type { ChunkStore } from './chunk-store.js';
import { checkOpen, checkSound } from './primary.js';
import { BOUNDS, type ChunkserverSettings } from './settings.js';
import type { TokenGate } from './token-gate.js';

export interface SecondaryParts {
  me: ChainServer;
  settings: ChunkserverSettings;
  tokens: TokenGate;
  store: ChunkStore;
  chain: Chain;
}

export class Secondary {
  constructor(private readonly parts: SecondaryParts) {}

  /** Settles when this replica and all behind it hold the append. */
  async replicate(request: Request<'replicate'>, context: CallContext): Promise<void> {
    const { tokens, chain, me, store, settings } = this.parts;
    const token = tokens.openInChain(request.token);
    chain.checkPlace(token, request.position, me);
    const bytes = chain.takeBytes(request, context, request.offset);
    if (chain.inFlightBytes > settings.inFlight * BOUNDS.replicateFactor)
      throw new GfsError('OVERLOADED', 'too many bytes of appends are in work on this server');
    const chunk = store.get(token.handle) ?? this.begin(token, request.offset);
    checkOpen(chunk, token);
    checkSound(chunk);
    if (request.offset !== chunk.endBytes)
      throw new GfsError('BROKEN', `the replica ends at ${chunk.endBytes}, the append begins at ${request.offset}`);
    // The primary keeps the reserve free; half of it here lets replicas differ a little.
    if (chunk.disk.space.freeBytes < settings.reserve / 2) throw new GfsError('NO_SPACE', 'the disk is full');
    const { position, offset, writer, sequence, settled = 0, lengthBytes, crc } = request;
    await chain.carry(
      chunk,
      { token: { sealed: request.token, token }, position, offset, writer, sequence, settled, lengthBytes, crc, bytes },
      () => request.committedBytes,
    );
  }

  /** Everything up to `lengthBytes` is on the disks of this replica and all behind it. */
  async replicaSync(request: Request<'replicaSync'>): Promise<void> {
    const { tokens, chain, me, store } = this.parts;
    const token = tokens.openInChain(request.token);
    chain.checkPlace(token, request.position, me);
    const chunk = store.get(token.handle);
    if (!chunk) throw new GfsError('FENCED', 'there is no such chunk here');
    checkOpen(chunk, token);
    checkSound(chunk);
    if (chunk.recordedBytes < request.lengthBytes)
      throw new GfsError('NO_CHUNK', `the replica has ${chunk.recordedBytes} bytes of ${request.lengthBytes}`);
    await chain.sync(
      chunk,
      { token: { sealed: request.token, token }, position: request.position },
      request.lengthBytes,
    );
  }

  private begin(token: Token, offset: number): Chunk {
    const { me, store } = this.parts;
    if (token.version !== 1 || offset !== 0) throw new GfsError('FENCED', 'there is no such chunk here');
    const chunk = store.create(token.handle, me.epoch);
    chunk.version = 1;
    store.noteChange(chunk);
    return chunk;
  }
}
