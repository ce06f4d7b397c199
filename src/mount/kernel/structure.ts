// Fixed binary structures of the kernel's C headers: one description gives size, offsets, decoding and encoding. Little endian, as every
// machine that Node runs on here. Decoding never reads past the given end; it throws INVALID instead.
import { assert } from '../../lib/assert.js';
import { GfsError } from '../../protocol/errors.js';

/** `u64` and `i64` are numbers and must be safe integers; `id` is an unsigned 64-bit value of any size, a bigint. */
export type FieldKind = 'u16' | 'u32' | 'i32' | 'u64' | 'i64' | 'id';

export type Fields = Readonly<Record<string, FieldKind>>;

export type Values<F extends Fields> = { -readonly [K in keyof F]: F[K] extends 'id' ? bigint : number };

interface Place {
  name: string;
  kind: FieldKind;
  offset: number;
}

const FIELD_BYTES: Record<FieldKind, number> = { u16: 2, u32: 4, i32: 4, u64: 8, i64: 8, id: 8 };
const TWO_32 = 2 ** 32;

export class Structure<F extends Fields> {
  readonly name: string;
  readonly sizeBytes: number;
  private readonly places: readonly Place[];

  /** Asserts that the fields add up to `sizeBytes` and that each lies at a multiple of its own size, as C lays them out. */
  constructor(name: string, sizeBytes: number, fields: F) {
    let offset = 0;
    this.places = Object.entries(fields).map(([field, kind]) => {
      const place = { name: field, kind, offset };
      assert(offset % FIELD_BYTES[kind] === 0, `${name}.${field} is aligned`);
      offset += FIELD_BYTES[kind];
      return place;
    });
    assert(offset === sizeBytes, `${name} has ${sizeBytes} bytes, not ${offset}`);
    this.name = name;
    this.sizeBytes = sizeBytes;
  }

  /** Where each field begins, in bytes. */
  get offsets(): Record<string, number> {
    return Object.fromEntries(this.places.map(({ name, offset }) => [name, offset]));
  }

  /** Throws INVALID when `buffer` ends before the structure does, or when a number is not a safe integer. */
  decode(buffer: Buffer, at: number): Values<F> {
    if (at + this.sizeBytes > buffer.length) throw new GfsError('INVALID', `the request ends inside ${this.name}`);
    const values: Record<string, number | bigint> = {};
    for (const { name, kind, offset } of this.places) values[name] = readField(buffer, at + offset, kind, name);
    return values as Values<F>;
  }

  /** Fields that are not given are zero. Requires room for the structure. */
  encodeInto(buffer: Buffer, at: number, values: Partial<Values<F>>): void {
    assert(at + this.sizeBytes <= buffer.length, `room for ${this.name}`);
    const given = values as Record<string, number | bigint | undefined>;
    for (const { name, kind, offset } of this.places) writeField(buffer, at + offset, kind, given[name] ?? 0);
  }

  encode(values: Partial<Values<F>>): Buffer {
    const buffer = Buffer.allocUnsafe(this.sizeBytes);
    this.encodeInto(buffer, 0, values);
    return buffer;
  }
}

function readField(buffer: Buffer, at: number, kind: FieldKind, name: string): number | bigint {
  switch (kind) {
    case 'u16':
      return buffer.readUInt16LE(at);
    case 'u32':
      return buffer.readUInt32LE(at);
    case 'i32':
      return buffer.readInt32LE(at);
    case 'id':
      return buffer.readBigUInt64LE(at);
    case 'u64':
      return safe(buffer.readUInt32LE(at) + buffer.readUInt32LE(at + 4) * TWO_32, name);
    case 'i64':
      return safe(buffer.readUInt32LE(at) + buffer.readInt32LE(at + 4) * TWO_32, name);
  }
}

function writeField(buffer: Buffer, at: number, kind: FieldKind, value: number | bigint): void {
  switch (kind) {
    case 'u16':
      buffer.writeUInt16LE(value as number, at);
      return;
    case 'u32':
      buffer.writeUInt32LE(value as number, at);
      return;
    case 'i32':
      buffer.writeInt32LE(value as number, at);
      return;
    case 'id':
      buffer.writeBigUInt64LE(BigInt(value), at);
      return;
    case 'u64':
    case 'i64': {
      const number = value as number;
      assert(Number.isSafeInteger(number), 'a 64-bit field gets a safe integer');
      const high = Math.floor(number / TWO_32);
      buffer.writeUInt32LE(number - high * TWO_32, at);
      if (kind === 'u64') buffer.writeUInt32LE(high, at + 4);
      else buffer.writeInt32LE(high, at + 4);
    }
  }
}

function safe(value: number, name: string): number {
  if (!Number.isSafeInteger(value)) throw new GfsError('INVALID', `${name} is larger than this program counts`);
  return value;
}
