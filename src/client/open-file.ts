// An open file of this client: puts reading, appending and syncing of one inode together, each with its deadline, and ends them in order.
import { within } from '../lib/deadline.js';
import { GfsError } from '../protocol/errors.js';
import type { InodeId } from '../protocol/ids.js';
import { Appender, type AppenderParts } from './appender.js';
import type { BlockFetcher } from './block-fetcher.js';
import type { ChunkSync } from './chunk-sync.js';
import type { InodeState } from './inode-state.js';
import { Reader } from './reader.js';
import { CLIENT_LIMITS } from './settings.js';
import type { TailSizes } from './tail.js';
import type { AppendOptions, Attributes, OpenFile } from './types.js';

export interface OpenFileParts extends AppenderParts {
  tails: TailSizes;
  blocks: BlockFetcher;
  chunkSync: ChunkSync;
  truncate: (inode: InodeId, sizeBytes: number, deadlineMs: number) => Promise<Attributes>;
  /** Called once, when the file is closed and nothing of it is on its way. */
  onClosed: (file: GfsOpenFile) => void;
}

export class GfsOpenFile implements OpenFile {
  readonly #appender: Appender;
  readonly #reader: Reader;
  #closing: Promise<void> | undefined;
  /** Losses that this open file has reported, or that lie before it. */
  #lossesTold: number;

  constructor(
    private readonly parts: OpenFileParts,
    readonly state: InodeState,
  ) {
    this.#lossesTold = state.losses;
    this.#appender = new Appender(parts, state);
    this.#reader = new Reader(parts, state, parts.tails, parts.blocks);
  }

  get inode(): InodeId {
    return this.state.inode;
  }

  get changedMs(): number | undefined {
    return this.state.changedMs;
  }

  async attributes(): Promise<Attributes> {
    this.#checkOpen();
    return this.parts.tails.exact(this.inode, this.parts.link.deadline());
  }

  async read(offset: number, length: number): Promise<Buffer[]> {
    this.#checkOpen();
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
      throw new GfsError('INVALID', 'offset and length of a read are whole numbers from 0');
    }
    if (length === 0) return [];
    return this.#reader.read(offset, length, this.parts.link.deadline());
  }

  async append(data: readonly Buffer[], options: AppendOptions): Promise<number> {
    this.#checkOpen();
    const lengthBytes = data.reduce((sum, buffer) => sum + buffer.length, 0);
    const { recordBytesMax } = this.parts;
    if (!options.split && lengthBytes > recordBytesMax) {
      throw new GfsError('TOO_LARGE', `a record has at most ${recordBytesMax} bytes here, not ${lengthBytes}`);
    }
    if (lengthBytes === 0) return options.expectedOffset ?? (await this.attributes()).sizeBytes;
    return this.#appender.append(data, options, this.parts.link.deadline());
  }

  async sync(): Promise<void> {
    this.#checkOpen();
    await this.#sync(this.parts.link.deadline());
  }

  async truncate(sizeBytes: number): Promise<Attributes> {
    this.#checkOpen();
    const deadlineMs = this.parts.link.deadline();
    await this.#idle(deadlineMs);
    return this.parts.truncate(this.inode, sizeBytes, deadlineMs);
  }

  close(options: { durable?: boolean } = {}): Promise<void> {
    this.#closing ??= this.#close(options.durable === true);
    return this.#closing;
  }

  async #close(isDurable: boolean): Promise<void> {
    const deadlineMs = this.parts.link.deadline();
    try {
      await this.#appender.idle();
      if (isDurable) await this.#sync(deadlineMs);
    } finally {
      this.#appender.release();
      this.parts.onClosed(this);
    }
  }

  /** Others may go on appending, so this need not come. */
  #idle(deadlineMs: number): Promise<void> {
    return within(
      this.parts.clock,
      this.#appender.idle(),
      deadlineMs + CLIENT_LIMITS.deadlineGraceMs,
      () => new GfsError('TIMED_OUT', 'appends to the file did not end in time'),
    );
  }

  /** A loss is told once, as an fsync that failed is: what is appended afterwards can be confirmed again. */
  async #sync(deadlineMs: number): Promise<void> {
    const { state } = this;
    await this.parts.chunkSync.sync(state, deadlineMs);
    if (state.losses === this.#lossesTold) return;
    this.#lossesTold = state.losses;
    throw new GfsError(
      'UNAVAILABLE',
      'bytes that were appended to this file and not yet confirmed by an fsync are lost',
    );
  }

  #checkOpen(): void {
    if (this.#closing) throw new GfsError('BAD_HANDLE', 'the file is closed');
  }
}
