// One accepted connection, as the server sees it: its greeting, its calls in work and their answers, and how much of an unfinished message it holds.
// It reads no further than its bounds allow, and every end that the peer did not ask for in good order leaves one line in the log.
import { assert } from '../lib/assert.js';
import type { Address, Connection } from '../lib/transport.js';
import { asGfsError, GfsError } from '../protocol/errors.js';
import { encodeFrame, FRAME, type Frame, FrameReader } from '../protocol/frame.js';
import { LIMITS } from '../protocol/limits.js';
import { type Kind, kindOf, MESSAGES, type Request } from '../protocol/messages.js';
import { decodeBody, encodeBody } from '../protocol/wire-values.js';
import { checkCluster, checkProof, helloSchema, NONCE_BYTES, proofOf, proveSchema } from './greeting.js';
import type { RpcServer } from './server.js';
import type { Answer, CallContext, Role, ServerConnection } from './types.js';

/** Above these a connection is not read from until it has caught up. */
const CALLS_PER_CONNECTION_MAX = 1024;
const HELD_BYTES_PER_CONNECTION_MAX = 128 * 1024 * 1024;
/** A peer that does not read this much of its answers is closed. */
const UNSENT_BYTES_PER_CONNECTION_MAX = 256 * 1024 * 1024;
const GREETING_BYTES_MAX = 4096;

export class Accepted<Kinds extends Kind> implements ServerConnection {
  role: Role = 'client';
  /** Bytes of the message that is arriving, as last told to the server. */
  unfinishedBytes = 0;
  private callsInWork = 0;
  private lastFrameMs: number;
  /** When the message that is arriving began; undefined between two. */
  private frameSinceMs: number | undefined;
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
    connection.onClose = () => this.onEnd();
    connection.onDrain = () => this.balance();
  }

  get remoteAddress(): Address {
    return this.connection.remoteAddress;
  }

  get queuedBytes(): number {
    return this.connection.queuedBytes;
  }

  private get isOver(): boolean {
    return this.stage === 'closed';
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

  /** Ends it when it was silent for too long, or when the message that is arriving takes too long. */
  checkTime(nowMs: number): void {
    const { idleTimeoutMs, frameTimeoutMs } = this.server.options;
    // A peer that is not read from cannot finish its message.
    if (this.frameSinceMs !== undefined && !this.paused) {
      if (nowMs - this.frameSinceMs > frameTimeoutMs)
        this.refuse(new GfsError('TIMED_OUT', `a message was not there as a whole within ${frameTimeoutMs} ms`));
    } else if (this.callsInWork === 0 && nowMs - this.lastFrameMs > idleTimeoutMs) {
      this.end({ flush: false });
    }
  }

  /** Closes it with a line in the log. */
  refuse(error: GfsError): void {
    if (this.stage === 'closed') return;
    if (this.stage === 'open' || this.server.isNews(this, error)) this.logClosed(error);
    this.end({ flush: true });
  }

  private receive(data: Buffer): void {
    if (this.stage === 'closed') return;
    try {
      this.reader.push(data, frame => this.onFrame(frame));
    } catch (error) {
      this.refuse(asGfsError(error));
    }
    if (this.isOver) return;
    if (!this.reader.isInsideFrame) this.frameSinceMs = undefined;
    else this.frameSinceMs ??= this.server.platform.clock.monotonicMs();
    this.server.countUnfinished(this, this.reader.heldBytes);
    this.balance();
  }

  private onFrame(frame: Frame): void {
    // A frame that came behind the one that closed the connection is not served.
    if (this.stage === 'closed') return;
    this.lastFrameMs = this.server.platform.clock.monotonicMs();
    // What follows in the same piece is another message.
    this.frameSinceMs = undefined;
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
    const { bodyBytesMax, payloadBytesMax } = this.server.options;
    this.reader.limits = { bodyBytesMax, payloadBytesMax };
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
    if (tooMuch) {
      this.connection.pause();
      return;
    }
    if (this.frameSinceMs !== undefined) this.frameSinceMs = this.server.platform.clock.monotonicMs();
    this.connection.resume();
  }

  /** The connection ended without our doing. */
  private onEnd(): void {
    if (this.stage !== 'closed' && this.reader.isInsideFrame)
      this.logClosed(new GfsError('CONNECTION_LOST', 'the connection ended in the middle of a message'));
    this.closed();
  }

  private logClosed(error: GfsError): void {
    this.server.platform.logger.warn(
      { remote: this.remoteAddress, code: error.code, reason: error.message },
      'connection closed',
    );
  }

  private closed(): void {
    if (this.stage === 'closed') return;
    this.stage = 'closed';
    this.greetingTimer.cancel();
    this.server.countUnfinished(this, 0);
    this.server.forget(this);
    for (const callback of this.closeCallbacks.splice(0)) callback();
  }
}
