// Random numbers from a seed and a name: sfc32, one independent stream per component, so that a draw more in one does not shift the others.
import type { Random } from '../../../src/lib/random.js';

export class SimRandom implements Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number, stream: string) {
    this.#a = hash(stream, seed | 0);
    this.#b = hash(stream, Math.floor(seed / 2 ** 32) ^ 0x9e3779b9);
    this.#c = seed | 0;
    for (let i = 0; i < 12; i++) this.#next();
  }

  float(): number {
    return ((this.#next() >>> 5) * 2 ** 26 + (this.#next() >>> 6)) / 2 ** 53;
  }

  bytes(count: number): Buffer {
    const buffer = Buffer.alloc(count);
    for (let i = 0; i < count; i += 4) {
      const word = this.#next();
      for (let j = i; j < Math.min(i + 4, count); j++) buffer[j] = word >>> (8 * (j - i));
    }
    return buffer;
  }

  /** An integer in [0, bound). */
  int(bound: number): number {
    return Math.floor(this.float() * bound);
  }

  /** A number in [low, high). */
  between(low: number, high: number): number {
    return low + this.float() * (high - low);
  }

  /** True with this probability. Draws nothing when it is 0: a fault that is switched off leaves no mark on the stream. */
  chance(probability: number): boolean {
    return probability > 0 && this.float() < probability;
  }

  #next(): number {
    const sum = (this.#a + this.#b + this.#counter++) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }
}

/** FNV-1a over the name, then murmur's finish, so that near seeds are far apart. */
function hash(text: string, seed: number): number {
  let value = 0x811c9dc5 ^ seed;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return value ^ (value >>> 16);
}
