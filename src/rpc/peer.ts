// Makes calls: one connection per server, opened on demand, many calls in flight on it, each with a deadline. It never repeats a call by itself;
// callers know whether that is safe.
import { assert } from '../lib/assert.js';
import type { Timer } from '../lib/clock.js';
import type { Platform } from '../lib/platform.js';
import type { Address, Connection } from '../lib/transport.js';
import { asGfsError, GfsError, isErrorCode } from '../protocol/errors.js';
import { encodeFrame, FRAME, type Frame, FrameReader } from '../protocol/frame.js';
import { LIMITS } from '../protocol/limits.js';
import { type Kind, kindOf, MESSAGES, type Request } from '../protocol/messages.js';
import { object, text } from '../protocol/schema.js';
import { decodeBody, encodeBody } from '../protocol/wire-values.js';
import { checkCluster, checkProof, helloReplySchema, NONCE_BYTES, proofOf } from './greeting.js';
import type { CallOptions, CallResult, Peer, PeerPool, Role } from './types.js';

export interface PeerOptions {
  role: Role;
  /** The cluster this process belongs to, '' while it does not know. A server of another cluster is refused with WRONG_CLUSTER. */
  clusterId: () => string;
  secret?: Buffer | undefined;
  /** One-way messages from servers (MASTER_TO_CLIENT). */
  onNotice?: (address: Address, kind: Kind, body: unknown) => void;
  /** A connection that was open is gone. */
  onLost?: (address: Address) => void;
  connectTimeoutMs?: number;
}

const CONNECT_TIMEOUT_MS = 5_000;
/** Calls that may wait for one server; more are refused with OVERLOADED before anything is sent. */
const CALLS_PER_PEER_MAX = 8192;
const UNSENT_BYTES_PER_PEER_MAX = 512 * 1024 * 1024;
const errorSchema = object({ code: text(64), message: text(4096) });

export class RpcPeers implements PeerPool {
  private readonly peers = new Map<Address, RpcPeer>();
  private closed = false;

  constructor(
    private readonly platform: Platform,
    private readonly options: PeerOptions,
  ) {}

  get(address: Address): Peer {
    let peer = this.peers.get(address);
    if (!peer) {
      peer = new RpcPeer(address, this.platform, this.options);
      if (this.closed) peer.stop();
      this.peers.set(address, peer);
    }
    return peer;
  }

  close(): Promise<void> {
    this.closed = true;
    for (const peer of this.peers.values()) peer.stop();
    return Promise.resolve();
  }
}

interface Waiting {
  kind: Kind;
  resolve: (result: CallResult<Kind>) => void;
  reject: (error: GfsError) => void;
  timer: Timer;
  /** Bytes received from the server when the call was sent: tells a slow answer from a dead connection. */
  receivedBefore: number;
}

class RpcPeer implements Peer {
  private connections = 0;
  private link: Link | undefined;
  private stopped = false;
  private calls = 0;

  constructor(
    readonly address: Address,
    private readonly platform: Platform,
    private readonly options: PeerOptions,
  ) {}

  get queuedBytes(): number {
    return this.link?.queuedBytes ?? 0;
  }

  /** Already the next one's when the last one is over, since the next message will make it. */
  get connectionNumber(): number {
    return this.link?.isOver ? this.connections + 1 : this.connections;
  }

  call<K extends Kind>(kind: K, request: Request<K>, options: CallOptions): Promise<CallResult<K>> {
    assert(options.timeoutMs > 0, 'a call has a deadline');
    if (this.stopped) return Promise.reject(new GfsError('STOPPING', 'this process is stopping'));
    if (this.calls >= CALLS_PER_PEER_MAX || this.queuedBytes > UNSENT_BYTES_PER_PEER_MAX) {
      return Promise.reject(new GfsError('OVERLOADED', `too many calls wait for ${this.address}`));
    }
    return new Promise<CallResult<K>>((resolve, reject) => {
      this.calls++;
      const link = this.connect();
      link.call(
        kind,
        request,
        options,
        result => {
          this.calls--;
          resolve(result as CallResult<K>);
        },
        error => {
          this.calls--;
          reject(error);
        },
      );
    });
  }

  send<K extends Kind>(kind: K, request: Request<K>, payload?: readonly Buffer[], payloadCrc?: number): void {
    if (this.stopped) return;
    this.connect().send(kind, request, payload, payloadCrc);
  }

