// gfs info and report: what the cluster knows of a file and of itself. The shapes of --json are a contract (FAULTS, "What it takes to test from outside").
import type { Command } from 'commander';
import { type ChunkHandle, handleName } from '../../protocol/ids.js';
import { LIMITS } from '../../protocol/limits.js';
import type { Reply } from '../../protocol/messages.js';
import { callMaster } from '../connect.js';
import {
  about,
  connectionOf,
  optionsOf,
  placeOf,
  platformOf,
  print,
  printJson,
  type SessionOptions,
  withClient,
} from './session.js';
import { howMany, showBytes, showTime, table } from './table.js';

type FileInfo = Reply<'fileInfo'>;
type Report = Reply<'report'>;

export function addClusterCommands(program: Command): void {
  program
    .command('info')
    .description('show the chunks of a file, their replicas and the flat files that hold them')
    .argument('<PATH>', 'a path in the file system')
    .action((path, _, command) => info(path, optionsOf(command)));
  program
    .command('report')
    .description('show the servers, their space, and the chunks by number of good copies')
    .action((_, command) => report(optionsOf(command)));
}

async function info(path: string, options: SessionOptions): Promise<void> {
  const where = placeOf(path);
  const [chunks, size] = await about(path, () => readInfo(options, where));
  if (options.json) return printJson({ path, size, chunks: chunks.map(jsonChunk) });
  const active = chunks.find(chunk => chunk.state === 'open');
  print(`${path}: ${howMany(size, 'byte')} in ${howMany(chunks.length, 'chunk')}`);
  print(active ? `active chunk: ${active.index}, ${active.lengthBytes} bytes` : 'active chunk: none');
  if (chunks.length === 0) return;
  const headings = ['index', 'chunk', 'size', 'local file', 'servers', 'availability', 'version', 'time', 'state'];
  print(table(headings, chunks.flatMap(chunkRows)));
  for (const { index, lost } of chunks)
    for (const { fromByte, lengthBytes } of lost ?? [])
      print(
        `bytes ${fromByte} to ${fromByte + lengthBytes - 1} cannot be read: damaged in every copy of chunk ${index}`,
      );
}

async function readInfo(
  options: SessionOptions,
  where: ReturnType<typeof placeOf>,
): Promise<[FileInfo['chunks'], number]> {
  const platform = platformOf(options);
  const connection = connectionOf(options);
  const chunks: FileInfo['chunks'] = [];
  for (;;) {
    const request = { where, fromChunk: chunks.length, limit: LIMITS.extentPageMax };
    const page = await callMaster(platform, connection, 'fileInfo', request);
    chunks.push(...page.chunks);
    if (!page.more || page.chunks.length === 0) break;
  }
  // The primary of an open chunk knows more than the master.
  const { sizeBytes } = await withClient(options, client => client.lookup(where, { follow: true }));
  const active = chunks.find(chunk => chunk.state === 'open');
  if (active) active.lengthBytes = Math.max(active.lengthBytes, sizeBytes - active.fileOffset);
  return [chunks, sizeBytes];
}

/** One row per replica; the chunk's own columns stand on the first. */
function chunkRows(chunk: FileInfo['chunks'][number]): string[][] {
  const current = chunk.replicas.filter(replica => replica.state === 'current').length;
  const own = [String(chunk.index), chunk.handle === 0 ? 'hole' : handleName(chunk.handle), String(chunk.lengthBytes)];
  const rest = [
    `${current}/${chunk.replicas.length}`,
    String(chunk.version),
    chunk.modifiedMs === 0 ? '' : showTime(chunk.modifiedMs),
    chunk.state,
  ];
  if (chunk.replicas.length === 0) return [[...own, '', '', ...rest]];
  return chunk.replicas.map((replica, i) => {
    const notes = [...(replica.primary ? ['primary'] : []), ...(replica.state === 'current' ? [] : [replica.state])];
    const server = notes.length > 0 ? `${replica.address} (${notes.join(', ')})` : replica.address;
    const cells = [replica.path, server];
    return i === 0 ? [...own, ...cells, ...rest] : ['', '', '', ...cells, '', '', '', ''];
  });
}

function jsonChunk(chunk: FileInfo['chunks'][number]): Record<string, unknown> {
  const { index, handle, version, state, lengthBytes, fileOffset, chunkOffset, modifiedMs, replicas, lost } = chunk;
  return {
    index,
    handle: handleName(handle as ChunkHandle),
    version,
    state,
    length: lengthBytes,
    offset: fileOffset,
    chunkOffset,
    modifiedMs,
    replicas: replicas.map(replica => ({
      server: replica.server,
      address: replica.address,
      path: replica.path,
      version: replica.version,
      length: replica.lengthBytes,
      primary: replica.primary,
      state: replica.state,
    })),
    ...(lost ? { lost: lost.map(range => ({ from: range.fromByte, length: range.lengthBytes })) } : {}),
  };
}

