// Bounded caches that forget what was used longest ago; the one place that imports lru-cache. Entries have no time to live: that package's clock is never used.
export { LRUCache } from 'lru-cache';
