// One line for a call and one for its answer, for people who read traces and transcripts. It knows what matters of each message and decides nothing.
import type { GfsError } from '../../src/protocol/errors.js';
import type { Kind, Request } from '../../src/protocol/messages.js';
import { type ObservedCall, readToken } from './observer.js';

/** Names of writers in the order of their appearance: w1, w2, … in place of random ids. */
export class WriterNames {
  private readonly names = new Map<string, string>();

  of(writer: string): string {
    let name = this.names.get(writer);
    if (name === undefined) {
      name = `w${this.names.size + 1}`;
      this.names.set(writer, name);
    }
    return name;
  }
}

export function showCall({ kind, request }: ObservedCall, writers: WriterNames): string {
  const show = SHOW[kind] as ((request: unknown, writers: WriterNames) => string) | undefined;
  const details = show?.(request, writers) ?? '';
  return details === '' ? kind : `${kind} ${details}`;
}

export function showAnswer(kind: Kind, answer: { body?: unknown; error?: GfsError }): string {
  if (answer.error) return answer.error.code;
  const body = answer.body as Record<string, unknown>;
  const parts: string[] = [];
  for (const name of ANSWER_FIELDS) {
    const value = body[name];
    if (typeof value === 'number' || typeof value === 'string' || value === true) parts.push(`${name} ${value}`);
  }
  const target = body.target as { handle: number; version: number; base: number } | undefined;
  if (target) parts.push(`chunk ${target.handle} version ${target.version} at ${target.base}`);
  if (kind === 'locate') {
    const { extents, tail } = body as { extents: unknown[]; tail?: { handle: number; committedBytes: number } };
    parts.push(`${extents.length} extents`);
    if (tail) parts.push(`tail chunk ${tail.handle} with ${tail.committedBytes}`);
  }
  return parts.length === 0 ? 'ok' : `ok: ${parts.join(', ')}`;
}

const ANSWER_FIELDS = [
  'outcome',
  'offset',
  'exists',
  'lengthBytes',
  'committedBytes',
  'suspect',
  'short',
  'copiedBytes',
  'registered',
];

type Show = { [K in Kind]?: (request: Request<K>, writers: WriterNames) => string };

const SHOW: Show = {
  append: ({ token, writer, sequence, lengthBytes, expectedOffset }, writers) =>
    `${chunkOf(token)} ${writers.of(writer)}/${sequence} ${lengthBytes} bytes${expectedOffset === undefined ? '' : ` at ${expectedOffset}`}`,
  replicate: ({ token, writer, sequence, lengthBytes, offset }, writers) =>
    `${chunkOf(token)} ${writers.of(writer)}/${sequence} ${lengthBytes} bytes at ${offset}`,
  read: ({ token, offset, lengthBytes }) => `${chunkOf(token)} ${lengthBytes} bytes at ${offset}`,
  tailLength: ({ token }) => chunkOf(token),
  syncChunk: ({ token, lengthBytes }) => `${chunkOf(token)} up to ${lengthBytes}`,
  replicaSync: ({ token, lengthBytes }) => `${chunkOf(token)} up to ${lengthBytes}`,
  readWriters: ({ token }) => chunkOf(token),
  appendTarget: ({ inode }) => `of inode ${inode}`,
  complain: ({ handle, version, append }, writers) =>
    `about chunk ${handle} version ${version}${append ? `, append ${writers.of(append.writer)}/${append.sequence}` : ''}`,
  locate: ({ inode, fromByte }) => `inode ${inode} from ${fromByte}`,
  truncate: ({ inode, sizeBytes }) => `inode ${inode} to ${sizeBytes}`,
  lookup: ({ where }) => `${where.start}/${where.path}`,
  createFile: ({ where }) => `${where.start}/${where.path}`,
  unlink: ({ where }) => `${where.start}/${where.path}`,
  rename: ({ from, to }) => `${from.path} to ${to.path}`,
  grant: ({ handle, version }) => `chunk ${handle} version ${version}`,
  adopt: ({ handle, version, lengthBytes }) => `chunk ${handle} version ${version} with ${lengthBytes} bytes`,
  fence: ({ handle, version }) => `chunk ${handle} version ${version}`,
  fix: ({ handle, version, lengthBytes }) => `chunk ${handle} version ${version} at ${lengthBytes} bytes`,
  copyChunk: ({ handle, lengthBytes, whole }) => `chunk ${handle} to ${lengthBytes} bytes${whole ? ', whole' : ''}`,
  deleteChunk: ({ handle, version }) => `chunk ${handle} up to version ${version}`,
  findAppend: ({ handle, writer, sequence }, writers) => `${writers.of(writer)}/${sequence} in chunk ${handle}`,
  revokeLease: ({ handle, version }) => `chunk ${handle} version ${version}`,
  returnLease: ({ handle, version, lengthBytes }) => `chunk ${handle} version ${version} with ${lengthBytes} bytes`,
  reportChunks: ({ chunks }) => `${chunks.length} chunks`,
};

function chunkOf(sealed: Buffer): string {
  const { handle, version } = readToken(sealed);
  return `chunk ${handle} version ${version}`;
}
