// The memory that one connection receives into: large pieces, filled read by read, so that a stream arrives in few, long, neighbouring buffers.
// It hands out what arrived and never writes to it again; whoever holds a slice keeps its slab alive.

const KiB = 1024;
const SLAB_BYTES_MIN = 64 * KiB;
const SLAB_BYTES_MAX = 1024 * KiB;
/** A slab is used until less than this share of it is left. */
const LEFT_SHARE_MIN = 1 / 8;
/** Slabs hold about this many reads, within their bounds. */
const READS_PER_SLAB = 8;

export class ReceiveSlabs {
  onData: (data: Buffer) => void = () => undefined;
  private slab: Buffer = EMPTY;
  private filled = 0;
  private reads = 0;

  /** What net.Socket wants: where the next bytes go, and the call when they are there. */
  readonly onread = {
    buffer: (): Buffer => this.next(),
    callback: (count: number): boolean => {
      const data = this.slab.subarray(this.filled, this.filled + count);
      this.filled += count;
      this.reads++;
      this.onData(data);
      return true;
    },
  };

  private next(): Buffer {
    if (this.slab.length - this.filled <= this.slab.length * LEFT_SHARE_MIN) {
      // Large ones for streams only: a kept slice of a rare small message holds its whole slab.
      const wanted = this.reads === 0 ? 0 : (this.filled / this.reads) * READS_PER_SLAB;
      let bytes = SLAB_BYTES_MIN;
      while (bytes < wanted && bytes < SLAB_BYTES_MAX) bytes *= 2;
      this.slab = Buffer.allocUnsafeSlow(bytes);
      this.filled = 0;
      this.reads = 0;
    }
    return this.filled === 0 ? this.slab : this.slab.subarray(this.filled);
  }
}

const EMPTY = Buffer.alloc(0);
