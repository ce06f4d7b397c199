// Tokens: the master's word, carried by clients, that lets a chunkserver serve without asking (DESIGN 4). It owns their bytes, their
// signature and the key ring; it does not decide who gets one, nor what a right allows.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { assert } from '../lib/assert.js';
import { GfsError } from './errors.js';
import type { ChunkHandle, ServerId } from './ids.js';
import { LIMITS } from './limits.js';
import { type Infer, id16, integer, list, object, oneOf, real, text } from './schema.js';
import { decodeBody, encodeBody } from './wire-values.js';

const MAC_BYTES = 16;

const tokenSchema = object({
  /** append: append to and read the open chunk. read: read. order: what only the master asks. copy: one chunkserver reads from another. */
  right: oneOf('append', 'read', 'order', 'copy'),
  /** 0 in an order token: any chunk. */
  handle: integer<ChunkHandle>(0),
  version: integer(0),
  /** Replicas in the order of the chain, primary first, each with the epoch of its process when the token was made. An order token names the one server it is for. */
  chain: list(object({ server: id16<ServerId>(), epoch: integer(0), address: text(300) }), 64),
  /** End of the first lease of a new chunk, by the master's clock; 0 when leases came by grant. */
  leaseUntilMs: real(0),
  /** The master's time after which the token is void. */
  expiresMs: real(0),
});

export type Token = Infer<typeof tokenSchema>;
export type TokenRight = Token['right'];
export interface TokenKey {
  id: number;
  secret: Buffer;
}

/** The signing keys that are valid now, newest last. The master rolls them over; chunkservers receive them when they register and on heartbeats. */
export class KeyRing {
  private keys: TokenKey[] = [];

  constructor(keys: readonly TokenKey[] = []) {
    this.replace(keys);
  }

  /** All keys that are valid from now on (1 to 8). */
  replace(keys: readonly TokenKey[]): void {
    assert(keys.length <= 8, 'at most eight token keys');
    this.keys = keys.slice();
  }

  list(): readonly TokenKey[] {
    return this.keys;
  }

  newest(): TokenKey {
    const key = this.keys[this.keys.length - 1];
    assert(key, 'a key ring that signs has a key');
    return key;
  }

  find(id: number): TokenKey | undefined {
    return this.keys.find(key => key.id === id);
  }
}

/** The token as bytes: key id (4), MAC (16), MessagePack of the token. */
export function signToken(token: Token, ring: KeyRing): Buffer {
  const key = ring.newest();
  const body = encodeBody(token);
  const head = Buffer.alloc(4 + MAC_BYTES);
  head.writeUInt32BE(key.id, 0);
  mac(key, body).copy(head, 4);
  return Buffer.concat([head, body]);
}

/** Reads a token without judging its time. Throws BAD_TOKEN when it was not signed with a key of the ring. */
export function openToken(sealed: Buffer, ring: KeyRing): Token {
  if (sealed.length < 4 + MAC_BYTES) throw new GfsError('BAD_TOKEN', 'the token is too short');
  const key = ring.find(sealed.readUInt32BE(0));
  if (!key) throw new GfsError('BAD_TOKEN', 'the token was signed with a key that is not valid (any more)');
  const body = sealed.subarray(4 + MAC_BYTES);
  if (!timingSafeEqual(mac(key, body), sealed.subarray(4, 4 + MAC_BYTES)))
    throw new GfsError('BAD_TOKEN', 'the token is forged');
  return tokenSchema.check(decodeBody(body), 'token');
}

function mac(key: TokenKey, body: Buffer): Buffer {
  return createHmac('sha256', key.secret).update(body).digest().subarray(0, MAC_BYTES);
}

/** Tokens already verified, by their bytes, so that a stream of appends under one token costs one MAC. Cleared with the key ring. */
export class TokenReader {
  private readonly seen = new Map<string, Token>();
  private static readonly seenMax = 4096;

  constructor(private readonly ring: KeyRing) {}

  /** The token, checked for signature, right and time. Throws BAD_TOKEN. `masterNowMs`: the reader's idea of the master's clock. */
  open(sealed: Buffer, rights: readonly TokenRight[], masterNowMs: number): Token {
    const key = sealed.toString('latin1');
    let token = this.seen.get(key);
    if (!token) {
      token = openToken(sealed, this.ring);
      if (this.seen.size >= TokenReader.seenMax) this.seen.clear();
      this.seen.set(key, token);
    }
    if (!rights.includes(token.right))
      throw new GfsError('BAD_TOKEN', `the token gives the right to ${token.right}, not to ${rights.join(' or ')}`);
    if (masterNowMs > token.expiresMs) throw new GfsError('BAD_TOKEN', 'the token has expired');
    return token;
  }

  replaceKeys(keys: readonly TokenKey[]): void {
    this.seen.clear();
    this.ring.replace(keys);
  }
}

assert(LIMITS.replicasMax * 360 < 4096, 'a token with the longest chain fits its field');
