// The chunkservers as the master knows them: identity, epoch, address, liveness and room. It decides who is up from what was heard and the
// time; it never calls a server and does not know what the servers hold.
import type { Clock } from '../lib/clock.js';
import type { ServerId } from '../protocol/ids.js';
import type { Request, ServerState, WireReplica, WireSpace } from '../protocol/messages.js';
import { Bell } from './bell.js';
import type { Candidate } from './placement.js';

export interface Server {
  readonly id: ServerId;
  /** Number of the process's start; 0 while it has not registered since the master's start. */
  epoch: number;
  address: string;
  location: string;
  state: ServerState;
  /** Why it is in this state, for people. */
  reason: string;
  /** Of the last page of its report or heartbeat that came. */
  sequence: number;
  /** Set by an operator: gets no new replicas. */
  draining: boolean;
  space: WireSpace;
  /** Monotonic time of the last word from it. */
  lastHeardMs: number;
  /** Monotonic time since when it is down; meaningless while it is not. */
  downSinceMs: number;
  /** Its chunks of this epoch have been reported completely. */
  reported: boolean;
  /** It has sent a heartbeat since it registered: its leases are known. */
  beaten: boolean;
  failedDisks: Array<{ path: string; error: string }>;
  /** Replicas on it that have to be brought up to date before it gets new chunks. */
  behindCount: number;
  /** Replicas on it of which it is not known yet whether they are up to date. */
  unseenCount: number;
  /** Of its process, as its last heartbeat said. */
  copiedBytes: number;
  scrub: Request<'heartbeat'>['scrub'];
  /** A stranger that was refused: it never was in this cluster. */
  isRefused: boolean;
  /** It did not answer an order since it was last heard: probably dead, before its silence shows it. */
  isDoubted: boolean;
  recentAllocations: number;
  allocationsAtMs: number;
}

const EMPTY: WireSpace = { capacityBytes: 0, usedBytes: 0, freeBytes: 0, chunks: 0 };
/** Strangers whose refusal is remembered for people to see. */
const REFUSED_MAX = 64;
/** Recent allocations count half after this long: about two heartbeats, after which the reported space shows them. */
const ALLOCATION_HALF_LIFE_MS = 5_000;

export class Servers {
  /** Rings whenever a server's state, epoch or report changed. */
  readonly changed: Bell;
  private readonly servers = new Map<ServerId, Server>();
  /** Monotonic time of the last look at who is silent. */
  private lookedMs: number;

  constructor(
    private readonly clock: Clock,
    private readonly deadAfterMs: number,
  ) {
    this.changed = new Bell(clock);
    this.lookedMs = clock.monotonicMs();
  }

  all(): Server[] {
    return [...this.servers.values()];
  }

  get(id: ServerId): Server | undefined {
    return this.servers.get(id);
  }

  /** A server that the store remembers; it is down until it registers. */
  remember(known: { id: ServerId; address: string; location: string; draining: boolean }): void {
    this.servers.set(known.id, {
      ...known,
      epoch: 0,
      state: 'down',
      reason: "not heard of since the master's start",
      sequence: 0,
      space: { ...EMPTY },
      lastHeardMs: Number.NEGATIVE_INFINITY,
      downSinceMs: this.clock.monotonicMs(),
      reported: false,
      beaten: false,
      failedDisks: [],
      behindCount: 0,
      unseenCount: 0,
      copiedBytes: 0,
      scrub: undefined,
      isRefused: false,
      isDoubted: false,
      recentAllocations: 0,
      allocationsAtMs: 0,
    });
  }

  /** Takes a registration over. Its chunks have to be reported next. */
  register(request: Request<'register'>): Server {
    let server = this.servers.get(request.server);
    if (!server) {
      this.remember({ id: request.server, address: request.address, location: request.location, draining: false });
      server = this.servers.get(request.server)!;
    }
    // Where it answers now nobody else does: orders to another server at this address would only be refused.
    for (const other of this.servers.values())
      if (other !== server && other.address === request.address) other.lastHeardMs = Number.NEGATIVE_INFINITY;
    if (server.epoch !== request.epoch) server.sequence = 0;
    server.epoch = request.epoch;
    server.address = request.address;
    server.location = request.location;
    server.space = request.space;
    server.isDoubted = false;
    server.isRefused = false;
    server.behindCount = 0;
    server.unseenCount = 0;
    server.failedDisks = [];
    server.lastHeardMs = this.clock.monotonicMs();
    server.reported = false;
    server.beaten = false;
    this.moveTo(server, 'recovering', 'reporting its chunks');
    return server;
  }

