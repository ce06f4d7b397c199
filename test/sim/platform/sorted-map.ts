// A map in byte order of its keys, for stores of some ten thousand entries: a sorted list of keys beside a hash table.

export class SortedMap<V> {
  readonly #values = new Map<string, V>();
  /** INVARIANT: the keys of #values, ascending. Keys are bytes as latin1 strings, whose order is that of the bytes. */
  readonly #keys: string[] = [];

  get size(): number {
    return this.#keys.length;
  }

  get(key: string): V | undefined {
    return this.#values.get(key);
  }

  set(key: string, value: V): void {
    if (!this.#values.has(key)) {
      const last = this.#keys.at(-1);
      // Numbers that are handed out in order come at the end.
      if (last === undefined || last < key) this.#keys.push(key);
      else this.#keys.splice(this.lowerBound(key), 0, key);
    }
    this.#values.set(key, value);
  }

  delete(key: string): void {
    if (this.#values.delete(key)) this.#keys.splice(this.lowerBound(key), 1);
  }

  /** Keys in [from, end), at most `limit`, from the end when `reverse`. */
  range(from: string, end: string, limit: number, reverse: boolean): string[] {
    const first = this.lowerBound(from);
    const last = Math.max(first, this.lowerBound(end));
    if (!reverse) return this.#keys.slice(first, Math.min(last, first + limit));
    return this.#keys.slice(Math.max(first, last - limit), last).reverse();
  }

  /** Index of the first key that is not below `key`. */
  lowerBound(key: string): number {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#keys[middle]! < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
