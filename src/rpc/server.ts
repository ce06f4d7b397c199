// Answers calls: accepts connections, checks greetings, hands each complete message to its handler and sends what it answers.
// It never decides what a message means, and no peer can make it hold more than its bounds.
import { assert } from '../lib/assert.js';
import type { Platform } from '../lib/platform.js';
import type { Address, Connection, Listener } from '../lib/transport.js';
import { asGfsError, GfsError } from '../protocol/errors.js';
import { encodeFrame, FRAME, type Frame, FrameReader } from '../protocol/frame.js';
import { LIMITS } from '../protocol/limits.js';
import { type Kind, kindOf, MESSAGES, type Request } from '../protocol/messages.js';
import { decodeBody, encodeBody } from '../protocol/wire-values.js';
import { checkCluster, checkProof, helloSchema, NONCE_BYTES, proofOf, proveSchema } from './greeting.js';
import type { Answer, CallContext, Handlers, Role, ServerConnection } from './types.js';

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
  payloadBytesMax?: number;
  /** Their handlers compare the payload with its CRC themselves. */
  payloadCheckedByHandler?: readonly Kinds[];
}

const DEFAULTS = {
  connectionsMax: 4096,
  greetingTimeoutMs: 10_000,
  idleTimeoutMs: 600_000,
  payloadBytesMax: LIMITS.payloadBytesMax,
};
/** Above these a connection is not read from until it has caught up. */
const CALLS_PER_CONNECTION_MAX = 1024;
const HELD_BYTES_PER_CONNECTION_MAX = 128 * 1024 * 1024;
/** A peer that does not read this much of its answers is closed. */
const UNSENT_BYTES_PER_CONNECTION_MAX = 256 * 1024 * 1024;
const GREETING_BYTES_MAX = 4096;

export class RpcServer<Kinds extends Kind> {
  private readonly connections = new Set<Accepted<Kinds>>();
  private readonly listeners: Listener[] = [];
  private nextConnectionId = 1;
  private sweeper: { cancel(): void } | undefined;
  readonly options: RpcServerOptions<Kinds> & typeof DEFAULTS;
  /** @internal */
  readonly uncheckedKinds: ReadonlySet<number>;

  constructor(
    readonly platform: Platform,
    options: RpcServerOptions<Kinds>,
  ) {
    this.options = { ...DEFAULTS, ...options };
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
    const everyMs = Math.min(30_000, Math.max(100, this.options.idleTimeoutMs / 4));
    this.sweeper = this.platform.clock.setTimer(
      everyMs,
      () => {
        const now = this.platform.clock.monotonicMs();
        for (const connection of [...this.connections]) {
          if (connection.callsInWork === 0 && now - connection.lastFrameMs > this.options.idleTimeoutMs)
            connection.end({ flush: false });
        }
        this.sweep();
      },
      { background: true },
    );
  }
}

class Accepted<Kinds extends Kind> implements ServerConnection {
  role: Role = 'client';
  callsInWork = 0;
  lastFrameMs: number;
  private readonly reader: FrameReader;
  private readonly nonce: Buffer;
  private readonly greetingTimer: { cancel(): void };
  private readonly closeCallbacks: Array<() => void> = [];
  private stage: 'greeting' | 'proving' | 'open' | 'closed' = 'greeting';
  private heldBytes = 0;
  private paused = false;

  constructor(
    private readonly server: RpcServer<Kinds>,
    private readonly connection: Connection,
    readonly id: number,
  ) {
    const { clock, random } = server.platform;
    this.lastFrameMs = clock.monotonicMs();
    this.nonce = random.bytes(NONCE_BYTES);
    this.reader = new FrameReader({ bodyBytesMax: GREETING_BYTES_MAX, payloadBytesMax: 0 }, server.uncheckedKinds);
    this.greetingTimer = clock.setTimer(
      server.options.greetingTimeoutMs,
      () => this.refuse(new GfsError('TIMED_OUT', 'no greeting in time')),
      { background: true },
    );
    connection.onData = data => this.receive(data);
    connection.onClose = () => this.closed();
    connection.onDrain = () => this.balance();
  }

