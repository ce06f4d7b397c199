// The part of one file's map from offsets to chunks that this client has seen, with tokens and until when their places count as fresh. It holds
// one generation of the file; who knows of a newer one clears it. Invariant: extents are in order and do not overlap.
import { assert } from '../lib/assert.js';
import type { WireExtent } from '../protocol/messages.js';
import { CLIENT_LIMITS } from './settings.js';

export interface KnownExtent extends WireExtent {
  /** By the monotonic clock; afterwards it is as good for reading, but copies may have come or gone. */
  readonly freshUntilMs: number;
  /** Where the page began that it came with: asking from there makes all of the page fresh again. */
  readonly pageByte: number;
}

export class ChunkMap {
  #extents: KnownExtent[] = [];

  get count(): number {
    return this.#extents.length;
  }

  /** The extent that holds the byte at `offset`, or undefined when it is not known here. */
  find(offset: number): KnownExtent | undefined {
    const extent = this.#extents[this.#indexAfter(offset) - 1];
    return extent && offset < extent.fileOffset + extent.lengthBytes ? extent : undefined;
  }

  /** Takes a page of neighbouring extents, in order; they replace what was known of the same bytes. */
  insert(page: readonly WireExtent[], freshUntilMs: number): void {
    const told = page.filter(extent => extent.lengthBytes > 0);
    const fresh = told.map(extent => ({ ...extent, freshUntilMs, pageByte: told[0]!.fileOffset }));
    const first = fresh[0];
    const last = fresh[fresh.length - 1];
    if (!first || !last) return;
    if (this.#extents.length + fresh.length > CLIENT_LIMITS.extentsPerFileMax) this.clear();
    const endByte = last.fileOffset + last.lengthBytes;
    let from = this.#indexAfter(first.fileOffset);
    const before = this.#extents[from - 1];
    if (before && before.fileOffset + before.lengthBytes > first.fileOffset) from--;
    let to = from;
    while (to < this.#extents.length && this.#extents[to]!.fileOffset < endByte) to++;
    this.#extents.splice(from, to - from, ...fresh);
  }

  clear(): void {
    this.#extents = [];
  }

  checkInvariants(): void {
    for (let i = 1; i < this.#extents.length; i++) {
      const before = this.#extents[i - 1]!;
      assert(before.fileOffset + before.lengthBytes <= this.#extents[i]!.fileOffset, 'extents do not overlap');
    }
  }

  /** Index of the first extent that begins after `offset`. */
  #indexAfter(offset: number): number {
    let low = 0;
    let high = this.#extents.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#extents[middle]!.fileOffset <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
