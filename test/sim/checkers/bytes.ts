// Checks of what readers see: bytes and sizes of one generation of a file, from acknowledged appends and from reads of any client at any time.
import type { Checker, HistoryEvent, Operation } from '../history.js';
import { streamBytes } from '../records.js';

/** What is known of one generation of one file. */
class Known {
  bytes = Buffer.alloc(0);
  /** Who told byte i first: an index into `sources`, 0 when nobody. */
  told = new Uint16Array(0);

  grow(size: number): void {
    if (size <= this.bytes.length) return;
    const capacity = Math.max(4096, 2 ** Math.ceil(Math.log2(size)));
    const bytes = Buffer.alloc(capacity);
    this.bytes.copy(bytes);
    const told = new Uint16Array(capacity);
    told.set(this.told);
    this.bytes = bytes;
    this.told = told;
  }
}

/** Two tellers never differ about a byte of one generation. A file that is never cut has one generation, whatever its number. */
export class BytesNeverDiffer implements Checker {
  readonly promise = 'Two readers never see different bytes at one offset of the same generation.';
  private readonly known = new Map<string, Known>();
  private readonly cutFiles = new Set<number>();
  private readonly tellers: string[] = ['nobody'];

  on(event: HistoryEvent): string | undefined {
    if (event.kind === 'file' && event.style.kind === 'cut') this.cutFiles.add(event.file);
    if (event.kind !== 'ended') return undefined;
    const { asked } = event.operation;
    if (asked.kind === 'append' && event.outcome.kind === 'append' && !this.cutFiles.has(asked.file))
      return this.learn(event.operation, asked.file, 0, event.outcome.offset, asked.bytes);
    if (asked.kind === 'read' && event.outcome.kind === 'read') {
      const generation = this.cutFiles.has(asked.file) ? event.outcome.generation : 0;
      if (generation !== undefined)
        return this.learn(event.operation, asked.file, generation, asked.offset, event.outcome.bytes);
    }
    return undefined;
  }

  private learn(
    operation: Operation,
    file: number,
    generation: number,
    offset: number,
    bytes: Buffer,
  ): string | undefined {
    const key = `${file} ${generation}`;
    let known = this.known.get(key);
    if (!known) {
      known = new Known();
      this.known.set(key, known);
    }
    known.grow(offset + bytes.length);
    const teller = Math.min(this.tellers.push(`${operation.client} #${operation.id}`) - 1, 0xffff);
    for (let i = 0; i < bytes.length; i++) {
      const at = offset + i;
      if (known.told[at] === 0) {
        known.told[at] = teller;
        known.bytes[at] = bytes[i]!;
      } else if (known.bytes[at] !== bytes[i]) {
        return `Inode ${file}, generation ${generation}, byte ${at}: ${known.bytes[at]} according to ${this.tellers[known.told[at]!]}, ${bytes[i]} according to ${operation.client} #${operation.id} (${operation.asked.kind}).`;
      }
    }
    return undefined;
  }
}

/** The largest size that anybody was told of a generation, as of the moment an operation began. */
export class SizeNeverShrinks implements Checker {
  readonly promise = 'No reader sees a byte vanish: within a generation no later operation finds a shorter file.';
  private readonly largest = new Map<string, number>();
  private readonly cutFiles = new Set<number>();
  /** For each operation in work: the sizes known of its file when it began, by generation. */
  private readonly atStart = new Map<number, Map<number, number>>();
  private readonly generations = new Map<number, Set<number>>();

  on(event: HistoryEvent): string | undefined {
    if (event.kind === 'file' && event.style.kind === 'cut') this.cutFiles.add(event.file);
    if (event.kind === 'began') this.began(event.operation);
    if (event.kind === 'failed' || event.kind === 'abandoned') this.atStart.delete(event.operation.id);
    if (event.kind !== 'ended') return undefined;
    const { operation, outcome } = event;
    const before = this.atStart.get(operation.id);
    this.atStart.delete(operation.id);
    const { asked } = operation;
    if (!('file' in asked)) return undefined;
    const cut = this.cutFiles.has(asked.file);
    if (outcome.kind === 'append' && asked.kind === 'append' && !cut) {
      this.raise(asked.file, 0, outcome.offset + asked.bytes.length);
    } else if (outcome.kind === 'size') {
      return this.found(operation, before, cut ? outcome.generation : 0, outcome.sizeBytes, asked.file);
    } else if (outcome.kind === 'read' && asked.kind === 'read' && outcome.bytes.length < asked.lengthBytes) {
      const generation = cut ? outcome.generation : 0;
      if (generation === undefined) return undefined;
      const end = asked.offset + outcome.bytes.length;
      // A read from beyond the end says only that the end is not beyond where it began.
      return this.found(operation, before, generation, end, asked.file, outcome.bytes.length > 0);
    }
    return undefined;
  }

  private began(operation: Operation): void {
    const { asked } = operation;
    if (asked.kind !== 'size' && asked.kind !== 'read') return;
    const sizes = new Map<number, number>();
    for (const generation of this.generations.get(asked.file) ?? [])
      sizes.set(generation, this.largest.get(`${asked.file} ${generation}`)!);
    this.atStart.set(operation.id, sizes);
  }

  private found(
    operation: Operation,
    before: Map<number, number> | undefined,
    generation: number,
    size: number,
    file: number,
    exact = true,
  ): string | undefined {
    const known = before?.get(generation) ?? 0;
    if (exact) this.raise(file, generation, size);
    if (size >= known) return undefined;
    return `Inode ${file}, generation ${generation}: ${operation.client} #${operation.id} (${operation.asked.kind}) found ${size} bytes where ${known} had been seen before it began.`;
  }

  private raise(file: number, generation: number, size: number): void {
    const key = `${file} ${generation}`;
    this.largest.set(key, Math.max(this.largest.get(key) ?? 0, size));
    const known = this.generations.get(file);
    if (known) known.add(generation);
    else this.generations.set(file, new Set([generation]));
  }
}

/** A stream file holds its stream from byte 0 on, and an append lands where its writer said. */
export class StreamsAreWhole implements Checker {
  readonly promise = 'A stream that was written with expected offsets reads back as that stream.';
  private readonly streams = new Map<number, number>();

  on(event: HistoryEvent): string | undefined {
    if (event.kind === 'file' && event.style.kind === 'stream') this.streams.set(event.file, event.style.stream);
    if (event.kind !== 'ended') return undefined;
    const { asked } = event.operation;
    const stream = 'file' in asked ? this.streams.get(asked.file) : undefined;
    if (stream === undefined) return undefined;
    if (asked.kind === 'append' && event.outcome.kind === 'append' && event.outcome.offset !== asked.expectedOffset)
      return `#${event.operation.id} landed at ${event.outcome.offset}, not at ${asked.expectedOffset}.`;
    if (asked.kind !== 'read' || event.outcome.kind !== 'read') return undefined;
    const wanted = streamBytes(stream, asked.offset, asked.offset + event.outcome.bytes.length);
    const at = wanted.findIndex((byte, i) => byte !== (event.outcome as { bytes: Buffer }).bytes[i]);
    return at < 0
      ? undefined
      : `Inode ${asked.file} holds something else at byte ${asked.offset + at} (#${event.operation.id}).`;
  }
}
