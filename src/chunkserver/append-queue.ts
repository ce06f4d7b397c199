// The appends of one chunk on their way to its file: written in order of their offsets, many at a time without copying them, then recorded
// by the disk's group commit. It assigns no offsets and judges no appends; after a failed write the chunk takes no more in this version.
import { assert } from '../lib/assert.js';
import type { Clock } from '../lib/clock.js';
import { type Deferred, deferred } from '../lib/deferred.js';
import { asGfsError } from '../protocol/errors.js';
import type { BlockChecksums, BlockPart } from './block-checksums.js';
import type { Chunk } from './chunk.js';
import { BOUNDS } from './settings.js';
import type { WriteBack } from './write-back.js';

export interface QueuedAppend {
  offset: number;
  lengthBytes: number;
  buffers: readonly Buffer[];
  parts: readonly BlockPart[];
  writer: string;
}

export class AppendQueue {
  private readonly queue: Array<QueuedAppend & { done: Deferred<void> }> = [];
  private writing = false;
  /** Appends that have neither been recorded nor failed. */
  private unfinished = 0;
  private idleWaiters: Array<() => void> = [];

  constructor(
    private readonly chunk: Chunk,
    private readonly clock: Clock,
    private readonly checksums: BlockChecksums,
    private readonly writeBack: WriteBack,
  ) {}

  get isIdle(): boolean {
    return this.unfinished === 0;
  }

  /**
   * Settles when the append is written and recorded. Requires that it starts where the last one ends. `isHeld`: nothing is written yet for its sake; with a
   * later append, release() or idle() it is.
   */
  push(append: QueuedAppend, options: { isHeld: boolean }): Promise<void> {
    const last = this.queue[this.queue.length - 1];
    assert(!last || last.offset + last.lengthBytes === append.offset, 'appends are queued without gaps');
    const done = deferred<void>();
    this.queue.push({ ...append, done });
    this.unfinished++;
    if (!options.isHeld) this.release();
    return done.promise;
  }

  /** What is held may be written. */
  release(): void {
    if (this.writing || this.queue.length === 0) return;
    this.writing = true;
    // Appends that arrived together are one write and one batch of the index.
    this.clock.soon(() => void this.drain());
  }

  /** Settles when no append is on its way to file or index; never rejects. */
  idle(): Promise<void> {
    if (this.unfinished === 0) return Promise.resolve();
    this.release();
    return new Promise(resolve => {
      this.idleWaiters.push(resolve);
    });
  }

  private async drain(): Promise<void> {
    while (this.queue.length > 0) await this.writeNext();
    this.writing = false;
  }

  private async writeNext(): Promise<void> {
    const { chunk } = this;
    const batch = this.takeBatch();
    const offset = batch[0]!.offset;
    assert(offset === chunk.writtenBytes, 'a write goes on where the last one ended');
    const buffers = batch.length === 1 ? batch[0]!.buffers : batch.flatMap(append => append.buffers);
    try {
      if (chunk.failure) throw chunk.failure;
      await chunk.disk.files.use(chunk.handle, { create: true }, file => file.write(buffers, offset));
    } catch (error) {
      this.fail(batch, error);
      return;
    }
    for (const append of batch) {
      this.checksums.extend(chunk, append.offset, append.parts);
      chunk.writtenBytes = append.offset + append.lengthBytes;
      chunk.disk.usedBytes += append.lengthBytes;
      chunk.disk.space.freeBytes -= append.lengthBytes;
      chunk.writers?.touch(append.writer);
    }
    this.writeBack.onWritten(chunk);
    // Not awaited: the next write and this batch's way to the index go on together.
    chunk.disk.commits.commit(chunk, { sync: false }).then(
      () => this.finish(batch, undefined),
      error => {
        chunk.brokenVersion = chunk.version;
        this.finish(batch, asGfsError(error));
      },
    );
  }

  private takeBatch(): Array<QueuedAppend & { done: Deferred<void> }> {
    let count = 0;
    let bytes = 0;
    while (count < this.queue.length && (count === 0 || bytes < BOUNDS.writeBytesMax)) {
      bytes += this.queue[count]!.lengthBytes;
      count++;
    }
    return this.queue.splice(0, count);
  }

  /** What was queued behind a failed write cannot be written either; the chunk ends where it is written. */
  private fail(batch: Array<QueuedAppend & { done: Deferred<void> }>, error: unknown): void {
    const { chunk } = this;
    const failure = asGfsError(error);
    chunk.brokenVersion = chunk.version;
    chunk.disk.platform.logger.warn(
      { handle: chunk.handle, version: chunk.version, code: failure.code, reason: failure.message },
      'a write to a chunk failed: it takes no more appends',
    );
    const lost = [...batch, ...this.queue.splice(0)];
    chunk.endBytes = chunk.writtenBytes;
    chunk.writers?.cutAt(chunk.writtenBytes);
    this.finish(lost, failure);
  }

  private finish(batch: Array<{ done: Deferred<void> }>, error: Error | undefined): void {
    this.unfinished -= batch.length;
    for (const { done } of batch) error ? done.reject(error) : done.resolve();
    if (this.unfinished > 0) return;
    for (const resolve of this.idleWaiters.splice(0)) resolve();
  }
}