  /** A registration was refused; unless a server of this id is well, it is shown as down with the reason. */
  refuse(request: Pick<Request<'register'>, 'server' | 'address' | 'location'>, reason: string): void {
    if (!this.servers.has(request.server)) {
      if (this.all().filter(({ isRefused }) => isRefused).length >= REFUSED_MAX) return;
      this.remember({ id: request.server, address: request.address, location: request.location, draining: false });
      Object.assign(this.servers.get(request.server)!, { downSinceMs: Number.NEGATIVE_INFINITY, isRefused: true });
    }
    const server = this.servers.get(request.server)!;
    if (server.state === 'down') server.reason = reason;
  }

  /** It is gone for good: nothing counts on it any more, and if it registers it is a new one. */
  forget(id: ServerId): void {
    if (this.servers.delete(id)) this.changed.ring();
  }

  /** Servers that the cluster counts on: those refused are strangers. */
  members(): Server[] {
    return this.all().filter(({ isRefused }) => !isRefused);
  }

  /** The server, when this is the process that the master knows by a registration. */
  known(id: ServerId, epoch: number): Server | undefined {
    const server = this.servers.get(id);
    return server && server.epoch === epoch && server.lastHeardMs !== Number.NEGATIVE_INFINITY ? server : undefined;
  }

  /** Word from a server. A down one that had reported is up again. */
  hear(server: Server): void {
    server.lastHeardMs = this.clock.monotonicMs();
    server.isDoubted = false;
    if (server.state === 'down') this.settle(server);
  }

  /** False for what was overtaken by something that the server said later: it says nothing any more. */
  isNews(server: Server, sequence: number): boolean {
    if (sequence <= server.sequence) return false;
    server.sequence = sequence;
    return true;
  }

  reportComplete(server: Server): void {
    server.reported = true;
    this.settle(server);
  }

  beat(server: Server, beat: Pick<Request<'heartbeat'>, 'space' | 'failedDisks' | 'copiedBytes' | 'scrub'>): void {
    server.space = beat.space;
    server.failedDisks = beat.failedDisks;
    server.copiedBytes = beat.copiedBytes ?? 0;
    server.scrub = beat.scrub;
    const first = !server.beaten;
    server.beaten = true;
    this.hear(server);
    if (hasNoDisk(server) && server.state !== 'down') this.settle(server);
    if (first) this.changed.ring();
  }

  /** Marks the silent ones down and returns those that went down now. Requires: called several times within deadAfter. */
  expire(): Server[] {
    const now = this.clock.monotonicMs();
    const sinceMs = now - this.lookedMs;
    this.lookedMs = now;
    // This process stood still itself (stopped, starved, its machine suspended), so their silence means nothing.
    if (sinceMs > this.deadAfterMs / 2) for (const server of this.servers.values()) server.lastHeardMs += sinceMs;
    const gone = this.all().filter(server => server.state !== 'down' && now - server.lastHeardMs > this.deadAfterMs);
    for (const server of gone) {
      server.downSinceMs = now;
      const isReplaced = server.lastHeardMs === Number.NEGATIVE_INFINITY;
      const silentS = Math.round((now - server.lastHeardMs) / 100) / 10;
      this.moveTo(server, 'down', isReplaced ? 'another chunkserver has its address' : `silent for ${silentS} s`);
    }
    return gone;
  }

  /** An operator wants everything off it, or not any more. */
  setDraining(server: Server, draining: boolean): void {
    server.draining = draining;
    if (server.state === 'up' || server.state === 'draining') this.settle(server);
    else this.changed.ring();
  }

  /** Whether replicas on it can be reached now. */
  isLive(id: ServerId): boolean {
    const server = this.servers.get(id);
    return server !== undefined && server.state !== 'down';
  }

