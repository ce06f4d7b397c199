// /dev/fuse as a stream of requests and a place for answers; it may touch the platform, as it is the platform's end of this folder. It never looks into
// a request. Invariants: a buffer is read into by one read at a time; at most one unasked message is on its way, and never from the main thread:
// the kernel may hold it until we have answered something else.
import { close, constants, open, read, writev, writevSync } from 'node:fs';
import { promisify } from 'node:util';
import type { Clock } from '../../lib/clock.js';
import { sleep } from '../../lib/clock.js';
import type { Logger } from '../../lib/logger.js';
import { MAX_WRITE_BYTES, PAGE_BYTES } from './negotiation.js';
import type { AnswerSink } from './session.js';
import { OUT_HEADER } from './wire.js';

/** The largest request, and the header and structure before it. */
const BUFFER_BYTES = MAX_WRITE_BYTES + PAGE_BYTES;
/** Every outstanding read holds a thread of libuv's pool, of which there are this many unless the environment says otherwise. */
const POOL_THREADS_DEFAULT = 4;
const READERS_MAX = 4;
/** Below this an answer is copied to the kernel faster than another thread could be woken for it. */
const ASYNC_ANSWER_BYTES = 64 * 1024;
/** writev(2) takes 1,024 buffers. */
const VECTORS_MAX = 1000;
/** Messages waiting to be sent; beyond it the oldest is dropped, and the kernel's own timeouts make up for it. */
const NOTIFICATIONS_MAX = 65_536;
/** Until mount(2) has attached the descriptor, reading it fails with EPERM. */
const NOT_MOUNTED_RETRY_MS = 5;

const openFile = promisify(open);
const closeFile = promisify(close);

export class Device implements AnswerSink {
  readonly fd: number;
  private readonly clock: Clock;
  private readonly logger: Logger;

  private isStopping = false;
  private isNotifying = false;
  private readonly notifications = new Map<string, Buffer[]>();

  /** Rejects with the platform's error. */
  static async open(clock: Clock, logger: Logger): Promise<Device> {
    return new Device(await openFile('/dev/fuse', constants.O_RDWR), clock, logger);
  }

  private constructor(fd: number, clock: Clock, logger: Logger) {
    this.fd = fd;
    this.clock = clock;
    this.logger = logger;
  }

  /** Reads requests until the kernel ends the connection, or until stop() while nothing is mounted; then closes the device. `onRequest` returns whether it keeps the memory. */
  async serve(onRequest: (buffer: Buffer) => boolean): Promise<void> {
    const threads = Number(process.env.UV_THREADPOOL_SIZE) || POOL_THREADS_DEFAULT;
    const count = Math.max(1, Math.min(READERS_MAX, Math.floor(threads / 2)));
    await Promise.all(Array.from({ length: count }, () => this.readOn(onRequest)));
    this.isStopping = true;
    await closeFile(this.fd);
  }

  /** Lets serve() end if there was never a mount; ends sending. */
  stop(): void {
    this.isStopping = true;
  }

  answer(unique: number, errno: number, data: readonly Buffer[] = [], undo?: () => void): void {
    const payload = data.length > VECTORS_MAX ? [Buffer.concat(data)] : data;
    const payloadBytes = payload.reduce((sum, buffer) => sum + buffer.length, 0);
    const header = OUT_HEADER.encode({ len: OUT_HEADER.sizeBytes + payloadBytes, error: -errno, unique });
    const buffers = [header, ...payload];
    if (payloadBytes >= ASYNC_ANSWER_BYTES) {
      writev(this.fd, buffers, error => this.onAnswered(error, undo));
      return;
    }
    try {
      writevSync(this.fd, buffers);
    } catch (error) {
      this.onAnswered(error as NodeJS.ErrnoException, undo);
    }
  }

  notify(code: number, data: Buffer, key: string): void {
    if (this.isStopping) return;
    const header = OUT_HEADER.encode({ len: OUT_HEADER.sizeBytes + data.length, error: code });
    // Set anew so that it stands at the end: what happened last is told last.
    this.notifications.delete(key);
    this.notifications.set(key, [header, data]);
    if (this.notifications.size > NOTIFICATIONS_MAX) {
      const [oldest] = this.notifications.keys();
      this.notifications.delete(oldest as string);
      this.logger.warn(
        { waiting: NOTIFICATIONS_MAX },
        'the kernel takes invalidations too slowly; the oldest was dropped',
      );
    }
    this.sendNotification();
  }

  private sendNotification(): void {
    if (this.isNotifying || this.isStopping) return;
    const [next] = this.notifications;
    if (next === undefined) return;
    this.notifications.delete(next[0]);
    this.isNotifying = true;
    writev(this.fd, next[1], error => {
      this.isNotifying = false;
      // ENOENT: the kernel does not know the inode or name, so there is nothing to invalidate.
      if (error && error.code !== 'ENOENT' && error.code !== 'ENODEV' && error.code !== 'ENOTDIR') {
        this.logger.warn({ reason: error.message, message: next[0] }, 'the kernel refused an invalidation');
      }
      this.sendNotification();
    });
  }

  private onAnswered(error: NodeJS.ErrnoException | null, undo?: () => void): void {
    if (error === null) return;
    undo?.();
    // ENOENT: nobody waits for this answer any more. ENODEV: the mount is gone.
    if (error.code === 'ENOENT' || error.code === 'ENODEV') return;
    this.logger.error({ reason: error.message }, 'the kernel did not take an answer');
  }

  private async readOn(onRequest: (buffer: Buffer) => boolean): Promise<void> {
    let buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
    for (;;) {
      const result = await readOnce(this.fd, buffer);
      if (typeof result === 'number') {
        if (onRequest(buffer.subarray(0, result))) buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
        continue;
      }
      switch (result.code) {
        // The request was taken back before it was read; or a signal came.
        case 'ENOENT':
        case 'EINTR':
        case 'EAGAIN':
          continue;
        case 'EPERM':
          if (this.isStopping) return;
          await sleep(this.clock, NOT_MOUNTED_RETRY_MS);
          continue;
        case 'ENODEV':
        case 'ECONNABORTED':
          return;
        default:
          this.logger.error({ reason: result.message }, '/dev/fuse cannot be read any more');
          return;
      }
    }
  }
}

function readOnce(fd: number, buffer: Buffer): Promise<number | NodeJS.ErrnoException> {
  return new Promise(resolve => {
    read(fd, buffer, 0, buffer.length, null, (error, bytesRead) => resolve(error ?? bytesRead));
  });
}
