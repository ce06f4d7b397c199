// The platform's cryptographic randomness behind Random.
import { randomBytes, randomFillSync } from 'node:crypto';
import type { Random } from './random.js';

/** Floats are drawn from a pool: a call into the generator for each would cost microseconds. */
const POOL_COUNT = 512;

export class SystemRandom implements Random {
  readonly #pool = new Uint32Array(POOL_COUNT * 2);
  #used = POOL_COUNT * 2;

  float(): number {
    if (this.#used === this.#pool.length) {
      randomFillSync(this.#pool);
      this.#used = 0;
    }
    const high = this.#pool[this.#used]! >>> 5;
    const low = this.#pool[this.#used + 1]! >>> 6;
    this.#used += 2;
    // 27 and 26 bits: the 53 bits of a double's mantissa.
    return (high * 2 ** 26 + low) / 2 ** 53;
  }

  bytes(count: number): Buffer {
    return randomBytes(count);
  }
}
