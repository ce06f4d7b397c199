// The network between simulated machines: who listens, which ways are cut, how long they are, and what becomes of connections when something breaks.
// Processes see it through SimTransport.
import type { Address, Connection } from '../../../src/lib/transport.js';
import { Pipe, SimConnection, type Way } from './sim-connection.js';
import { errnoError, type ProcessEnd, type SimProcess } from './sim-process.js';
import type { SimRandom } from './sim-random.js';
import type { Simulator } from './simulator.js';

export interface NetworkOptions {
  latencyMsMin: number;
  latencyMsMax: number;
  /** How often a segment (and what follows it) is late, by up to longMsMax: a retransmission. */
  longChance: number;
  longMsMax: number;
  /** Within one machine. */
  localLatencyMs: number;
}

export const NETWORK_DEFAULTS: NetworkOptions = {
  latencyMsMin: 0.05,
  latencyMsMax: 0.5,
  longChance: 0.002,
  longMsMax: 250,
  localLatencyMs: 0.02,
};

/** After a cut has healed: how long a connection that survives waits for its next retransmission, and how often it does not survive. */
const RETRANSMISSION_MS_MAX = 3_000;
/** When a connection's first segment is sent again, as Linux does it. */
const KNOCK_AGAIN_MS = [1_000, 3_000];
const DIES_IN_CUT_CHANCE = 0.5;
const FIRST_FREE_PORT = 40_000;

interface Bound {
  process: SimProcess;
  onConnection: (connection: Connection) => void;
}

export class SimNetwork implements Way {
  readonly simulator: Simulator;
  readonly random: SimRandom;
  options: NetworkOptions;
  /** Machines that have power. */
  readonly #poweredHosts = new Set<string>();
  readonly #listeners = new Map<Address, Bound>();
  /** One end of each connection, and with it both. */
  readonly #connections = new Set<SimConnection>();
  readonly #cuts = new Set<string>();
  #nextPort = FIRST_FREE_PORT;

  constructor(simulator: Simulator, options: Partial<NetworkOptions> = {}) {
    this.simulator = simulator;
    this.random = simulator.random('network');
    this.options = { ...NETWORK_DEFAULTS, ...options };
  }

  latencyMs(from: string, to: string): number {
    if (from === to) return this.options.localLatencyMs;
    const { latencyMsMin, latencyMsMax, longChance, longMsMax } = this.options;
    const lateMs = this.random.chance(longChance) ? this.random.between(0, longMsMax) : 0;
    return this.random.between(latencyMsMin, latencyMsMax) + lateMs;
  }

  isBlocked(from: string, to: string): boolean {
    return !this.#poweredHosts.has(to) || this.isCut(from, to);
  }

  isCut(from: string, to: string): boolean {
    return this.#cuts.has(wayOf(from, to));
  }

  /** From now on nothing from `a` reaches `b`, nor back unless `oneWay`; nobody is told, as with a packet filter. */
  cut(a: string, b: string, options: { oneWay?: boolean } = {}): void {
    if (a === b) return;
    this.#cuts.add(wayOf(a, b));
    if (options.oneWay !== true) this.#cuts.add(wayOf(b, a));
    this.simulator.fault(options.oneWay === true ? 'cut-one-way' : 'cut', `${a} ${b}`);
  }

  /** Cuts every way between a host of `side` and one of `others`. */
  partition(side: readonly string[], others: readonly string[]): void {
    for (const a of side) for (const b of others) this.cut(a, b);
  }

