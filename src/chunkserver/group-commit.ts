// Writes the changes of many chunks of one disk to its index as one batch at a time: the next one collects while one is on its way. It
// keeps the counter by which a later start tells whether batches were lost with the machine's power. After a failure it takes nothing more.
import { type Deferred, deferred } from '../lib/deferred.js';
import type { KvOp } from '../lib/kv.js';
import type { Chunk } from './chunk.js';
import type { ChunkIndex } from './chunk-index.js';

export interface GroupCommitOptions {
  index: ChunkIndex;
  /** Remembers the counter of a batch that the store has. */
  witness: (counter: number) => void;
  /** The store failed: its disk is lost until the process is started anew. Returns what the waiting are told. */
  onFailure: (error: unknown) => Error;
}

export class GroupCommit {
  private chunks = new Set<Chunk>();
  private ops: KvOp[] = [];
  private waiting: Array<Deferred<void>> = [];
  private wantsSync = false;
  private running = false;
  private failure: Error | undefined;
  private idleWaiters: Array<() => void> = [];

  constructor(
    private readonly options: GroupCommitOptions,
    private counter: number,
  ) {}

  /** Settles when the index holds the chunk as it is when the batch leaves (or later), on the disk when `sync`. */
  commit(chunk: Chunk, options: { sync: boolean; ops?: readonly KvOp[] }): Promise<void> {
    if (this.failure) return Promise.reject(this.failure);
    this.chunks.add(chunk);
    if (options.ops) for (const op of options.ops) this.ops.push(op);
    this.wantsSync ||= options.sync;
    const done = deferred<void>();
    this.waiting.push(done);
    if (!this.running) void this.run();
    return done.promise;
  }

  /** Settles when nothing is on its way or waiting. */
  idle(): Promise<void> {
    if (!this.running) return Promise.resolve();
    return new Promise(resolve => {
      this.idleWaiters.push(resolve);
    });
  }

  private async run(): Promise<void> {
    this.running = true;
    while (this.waiting.length > 0) await this.runBatch();
    this.running = false;
    for (const resolve of this.idleWaiters.splice(0)) resolve();
  }

  private async runBatch(): Promise<void> {
    const chunks = [...this.chunks];
    const { waiting, wantsSync } = this;
    const counter = this.counter + 1;
    const ops = [...this.ops, this.options.index.counterOp(counter)];
    const lengths = chunks.map(chunk => chunk.writtenBytes);
    for (const chunk of chunks) this.take(chunk, ops);
    this.chunks = new Set();
    this.ops = [];
    this.waiting = [];
    this.wantsSync = false;
    try {
      await this.options.index.batch(ops, { sync: wantsSync });
    } catch (error) {
      this.failure = this.options.onFailure(error);
      for (const done of [...waiting, ...this.waiting.splice(0)]) done.reject(this.failure);
      return;
    }
    this.counter = counter;
    // Before anybody is told: an acknowledged batch is never newer than the witness.
    this.options.witness(counter);
    chunks.forEach((chunk, i) => {
      chunk.committingPages = undefined;
      // The file may have been cut meanwhile; then it is recorded anew.
      chunk.recordedBytes = Math.min(lengths[i]!, chunk.writtenBytes);
    });
    for (const done of waiting) done.resolve();
  }

  private take(chunk: Chunk, ops: KvOp[]): void {
    const { index } = this.options;
    if (chunk.gone) {
      ops.push(index.removeRecordOp(chunk.handle));
      return;
    }
    ops.push(index.recordOp(chunk.handle, chunk.record()));
    for (const [number, page] of chunk.dirtyPages ?? []) ops.push(index.pageOp(chunk.handle, number, page));
    chunk.committingPages = chunk.dirtyPages;
    chunk.dirtyPages = undefined;
    for (const [writer, row] of chunk.writers?.takeDirty(chunk.writtenBytes) ?? [])
      ops.push(index.writerOp(chunk.handle, writer, row));
  }
}
