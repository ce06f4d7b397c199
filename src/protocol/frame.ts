// Frames: how messages lie on a byte stream. A header of 32 bytes with its own checksum says what follows, so that lengths are trusted only
// after the header is, and memory is taken only within limits. It knows nothing of what messages mean.
import { crc32, crc32OfAll } from '../lib/checksum.js';
import { GfsError } from './errors.js';
import { LIMITS } from './limits.js';

/** What a frame is for. Numbers are never reused. */
export const FRAME = { hello: 1, helloReply: 2, prove: 3, request: 4, reply: 5, error: 6, oneWay: 7 } as const;
export type FrameType = (typeof FRAME)[keyof typeof FRAME];

export interface Frame {
  type: FrameType;
  /** Number of the message kind; 0 in greetings. */
  kind: number;
  callId: number;
  /** How long the caller waits for the answer, in ms (rounded up to 10); 0 where nobody waits. */
  waitMs: number;
  body: Buffer;
  payload: Buffer[];
  payloadBytes: number;
  payloadCrc: number;
}

/*
 * offset size field
 *      0    2 magic "GF"
 *      2    1 protocol version
 *      3    1 frame type
 *      4    2 message kind
 *      6    2 how long the caller waits, in 10 ms
 *      8    4 call id
 *     12    4 body length
 *     16    4 payload length
 *     20    4 CRC-32 of the body
 *     24    4 CRC-32 of the payload
 *     28    4 CRC-32 of bytes 0 to 27
 * then the body, then the payload. All numbers big-endian.
 */
export const HEADER_BYTES = 32;
const MAGIC = 0x4746;
const WAIT_UNIT_MS = 10;
const WAIT_MAX = 0xffff;

/** The bytes of a frame, payload buffers uncopied. `payloadCrc` when the caller has it already. */
export function encodeFrame(
  frame: Omit<Frame, 'payload' | 'payloadBytes' | 'payloadCrc'> & { payload?: readonly Buffer[]; payloadCrc?: number },
): Buffer[] {
  const payload = frame.payload ?? [];
  let payloadBytes = 0;
  for (const piece of payload) payloadBytes += piece.length;
  const head = Buffer.allocUnsafe(HEADER_BYTES + frame.body.length);
  head.writeUInt16BE(MAGIC, 0);
  head[2] = LIMITS.protocolVersion;
  head[3] = frame.type;
  head.writeUInt16BE(frame.kind, 4);
  head.writeUInt16BE(Math.min(WAIT_MAX, Math.ceil(frame.waitMs / WAIT_UNIT_MS)), 6);
  head.writeUInt32BE(frame.callId, 8);
  head.writeUInt32BE(frame.body.length, 12);
  head.writeUInt32BE(payloadBytes, 16);
  head.writeUInt32BE(crc32(frame.body), 20);
  head.writeUInt32BE(frame.payloadCrc ?? crc32OfAll(payload), 24);
  head.writeUInt32BE(crc32(head.subarray(0, 28)), 28);
  frame.body.copy(head, HEADER_BYTES);
  return payload.length === 0 ? [head] : [head, ...payload];
}

export interface FrameLimits {
  bodyBytesMax: number;
  payloadBytesMax: number;
}

/** Cuts a byte stream into frames. Payload pieces stay slices of what arrived. */
export class FrameReader {
  private pieces: Buffer[] = [];
  private available = 0;
  private header: { frame: Frame; bodyBytes: number; payloadBytes: number; bodyCrc: number } | undefined;
  private bodyDone = false;
  private payloadLeft = 0;
  private payloadCrc = 0;

  /** `unchecked`: kinds of messages whose payload the receiver compares with its CRC itself, while it needs other checksums of it anyway. */
  constructor(
    public limits: FrameLimits,
    private readonly unchecked: ReadonlySet<number> = NO_KINDS,
  ) {}

  /** Bytes of an unfinished frame that are held here. */
  get heldBytes(): number {
    return this.available + (this.header ? this.header.payloadBytes - this.payloadLeft : 0);
  }

  /** Some bytes of a frame are here, and not all. */
  get isInsideFrame(): boolean {
    return this.header !== undefined || this.available > 0;
  }

  /** Takes the next bytes and calls `emit` for each frame they complete. Throws BAD_MESSAGE or WRONG_VERSION when the stream cannot be trusted any more. */
  push(data: Buffer, emit: (frame: Frame) => void): void {
    this.pieces.push(data);
    this.available += data.length;
    while (this.step(emit));
  }