  stop(): void {
    this.stopped = true;
    this.link?.end(new GfsError('STOPPING', 'this process is stopping'));
  }

  private connect(): Link {
    if (!this.link || this.link.isOver) {
      this.connections++;
      this.link = new Link(this.address, this.platform, this.options);
    }
    return this.link;
  }
}

/** One connection's life: connecting, greeting, open, over. Calls made before it is open wait in order. */
class Link {
  isOver = false;
  private connection: Connection | undefined;
  private isOpen = false;
  private received = 0;
  private nextCallId = 1;
  private readonly waiting = new Map<number, Waiting>();
  private unsent: Array<{ callId: number; buffers: Buffer[] }> = [];
  private unsentBytes = 0;
  private readonly reader = new FrameReader({
    bodyBytesMax: LIMITS.bodyBytesMax,
    payloadBytesMax: LIMITS.payloadBytesMax,
  });
  private readonly nonce: Buffer;
  private readonly greetingTimer: Timer;

  constructor(
    private readonly address: Address,
    private readonly platform: Platform,
    private readonly options: PeerOptions,
  ) {
    const timeoutMs = options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS;
    this.nonce = platform.random.bytes(NONCE_BYTES);
    this.greetingTimer = platform.clock.setTimer(timeoutMs, () =>
      this.end(new GfsError('UNREACHABLE', `${address} did not answer the greeting`)),
    );
    platform.transport.connect(address, timeoutMs).then(
      connection => this.greet(connection),
      error =>
        this.end(
          new GfsError('UNREACHABLE', `cannot connect to ${address}: ${(error as Error).message}`, { cause: error }),
        ),
    );
  }

  get queuedBytes(): number {
    return this.unsentBytes + (this.connection?.queuedBytes ?? 0);
  }

  call(
    kind: Kind,
    request: unknown,
    options: CallOptions,
    resolve: Waiting['resolve'],
    reject: Waiting['reject'],
  ): void {
    const callId = this.nextCallId++ >>> 0;
    const timer = this.platform.clock.setTimer(options.timeoutMs, () => this.onTimeout(callId));
    this.waiting.set(callId, { kind, resolve, reject, timer, receivedBefore: this.received });
    this.transmit(callId, {
      type: FRAME.request,
      kind: MESSAGES[kind].number,
      callId,
      waitMs: options.timeoutMs,
      body: encodeBody(request),
      ...(options.payload ? { payload: options.payload } : {}),
      ...(options.payloadCrc === undefined ? {} : { payloadCrc: options.payloadCrc }),
    });
  }

  send(kind: Kind, request: unknown, payload: readonly Buffer[] | undefined, payloadCrc: number | undefined): void {
    this.transmit(0, {
      type: FRAME.oneWay,
      kind: MESSAGES[kind].number,
      callId: 0,
      waitMs: 0,
      body: encodeBody(request),
      ...(payload ? { payload } : {}),
      ...(payloadCrc === undefined ? {} : { payloadCrc }),
    });
  }

  /** Ends the connection; calls that were sent reject with `error` or CONNECTION_LOST, those that were not with UNREACHABLE. */
  end(error?: GfsError): void {
    if (this.isOver) return;
    const wasOpen = this.isOpen;
    this.isOver = true;
    this.isOpen = false;
    this.greetingTimer.cancel();
    this.connection?.close();
    const unsent = new Set(this.unsent.map(entry => entry.callId));
    this.unsent = [];
    this.unsentBytes = 0;
    const why = error ?? new GfsError('CONNECTION_LOST', `the connection to ${this.address} broke before the answer`);
    for (const [callId, call] of this.waiting) {
      call.timer.cancel();
      call.reject(
        unsent.has(callId) && why.code === 'CONNECTION_LOST'
          ? new GfsError('UNREACHABLE', `cannot reach ${this.address}`)
          : why,
      );
    }
    this.waiting.clear();
    if (wasOpen) this.options.onLost?.(this.address);
  }

  private greet(connection: Connection): void {
    if (this.isOver) {
      connection.onData = () => undefined;
      connection.onClose = () => undefined;
      connection.close();
      return;
    }
    this.connection = connection;
    connection.onData = data => this.receive(data);
    connection.onClose = () => this.end();
    connection.onDrain = () => undefined;
    const { role } = this.options;
    const body = encodeBody({
      version: LIMITS.protocolVersion,
      role,
      clusterId: this.options.clusterId(),
      nonce: this.nonce,
    });
    connection.send(encodeFrame({ type: FRAME.hello, kind: 0, callId: 0, waitMs: 0, body }));
  }

