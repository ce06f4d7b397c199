// What a workload holds of one client process: its file system, its part of the history, its chance and its time. Every operation a workload does
// goes through here, so that none escapes the history.
import type { AppendOptions, FileSystemClient, OpenFile } from '../../src/client/types.js';
import { asGfsError, GfsError } from '../../src/protocol/errors.js';
import type { History, Outcome } from './history.js';
import type { SimRandom } from './platform/sim-random.js';
import { type RecordId, recordBytes } from './records.js';

export interface ActorOptions {
  /** Name of the client process, unique over all its incarnations. */
  name: string;
  client: FileSystemClient;
  history: History;
  random: SimRandom;
  sleep: (ms: number) => Promise<void>;
  /** The scenario wants no more new operations. */
  isOver: () => boolean;
  /** Within this an operation of the client library ends; the history adds what clocks may differ. */
  operationMs: number;
  nextWriter: () => number;
  /** Appends count when they are on the disk of every replica. */
  isDurable: boolean;
}

export class Actor {
  readonly who: string;
  readonly client: FileSystemClient;
  readonly history: History;
  readonly random: SimRandom;
  readonly sleep: (ms: number) => Promise<void>;
  readonly isOver: () => boolean;
  readonly nextWriter: () => number;
  /** Within this an operation of the client library ends. */
  readonly limitMs: number;
  private readonly isDurable: boolean;

  constructor(options: ActorOptions) {
    this.who = options.name;
    this.client = options.client;
    this.history = options.history;
    this.random = options.random;
    this.sleep = options.sleep;
    this.isOver = options.isOver;
    this.nextWriter = options.nextWriter;
    this.limitMs = options.operationMs * 1.1 + 500;
    this.isDurable = options.isDurable;
  }

  /** Appends one record, whole. Rejects as the client does. */
  async appendRecord(
    file: OpenFile,
    record: RecordId,
    lengthBytes: number,
    where: { expectedOffset?: number } = {},
  ): Promise<number> {
    const bytes = recordBytes(record, lengthBytes);
    const asked = { kind: 'append' as const, file: file.inode, record, bytes, ...where };
    const limitMs = this.isDurable ? 2 * this.limitMs : this.limitMs;
    const outcome = await this.history.operate(this.who, asked, limitMs, async () => {
      const offset = await file.append(pieces(bytes), { split: false, ...where });
      if (this.isDurable) await this.confirm(file);
      return { kind: 'append', offset };
    });
    return outcome.offset;
  }

  /** The append stands, and it is not known for how long when the fsync fails, whatever its error says. */
  private async confirm(file: OpenFile): Promise<void> {
    try {
      await file.sync();
    } catch (cause) {
      throw new GfsError('TIMED_OUT', 'not confirmed by an fsync', { cause });
    }
  }

  /** Appends a piece of a stream where it belongs. */
  async appendPiece(file: OpenFile, bytes: Buffer, expectedOffset: number): Promise<number> {
    const options: AppendOptions = { split: true, expectedOffset };
    const asked = { kind: 'append' as const, file: file.inode, bytes, expectedOffset };
    const outcome = await this.history.operate(this.who, asked, this.limitMs, async () => ({
      kind: 'append',
      offset: await file.append([bytes], options),
    }));
    return outcome.offset;
  }

  /** The file's size and generation. */
  async size(file: OpenFile): Promise<{ sizeBytes: number; generation: number }> {
    return await this.history.operate(this.who, { kind: 'size', file: file.inode }, this.limitMs, async () => {
      const { sizeBytes, generation } = await file.attributes();
      return { kind: 'size', sizeBytes, generation };
    });
  }

  /** Reads; with `watchCuts` also learns whether the file was cut meanwhile. */
  async read(
    file: OpenFile,
    offset: number,
    lengthBytes: number,
    { watchCuts = false, final = false } = {},
  ): Promise<Buffer> {
    const asked = { kind: 'read' as const, file: file.inode, offset, lengthBytes, ...(final ? { final } : {}) };
    const limitMs = watchCuts ? 3 * this.limitMs : this.limitMs;
    const outcome = await this.history.operate(
      this.who,
      asked,
      limitMs,
      async (): Promise<Outcome & { kind: 'read' }> => {
        const before = watchCuts ? (await file.attributes()).generation : undefined;
        const bytes = Buffer.concat(await file.read(offset, lengthBytes));
        const after = watchCuts ? (await file.attributes()).generation : undefined;
        return { kind: 'read', bytes, generation: before === after ? after : undefined };
      },
    );
    return outcome.bytes;
  }

  async truncate(file: OpenFile, sizeBytes: number): Promise<void> {
    await this.history.operate(this.who, { kind: 'truncate', file: file.inode, sizeBytes }, this.limitMs, async () => {
      const attributes = await file.truncate(sizeBytes);
      return { kind: 'truncate', sizeBytes: attributes.sizeBytes, generation: attributes.generation };
    });
  }

  /** Anything about names; `what` is for the trace. */
  async name<T>(what: string, work: () => Promise<T>): Promise<T> {
    let result: T | undefined;
    await this.history.operate(this.who, { kind: 'name', what }, this.limitMs, async () => {
      result = await work();
      return { kind: 'name' };
    });
    return result as T;
  }

  /** What `work` rejected with, or undefined: workloads go on after failures, the history has them. */
  async attempt(work: () => Promise<unknown>): Promise<GfsError | undefined> {
    try {
      await work();
      return undefined;
    } catch (error) {
      return asGfsError(error);
    }
  }

  /** Tries until it succeeds, or until the scenario is over. */
  async persist<T>(work: () => Promise<T>): Promise<T | undefined> {
    while (!this.isOver()) {
      let result: T | undefined;
      const error = await this.attempt(async () => {
        result = await work();
      });
      if (!error) return result;
      await this.sleep(50 + this.random.int(200));
    }
    return undefined;
  }
}

/** As the mount does it: sometimes one buffer, sometimes several. */
function pieces(bytes: Buffer): Buffer[] {
  return bytes.length > 1000 ? [bytes.subarray(0, 700), bytes.subarray(700)] : [bytes];
}
