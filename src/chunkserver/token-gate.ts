// Judges tokens for this server: signature, right, time by the master's clock, and the server that an order is for. It keeps the keys that
// the master sends; what a right allows on a chunk is judged where the chunk is.
import { GfsError } from '../protocol/errors.js';
import type { ChunkHandle, ServerId } from '../protocol/ids.js';
import { KeyRing, type Token, type TokenKey, TokenReader, type TokenRight } from '../protocol/token.js';
import type { MasterClock } from './master-clock.js';

export class TokenGate {
  private readonly ring = new KeyRing();
  private readonly reader = new TokenReader(this.ring);

  constructor(
    private readonly masterClock: MasterClock,
    private readonly server: ServerId,
  ) {}

  useKeys(keys: readonly TokenKey[]): void {
    const known = this.ring.list();
    const isSame = known.length === keys.length && keys.every((key, i) => known[i]!.id === key.id);
    if (isSame && keys.every((key, i) => known[i]!.secret.equals(key.secret))) return;
    this.reader.replaceKeys(keys);
    this.ring.replace(keys);
  }

  /** Number of the newest key; 0 before the first registration. */
  get newestKeyId(): number {
    return Math.max(0, ...this.ring.list().map(key => key.id));
  }

  /** Number of the oldest key that is still valid. */
  get oldestKeyId(): number {
    const ids = this.ring.list().map(key => key.id);
    return ids.length === 0 ? 0 : Math.min(...ids);
  }

  /** Throws BAD_TOKEN. */
  open(sealed: Buffer, ...rights: TokenRight[]): Token {
    return this.reader.open(sealed, rights, this.masterClock.nowMs());
  }

  /** For messages within a chain: the primary has judged the time, and a chain must not break because two clocks differ. */
  openInChain(sealed: Buffer): Token {
    return this.reader.open(sealed, ['append', 'read'], 0);
  }

  /** Throws BAD_TOKEN unless the master made it for this server and this chunk. */
  checkOrder(sealed: Buffer, handle: ChunkHandle): void {
    const token = this.open(sealed, 'order');
    if (token.chain[0]?.server !== this.server)
      throw new GfsError('BAD_TOKEN', `the order is for server ${token.chain[0]?.server ?? ''}`);
    if (token.handle !== 0 && token.handle !== handle)
      throw new GfsError('BAD_TOKEN', `the order is about chunk ${token.handle}`);
  }
}
