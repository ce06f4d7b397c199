// One file that this mount has open, shared by all its handles: where it ends, its unacknowledged appends, and what of them failed.
// It decides what a write means (DESIGN 8); it knows no names and no paths. Invariant: bytes of one mount land in the order of its writes.
import type { OpenFile } from '../client/types.js';
import type { Clock } from '../lib/clock.js';
import { Serial } from '../lib/serial.js';
import { GfsError } from '../protocol/errors.js';
import type { Attributes } from './fuse-operations.js';
import { MOUNT_LIMITS, type MountSettings } from './settings.js';
import { type Segment, WriteBehind } from './write-behind.js';

export interface HandleFlags {
  readonly readable: boolean;
  readonly writable: boolean;
  /** O_APPEND: the offset of a write is where the file ends at the primary, whatever the kernel says. */
  readonly append: boolean;
  /** O_SYNC or O_DSYNC: every write reaches the disks before it returns. */
  readonly durable: boolean;
}

/** One open(2): its flags and the failures it has yet to report. */
export interface FileHandle extends HandleFlags {
  readonly file: MountedFile;
  /** A lost append of this handle that write(2) has not reported yet, and the same for flush and fsync. */
  writeFailure: GfsError | undefined;
  flushFailure: GfsError | undefined;
  /** A stream that lost bytes takes no more: what follows would stand behind a hole. */
  broken: GfsError | undefined;
  /** Failures of the file when fsync on this handle last reported. */
  failuresSeen: number;
  lastWriteMs: number;
  /** Where the kernel's last O_APPEND request ended, when its write(2) may go on there. */
  openEnd: number | undefined;
}

export interface MountedFileOptions {
  clock: Clock;
  settings: MountSettings;
  recordBytesMax: number;
  /** Bytes up to `sizeBytes` are acknowledged. */
  onLanded(file: MountedFile, sizeBytes: number): void;
  onFailed(file: MountedFile, error: GfsError): void;
}

const ONE_WRITER = 'write';
const PAGE_BYTES = 4096;
/** Limits of a write request are multiples of this: 128 KiB with fuse-native, up to 1 MiB with the kernel transport. */
const REQUEST_BYTES = 128 * 1024;

export class MountedFile {
  readonly client: OpenFile;
  private readonly options: MountedFileOptions;
  private readonly behind: WriteBehind<FileHandle>;
  /** Writes and truncations, one after another. */
  private readonly turns = new Serial<string>();
  /** Where the file ends for this mount, unacknowledged writes included; undefined: ask. Exact unless another client appends. */
  private end: number | undefined;
  private failures = 0;
  private lastFailure: GfsError | undefined;
  /** Of the newest attributes seen. */
  generation = 0;
  /** Where it was opened last, for people; it may have moved since. */
  place = '';
  private readonly handles = new Set<FileHandle>();
  /** Until when an open that cuts the file finds nothing to cut: mknod and open of one open(2) arrive apart from fuse-native. */
  private newUntilMs = Number.NEGATIVE_INFINITY;

  constructor(client: OpenFile, options: MountedFileOptions) {
    this.client = client;
    this.options = options;
    const { settings } = options;
    this.behind = new WriteBehind<FileHandle>({
      clock: options.clock,
      append: (data, appendOptions) => client.append(data, appendOptions),
      onLanded: (segment, offset) => this.onLanded(segment, offset),
      onFailed: (segment, error) => this.onFailed(segment, error),
      recordBytesMax: options.recordBytesMax,
      bufferBytesMax: settings.writeBuffer,
      appendBytesMax: settings.appendSize,
      appendsInFlightMax: MOUNT_LIMITS.appendsInFlightMax,
      delayMs: settings.writeDelay,
      holdMs: MOUNT_LIMITS.holdMs,
    });
  }

  get inode(): number {
    return this.client.inode;
  }

  get hasUnsettled(): boolean {
    return this.behind.pendingBytes > 0;
  }

  /** Whether a handle has failed writes that neither write, flush nor fsync have told. */
  get hasUntold(): boolean {
    return [...this.handles].some(({ writeFailure, flushFailure }) => writeFailure && flushFailure);
  }

  /** How often appends failed. */
  get failureCount(): number {
    return this.failures;
  }