  /** How long it has been down; 0 when it is not; Infinity when nobody knows it. */
  downForMs(id: ServerId): number {
    const server = this.servers.get(id);
    if (!server) return Number.POSITIVE_INFINITY;
    return server.state === 'down' ? this.clock.monotonicMs() - server.downSinceMs : 0;
  }

  /** How many replicas of a server are behind, or may be: it is recovering while there are any, and gets no new chunks. */
  setBehind(id: ServerId, count: number, unseen: number): void {
    const server = this.servers.get(id);
    if (!server || (server.behindCount === count && server.unseenCount === unseen)) return;
    server.behindCount = count;
    server.unseenCount = unseen;
    if (server.state === 'up' || server.state === 'recovering') this.settle(server);
  }

  /** Servers that are reachable and have said what they hold. */
  servingCount(): number {
    return this.all().filter(({ state, reported }) => state !== 'down' && reported).length;
  }

  upCount(): number {
    return this.all().filter(server => server.state === 'up').length;
  }

  /** An order was not answered. Until it is heard again new replicas go elsewhere, if at least `least` others are up. */
  doubt(id: ServerId): void {
    const server = this.servers.get(id);
    if (server) server.isDoubted = true;
  }

  /**
   * Servers that may get new replicas: those that answer, or all that are up when fewer than `least` do. Recovering ones only where appends would
   * be refused otherwise.
   */
  candidates(least: number): Candidate[] {
    const up = this.all().filter(server => server.state === 'up');
    const answering = up.filter(server => !server.isDoubted);
    const recovering = this.all().filter(server => server.state === 'recovering' && server.reported);
    const willing = answering.length >= least ? answering : up.length >= least ? up : [...up, ...recovering];
    return willing.map(server => ({
      id: server.id,
      location: server.location,
      freeBytes: server.space.freeBytes,
      recentAllocations: this.decayed(server),
    }));
  }

  /** Servers that are to keep what they hold: not draining, and not down for so long that their chunks are copied elsewhere. */
  lasting(downMs: number): Server[] {
    return this.all().filter(({ id, draining }) => !draining && this.downForMs(id) < Math.max(1, downMs));
  }

  candidate(id: ServerId): Candidate | undefined {
    const server = this.servers.get(id);
    return server && { id, location: server.location, freeBytes: server.space.freeBytes, recentAllocations: 0 };
  }

  noteAllocation(id: ServerId): void {
    const server = this.servers.get(id);
    if (!server) return;
    server.recentAllocations = this.decayed(server) + 1;
    server.allocationsAtMs = this.clock.monotonicMs();
  }

  /** How clients reach a replica. */
  wireReplica(id: ServerId): WireReplica {
    const server = this.servers.get(id);
    return { server: id, address: server?.address ?? '', location: server?.location ?? '' };
  }

  private decayed(server: Server): number {
    const ageMs = this.clock.monotonicMs() - server.allocationsAtMs;
    return server.recentAllocations * 0.5 ** (ageMs / ALLOCATION_HALF_LIFE_MS);
  }

  private settle(server: Server): void {
    if (!server.reported) this.moveTo(server, 'recovering', 'reporting its chunks');
    else if (hasNoDisk(server)) {
      // Nothing can come back by waiting: what it held is to be copied elsewhere at once.
      server.downSinceMs = Number.NEGATIVE_INFINITY;
      this.moveTo(server, 'down', 'all its disks failed');
    } else if (server.draining) this.moveTo(server, 'draining', 'asked by an operator');
    else if (server.unseenCount > 0)
      this.moveTo(server, 'recovering', `${server.unseenCount} of its replicas have not been looked at yet`);
    else if (server.behindCount > 0)
      this.moveTo(server, 'recovering', `${server.behindCount} of its replicas are behind`);
    else this.moveTo(server, 'up', '');
  }

  private moveTo(server: Server, state: ServerState, reason: string): void {
    const isNew = server.state !== state;
    server.state = state;
    server.reason = reason;
    if (isNew || state === 'recovering') this.changed.ring();
  }
}

function hasNoDisk(server: Server): boolean {
  return server.failedDisks.length > 0 && server.space.capacityBytes === 0;
}
