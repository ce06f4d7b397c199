// Frames survive any cutting of the stream, and nothing but whole, unharmed frames comes out.
import test from 'ava';
import fc from 'fast-check';
import { encodeFrame, FRAME, type Frame, FrameReader } from '../../src/protocol/frame.js';

const LIMITS = { bodyBytesMax: 10_000, payloadBytesMax: 100_000 };

function cut(stream: Buffer, sizes: number[]): Buffer[] {
  const pieces: Buffer[] = [];
  let at = 0;
  for (let i = 0; at < stream.length; i++) {
    const length = Math.max(1, sizes[i % Math.max(1, sizes.length)] ?? stream.length);
    pieces.push(stream.subarray(at, at + length));
    at += length;
  }
  return pieces;
}

test('frames come out as they went in, however the stream is cut', t => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          callId: fc.nat(),
          body: fc.uint8Array({ maxLength: 300 }),
          payload: fc.array(fc.uint8Array({ maxLength: 500 }), { maxLength: 4 }),
        }),
        { maxLength: 6 },
      ),
      fc.array(fc.integer({ min: 1, max: 200 }), { maxLength: 5 }),
      (frames, sizes) => {
        const stream = Buffer.concat(
          frames.flatMap(frame =>
            encodeFrame({
              type: FRAME.request,
              kind: 7,
              callId: frame.callId,
              waitMs: 20,
              body: Buffer.from(frame.body),
              payload: frame.payload.map(piece => Buffer.from(piece)),
            }),
          ),
        );
        const out: Frame[] = [];
        const reader = new FrameReader(LIMITS);
        for (const piece of cut(stream, sizes)) reader.push(Buffer.from(piece), frame => out.push(frame));
        if (out.length !== frames.length) return false;
        return out.every((frame, i) => {
          const sent = frames[i]!;
          return (
            frame.callId === sent.callId &&
            frame.waitMs === 20 &&
            frame.body.equals(Buffer.from(sent.body)) &&
            Buffer.concat(frame.payload).equals(Buffer.concat(sent.payload))
          );
        });
      },
    ),
  );
  t.pass();
});

test('a frame with any one bit flipped is never delivered', t => {
  const frame = Buffer.concat(
    encodeFrame({
      type: FRAME.request,
      kind: 7,
      callId: 3,
      waitMs: 0,
      body: Buffer.from('body'),
      payload: [Buffer.from('payload')],
    }),
  );
  for (let bit = 0; bit < frame.length * 8; bit++) {
    const harmed = Buffer.from(frame);
    harmed[bit >> 3]! ^= 1 << (bit & 7);
    const out: Frame[] = [];
    try {
      new FrameReader(LIMITS).push(harmed, got => out.push(got));
    } catch {
      // Refused: what should happen.
    }
    t.is(out.length, 0, `bit ${bit}`);
  }
});

test('a payload over the limit is refused before any of it is held', t => {
  const head = Buffer.concat(
    encodeFrame({
      type: FRAME.request,
      kind: 7,
      callId: 3,
      waitMs: 0,
      body: Buffer.alloc(0),
      payload: [Buffer.alloc(100_001)],
    }),
  ).subarray(0, 32);
  t.throws(() => new FrameReader(LIMITS).push(head, () => undefined), { message: /over the limit/ });
});
