// A conversation with a kernel that is not there: builds requests, feeds a Session, keeps what it answers. For the tests of the kernel transport.
import type { Clock } from '../../src/lib/clock.js';
import { silentLogger } from '../../src/lib/logger.js';
import type { FuseOperations } from '../../src/mount/fuse-operations.js';
import { ANSWERED_OPCODES, SESSION_OPCODES } from '../../src/mount/kernel/opcodes.js';
import { Session } from '../../src/mount/kernel/session.js';
import * as wire from '../../src/mount/kernel/wire.js';

export const OPCODES = { ...ANSWERED_OPCODES, ...SESSION_OPCODES };
export type OpcodeName = keyof typeof OPCODES;

export interface Answered {
  errno: number;
  data: Buffer;
  undo?: () => void;
}

/** Time that only moves when told to. */
export class HandClock implements Clock {
  private nowMs = 0;
  private timers: Array<{ atMs: number; fire: () => void }> = [];

  monotonicMs(): number {
    return this.nowMs;
  }

  wallMs(): number {
    return this.nowMs;
  }

  setTimer(delayMs: number, fire: () => void) {
    const timer = { atMs: this.nowMs + delayMs, fire };
    this.timers.push(timer);
    return {
      cancel: () => {
        this.timers = this.timers.filter(other => other !== timer);
      },
    };
  }

  soon(fire: () => void): void {
    queueMicrotask(fire);
  }

  advance(byMs: number): void {
    this.nowMs += byMs;
    const due = this.timers.filter(timer => timer.atMs <= this.nowMs);
    this.timers = this.timers.filter(timer => timer.atMs > this.nowMs);
    for (const timer of due) timer.fire();
  }
}

export class FakeKernel {
  readonly clock = new HandClock();
  readonly session: Session;
  /** Every answer by the request's number; two to one request would show as two elements. */
  readonly answers = new Map<number, Answered[]>();
  readonly notifications: Array<{ code: number; data: Buffer }> = [];
  readonly refusals: Error[] = [];
  isReady = false;
  private unique = 0;
  private readonly waiting = new Map<number, (answer: Answered) => void>();

  constructor(operations: FuseOperations) {
    this.session = new Session(
      {
        operations,
        attributeTimeoutMs: 1500,
        entryTimeoutMs: 1000,
        operationTimeoutMs: 10_000,
        onReady: () => {
          this.isReady = true;
        },
        onRefused: error => this.refusals.push(error),
      },
      {
        answer: (unique, errno, data = [], undo) => {
          const answer: Answered = { errno, data: Buffer.concat(data), ...(undo ? { undo } : {}) };
          this.answers.set(unique, [...(this.answers.get(unique) ?? []), answer]);
          this.waiting.get(unique)?.(answer);
        },
        notify: (code, data) => this.notifications.push({ code, data }),
      },
      { clock: this.clock, logger: silentLogger },
    );
  }

  /** Sends a request and returns its number. */
  send(opcode: OpcodeName | number, nodeid: number, ...parts: Array<Buffer | string>): number {
    const unique = ++this.unique * 2;
    this.session.onRequest(request(opcode, unique, nodeid, ...parts));
    return unique;
  }

  /** Sends a request and waits for its answer. */
  ask(opcode: OpcodeName | number, nodeid: number, ...parts: Array<Buffer | string>): Promise<Answered> {
    const unique = (this.unique + 1) * 2;
    return new Promise(resolve => {
      this.waiting.set(unique, resolve);
      this.send(opcode, nodeid, ...parts);
    });
  }

  async init(minor = 45, major = 7): Promise<Answered> {
    return this.ask('INIT', 0, initIn(major, minor));
  }
}

/** Bytes of a request; strings get the NUL byte that ends names. */
export function request(
  opcode: OpcodeName | number,
  unique: number,
  nodeid: number,
  ...parts: Array<Buffer | string>
): Buffer {
  const body = Buffer.concat(parts.map(part => (typeof part === 'string' ? Buffer.from(`${part}\0`) : part)));
  const number = typeof opcode === 'number' ? opcode : OPCODES[opcode];
  const len = wire.IN_HEADER.sizeBytes + body.length;
  return Buffer.concat([
    wire.IN_HEADER.encode({ len, opcode: number, unique, nodeid, uid: 1000, gid: 1001, pid: 7 }),
    body,
  ]);
}

export function initIn(major: number, minor: number): Buffer {
  return Buffer.concat([
    wire.INIT_IN.encode({ major, minor, maxReadahead: 131072, flags: 0x7fff_ffff }),
    Buffer.alloc(48),
  ]);
}
