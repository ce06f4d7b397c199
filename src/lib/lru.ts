// Bounded caches that forget what was used longest ago; the one place that imports lru-cache. Entries have no time to live: that package's clock is never used.
import { LRUCache } from 'lru-cache';

export { LRUCache };

/** At most so many entries. Takes memory as they come: told of their number, the package would take it for all of them at once. */
export function boundedCache<K extends object | string | number, V extends object | string | number>(
  entriesMax: number,
): LRUCache<K, V> {
  return new LRUCache<K, V>({ maxSize: entriesMax, sizeCalculation: () => 1 });
}
