// CRC-32 (the polynomial of zlib and Ethernet) of buffers and lists of buffers, and of a concatenation from the CRCs of its parts.
import { crc32 as zlibCrc32 } from 'node:zlib';

/** The CRC-32 of `data`, or of what `before` is the CRC of followed by `data`. The CRC of nothing is 0. */
export function crc32(data: Buffer, before = 0): number {
  return zlibCrc32(data, before);
}

/** The CRC-32 of the concatenation, going on from `before`. */
export function crc32OfAll(buffers: readonly Buffer[], before = 0): number {
  let crc = before;
  for (const buffer of buffers) crc = zlibCrc32(buffer, crc);
  return crc;
}

/** The CRC-32 of A followed by B, from their CRCs and the length of B, without reading either. */
export function crc32Combine(crcA: number, crcB: number, lengthB: number): number {
  return (multiply(shiftOf(lengthB), crcA) ^ crcB) >>> 0;
}

// Polynomials over GF(2) modulo the CRC's, bit-reversed: the highest bit is the coefficient of x^0 (zlib, crc32.c).

const POLYNOMIAL = 0xedb88320;
const ONE = 0x80000000;
/** x^8, x^16, x^32, …: the factor for 2^n zero bytes. Lengths up to 2^53. */
const POWERS = powers(53);

/** The factor that appending `lengthBytes` zero bytes multiplies a CRC by. */
function shiftOf(lengthBytes: number): number {
  let factor = ONE;
  let left = lengthBytes;
  for (let bit = 0; left > 0; bit++, left = Math.floor(left / 2)) {
    if (left % 2 === 1) factor = multiply(POWERS[bit]!, factor);
  }
  return factor;
}

function powers(count: number): Uint32Array {
  const table = new Uint32Array(count);
  let power = ONE >>> 8;
  for (let i = 0; i < count; i++) {
    table[i] = power;
    power = multiply(power, power);
  }
  return table;
}

function multiply(a: number, b: number): number {
  let product = 0;
  let shifted = b;
  for (let mask = ONE; mask !== 0; mask >>>= 1) {
    if ((a & mask) !== 0) product ^= shifted;
    shifted = (shifted & 1) !== 0 ? (shifted >>> 1) ^ POLYNOMIAL : shifted >>> 1;
  }
  return product >>> 0;
}
