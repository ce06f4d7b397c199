// What the mount remembers of names and attributes, for a moment and within a bound, so that one system call does not ask the master thrice.
// It never holds an answer that was on its way while something changed: answers are stored under a ticket from before the question.
import type { Clock } from '../lib/clock.js';
import type { Attributes, Where } from './fuse-operations.js';
import { MOUNT_LIMITS } from './settings.js';

/** Number of changes seen when a question was asked. */
export type CacheTicket = number;

export interface AttributeCacheOptions {
  clock: Clock;
  ageMsMax: number;
  /** Of names and of inodes, each. */
  entriesMax: number;
}

interface Known {
  attributes: Attributes;
  atMs: number;
  /** Times and link count have moved since; owner and mode have not. */
  hasMoved?: boolean;
}

export class AttributeCache {
  private readonly clock: Clock;
  private readonly ageMsMax: number;
  private readonly names: BoundedMap<string, { inode: number; atMs: number }>;
  private readonly attributes: BoundedMap<number, Known>;
  /** Ends of files as acknowledged to this mount: the master's own figure for a file under lease lags behind (DESIGN 4). */
  private readonly ends: BoundedMap<number, { generation: number; sizeBytes: number }>;
  private changes = 0;

  constructor(options: AttributeCacheOptions) {
    this.clock = options.clock;
    this.ageMsMax = options.ageMsMax;
    this.names = new BoundedMap(options.entriesMax);
    this.attributes = new BoundedMap(options.entriesMax);
    this.ends = new BoundedMap(options.entriesMax);
  }

  /** To be taken before a question to the master. */
  ticket(): CacheTicket {
    return this.changes;
  }

  inodeOf(where: Where): number | undefined {
    if (where.path === '') return where.start;
    const known = this.names.get(nameKey(where));
    return known && this.isFresh(known.atMs) ? known.inode : undefined;
  }

  get(where: Where): Attributes | undefined {
    const inode = this.inodeOf(where);
    return inode === undefined ? undefined : this.getInode(inode);
  }

  getInode(inode: number): Attributes | undefined {
    const known = this.attributes.get(inode);
    if (!known || known.hasMoved || !this.isFresh(known.atMs)) return undefined;
    const isOld = known.attributes.growing && this.clock.monotonicMs() - known.atMs >= MOUNT_LIMITS.growingMs;
    return isOld ? undefined : known.attributes;
  }

  /** Owner and mode of an inode, also when this mount has changed its entries since. */
  getOwnership(inode: number): Pick<Attributes, 'mode' | 'uid' | 'gid'> | undefined {
    const known = this.attributes.get(inode);
    return known && this.isFresh(known.atMs) ? known.attributes : undefined;
  }

  /** This mount changed an entry of the directory: its times and perhaps its link count are others now. */
  noteEntriesChanged(inode: number): void {
    this.changes++;
    const known = this.attributes.get(inode);
    if (known) known.hasMoved = true;
  }

  /** The attributes last seen, whatever their age; undefined when they changed since. */
  lastSeen(inode: number): Attributes | undefined {
    const known = this.attributes.get(inode);
    return known?.hasMoved ? undefined : known?.attributes;
  }

  put(ticket: CacheTicket, where: Where, attributes: Attributes): void {
    if (ticket !== this.changes) return;
    const atMs = this.clock.monotonicMs();
    this.attributes.set(attributes.inode, { attributes, atMs });
    if (where.path !== '') this.names.set(nameKey(where), { inode: attributes.inode, atMs });
  }

  dropInode(inode: number): void {
    this.changes++;
    this.attributes.delete(inode);
  }

  /** An append of this mount landed: what is cached goes on with the new end and times, no longer than it would have lasted. */
  grow(inode: number, generation: number, sizeBytes: number): void {
    this.changes++;
    this.noteEnd(inode, generation, sizeBytes);
    const known = this.attributes.get(inode);
    if (!known) return;
    if (known.attributes.generation !== generation) {
      this.attributes.delete(inode);
      return;
    }
    const nowNs = BigInt(Math.round(this.clock.wallMs() * 1000)) * 1000n;
    known.attributes = {
      ...known.attributes,
      sizeBytes: Math.max(known.attributes.sizeBytes, sizeBytes),
      mtimeNs: nowNs,
      ctimeNs: nowNs,
    };
  }

  dropName(where: Where): void {
    this.changes++;
    const inode = this.inodeOf(where);
    if (inode !== undefined) this.attributes.delete(inode);
    if (where.path !== '') this.names.delete(nameKey(where));
  }

  /** After a rename, which may have moved a whole tree of paths, or a lost connection. */
  clear(): void {
    this.changes++;
    this.names.clear();
    this.attributes.clear();
  }

  /** This mount learned that the file reaches to `sizeBytes`. */
  noteEnd(inode: number, generation: number, sizeBytes: number): void {
    const known = this.ends.get(inode);
    if (known && known.generation === generation && known.sizeBytes >= sizeBytes) return;
    this.ends.set(inode, { generation, sizeBytes });
  }

  /** The attributes of a listing with a size that is no smaller than what this mount saw acknowledged. */
  withKnownEnd(attributes: Attributes): Attributes {
    const known = this.ends.get(attributes.inode);
    if (!known || known.generation !== attributes.generation || known.sizeBytes <= attributes.sizeBytes)
      return attributes;
    return { ...attributes, sizeBytes: known.sizeBytes };
  }

  private isFresh(atMs: number): boolean {
    return this.clock.monotonicMs() - atMs < this.ageMsMax;
  }
}

/** A map that forgets its oldest entries above a bound. */
export class BoundedMap<K, V> {
  private readonly entries = new Map<K, V>();

  constructor(private readonly entriesMax: number) {}

  get size(): number {
    return this.entries.size;
  }

  get(key: K): V | undefined {
    return this.entries.get(key);
  }

  set(key: K, value: V): void {
    this.entries.delete(key);
    this.entries.set(key, value);
    if (this.entries.size <= this.entriesMax) return;
    for (const oldest of this.entries.keys()) {
      this.entries.delete(oldest);
      break;
    }
  }

  delete(key: K): void {
    this.entries.delete(key);
  }

  clear(): void {
    this.entries.clear();
  }
}

function nameKey(where: Where): string {
  return `${where.start}/${where.path}`;
}
