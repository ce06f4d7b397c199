// One conversation with the kernel: each request is decoded, run and answered once. It knows no device (requests come in, answers go to a sink), so
// that a test can feed it anything. Invariant: no input makes it throw; what cannot be understood is answered with an errno, or dropped and logged.
import type { Clock } from '../../lib/clock.js';
import type { Logger } from '../../lib/logger.js';
import { ERRNO, GfsError } from '../../protocol/errors.js';
import { Answerer } from '../answer.js';
import { errnoOf, Refusal } from '../errno.js';
import type { FuseOperations } from '../fuse-operations.js';
import { DirectoryReaders } from './directory-readers.js';
import type { Answer } from './handler.js';
import { createHandlers, type HandlerTable } from './handlers.js';
import { KernelCache } from './kernel-cache.js';
import { negotiate } from './negotiation.js';
import { NodeTable } from './node-table.js';
import { type AnsweredOpcode, answeredOpcode, type SessionOpcode, sessionOpcode } from './opcodes.js';
import { Request, type RequestHeader } from './request.js';
import * as wire from './wire.js';

/** Where answers go. Neither call throws. */
export interface AnswerSink {
  /** Sends one answer; `undo` is called when the kernel does not take it any more. */
  answer(unique: number, errno: number, data?: readonly Buffer[], undo?: () => void): void;
  /** Sends an unasked message. `key` tells equal ones, of which the latest suffices. */
  notify(code: number, data: Buffer, key: string): void;
}

export interface SessionOptions {
  operations: FuseOperations;
  attributeTimeoutMs: number;
  entryTimeoutMs: number;
  operationTimeoutMs: number;
  /** The kernel and we agree: operations may arrive. */
  onReady: () => void;
  /** There is nothing to agree on; the mount must be undone. */
  onRefused: (error: GfsError) => void;
}

/** For requests that nothing interrupts: only waiting for a lock is ever given up. */
const NEVER = new AbortController().signal;

export class Session {
  readonly nodes: NodeTable;
  private readonly cache: KernelCache;
  private readonly options: SessionOptions;
  private readonly sink: AnswerSink;
  private readonly logger: Logger;
  private readonly answerer: Answerer;
  private readonly handlers: HandlerTable;
  private readonly sessionHandlers: Record<SessionOpcode, (request: Request) => void>;

  private state: 'fresh' | 'serving' | 'refused' = 'fresh';
  /** Requests not yet answered; those that wait for a lock with what ends the wait. */
  private readonly pending = new Map<number, AbortController | undefined>();

  constructor(options: SessionOptions, sink: AnswerSink, parts: { clock: Clock; logger: Logger }) {
    const { operations } = options;
    this.options = options;
    this.sink = sink;
    this.logger = parts.logger;
    this.nodes = new NodeTable(inode => operations.forget?.(inode));
    this.cache = new KernelCache(options, {
      clock: parts.clock,
      nodes: this.nodes,
      notify: (code, data, key) => sink.notify(code, data, key),
    });
    this.answerer = new Answerer({ ...parts, timeoutMs: options.operationTimeoutMs });
    this.handlers = createHandlers({
      operations,
      nodes: this.nodes,
      directories: new DirectoryReaders(operations, this.cache),
      cache: this.cache,
    });
    this.sessionHandlers = {
      INIT: request => this.onInit(request),
      FORGET: request => this.nodes.forget(request.node, request.take(wire.FORGET_IN).nlookup),
      BATCH_FORGET: request => this.onBatchForget(request),
      INTERRUPT: request => this.onInterrupt(request),
    };
  }

  /** Takes one request as read from the device. Returns whether its memory was given away, so that the reader needs other memory. */
  onRequest(buffer: Buffer): boolean {
    let header: RequestHeader;
    try {
      header = wire.IN_HEADER.decode(buffer, 0);
    } catch (error) {
      this.logger.error({ bytes: buffer.length, reason: (error as Error).message }, 'no request has this header');
      return false;
    }
    if (header.len !== buffer.length) {
      this.logger.error({ bytes: buffer.length, len: header.len }, 'a request is not as long as it says');
      this.sink.answer(header.unique, ERRNO.EIO);
      return false;
    }
    const special = sessionOpcode(header.opcode);
    if (special !== undefined) {
      this.runSpecial(special, new Request(buffer, header, NEVER, this.cache.ticket()));
      return false;
    }
    const opcode = answeredOpcode(header.opcode);
    if (opcode === undefined || this.state !== 'serving') {
      this.sink.answer(header.unique, opcode === undefined ? ERRNO.ENOSYS : ERRNO.EIO);
      return false;
    }
    return this.run(opcode, buffer, header);
  }

  /** Ends every wait; called when the mount is gone. */
  abort(): void {
    for (const controller of this.pending.values()) controller?.abort();
  }

  private run(opcode: AnsweredOpcode, buffer: Buffer, header: RequestHeader): boolean {
    const waits = opcode === 'SETLKW';
    const controller = waits ? new AbortController() : undefined;
    const request = new Request(buffer, header, controller?.signal ?? NEVER, this.cache.ticket());
    const { unique } = header;
    this.pending.set(unique, controller);
    this.answerer.run<Answer>(
      opcode,
      () => this.handlers[opcode](request),
      (errno, answer) => {
        this.pending.delete(unique);
        this.sink.answer(unique, errno, answer?.data, answer?.undo);
      },
      { patient: waits, onLate: answer => answer.undo?.() },
    );
    return request.isBufferGiven;
  }

  private runSpecial(opcode: SessionOpcode, request: Request): void {
    try {
      this.sessionHandlers[opcode](request);
    } catch (error) {
      const errno = errnoOf(error, opcode, this.logger);
      if (opcode === 'INIT') this.sink.answer(request.header.unique, errno);
    }
  }

  private onInit(request: Request): void {
    const { unique } = request.header;
    const offer = request.take(wire.INIT_IN);
    if (this.state !== 'fresh') throw new Refusal('EPROTO');
    const { operations } = this.options;
    const result = negotiate(offer, { hasLocks: operations.setLock !== undefined });
    if (result.kind === 'refused') {
      this.state = 'refused';
      this.sink.answer(unique, new Refusal('EPROTO').errno);
      this.options.onRefused(new GfsError('NOT_SUPPORTED', result.reason));
      return;
    }
    this.logger.info({ kernel: `${offer.major}.${offer.minor}`, ...result.terms }, 'talking to the kernel');
    if (result.isFinal) {
      this.state = 'serving';
      operations.attachNotifier?.(this.cache);
    }
    this.sink.answer(unique, 0, [wire.INIT_OUT.encode(result.terms)]);
    if (result.isFinal) this.options.onReady();
  }

  private onBatchForget(request: Request): void {
    const { count } = request.take(wire.BATCH_FORGET_IN);
    for (let index = 0; index < count; index++) {
      const { nodeid, nlookup } = request.take(wire.FORGET_ONE);
      this.nodes.forget(nodeid, nlookup);
    }
  }

  private onInterrupt(request: Request): void {
    const { unique } = request.take(wire.INTERRUPT_IN);
    if (this.pending.has(unique)) {
      this.pending.get(unique)?.abort();
      return;
    }
    // It overtook the request it means, or came after its answer: with EAGAIN the kernel sends it again in the first case and ignores us in the second.
    this.sink.answer(request.header.unique, new Refusal('EAGAIN').errno);
  }
}
