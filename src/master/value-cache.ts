// The values of the store that were used last, bounded by their number and by their bytes. They are kept as text: a small buffer would keep alive the
// whole block that it was cut from, twenty times its size. It reads and writes nothing itself.
import { boundedCache, LRUCache } from '../lib/lru.js';

export interface ValueCacheBounds {
  entriesMax: number;
  bytesMax: number;
}

/** Buffers kept besides the texts, of what is asked for all the time: they remember what was decoded from them. */
const HOT_MAX = 256;
/** What an entry costs besides its key and its value: two headers of texts, a place in the map and in the order of use. */
const ENTRY_BYTES = 100;

export class ValueCache {
  readonly #values: LRUCache<string, string>;
  /** INVARIANT: the same values as in #values, where they stand in both. */
  readonly #hot = boundedCache<string, Buffer>(HOT_MAX);

  constructor({ entriesMax, bytesMax }: ValueCacheBounds) {
    // Every entry counts for its part of all bytes at least, so that one bound keeps both.
    const partBytes = Math.ceil(bytesMax / entriesMax);
    this.#values = new LRUCache({
      maxSize: bytesMax,
      sizeCalculation: (value, key) => Math.max(partBytes, key.length + value.length + ENTRY_BYTES),
    });
  }

  get entryCount(): number {
    return this.#values.size;
  }

  /** No less than the entries take. */
  get bytes(): number {
    return this.#values.calculatedSize;
  }

  get(key: string): Buffer | undefined {
    const hot = this.#hot.get(key);
    if (hot !== undefined) return hot;
    const value = this.#values.get(key);
    if (value === undefined) return undefined;
    const buffer = Buffer.from(value, 'latin1');
    this.#hot.set(key, buffer);
    return buffer;
  }

  set(key: string, value: Buffer): void {
    this.#hot.delete(key);
    this.#values.set(key, value.toString('latin1'));
  }

  delete(key: string): void {
    this.#hot.delete(key);
    this.#values.delete(key);
  }
}