  get remoteAddress(): Address {
    return this.connection.remoteAddress;
  }

  get queuedBytes(): number {
    return this.connection.queuedBytes;
  }

  get isGreeted(): boolean {
    return this.stage === 'open';
  }

  notify<K extends Kind>(kind: K, body: Request<K>): void {
    if (this.stage !== 'open') return;
    this.send({ type: FRAME.oneWay, kind: MESSAGES[kind].number, callId: 0, waitMs: 0, body: encodeBody(body) });
  }

  onClose(callback: () => void): void {
    if (this.stage === 'closed') callback();
    else this.closeCallbacks.push(callback);
  }

  end(options: { flush: boolean }): void {
    this.connection.close(options);
    this.closed();
  }

  private receive(data: Buffer): void {
    if (this.stage === 'closed') return;
    try {
      this.reader.push(data, frame => this.onFrame(frame));
    } catch (error) {
      this.refuse(asGfsError(error));
    }
    this.balance();
  }

  private onFrame(frame: Frame): void {
    // A frame that came behind the one that closed the connection is not served.
    if (this.stage === 'closed') return;
    this.lastFrameMs = this.server.platform.clock.monotonicMs();
    if (this.stage === 'open') this.onCall(frame);
    else if (this.stage === 'greeting') this.onHello(frame);
    else this.onProve(frame);
  }

  private onHello(frame: Frame): void {
    if (frame.type !== FRAME.hello) throw new GfsError('BAD_MESSAGE', 'the first frame is no greeting');
    const hello = helloSchema.check(decodeBody(frame.body), 'hello');
    const { secret } = this.server.options;
    const clusterId = this.server.options.clusterId();
    this.role = hello.role;
    try {
      checkCluster(clusterId, hello.clusterId);
    } catch (error) {
      this.sendError(frame, asGfsError(error));
      throw error;
    }
    const body = {
      version: LIMITS.protocolVersion,
      clusterId,
      nonce: this.nonce,
      ...(secret ? { proof: proofOf(secret, 'server', hello.role, hello.nonce) } : {}),
    };
    this.send({ type: FRAME.helloReply, kind: 0, callId: frame.callId, waitMs: 0, body: encodeBody(body) });
    if (secret) this.stage = 'proving';
    else this.open();
  }

  private onProve(frame: Frame): void {
    if (frame.type !== FRAME.prove)
      throw new GfsError('UNAUTHENTICATED', 'the peer did not prove that it knows the shared secret');
    const { proof } = proveSchema.check(decodeBody(frame.body), 'prove');
    try {
      checkProof(this.server.options.secret!, 'caller', this.role, this.nonce, proof);
    } catch (error) {
      this.sendError(frame, asGfsError(error));
      throw error;
    }
    this.open();
  }

  private open(): void {
    this.stage = 'open';
    this.greetingTimer.cancel();
    this.reader.limits = { bodyBytesMax: LIMITS.bodyBytesMax, payloadBytesMax: this.server.options.payloadBytesMax };
  }

