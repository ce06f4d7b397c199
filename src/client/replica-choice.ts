// In which order the replicas of a chunk are asked: near ones first, those that failed lately last. It asks nobody itself.
import { boundedCache } from '../lib/lru.js';
import { shuffled } from '../lib/random.js';
import type { WireReplica } from '../protocol/messages.js';
import type { ClientParts } from './parts.js';
import { CLIENT_LIMITS } from './settings.js';

export class ReplicaChoice {
  /** Until when each server is asked last. */
  readonly #avoided = boundedCache<string, number>(CLIENT_LIMITS.avoidedServersMax);
  readonly #here: string[];

  constructor(private readonly parts: ClientParts) {
    this.#here = levels(parts.settings.location ?? '');
  }

  /** All of them, best first; equally good ones in random order. */
  order(replicas: readonly WireReplica[]): WireReplica[] {
    const nowMs = this.parts.clock.monotonicMs();
    const rank = (replica: WireReplica): number => {
      const isAvoided = (this.#avoided.get(replica.server) ?? Number.NEGATIVE_INFINITY) > nowMs;
      return nearness(this.#here, levels(replica.location)) - (isAvoided ? 1000 : 0);
    };
    const ranked = shuffled(this.parts.random, replicas).map(replica => ({ replica, rank: rank(replica) }));
    return ranked.sort((a, b) => b.rank - a.rank).map(({ replica }) => replica);
  }

  onFailed(replica: WireReplica): void {
    this.#avoided.set(replica.server, this.parts.clock.monotonicMs() + this.parts.settings.avoidMs);
  }

  onServed(replica: WireReplica): void {
    this.#avoided.delete(replica.server);
  }
}

/** How many levels of the location two places share. */
function nearness(a: readonly string[], b: readonly string[]): number {
  let shared = 0;
  while (shared < a.length && shared < b.length && a[shared] === b[shared]) shared++;
  return shared;
}

function levels(location: string): string[] {
  return location.split('/').filter(level => level !== '');
}
