// gfs put and append: bringing content in.
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Readable } from 'node:stream';
import type { Command } from 'commander';
import type { FileSystemClient, OpenFile, Where } from '../../client/types.js';
import { GfsError, hasCode } from '../../protocol/errors.js';
import { usageError } from '../exit.js';
import { ownIds } from '../own-ids.js';
import { Progress } from './progress.js';
import { about, childOf, optionsOf, placeOf, print, printJson, type SessionOptions, withClient } from './session.js';

const PIECE_BYTES = 1024 * 1024;
/** Appends on their way at the same time. */
const AHEAD_MAX = 8;
const FILE_MODE = 0o644;

export function addWriteCommands(program: Command): void {
  program
    .command('put')
    .description('copy a local file into the file system, replacing what was there; shows its progress on a terminal')
    .argument('<LOCAL>', 'a local file, - for standard input')
    .argument('<PATH>', 'a path in the file system; in a directory the local name is kept')
    .option('--durable', 'wait until the bytes are on the disks of all replicas')
    .action((local, path, _, command) => put(local, path, optionsOf(command)));
  program
    .command('append')
    .description(
      'append a local file or standard input to a file, which is made when absent; whole, as one record, when it is small enough',
    )
    .argument('<PATH>', 'a path in the file system')
    .argument('[LOCAL]', 'a local file, - for standard input', '-')
    .option('--record', 'refuse what is too large for one record, which is never split')
    .option('--durable', 'wait until the bytes are on the disks of all replicas')
    .action((path, local, _, command) => append(path, local, optionsOf(command)));
}

async function put(local: string, path: string, options: SessionOptions & { durable?: boolean }): Promise<void> {
  placeOf(path);
  const source = await openLocal(local);
  await withClient(options, async client => {
    const where = await about(path, () => targetOf(client, path, local));
    const progress = new Progress(local === '-' ? path : basename(local), source.sizeBytes, options.json === true);
    const file = await about(path, () => openForWriting(client, where, true));
    const { size } = await about(path, () => pour(source.stream, file, progress));
    await file.close({ durable: options.durable === true });
    progress.end();
    if (options.json) printJson({ path: `/${where.path}`, size });
  });
}

async function append(
  path: string,
  local: string,
  options: SessionOptions & { record?: boolean; durable?: boolean },
): Promise<void> {
  const where = placeOf(path);
  const source = await openLocal(local);
  await withClient(options, async client => {
    const { recordBytesMax } = client;
    const { head, isWhole } = await readHead(source.stream, recordBytesMax);
    if (options.record && !isWhole)
      throw new GfsError('TOO_LARGE', `${path}: a record has at most ${recordBytesMax} bytes in this cluster`);
    const file = await about(path, () => openForWriting(client, where, false));
    let offset: number | undefined;
    let size = head.length;
    let fileSize: number;
    if (isWhole) {
      // Nothing to append answers the size, too.
      const at = await about(path, () => file.append([head], { split: false }));
      if (head.length > 0) offset = at;
      fileSize = at + head.length;
    } else {
      source.stream.unshift(head);
      const poured = await about(path, () => pour(source.stream, file, undefined));
      ({ size, endsAt: fileSize } = poured);
    }
    await file.close({ durable: options.durable === true });
    if (options.json) printJson({ path, size, ...(offset === undefined ? {} : { offset }), fileSize });
    else if (process.stdout.isTTY && offset !== undefined) print(`${size} bytes at offset ${offset}`);
  });
}

/** All of a stream, in order, a few pieces ahead of the acknowledgements. Settles with its length and the size of the file behind its last piece. */
async function pour(
  stream: Readable,
  file: OpenFile,
  progress: Progress | undefined,
): Promise<{ size: number; endsAt: number }> {
  let size = 0;
  let endsAt = 0;
  const underway: Array<Promise<void>> = [];
  for await (const piece of stream as AsyncIterable<Buffer>) {
    size += piece.length;
    const landed = file.append([piece], { split: true }).then(offset => {
      progress?.add(piece.length);
      endsAt = Math.max(endsAt, offset + piece.length);
    });
    // Looked at when its turn comes; until then a failure must not count as unhandled.
    landed.catch(() => undefined);
    underway.push(landed);
    if (underway.length >= AHEAD_MAX) await underway.shift();
  }
  for (const landed of underway) await landed;
  return { size, endsAt };
}

/** Up to `bytesMax` bytes, and whether that was all. */
async function readHead(stream: Readable, bytesMax: number): Promise<{ head: Buffer; isWhole: boolean }> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  const iterator = stream.iterator({ destroyOnReturn: false }) as AsyncIterableIterator<Buffer>;
  for await (const piece of iterator) {
    pieces.push(piece);
    bytes += piece.length;
    if (bytes > bytesMax) return { head: Buffer.concat(pieces), isWhole: false };
  }
  return { head: Buffer.concat(pieces), isWhole: true };
}

async function openForWriting(client: FileSystemClient, where: Where, truncate: boolean): Promise<OpenFile> {
  if (where.path === '') throw new GfsError('IS_DIRECTORY', '/: is a directory');
  const options = { mode: FILE_MODE, ...ownIds(), exclusive: false, truncate };
  return (await client.createFile(where, options)).file;
}

async function targetOf(client: FileSystemClient, path: string, local: string): Promise<Where> {
  const where = placeOf(path);
  try {
    const { type } = await client.lookup(where, { follow: true });
    if (type !== 'directory') return where;
  } catch (error) {
    if (!hasCode(error, 'NOT_FOUND')) throw error;
    if (!path.endsWith('/')) return where;
    throw error;
  }
  if (local === '-') throw usageError(`${path}: is a directory; standard input needs a file name`);
  return childOf(where, basename(local));
}

async function openLocal(local: string): Promise<{ stream: Readable; sizeBytes: number | undefined }> {
  if (local === '-') return { stream: process.stdin, sizeBytes: undefined };
  try {
    const stats = await stat(local);
    if (stats.isDirectory()) throw new GfsError('IS_DIRECTORY', `${local}: is a directory; gfs put copies files`);
    return { stream: createReadStream(local, { highWaterMark: PIECE_BYTES }), sizeBytes: stats.size };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') throw new GfsError('NOT_FOUND', `${local}: no such local file`);
    throw error;
  }
}
