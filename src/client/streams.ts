// Streams of node:stream over open files. They open the file when they begin and close it when they end, also when they are destroyed.
import { Readable, Writable } from 'node:stream';
import type { GfsFile } from './gfs-file.js';

const READ_BYTES = 1024 * 1024;
const WRITE_BUFFER_BYTES = 4 * 1024 * 1024;

/** How a stream comes to its file and leaves it. */
export interface FileUse {
  open: () => Promise<GfsFile>;
  close: (file: GfsFile) => Promise<void>;
}

/** Bytes `start` to `end` (inclusive, as in node:fs). */
export function readStream(use: FileUse, options: { start?: number; end?: number }): Readable {
  return Readable.from(chunksOf(use, options.start ?? 0, options.end ?? Number.MAX_SAFE_INTEGER), {
    objectMode: false,
  });
}

/** Appends in order; it finishes when every byte is acknowledged and the file is closed. */
export function writeStream(use: FileUse): Writable {
  let file: GfsFile | undefined;
  const append = (buffers: Buffer[], callback: (error?: Error | null) => void): void => {
    const bytes = buffers.length === 1 ? buffers[0]! : Buffer.concat(buffers);
    if (bytes.length === 0) callback();
    else file!.append(bytes).then(() => callback(), callback);
  };
  const close = async (): Promise<void> => {
    const closed = file;
    file = undefined;
    if (closed) await use.close(closed);
  };
  return new Writable({
    highWaterMark: WRITE_BUFFER_BYTES,
    construct: callback => {
      use.open().then(opened => {
        file = opened;
        callback();
      }, callback);
    },
    write: (chunk: Buffer, _encoding, callback) => append([chunk], callback),
    writev: (chunks, callback) =>
      append(
        chunks.map(({ chunk }) => chunk as Buffer),
        callback,
      ),
    final: callback => {
      close().then(() => callback(), callback);
    },
    destroy: (error, callback) => {
      close().then(
        () => callback(error),
        closeError => callback(error ?? closeError),
      );
    },
  });
}

async function* chunksOf(use: FileUse, start: number, end: number): AsyncGenerator<Buffer> {
  const file = await use.open();
  try {
    for (let offset = start; offset <= end; ) {
      const bytes = await file.read(offset, Math.min(READ_BYTES, end - offset + 1));
      if (bytes.length === 0) return;
      offset += bytes.length;
      yield bytes;
    }
  } finally {
    await use.close(file);
  }
}
