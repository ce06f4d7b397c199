// What the mount remembers of names and attributes, for a moment and within a bound, so that one system call does not ask the master thrice.
// It never holds an answer that was on its way while something changed: answers are stored under a ticket from before the question.
import type { Clock } from '../lib/clock.js';
import { timesAfterAppend } from '../protocol/times.js';
import type { Attributes, Where } from './fuse-operations.js';
import { MOUNT_LIMITS } from './settings.js';
import { type Ticket, Tickets } from './tickets.js';

export type CacheTicket = Ticket;

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
  private readonly tickets = new Tickets();

  constructor(options: AttributeCacheOptions) {
    this.clock = options.clock;
    this.ageMsMax = options.ageMsMax;
    this.names = new BoundedMap(options.entriesMax);
    this.attributes = new BoundedMap(options.entriesMax);
    this.ends = new BoundedMap(options.entriesMax);
  }

  /** To be taken before a question to the master. */
  ticket(): CacheTicket {
    return this.tickets.take();
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
    this.tickets.noteChange();
    const known = this.attributes.get(inode);
    if (known) known.hasMoved = true;
  }

  /** Whether the inode surely has no extended attributes. Others' changes are told, so that this may be known as long as the kernel may know names. */
  hasNoXattrs(inode: number): boolean {
    const known = this.attributes.get(inode);
    return known?.attributes.noXattrs === true && this.clock.monotonicMs() - known.atMs < MOUNT_LIMITS.noticedMs;
  }

  /** The attributes last seen, whatever their age; undefined when they changed since. */
  lastSeen(inode: number): Attributes | undefined {
    const known = this.attributes.get(inode);
    return known?.hasMoved ? undefined : known?.attributes;
  }

  put(ticket: CacheTicket, where: Where, attributes: Attributes): void {
    const atMs = this.clock.monotonicMs();
    if (this.tickets.isGood(ticket, inodeKey(attributes.inode)))
      this.attributes.set(attributes.inode, { attributes, atMs });
    if (where.path !== '' && this.tickets.isGood(ticket, nameKey(where)))
      this.names.set(nameKey(where), { inode: attributes.inode, atMs });
  }

  dropInode(inode: number): void {
    this.tickets.noteChange();
    this.attributes.delete(inode);
  }

  /**
   * An append of this mount landed: what is cached goes on with the new end and times, no longer than it would have lasted. `changedMs`: when it did, as the
   * master will say; undefined: nobody knows yet.
   */
  grow(inode: number, generation: number, sizeBytes: number, changedMs: number | undefined): void {
    this.tickets.noteChange();
    this.noteEnd(inode, generation, sizeBytes);
    const known = this.attributes.get(inode);
    if (!known) return;
    if (known.attributes.generation !== generation) {
      this.attributes.delete(inode);
      return;
    }
    known.attributes = {
      ...known.attributes,
      ...timesAfterAppend(known.attributes, changedMs ?? this.clock.wallMs()),
      sizeBytes: Math.max(known.attributes.sizeBytes, sizeBytes),
    };
  }

  dropName(where: Where): void {
    this.tickets.noteChange();
    const inode = this.inodeOf(where);
    if (inode !== undefined) this.attributes.delete(inode);
    if (where.path !== '') this.names.delete(nameKey(where));
  }

  /** There will be no notice when the inode changes. */
  forgetInode(inode: number): void {
    this.tickets.noteForgotten(inodeKey(inode));
    this.attributes.delete(inode);
  }

  forgetName(where: Where): void {
    this.tickets.noteForgotten(nameKey(where));
    this.names.delete(nameKey(where));
  }

  /** After a rename, which may have moved a whole tree of paths, or a lost connection. */
  clear(): void {
    this.tickets.noteChange();
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

function inodeKey(inode: number): string {
  return `i${inode}`;
}

function nameKey(where: Where): string {
  return `${where.start}/${where.path}`;
}
