// One request of the kernel, read with distrust: structures, names and bytes in order, never past the end of what arrived.
// It decodes and judges form only (INVALID, NAME_INVALID); it does nothing.
import { isUtf8 } from 'node:buffer';
import { GfsError } from '../../protocol/errors.js';
import type { Caller } from '../fuse-operations.js';
import type { KeepTicket } from './kernel-cache.js';
import type { Fields, Structure, Values } from './structure.js';
import { IN_HEADER } from './wire.js';

export type RequestHeader = ReturnType<typeof IN_HEADER.decode>;

const NUL = 0;
const SLASH = 0x2f;
/** Memory is given away rather than copied when at least this part of it (one in so many) is wanted. */
const GIVEN_SHARE = 2;

export class Request {
  readonly header: RequestHeader;
  /** Aborted when the kernel interrupts the system call. */
  readonly signal: AbortSignal;
  /** Taken when it arrived: what is asked for it is no older. */
  readonly ticket: KeepTicket;
  /** The memory under this request belongs to the operations now; who read it from the device must not use it again. */
  isBufferGiven = false;
  private readonly buffer: Buffer;
  private at: number;

  /** `buffer` holds the whole request and nothing else. */
  constructor(buffer: Buffer, header: RequestHeader, signal: AbortSignal, ticket: KeepTicket) {
    this.buffer = buffer;
    this.header = header;
    this.signal = signal;
    this.ticket = ticket;
    this.at = IN_HEADER.sizeBytes;
  }

  get node(): number {
    return this.header.nodeid;
  }

  get caller(): Caller {
    const { uid, gid, pid } = this.header;
    return { uid, gid, pid };
  }

  get remainingBytes(): number {
    return this.buffer.length - this.at;
  }

  take<F extends Fields>(structure: Structure<F>): Values<F> {
    const values = structure.decode(this.buffer, this.at);
    this.at += structure.sizeBytes;
    return values;
  }

  /** The next file name. Throws NAME_INVALID when it is empty, holds a slash or is not UTF-8. */
  takeName(): string {
    const bytes = this.takeTerminated();
    if (bytes.length === 0 || bytes.includes(SLASH)) throw new GfsError('NAME_INVALID');
    return decodeText(bytes);
  }

  /** The next text ended by a NUL byte: a link's target or an attribute's name. Throws NAME_INVALID when it is not UTF-8. */
  takeText(): string {
    return decodeText(this.takeTerminated());
  }

  /** The next `count` bytes, as a view of the request's buffer. */
  takeBytes(count: number): Buffer {
    if (count > this.remainingBytes) throw new GfsError('INVALID', 'the request ends inside its data');
    const bytes = this.buffer.subarray(this.at, this.at + count);
    this.at += count;
    return bytes;
  }

  /** The next `count` bytes as memory that belongs to the caller for good: a large share of the request's buffer is given away, a small one copied. */
  giveBytes(count: number): Buffer {
    const bytes = this.takeBytes(count);
    if (count < this.buffer.buffer.byteLength / GIVEN_SHARE) return Buffer.from(bytes);
    this.isBufferGiven = true;
    return bytes;
  }

  private takeTerminated(): Buffer {
    const end = this.buffer.indexOf(NUL, this.at);
    if (end < 0) throw new GfsError('INVALID', 'a name in the request has no end');
    const bytes = this.buffer.subarray(this.at, end);
    this.at = end + 1;
    return bytes;
  }
}

function decodeText(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw new GfsError('NAME_INVALID', 'a name is not valid UTF-8');
  return bytes.toString('utf8');
}
