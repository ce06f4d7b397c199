// Makes tokens and keeps the keys they are signed with, which chunkservers receive from heartbeats. It decides no rights: callers have
// checked that the client may have what the token says. Keys outlive a restart, so that chains at work do not break with it.
import type { Random } from '../lib/random.js';
import type { ChunkHandle, ServerId } from '../protocol/ids.js';
import type { WireTokenKey } from '../protocol/messages.js';
import { KeyRing, signToken, type TokenKey, type TokenRight } from '../protocol/token.js';
import { allocateKeyEpoch } from './counters.js';
import { metaKey } from './keys.js';
import type { MasterClock } from './master-clock.js';
import { codec } from './records.js';
import type { Servers } from './servers.js';
import type { Store } from './store.js';

/** Keys that stay valid beside the newest. */
const OLD_KEYS = 3;
const SECRET_BYTES = 32;
/** An order is answered or given up long before. */
const ORDER_LIFETIME_MS = 600_000;

interface TokenKeysRecord {
  /** The newest last. */
  keys: TokenKey[];
  /** When the newest was made, wall clock. */
  sinceMs: number;
}
const TOKEN_KEYS = codec<TokenKeysRecord>('token keys');
const TOKEN_KEYS_KEY = metaKey('tokenKeys');

export class TokenMaker {
  private readonly ring = new KeyRing();
  /** What servers are told; the last one may not sign yet. */
  private keys: TokenKey[] = [];
  private rolledAtMs = 0;

  constructor(
    private readonly servers: Servers,
    private readonly time: MasterClock,
    private readonly lifetimeMs: number,
  ) {}

  /** Takes up the stored keys, making the first one when there is none. Requires that no server has registered yet. */
  load(store: Store, random: Random, wallMs: number): void {
    const value = store.get(TOKEN_KEYS_KEY);
    if (value === undefined) {
      this.roll(store, random, wallMs);
    } else {
      const record = TOKEN_KEYS.decode(TOKEN_KEYS_KEY, value);
      this.keys = record.keys;
      this.rolledAtMs = record.sinceMs;
    }
    this.signWithNewest();
  }

  /** When the newest key was made, wall clock. */
  get newestSinceMs(): number {
    return this.rolledAtMs;
  }

  /** Makes a new key and drops the oldest. Servers learn of it at once, but it signs nothing before `signWithNewest`. */
  roll(store: Store, random: Random, wallMs: number): void {
    const secret = random.bytes(SECRET_BYTES);
    const record = store.change(change => {
      const keys = [...this.keys.slice(-OLD_KEYS), { id: allocateKeyEpoch(change), secret }];
      const made: TokenKeysRecord = { keys, sinceMs: wallMs };
      change.put(TOKEN_KEYS_KEY, TOKEN_KEYS.encode(TOKEN_KEYS_KEY, made));
      return made;
    });
    this.keys = record.keys;
    this.rolledAtMs = wallMs;
  }

  /** Every server that is up has the newest key by now: sign with it. */
  signWithNewest(): void {
    this.ring.replace(this.keys);
  }

  list(): WireTokenKey[] {
    return this.keys.map(({ id, secret }) => ({ id, secret }));
  }

  /** For clients: to read a chunk from these servers, under the epochs they have now. */
  read(handle: ChunkHandle, version: number, servers: readonly ServerId[]): Buffer {
    return this.sign('read', { handle, version, servers });
  }

  /** For one chunkserver to read a chunk from another. */
  copy(handle: ChunkHandle, version: number, source: ServerId): Buffer {
    return this.sign('copy', { handle, version, servers: [source] });
  }

  /** The master's own, for one server. */
  order(handle: ChunkHandle, version: number, server: ServerId): Buffer {
    return this.sign('order', { handle, version, servers: [server], lifetimeMs: ORDER_LIFETIME_MS });
  }

  /** To append, or to read an open chunk, along a chain under the epochs of its lease. */
  chain(
    right: 'append' | 'read',
    chunk: {
      handle: ChunkHandle;
      version: number;
      chain: ReadonlyArray<{ server: ServerId; epoch: number }>;
      leaseUntilMs: number;
    },
  ): Buffer {
    return signToken(
      {
        right,
        handle: chunk.handle,
        version: chunk.version,
        chain: chunk.chain.map(({ server, epoch }) => ({
          server,
          epoch,
          address: this.servers.get(server)?.address ?? '',
        })),
        leaseUntilMs: Math.max(0, chunk.leaseUntilMs),
        expiresMs: Math.max(0, this.time.nowMs() + this.lifetimeMs),
      },
      this.ring,
    );
  }

  private sign(
    right: TokenRight,
    parts: { handle: ChunkHandle; version: number; servers: readonly ServerId[]; lifetimeMs?: number },
  ): Buffer {
    return signToken(
      {
        right,
        handle: parts.handle,
        version: parts.version,
        chain: parts.servers.map(server => {
          const known = this.servers.get(server);
          return { server, epoch: known?.epoch ?? 0, address: known?.address ?? '' };
        }),
        leaseUntilMs: 0,
        expiresMs: Math.max(0, this.time.nowMs() + (parts.lifetimeMs ?? this.lifetimeMs)),
      },
      this.ring,
    );
  }
}