  /** Ends the cuts between two hosts, or all. What waited arrives after a while, or the connection turns out dead, by chance. */
  heal(a?: string, b?: string): void {
    const before = [...this.#cuts];
    for (const way of before) {
      if (a === undefined || b === undefined || way === wayOf(a, b) || way === wayOf(b, a)) this.#cuts.delete(way);
    }
    const healed = new Set(before.filter(way => !this.#cuts.has(way)));
    if (healed.size === 0) return;
    this.simulator.trace(`network healed ${[...healed].join(' ')}`);
    for (const connection of [...this.#connections]) {
      const pipes = [connection.outgoing, connection.incoming];
      const stuck = pipes.filter(pipe => healed.has(wayOf(pipe.source.host, pipe.target.host)) && pipe.hasUndelivered);
      if (stuck.length > 0 && this.random.chance(DIES_IN_CUT_CHANCE)) this.#break(connection);
      else for (const pipe of stuck) pipe.resumeAfter(this.random.between(0, RETRANSMISSION_MS_MAX));
    }
  }

  /** Breaks all connections between two hosts: both ends get an error, some of what is under way is lost. */
  reset(a: string, b: string): void {
    this.simulator.fault('reset', `${a} ${b}`);
    for (const connection of [...this.#connections]) {
      const [from, to] = [connection.host, connection.outgoing.target.host];
      if ((from === a && to === b) || (from === b && to === a)) this.#break(connection);
    }
  }

  // For SimNode and SimTransport.

  powerOn(host: string): void {
    this.#poweredHosts.add(host);
    // The booted machine knows none of its old connections and resets whatever still sends on them.
    for (const connection of [...this.#connections]) {
      for (const end of [connection, connection.outgoing.target]) {
        if (end.host === host && end.isClosed) end.incoming.resumeAfter(this.random.between(0, RETRANSMISSION_MS_MAX));
      }
    }
  }

  /** What came for a process that was stopped is read now. */
  onGoOn(process: SimProcess): void {
    for (const connection of this.#connections)
      for (const own of [connection, connection.outgoing.target]) if (own.process === process) own.incoming.pump();
  }

  onProcessEnd(process: SimProcess, end: ProcessEnd): void {
    for (const [address, bound] of this.#listeners) if (bound.process === process) this.#listeners.delete(address);
    if (end === 'powerLost') this.#poweredHosts.delete(process.host);
    for (const connection of [...this.#connections]) {
      for (const own of [connection, connection.outgoing.target]) {
        if (end === 'powerLost' && own.host === process.host) own.vanish();
        if (end === 'killed' && own.process === process) own.abandon();
      }
    }
  }

  listen(process: SimProcess, address: Address, onConnection: (connection: Connection) => void): Address {
    const { host, port } = splitAddress(address);
    if (host !== process.host) throw errnoError('EADDRNOTAVAIL', `${address} is not an address of ${process.host}`);
    const bound = port === 0 ? `${host}:${this.#nextPort++}` : address;
    if (this.#listeners.has(bound)) throw errnoError('EADDRINUSE', bound);
    this.#listeners.set(bound, { process, onConnection });
    return bound;
  }

  unlisten(process: SimProcess, address: Address): void {
    if (this.#listeners.get(address)?.process === process) this.#listeners.delete(address);
  }

  connect(process: SimProcess, address: Address, timeoutMs: number): Promise<Connection> {
    const { host } = splitAddress(address);
    const local = process.host;
    return new Promise((resolve, reject) => {
      const timer = process.schedule(timeoutMs, () => reject(errnoError('ETIMEDOUT', `no connection to ${address}`)));
      const answer = (settle: () => void): void => {
        if (this.isBlocked(host, local)) return;
        process.schedule(this.latencyMs(host, local), () => {
          // A timer that has fired has rejected already; what it left must not become a connection.
          if (timer.run === undefined || this.simulator.nowMs >= timer.atMs) return;
          this.simulator.cancel(timer);
          settle();
        });
      };
      const knock = (): void => {
        // Answered, or given up.
        if (timer.run === undefined) return;
        process.schedule(this.latencyMs(local, host), () => {
          if (this.isBlocked(local, host)) return;
          const bound = this.#listeners.get(address);
          if (bound === undefined) answer(() => reject(errnoError('ECONNREFUSED', address)));
          else answer(() => resolve(this.#establish(process, address, bound)));
        });
      };
      knock();
      for (const afterMs of KNOCK_AGAIN_MS) if (afterMs < timeoutMs) process.schedule(afterMs, knock);
    });
  }

  #establish(process: SimProcess, address: Address, bound: Bound): Connection {
    const near = new SimConnection(process, address);
    const far = new SimConnection(bound.process, `${process.host}:${this.#nextPort++}`);
    const there = new Pipe(near, far, this);
    const back = new Pipe(far, near, this);
    near.join(there, back);
    far.join(back, there);
    far.onOpen = () => {
      if (this.#listeners.get(address) === bound) bound.onConnection(far);
      else far.abandon();
    };
    const onGone = (): void => {
      if (near.isClosed && far.isClosed) this.#connections.delete(near);
    };
    near.onGone = onGone;
    far.onGone = onGone;
    this.#connections.add(near);
    there.sendOpen();
    return near;
  }

  /** Both ends learn of it in their time. */
  #break(connection: SimConnection): void {
    for (const pipe of [connection.outgoing, connection.incoming]) {
      pipe.dropSome();
      pipe.sendEnd(errnoError('ECONNRESET', `connection between ${pipe.source.host} and ${pipe.target.host} broke`));
      pipe.pump();
    }
  }
}

/** "host:port" of the simulation, whose hosts are names. */
export function splitAddress(address: Address): { host: string; port: number } {
  const colon = address.lastIndexOf(':');
  const port = Number(address.slice(colon + 1));
  if (colon < 1 || !Number.isInteger(port)) throw errnoError('EINVAL', `"${address}" is no address`);
  return { host: address.slice(0, colon), port };
}

function wayOf(from: string, to: string): string {
  return `${from}>${to}`;
}
