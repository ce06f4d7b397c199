// Answers calls: listens, keeps the accepted connections within their bounds, and hands each complete message to its handler.
// It never decides what a message means, and no peer, and not all of them together, can make it hold more than its bounds.
import type { Platform } from '../lib/platform.js';
import type { Address, Connection, Listener } from '../lib/transport.js';
import { GfsError } from '../protocol/errors.js';
import { LIMITS } from '../protocol/limits.js';
import { type Kind, MESSAGES } from '../protocol/messages.js';
import { Accepted } from './accepted-connection.js';
import { Refusals } from './refusals.js';
import type { Handlers, ServerConnection } from './types.js';

export interface RpcServerOptions<Kinds extends Kind> {
  handlers: Handlers<Kinds>;
  /** '' while the process does not know its cluster. */
  clusterId: () => string;
  /** Peers must prove that they know it. */
  secret?: Buffer | undefined;
  connectionsMax?: number;
  /** A connection that has not greeted (and proved itself) by then is closed. */
  greetingTimeoutMs?: number;
  /** A connection without a frame for this long, and no call in work, is closed. */
  idleTimeoutMs?: number;
  /** A message that is not there as a whole this long after its first byte ends its connection. */
  frameTimeoutMs?: number;
  /** Largest body and largest payload of a message; one that announces more ends its connection. */
  bodyBytesMax?: number;
  payloadBytesMax?: number;
  /** Bytes of messages that are not there as a whole yet, of all connections; the connection with most of them is closed above it. */
  unfinishedBytesMax?: number;
  /** Their handlers compare the payload with its CRC themselves. */
  payloadCheckedByHandler?: readonly Kinds[];
  /** Where to write down who was refused, for others to see. */
  refusals?: Refusals;
}

const DEFAULTS = {
  connectionsMax: 4096,
  greetingTimeoutMs: 10_000,
  idleTimeoutMs: 600_000,
  frameTimeoutMs: 30_000,
  bodyBytesMax: LIMITS.bodyBytesMax,
  payloadBytesMax: LIMITS.payloadBytesMax,
  unfinishedBytesMax: 512 * 1024 * 1024,
};
/** How often connections are looked at: a quarter of the shorter time-out, within these. */
const SWEEP_MS_MIN = 100;
const SWEEP_MS_MAX = 30_000;

export class RpcServer<Kinds extends Kind> {
  private readonly connections = new Set<Accepted<Kinds>>();
  private readonly listeners: Listener[] = [];
  private nextConnectionId = 1;
  private sweeper: { cancel(): void } | undefined;
  private unfinishedBytes = 0;
  readonly options: RpcServerOptions<Kinds> & typeof DEFAULTS;
  private readonly refusals: Refusals;
  /** @internal */
  readonly uncheckedKinds: ReadonlySet<number>;

  constructor(
    readonly platform: Platform,
    options: RpcServerOptions<Kinds>,
  ) {
    this.options = { ...DEFAULTS, ...options };
    this.refusals = options.refusals ?? new Refusals();
    this.uncheckedKinds = new Set(options.payloadCheckedByHandler?.map(kind => MESSAGES[kind].number));
  }

  /** Accepts on `address` (port 0: any free one) and settles with the address bound. Rejects with IN_USE or FAILED, naming the address. */
  async listen(address: Address): Promise<Address> {
    try {
      const listener = await this.platform.transport.listen(address, connection => this.accept(connection));
      this.listeners.push(listener);
      this.sweep();
      return listener.address;
    } catch (error) {
      const code = (error as { code?: string }).code;
      if (code === 'EADDRINUSE')
        throw new GfsError('IN_USE', `cannot listen on ${address}: the port is in use; choose another with --listen`, {
          cause: error,
        });
      throw new GfsError('FAILED', `cannot listen on ${address}: ${(error as Error).message}`, { cause: error });
    }
  }

  get connectionCount(): number {
    return this.connections.size;
  }

  /** Connections that have greeted. */
  greeted(): ServerConnection[] {
    return [...this.connections].filter(connection => connection.isGreeted);
  }

  /** Stops accepting and closes all connections, sending queued answers first. */
  async close(): Promise<void> {
    this.sweeper?.cancel();
    await Promise.all(this.listeners.splice(0).map(listener => listener.close()));
    for (const connection of [...this.connections]) connection.end({ flush: true });
  }

  /** @internal */
  forget(connection: Accepted<Kinds>): void {
    this.connections.delete(connection);
  }

  /** @internal Whether the log does not know yet why a greeting failed: who is of another cluster or has no secret tries again for ever. */
  isNews({ remoteAddress, role }: Accepted<Kinds>, { code, message: reason }: GfsError): boolean {
    if (code !== 'WRONG_CLUSTER' && code !== 'UNAUTHENTICATED') return true;
    const host = remoteAddress.replace(/:\d+$/, '');
    return this.refusals.note({ host, role, code, reason }, this.platform.clock.monotonicMs());
  }

  /** @internal Connections tell how much of an unfinished message they hold. */
  countUnfinished(connection: Accepted<Kinds>, bytes: number): void {
    this.unfinishedBytes += bytes - connection.unfinishedBytes;
    connection.unfinishedBytes = bytes;
    if (this.unfinishedBytes <= this.options.unfinishedBytesMax) return;
    let largest = connection;
    for (const other of this.connections) if (other.unfinishedBytes > largest.unfinishedBytes) largest = other;
    largest.refuse(new GfsError('OVERLOADED', 'messages that are not there as a whole yet take too much memory'));
  }

  private accept(connection: Connection): void {
    if (this.connections.size >= this.options.connectionsMax) {
      this.platform.logger.warn(
        { remote: connection.remoteAddress, connectionsMax: this.options.connectionsMax },
        'connection refused: too many',
      );
      connection.onData = () => undefined;
      connection.onClose = () => undefined;
      connection.close();
      return;
    }
    this.connections.add(new Accepted(this, connection, this.nextConnectionId++));
  }

  private sweep(): void {
    this.sweeper?.cancel();
    const { idleTimeoutMs, frameTimeoutMs } = this.options;
    const everyMs = Math.min(SWEEP_MS_MAX, Math.max(SWEEP_MS_MIN, Math.min(idleTimeoutMs, frameTimeoutMs) / 4));
    this.sweeper = this.platform.clock.setTimer(
      everyMs,
      () => {
        const nowMs = this.platform.clock.monotonicMs();
        for (const connection of [...this.connections]) connection.checkTime(nowMs);
        this.sweep();
      },
      { background: true },
    );
  }
}
