// Sends the master's orders to chunkservers: finds the address, adds the order token, bounds the wait. It keeps no state of chunks and
// does not repeat an order; who gives one decides what a failure means.
import { GfsError, hasCode } from '../protocol/errors.js';
import type { ChunkHandle, ServerId } from '../protocol/ids.js';
import type { MASTER_TO_CHUNKSERVER, Reply, Request } from '../protocol/messages.js';
import type { PeerPool } from '../rpc/types.js';
import type { Servers } from './servers.js';
import type { TokenMaker } from './token-maker.js';

export type OrderKind = keyof typeof MASTER_TO_CHUNKSERVER;
/** An order without what this file adds. */
export type OrderBody<K extends OrderKind> = Omit<Request<K>, 'token'>;

export class Orders {
  constructor(
    private readonly peers: PeerPool,
    private readonly servers: Servers,
    private readonly tokens: TokenMaker,
    readonly timeoutMs: number,
  ) {}

  /** The answer of `server`. Rejects with UNREACHABLE at once when it is not live, with its error, or as Peer.call does. */
  async give<K extends OrderKind>(
    server: ServerId,
    kind: K,
    body: OrderBody<K> & { handle: ChunkHandle; version?: number },
    timeoutMs = this.timeoutMs,
  ): Promise<Reply<K>> {
    const known = this.servers.get(server);
    if (!known || known.state === 'down') throw new GfsError('UNREACHABLE', `chunkserver ${server} is down`);
    const token = this.tokens.order(body.handle, body.version ?? 0, server);
    try {
      const request = { token, ...body } as unknown as Request<K>;
      return (await this.peers.get(known.address).call(kind, request, { timeoutMs })).body;
    } catch (error) {
      if (hasCode(error, 'UNREACHABLE', 'CONNECTION_LOST', 'TIMED_OUT')) this.servers.doubt(server);
      throw error;
    }
  }

  /** What the primary of a lease has committed, or undefined when it does not say. `token`: to read the chunk, as clients have it. */
  async askLength(primary: ServerId, token: Buffer): Promise<Reply<'tailLength'> | undefined> {
    const known = this.servers.get(primary);
    if (!known || known.state === 'down') return undefined;
    try {
      const { body } = await this.peers.get(known.address).call('tailLength', { token }, { timeoutMs: this.timeoutMs });
      return body;
    } catch (error) {
      // A young chunk has no primary before its first append; a broken one answers FENCED.
      if (error instanceof GfsError) return undefined;
      throw error;
    }
  }
}
