// What one data directory holds, read from the disk without a server: the index beside the chunk files. It changes nothing that means anything
// and refuses a directory whose server runs.
import { crc32 } from '../lib/checksum.js';
import type { Kv } from '../lib/kv.js';
import type { Platform } from '../lib/platform.js';
import { GfsError } from '../protocol/errors.js';
import { type ChunkHandle, handleName, parseHandleName } from '../protocol/ids.js';
import { LIMITS } from '../protocol/limits.js';
import { BLOCKS_PER_PAGE } from './block-checksums.js';
import { ChunkIndex, type Identity } from './chunk-index.js';
import type { ChunkRecord } from './chunk-record.js';
import type { WriterRow } from './writer-table.js';

export interface InspectedChunk {
  handle: ChunkHandle;
  record: ChunkRecord;
  path: string;
  /** Undefined: there is no such file. */
  fileBytes: number | undefined;
}

export interface InspectedDirectory {
  /** Undefined: no server has used it yet. */
  identity: Identity | undefined;
  /** Number of the last batch of changes. */
  batches: number;
  chunks: InspectedChunk[];
  /** Chunk files that the index does not speak of, and files that are none. */
  strays: string[];
}

export interface VerifiedChunk extends InspectedChunk {
  /** Blocks that do not match their checksum, or are not there. */
  badBlocks: Array<{ fromByte: number; lengthBytes: number }>;
  writers: Array<[string, WriterRow]>;
}

/** Everything in the directory, in the order of the handles. Throws IN_USE, WRONG_DATA. */
export function inspectDirectory(platform: Platform, path: string): Promise<InspectedDirectory> {
  return withIndex(platform, path, async index => {
    const chunks: InspectedChunk[] = [];
    for await (const [handle, record] of index.records()) chunks.push(await lookAt(platform, path, handle, record));
    const known = new Set(chunks.map(({ path: file }) => file));
    const files = await listFiles(platform, path);
    const strays = files.filter(file => !known.has(file));
    return { identity: index.identity(), batches: index.counter(), chunks, strays };
  });
}

/** One chunk with its writers, each block compared with its checksum. Throws IN_USE, WRONG_DATA, NO_CHUNK. */
export function inspectChunk(platform: Platform, path: string, handle: ChunkHandle): Promise<VerifiedChunk> {
  return withIndex(platform, path, async index => {
    for await (const [found, record] of index.records()) {
      if (found !== handle) continue;
      const chunk = await lookAt(platform, path, handle, record);
      return { ...chunk, badBlocks: await verify(platform, index, chunk), writers: await index.writers(handle) };
    }
    throw new GfsError('NO_CHUNK', `${path} has no chunk ${handleName(handle)}`);
  });
}

async function withIndex<T>(platform: Platform, path: string, work: (index: ChunkIndex) => Promise<T>): Promise<T> {
  const index = new ChunkIndex(await openIndex(platform, path));
  try {
    return await work(index);
  } finally {
    await index.close();
  }
}

async function openIndex(platform: Platform, path: string): Promise<Kv> {
  try {
    return await platform.kv.open(`${path}/index`, { create: false });
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    if (code === 'EBUSY')
      throw new GfsError('IN_USE', `the data directory ${path} is in use by a chunkserver: stop it first`, {
        cause: error,
      });
    if (code === 'ENOENT')
      throw new GfsError('WRONG_DATA', `${path} is no data directory of a chunkserver: it has no index`, {
        cause: error,
      });
    throw new GfsError('WRONG_DATA', `the index in ${path}/index cannot be read: ${message}`, { cause: error });
  }
}

async function lookAt(
  { disk }: Platform,
  path: string,
  handle: ChunkHandle,
  record: ChunkRecord,
): Promise<InspectedChunk> {
  const name = handleName(handle);
  const file = `${path}/chunks/${name.slice(-2)}/${name}`;
  return { handle, record, path: file, fileBytes: await disk.sizeOf(file) };
}

async function verify(
  { disk }: Platform,
  index: ChunkIndex,
  { handle, record, path, fileBytes }: InspectedChunk,
): Promise<VerifiedChunk['badBlocks']> {
  const { lengthBytes } = record;
  if (record.tombstone || lengthBytes === 0) return [];
  if (fileBytes === undefined) return [{ fromByte: 0, lengthBytes }];
  const bad: VerifiedChunk['badBlocks'] = [];
  const file = await disk.open(path);
  try {
    for (let fromByte = 0; fromByte < lengthBytes; fromByte += LIMITS.blockBytes) {
      const size = Math.min(LIMITS.blockBytes, lengthBytes - fromByte);
      const block = fromByte / LIMITS.blockBytes;
      const page = index.checksumPage(handle, Math.floor(block / BLOCKS_PER_PAGE));
      const expected = page?.readUInt32BE((block % BLOCKS_PER_PAGE) * 4);
      const bytes = await file.read(size, fromByte);
      if (bytes.length < size || crc32(bytes) !== expected) bad.push({ fromByte, lengthBytes: size });
    }
  } finally {
    await file.close();
  }
  return bad;
}

/** Paths of all files in the chunk folders. */
async function listFiles({ disk }: Platform, path: string): Promise<string[]> {
  const files: string[] = [];
  for (const folder of await disk.list(`${path}/chunks`))
    for (const name of await disk.list(`${path}/chunks/${folder}`)) files.push(`${path}/chunks/${folder}/${name}`);
  return files;
}

/** The handle that a person wrote: hex digits, leading zeros or not. */
export function parseHandle(text: string): ChunkHandle | undefined {
  return parseHandleName(text.toLowerCase().padStart(16, '0'));
}
