// The content of one simulated file, twice: as the operating system shows it, and as the disk holds it, with the unsynced changes between the two.
// It knows no names, latencies or processes.
import type { SimRandom } from './sim-random.js';

type Change = { kind: 'write'; position: number; bytes: Buffer } | { kind: 'truncate'; sizeBytes: number };

/** Above this the operating system writes back by itself, as Linux does. */
const UNSYNCED_BYTES_MAX = 8 * 1024 * 1024;
/** How often a torn write reaches its full size, with zeros for the lost bytes. */
const ZERO_FILL_CHANCE = 0.25;
/** Losses of power after which pages stand in no order of their writing. */
const PAGES_CHANCE = 0.5;
const PAGE_BYTES = 4096;

export class SimFile {
  /** What reads see: the disk's content with all unsynced changes applied. */
  #cached = new Extent();
  #durable = new Extent();
  #unsynced: Change[] = [];
  #unsyncedBytes = 0;

  get sizeBytes(): number {
    return this.#cached.sizeBytes;
  }

  write(position: number, bytes: Buffer): void {
    this.#change({ kind: 'write', position, bytes: Buffer.from(bytes) });
  }

  truncate(sizeBytes: number): void {
    this.#change({ kind: 'truncate', sizeBytes });
  }

  read(length: number, position: number): Buffer {
    return this.#cached.read(length, position);
  }

  sync(): void {
    for (const change of this.#unsynced) this.#durable.apply(change);
    this.#unsynced = [];
    this.#unsyncedBytes = 0;
  }

  /** A sync that fails as Linux' does: some changes reach the disk, the others never will, though reads go on showing them. */
  failSync(random: SimRandom): void {
    this.#unsynced.length = random.int(this.#unsynced.length + 1);
    this.sync();
  }

  /** Of the unsynced changes a random number of the first stays, and maybe a part of the next; or, of what was only written, any pages. */
  losePower(random: SimRandom): void {
    const isWritten = this.#unsynced.length > 0 && this.#unsynced.every(({ kind }) => kind === 'write');
    if (isWritten && random.chance(PAGES_CHANCE)) this.#keepPages(random);
    else this.#keepFirst(random);
    this.#cached = this.#durable.copy();
  }

  #keepFirst(random: SimRandom): void {
    const keptCount = random.int(this.#unsynced.length + 1);
    const torn = this.#unsynced[keptCount];
    this.#unsynced.length = keptCount;
    this.sync();
    if (torn?.kind === 'write') {
      const keptBytes = random.int(torn.bytes.length + 1);
      const zeroFill = random.chance(ZERO_FILL_CHANCE);
      const bytes = zeroFill
        ? Buffer.concat([torn.bytes.subarray(0, keptBytes), Buffer.alloc(torn.bytes.length - keptBytes)])
        : torn.bytes.subarray(0, keptBytes);
      this.#durable.apply({ kind: 'write', position: torn.position, bytes });
    }
  }

  /** Linux writes pages back in any order; the length that it records covers the furthest one that arrived, or not yet. */
  #keepPages(random: SimRandom): void {
    const pages = new Set<number>();
    for (const change of this.#unsynced) {
      if (change.kind !== 'write') continue;
      const endByte = change.position + change.bytes.length;
      for (let page = Math.floor(change.position / PAGE_BYTES); page * PAGE_BYTES < endByte; page++) pages.add(page);
    }
    this.#unsynced = [];
    this.#unsyncedBytes = 0;
    const before = this.#durable.sizeBytes;
    const keptShare = random.float();
    for (const page of pages) {
      if (!random.chance(keptShare)) continue;
      const position = page * PAGE_BYTES;
      this.#durable.apply({ kind: 'write', position, bytes: this.#cached.read(PAGE_BYTES, position) });
    }
    const grownBytes = this.#durable.sizeBytes - before;
    if (grownBytes > 0 && random.chance(0.5))
      this.#durable.apply({ kind: 'truncate', sizeBytes: before + random.int(grownBytes + 1) });
  }

  /** The medium changes one bit, seen by reads from now on: the highest one at `at`, or any. False when there is no such byte. */
  flipBit(random: SimRandom, at?: number): boolean {
    if (this.sizeBytes <= (at ?? 0)) return false;
    const position = at ?? random.int(this.sizeBytes);
    const mask = at === undefined ? 1 << random.int(8) : 128;
    this.#cached.flip(position, mask);
    this.#durable.flip(position, mask);
    return true;
  }

  #change(change: Change): void {
    this.#cached.apply(change);
    this.#unsynced.push(change);
    this.#unsyncedBytes += change.kind === 'write' ? change.bytes.length : 0;
    if (this.#unsyncedBytes > UNSYNCED_BYTES_MAX) this.sync();
  }
}

/** Bytes that grow. INVARIANT: the buffer is zero from sizeBytes on. */
class Extent {
  sizeBytes = 0;
  #buffer = Buffer.alloc(0);

  apply(change: Change): void {
    if (change.kind === 'write') {
      // A write of nothing does not extend a file.
      if (change.bytes.length === 0) return;
      const end = change.position + change.bytes.length;
      this.#reserve(end);
      change.bytes.copy(this.#buffer, change.position);
      this.sizeBytes = Math.max(this.sizeBytes, end);
    } else {
      this.#reserve(change.sizeBytes);
      if (change.sizeBytes < this.sizeBytes) this.#buffer.fill(0, change.sizeBytes, this.sizeBytes);
      this.sizeBytes = change.sizeBytes;
    }
  }

  read(length: number, position: number): Buffer {
    const end = Math.min(position + length, this.sizeBytes);
    return Buffer.from(this.#buffer.subarray(Math.min(position, end), end));
  }

  flip(position: number, mask: number): void {
    if (position < this.sizeBytes) this.#buffer[position]! ^= mask;
  }

  copy(): Extent {
    const copy = new Extent();
    copy.#buffer = Buffer.from(this.#buffer);
    copy.sizeBytes = this.sizeBytes;
    return copy;
  }

  #reserve(sizeBytes: number): void {
    if (sizeBytes <= this.#buffer.length) return;
    const grown = Buffer.alloc(Math.max(sizeBytes, 2 * this.#buffer.length, 256));
    this.#buffer.copy(grown, 0, 0, this.sizeBytes);
    this.#buffer = grown;
  }
}