  openHandle(flags: HandleFlags): FileHandle {
    const handle: FileHandle = {
      ...flags,
      file: this,
      writeFailure: undefined,
      flushFailure: undefined,
      broken: undefined,
      failuresSeen: this.failures,
      lastWriteMs: Number.NEGATIVE_INFINITY,
      openEnd: undefined,
    };
    this.handles.add(handle);
    return handle;
  }

  /** Whether it was the last. */
  closeHandle(handle: FileHandle): boolean {
    this.handles.delete(handle);
    return this.handles.size === 0;
  }

  /** What the master or a client said about this file. */
  noteAttributes(attributes: Attributes): void {
    this.generation = attributes.generation;
    if (!this.hasUnsettled) this.end = attributes.sizeBytes;
  }

  /** This mount made the file just now. */
  noteMade(): void {
    this.newUntilMs = this.options.clock.monotonicMs() + MOUNT_LIMITS.newFileMs;
  }

  /** Whether nobody can have written to the file before the open(2) that made it; true at most once. */
  takeNew(): boolean {
    const isNew = this.options.clock.monotonicMs() < this.newUntilMs;
    this.newUntilMs = Number.NEGATIVE_INFINITY;
    return isNew;
  }

  /** Another client changed the file. */
  forgetEnd(): void {
    this.newUntilMs = Number.NEGATIVE_INFINITY;
    if (!this.hasUnsettled) this.end = undefined;
  }

  /** Attributes that count every write that returned. */
  async attributes(): Promise<Attributes> {
    await this.behind.settle();
    const attributes = await this.client.attributes();
    this.noteAttributes(attributes);
    return attributes;
  }

  /** Bytes as every earlier write of this mount left them. */
  async read(offset: number, length: number): Promise<Buffer[]> {
    const pending = this.behind.pendingBytes;
    // O_APPEND writes land at the predicted end or behind it, so everything below their predicted start is settled.
    const settledEnd = this.end === undefined ? 0 : this.end - pending;
    if (pending > 0 && offset + length > settledEnd) await this.behind.settle();
    return this.client.read(offset, length);
  }

  /**
   * write(2). Rejects with NOT_APPEND when the bytes would replace others, and with an earlier failure of this handle. The first write after a pause
   * settles only when it is acknowledged: shells never look at what close says, so `echo >> file` would otherwise fail in silence.
   */
  async write(handle: FileHandle, offset: number, data: Buffer): Promise<number> {
    if (data.length === 0) return 0;
    const { clock, settings } = this.options;
    const startMs = clock.monotonicMs();
    const paused = startMs - handle.lastWriteMs > settings.writeDelay;
    const landed = await this.turns.run(ONE_WRITER, async () => {
      const leftMs = settings.opTimeout - (clock.monotonicMs() - startMs);
      if (leftMs <= 0) throw new GfsError('TIMED_OUT', 'earlier writes to the file took all the time');
      reportToWrite(handle);
      await this.behind.room(data.length, leftMs);
      reportToWrite(handle);
      if (!handle.append && this.end !== offset) await this.reachEnd(handle, offset);
      if (this.end !== undefined) this.end += data.length;
      // Promises are wrapped, so that the turn ends before the bytes have landed.
      return { promise: handle.append ? this.addRecord(handle, offset, data) : this.addStream(handle, offset, data) };
    });
    handle.lastWriteMs = clock.monotonicMs();
    if ((paused && handle.openEnd === undefined) || handle.durable) {
      await landed.promise;
      reportToWrite(handle);
    }
    if (handle.durable) await this.client.sync();
    return data.length;
  }

  /** Settles when all writes so far stand on all replicas, and rejects with the first failure of this handle that flush has not reported. */
  async flush(handle: FileHandle): Promise<void> {
    await this.behind.settle();
    const failure = handle.flushFailure;
    handle.flushFailure = undefined;
    if (failure) throw failure;
  }

  /** As flush, then on the disks of all replicas. It also reports failures of other handles of the file, as Linux does. */
  async sync(handle: FileHandle): Promise<void> {
    await this.flush(handle);
    const failedElsewhere = this.failures > handle.failuresSeen;
    handle.failuresSeen = this.failures;
    if (failedElsewhere && this.lastFailure) throw this.lastFailure;
    await this.client.sync();
  }