  private onCall(frame: Frame): void {
    if (frame.type !== FRAME.request && frame.type !== FRAME.oneWay)
      throw new GfsError('BAD_MESSAGE', `a frame of type ${frame.type} makes no sense here`);
    const kind = kindOf(frame.kind);
    const handler = kind && (this.server.options.handlers as Partial<Record<Kind, unknown>>)[kind];
    if (!kind || !handler) {
      const error = new GfsError('BAD_MESSAGE', `message ${frame.kind} is not served here`);
      if (frame.type === FRAME.request) this.sendError(frame, error);
      return;
    }
    let request: unknown;
    try {
      request = MESSAGES[kind].request.check(decodeBody(frame.body), kind);
    } catch (error) {
      this.server.platform.logger.warn(
        { remote: this.remoteAddress, kind, code: asGfsError(error).code, reason: asGfsError(error).message },
        'malformed message',
      );
      if (frame.type === FRAME.request) this.sendError(frame, asGfsError(error));
      return;
    }
    const context: CallContext = {
      payload: frame.payload,
      payloadCrc: frame.payloadCrc,
      connection: this,
      deadlineMs: this.lastFrameMs + (frame.waitMs || Number.MAX_SAFE_INTEGER / 2),
    };
    this.callsInWork++;
    this.heldBytes += frame.payloadBytes;
    let answer: Answer<Kind> | Promise<Answer<Kind>>;
    try {
      answer = (handler as (request: unknown, context: CallContext) => Answer<Kind> | Promise<Answer<Kind>>)(
        request,
        context,
      );
    } catch (error) {
      this.finish(frame, kind, undefined, error);
      return;
    }
    if (answer instanceof Promise) {
      answer.then(
        value => this.finish(frame, kind, value, undefined),
        error => this.finish(frame, kind, undefined, error ?? new Error('rejected without a reason')),
      );
    } else {
      this.finish(frame, kind, answer, undefined);
    }
  }

  private finish(frame: Frame, kind: Kind, answer: Answer<Kind> | undefined, error: unknown): void {
    this.callsInWork--;
    this.heldBytes -= frame.payloadBytes;
    if (error !== undefined) {
      if (!(error instanceof GfsError))
        this.server.platform.logger.error(
          { kind, error: error instanceof Error ? (error.stack ?? error.message) : String(error) },
          'a handler failed',
        );
      if (frame.type === FRAME.request) this.sendError(frame, asGfsError(error));
    } else if (frame.type === FRAME.request) {
      assert(answer, `the handler of ${kind} answers`);
      this.send({
        type: FRAME.reply,
        kind: frame.kind,
        callId: frame.callId,
        waitMs: 0,
        body: encodeBody(answer.body),
        ...(answer.payload ? { payload: answer.payload } : {}),
        ...(answer.payloadCrc === undefined ? {} : { payloadCrc: answer.payloadCrc }),
      });
    }
    this.balance();
  }

  private sendError(frame: Frame, error: GfsError): void {
    const body = encodeBody({ code: error.code, message: error.message.slice(0, 1000) });
    this.send({ type: FRAME.error, kind: frame.kind, callId: frame.callId, waitMs: 0, body });
  }

  private send(frame: Parameters<typeof encodeFrame>[0]): void {
    if (this.stage === 'closed') return;
    this.connection.send(encodeFrame(frame));
    if (this.connection.queuedBytes > UNSENT_BYTES_PER_CONNECTION_MAX)
      this.refuse(new GfsError('OVERLOADED', 'the peer does not read its answers'));
  }

  /** Stops reading from a peer that has too much in work here, and goes on when that is done. */
  private balance(): void {
    const tooMuch =
      this.callsInWork >= CALLS_PER_CONNECTION_MAX ||
      this.heldBytes >= HELD_BYTES_PER_CONNECTION_MAX ||
      this.connection.queuedBytes >= UNSENT_BYTES_PER_CONNECTION_MAX / 4;
    if (tooMuch === this.paused || this.stage === 'closed') return;
    this.paused = tooMuch;
    if (tooMuch) this.connection.pause();
    else this.connection.resume();
  }

  private refuse(error: GfsError): void {
    if (this.stage === 'closed') return;
    this.server.platform.logger.warn(
      { remote: this.remoteAddress, code: error.code, reason: error.message },
      'connection closed',
    );
    this.end({ flush: true });
  }

  private closed(): void {
    if (this.stage === 'closed') return;
    this.stage = 'closed';
    this.greetingTimer.cancel();
    this.server.forget(this);
    for (const callback of this.closeCallbacks.splice(0)) callback();
  }
}