async function report(options: SessionOptions): Promise<void> {
  const connection = connectionOf(options);
  const value = await callMaster(platformOf(options), connection, 'report', {});
  if (options.json) return printJson(jsonReport(value));
  const { chunks } = value;
  print(`cluster ${value.clusterId}${value.safemode ? `, in safe mode (${value.safemodeReason})` : ''}`);
  print(
    `${howMany(value.files, 'file')}, ${value.directories} directories, ${value.trash} in the trash (${showBytes(value.trashBytes ?? 0)}), ` +
      `${howMany(value.sessions, 'client')}; ` +
      `chunks of ${showBytes(value.chunkSizeBytes)}, ${value.replicas} copies, at least ${value.minReplicas}`,
  );
  print(
    `${chunks.total} chunks: ${chunks.open} open, ${chunks.degraded} with too few copies, ${chunks.lost} without any; ` +
      `${value.garbage} to be deleted`,
  );
  print(
    `by copies: ${chunks.byCopies.map(({ copies, chunks: count }) => `${count} with ${copies}`).join(', ') || 'none'}`,
  );
  if (value.healing) for (const line of showHealing(value.healing)) print(line);
  const rows = value.servers.map(server => [
    server.id,
    server.address,
    server.location,
    server.reason ? `${server.state} (${server.reason})` : server.state,
    showBytes(server.usedBytes),
    showBytes(server.capacityBytes),
    showFill(server),
    String(server.chunks),
    showBytes(server.copiedBytes ?? 0),
    showScrub(server.scrub),
  ]);
  const headings = [
    'server',
    'address',
    'location',
    'state',
    'used',
    'capacity',
    'full',
    'chunks',
    'copied',
    'scrubbed',
  ];
  if (rows.length > 0) print(table(headings, rows));
}

/** What is being done, and what was since the master's start. */
function* showHealing(healing: NonNullable<Report['healing']>): Generator<string> {
  const { queued, due, copies, balancing, sealing, bytesPerSecond, bytesPerSecondMax } = healing;
  const limit = bytesPerSecondMax ? ` of ${showBytes(bytesPerSecondMax)}/s allowed` : '';
  yield `in hand: ${howMany(queued, 'chunk')} to look at (${due ?? queued} now), ${sealing ?? 0} being sealed, ${howMany(copies, 'copy')} under way ` +
    `(${balancing} to even out) at ${showBytes(bytesPerSecond ?? 0)}/s${limit}, ${howMany(healing.deletions, 'replica')} to delete`;
  yield `done: ${howMany(healing.copiesDone, 'copy')} with ${showBytes(healing.copiedBytes)}; ` +
    `more copies of ${howMany(healing.hotChunks, 'chunk')} that are read much`;
}

/** Of the disk, whoever filled it. */
function showFill({ capacityBytes, freeBytes }: Report['servers'][number]): string {
  if (capacityBytes === 0) return '';
  return `${Math.round((100 * (capacityBytes - freeBytes)) / capacityBytes)} %`;
}

/** How much of its bytes the round has checked so far, and how fast. */
function showScrub(scrub: Report['servers'][number]['scrub']): string {
  if (!scrub) return '';
  const percent = Math.floor((100 * scrub.checkedBytes) / Math.max(1, scrub.totalBytes));
  return `${Math.min(100, percent)} % (round ${scrub.roundsDone + 1}), ${showBytes(scrub.bytesPerSecond)}/s`;
}

function jsonReport(value: Report): Record<string, unknown> {
  const { servers, chunks, ...rest } = value;
  return {
    ...rest,
    servers: servers.map(server => ({
      id: server.id,
      address: server.address,
      location: server.location,
      state: server.state,
      reason: server.reason,
      used: server.usedBytes,
      capacity: server.capacityBytes,
      free: server.freeBytes,
      chunks: server.chunks,
      lastHeardMs: server.lastHeardMs,
      behind: server.behind ?? 0,
      copied: server.copiedBytes ?? 0,
      ...(server.scrub ? { scrub: server.scrub } : {}),
    })),
    chunks: {
      ...chunks,
      byCopies: Object.fromEntries(chunks.byCopies.map(({ copies, chunks: count }) => [String(copies), count])),
    },
  };
}