  /** Settles when all writes so far landed or failed; never rejects. */
  settle(): Promise<void> {
    return this.behind.settle();
  }

  /** Cuts or extends the file, after all earlier writes. */
  truncate(sizeBytes: number): Promise<Attributes> {
    return this.turns.run(ONE_WRITER, async () => {
      await this.behind.settle();
      const attributes = await this.client.truncate(sizeBytes);
      this.noteAttributes(attributes);
      return attributes;
    });
  }

  /** Extends the file with zeros when it is shorter. */
  extend(handle: FileHandle, sizeBytes: number): Promise<void> {
    return this.turns.run(ONE_WRITER, async () => {
      await this.behind.settle();
      const { sizeBytes: end } = await this.attributes();
      if (end < sizeBytes) await this.fillWithZeros(handle, end, sizeBytes);
      await this.behind.settle();
      reportToWrite(handle);
    });
  }

  async close(): Promise<void> {
    await this.behind.settle();
    await this.client.close();
  }

  private addStream(handle: FileHandle, offset: number, data: Buffer): Promise<void> {
    return this.behind.add({ writer: handle, data, expectedOffset: offset });
  }

  /**
   * The kernel cuts a write(2) at the first page boundary behind an offset that is none, and at the limit of a request (measured on Linux 6.18, with
   * both transports). Without putting the parts together again, another mount's append could land between them and tear a line.
   */
  private addRecord(handle: FileHandle, offset: number, data: Buffer): Promise<void> {
    const end = offset + data.length;
    const isHead = offset % PAGE_BYTES !== 0 && data.length < PAGE_BYTES;
    const isFullRequest = data.length % REQUEST_BYTES === 0;
    const mayGoOn = !handle.durable && end % PAGE_BYTES === 0 && (isHead || isFullRequest);
    const continues = handle.openEnd === offset;
    handle.openEnd = mayGoOn ? end : undefined;
    return this.behind.add({ writer: handle, data, mayGoOn, continues });
  }

  /** Makes `offset` the end of the file, or says why it cannot be. */
  private async reachEnd(handle: FileHandle, offset: number): Promise<void> {
    const { sizeBytes: end } = await this.attributes();
    reportToWrite(handle);
    if (offset === end) return;
    if (offset < end) {
      const reason = `a write at ${offset} in a file of ${end} bytes would change bytes that stand; only writing at the end is possible`;
      throw new GfsError('NOT_APPEND', reason);
    }
    await this.fillWithZeros(handle, end, offset);
  }

  private async fillWithZeros(handle: FileHandle, from: number, to: number): Promise<void> {
    if (to - from > MOUNT_LIMITS.zeroFillBytesMax) {
      this.noteAttributes(await this.client.truncate(to));
      return;
    }
    void this.behind.add({ writer: handle, data: Buffer.alloc(to - from), expectedOffset: from });
    this.end = to;
  }

  private onLanded(segment: Segment<FileHandle>, offset: number): void {
    const landedEnd = offset + segment.bytes;
    this.end = landedEnd + this.behind.pendingBytes;
    this.options.onLanded(this, landedEnd);
  }

  private onFailed(segment: Segment<FileHandle>, error: GfsError): void {
    const handle = segment.writer;
    const shown = explain(error, segment);
    if (!handle.append) handle.broken ??= shown;
    handle.writeFailure ??= shown;
    handle.flushFailure ??= shown;
    // The handle hears of it by itself; fsync on another one compares these.
    this.failures++;
    if (handle.failuresSeen === this.failures - 1) handle.failuresSeen = this.failures;
    this.lastFailure = shown;
    this.end = undefined;
    this.options.onFailed(this, shown);
  }
}

function reportToWrite(handle: FileHandle): void {
  if (handle.broken) throw handle.broken;
  const failure = handle.writeFailure;
  handle.writeFailure = undefined;
  if (failure) throw failure;
}

/** The chain's word in the words of system calls. */
function explain(error: GfsError, segment: Segment<FileHandle>): GfsError {
  if (error.code !== 'OFFSET_MISMATCH') return error;
  const reason = `another writer appended before the write at ${segment.expectedOffset}; open the file with O_APPEND to share it`;
  return new GfsError('NOT_APPEND', reason, { cause: error });
}
