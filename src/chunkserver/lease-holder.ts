// The leases that this server holds as primary: until when, how much is committed under each, which appends are in work. It says who may
// acknowledge (I4) and extends, drops and ages leases; giving one back is lease-return's work. It sends no messages.
import { assert } from '../lib/assert.js';
import type { Clock } from '../lib/clock.js';
import { type Deferred, deferred } from '../lib/deferred.js';
import type { ChunkHandle } from '../protocol/ids.js';
import type { Token } from '../protocol/token.js';
import type { Chunk } from './chunk.js';

/**
 * held: appends are acknowledged. returning: it is being given back, appends wait. doubtful: whether the master took it back is not known,
 * nothing is acknowledged any more.
 */
export type LeaseState = 'held' | 'returning' | 'doubtful';

export interface Lease {
  readonly chunk: Chunk;
  readonly version: number;
  untilMs: number;
  state: LeaseState;
  /** Acknowledged to somebody, or about to be: every replica has them. */
  committedBytes: number;
  /** When by the master's clock the last append under this lease was committed, in ms: whoever asks hears the same. Undefined before the first. */
  changedMs: number | undefined;
  lastAppendMs: number;
  /** The token of the last append, to reach the chain with; undefined before the first. */
  token: { sealed: Buffer; token: Token } | undefined;
  /** Appends in work, by their offsets. */
  readonly inWork: Map<number, Promise<void>>;
  /** Settles when 'returning' is over. */
  returned: Deferred<void> | undefined;
}

export class LeaseHolder {
  private readonly leases = new Map<ChunkHandle, Lease>();
  /** How long the master's leases last; from the registration. */
  leaseMs = 60_000;

  constructor(
    private readonly clock: Clock,
    private readonly idleSettingMs: number,
  ) {}

  get size(): number {
    return this.leases.size;
  }

  get idleMs(): number {
    return Math.min(this.idleSettingMs, this.leaseMs / 3);
  }

  /** The lease on this version, if this server has one, whether or not it is over. */
  find(handle: ChunkHandle, version: number): Lease | undefined {
    const lease = this.leases.get(handle);
    return lease?.version === version ? lease : undefined;
  }

  all(): Lease[] {
    return [...this.leases.values()];
  }

  begin(chunk: Chunk, terms: { untilMs: number; committedBytes: number }): Lease {
    assert(!this.leases.has(chunk.handle), 'a chunk has one lease at a time');
    const lease: Lease = {
      chunk,
      version: chunk.version,
      untilMs: terms.untilMs,
      state: 'held',
      committedBytes: terms.committedBytes,
      changedMs: undefined,
      lastAppendMs: this.clock.monotonicMs(),
      token: undefined,
      inWork: new Map(),
      returned: undefined,
    };
    this.leases.set(chunk.handle, lease);
    return lease;
  }

  /** The master lets it go on. */
  extend(handle: ChunkHandle, version: number, untilMs: number): void {
    const lease = this.find(handle, version);
    if (lease?.state === 'held') lease.untilMs = Math.max(lease.untilMs, untilMs);
  }

  isOver(lease: Lease): boolean {
    return this.clock.monotonicMs() > lease.untilMs;
  }

  /** Somebody appends, or it cannot be given back: that has to be recorded. */
  isActive(lease: Lease): boolean {
    if (lease.chunk.disk.isFull) return true;
    return lease.inWork.size > 0 || this.clock.monotonicMs() - lease.lastAppendMs < this.idleMs;
  }

  isCurrent(lease: Lease): boolean {
    return this.leases.get(lease.chunk.handle) === lease;
  }

  drop(handle: ChunkHandle): void {
    const lease = this.leases.get(handle);
    if (!lease) return;
    this.leases.delete(handle);
    lease.returned?.resolve();
  }

  setReturning(lease: Lease): void {
    assert(lease.state !== 'returning', 'a lease is given back once at a time');
    lease.state = 'returning';
    lease.returned = deferred<void>();
  }

  endReturning(lease: Lease, state: 'held' | 'doubtful'): void {
    assert(lease.state === 'returning', 'only what was begun ends');
    lease.state = state;
    lease.returned?.resolve();
    lease.returned = undefined;
  }

  /** Forgets leases that ended long ago. */
  dropOver(): void {
    const since = this.clock.monotonicMs() - this.leaseMs;
    for (const lease of this.leases.values()) {
      if (lease.untilMs < since && lease.inWork.size === 0 && lease.state !== 'returning')
        this.drop(lease.chunk.handle);
    }
  }

  checkInvariants(): void {
    for (const [handle, lease] of this.leases) {
      assert(lease.chunk.handle === handle, 'a lease stands under its chunk');
      assert(
        lease.committedBytes <= lease.chunk.endBytes || lease.chunk.version !== lease.version,
        'committed bytes were given out',
      );
      assert(lease.chunk.state === 'open', 'only open chunks are leased');
      assert(lease.version === lease.chunk.version, 'a lease is on the version of its chunk');
    }
  }
}