  private transmit(callId: number, frame: Parameters<typeof encodeFrame>[0]): void {
    const buffers = encodeFrame(frame);
    if (this.isOpen) {
      this.connection!.send(buffers);
      return;
    }
    this.unsent.push({ callId, buffers });
    for (const buffer of buffers) this.unsentBytes += buffer.length;
  }

  private receive(data: Buffer): void {
    if (this.isOver) return;
    this.received += data.length;
    try {
      this.reader.push(data, frame => this.onFrame(frame));
    } catch (error) {
      const { code, message: reason } = asGfsError(error);
      // A failed greeting is what the waiting calls reject with: whoever made them says so, and not at every try.
      this.platform.logger[this.isOpen ? 'warn' : 'debug'](
        { address: this.address, code, reason },
        'connection to a server closed',
      );
      this.end(this.isOpen ? undefined : asGfsError(error));
    }
  }

  private onFrame(frame: Frame): void {
    if (this.isOver) return;
    if (!this.isOpen) this.onGreeting(frame);
    else if (frame.type === FRAME.oneWay) this.onNotice(frame);
    else this.onAnswer(frame);
  }

  private onGreeting(frame: Frame): void {
    if (frame.type === FRAME.error) throw remoteError(frame);
    if (frame.type !== FRAME.helloReply) throw new GfsError('BAD_MESSAGE', 'the server did not greet');
    const reply = helloReplySchema.check(decodeBody(frame.body), 'helloReply');
    const { role, secret } = this.options;
    checkCluster(this.options.clusterId(), reply.clusterId);
    if (secret) {
      checkProof(secret, 'server', role, this.nonce, reply.proof);
      this.connection!.send(
        encodeFrame({
          type: FRAME.prove,
          kind: 0,
          callId: 0,
          waitMs: 0,
          body: encodeBody({ proof: proofOf(secret, 'caller', role, reply.nonce) }),
        }),
      );
    } else if (reply.proof) {
      throw new GfsError('UNAUTHENTICATED', `${this.address} wants a shared secret; give it with --secret-file`);
    }
    this.isOpen = true;
    this.greetingTimer.cancel();
    const unsent = this.unsent;
    this.unsent = [];
    this.unsentBytes = 0;
    for (const { callId, buffers } of unsent) {
      // A call whose deadline passed while it waited was never sent and must not be sent now.
      const call = this.waiting.get(callId);
      if (call) call.receivedBefore = this.received;
      if (callId === 0 || call) this.connection!.send(buffers);
    }
  }

  private onNotice(frame: Frame): void {
    const kind = kindOf(frame.kind);
    if (!kind || !this.options.onNotice) return;
    this.options.onNotice(this.address, kind, MESSAGES[kind].request.check(decodeBody(frame.body), kind));
  }

  private onAnswer(frame: Frame): void {
    const call = this.waiting.get(frame.callId);
    // The answer to a call whose deadline passed.
    if (!call) return;
    this.waiting.delete(frame.callId);
    call.timer.cancel();
    if (frame.type === FRAME.error) {
      call.reject(remoteError(frame));
      return;
    }
    try {
      if (frame.type !== FRAME.reply) throw new GfsError('BAD_MESSAGE', `a frame of type ${frame.type} is no answer`);
      const body = MESSAGES[call.kind].reply.check(decodeBody(frame.body), call.kind);
      call.resolve({ body, payload: frame.payload } as CallResult<Kind>);
    } catch (error) {
      call.reject(asGfsError(error));
    }
  }

  private onTimeout(callId: number): void {
    const call = this.waiting.get(callId);
    if (!call) return;
    this.waiting.delete(callId);
    if (!this.isOpen) {
      call.reject(new GfsError('UNREACHABLE', `no connection to ${this.address} in time`));
      return;
    }
    call.reject(new GfsError('TIMED_OUT', `${this.address} did not answer ${call.kind} in time`));
    // Nothing at all came back since the call was made: the connection may be dead without notice, the next call makes a new one.
    if (this.received === call.receivedBefore) this.end();
  }
}

function remoteError(frame: Frame): GfsError {
  const { code, message } = errorSchema.check(decodeBody(frame.body), 'error');
  return new GfsError(isErrorCode(code) ? code : 'FAILED', message);
}