  private step(emit: (frame: Frame) => void): boolean {
    if (!this.header) {
      if (this.available < HEADER_BYTES) return false;
      this.header = this.parseHeader(this.take(HEADER_BYTES));
      this.bodyDone = false;
      this.payloadLeft = this.header.payloadBytes;
      this.payloadCrc = 0;
    }
    const header = this.header;
    if (!this.bodyDone) {
      if (this.available < header.bodyBytes) return false;
      // A copy: what is kept of it must not keep the large piece it came in.
      header.frame.body = Buffer.from(this.take(header.bodyBytes));
      if (crc32(header.frame.body) !== header.bodyCrc)
        throw new GfsError('BAD_MESSAGE', 'a frame body does not match its checksum');
      this.bodyDone = true;
    }
    const isChecked = !this.unchecked.has(header.frame.kind);
    while (this.payloadLeft > 0) {
      const piece = this.pieces[0];
      if (!piece) return false;
      const part = piece.length <= this.payloadLeft ? piece : piece.subarray(0, this.payloadLeft);
      if (part === piece) this.pieces.shift();
      else this.pieces[0] = piece.subarray(part.length);
      this.available -= part.length;
      this.payloadLeft -= part.length;
      if (isChecked) this.payloadCrc = crc32(part, this.payloadCrc);
      header.frame.payload.push(part);
    }
    if (isChecked && this.payloadCrc !== header.frame.payloadCrc)
      throw new GfsError('BAD_MESSAGE', 'a frame payload does not match its checksum');
    this.header = undefined;
    emit(header.frame);
    return true;
  }

  private parseHeader(head: Buffer): NonNullable<FrameReader['header']> {
    if (head.readUInt16BE(0) !== MAGIC) throw new GfsError('BAD_MESSAGE', 'not a frame of this protocol');
    if (crc32(head.subarray(0, 28)) !== head.readUInt32BE(28))
      throw new GfsError('BAD_MESSAGE', 'a frame header does not match its checksum');
    if (head[2] !== LIMITS.protocolVersion) {
      throw new GfsError(
        'WRONG_VERSION',
        `the peer speaks version ${head[2]} of the protocol, this is version ${LIMITS.protocolVersion}`,
      );
    }
    const type = head[3] as FrameType;
    if (type < FRAME.hello || type > FRAME.oneWay) throw new GfsError('BAD_MESSAGE', `unknown frame type ${type}`);
    const bodyBytes = head.readUInt32BE(12);
    const payloadBytes = head.readUInt32BE(16);
    if (bodyBytes > this.limits.bodyBytesMax)
      throw new GfsError('BAD_MESSAGE', `a frame body of ${bodyBytes} bytes is over the limit`);
    if (payloadBytes > this.limits.payloadBytesMax)
      throw new GfsError('BAD_MESSAGE', `a frame payload of ${payloadBytes} bytes is over the limit`);
    return {
      frame: {
        type,
        kind: head.readUInt16BE(4),
        waitMs: head.readUInt16BE(6) * WAIT_UNIT_MS,
        callId: head.readUInt32BE(8),
        body: EMPTY,
        payload: [],
        payloadBytes,
        payloadCrc: head.readUInt32BE(24),
      },
      bodyBytes,
      payloadBytes,
      bodyCrc: head.readUInt32BE(20),
    };
  }

  /** The next `length` bytes as one buffer; copies only when they span pieces. */
  private take(length: number): Buffer {
    if (length === 0) return EMPTY;
    this.available -= length;
    const first = this.pieces[0]!;
    if (first.length === length) {
      this.pieces.shift();
      return first;
    }
    if (first.length > length) {
      this.pieces[0] = first.subarray(length);
      return first.subarray(0, length);
    }
    const whole = Buffer.allocUnsafe(length);
    let filled = 0;
    while (filled < length) {
      const piece = this.pieces[0]!;
      const part = Math.min(piece.length, length - filled);
      piece.copy(whole, filled, 0, part);
      filled += part;
      if (part === piece.length) this.pieces.shift();
      else this.pieces[0] = piece.subarray(part);
    }
    return whole;
  }
}

const EMPTY = Buffer.alloc(0);
const NO_KINDS: ReadonlySet<number> = new Set();
