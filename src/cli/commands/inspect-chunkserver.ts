// gfs-chunkserver inspect: what is on the disks of a chunkserver that does not run.
import type { Command } from 'commander';
import {
  type InspectedChunk,
  type InspectedDirectory,
  inspectChunk,
  inspectDirectory,
  parseHandle,
  type VerifiedChunk,
} from '../../chunkserver/inspection.js';
import { hasCode } from '../../protocol/errors.js';
import { type ChunkHandle, handleName } from '../../protocol/ids.js';
import { EXIT, usageError } from '../exit.js';
import { addCommonOptions, type CommonOptions, checkDirectoryOption } from '../options.js';
import { print, printJson } from './output.js';
import { showBytes, showTime, table } from './table.js';

type InspectOptions = CommonOptions & { data: string[]; json?: boolean };

export function addInspectCommand(program: Command): void {
  const command = program
    .command('inspect')
    .description('show what is in a data directory, or check one chunk in it; the chunkserver must not run')
    .argument(
      '[CHUNK]',
      'a handle in hex, as gfs info shows it: its record, its writers, and every block against its checksum',
    )
    .requiredOption('--data <DIR>', 'directory of the chunks; once per disk', (value: string, earlier?: string[]) => [
      ...(earlier ?? []),
      value,
    ])
    .option('--json', 'print one JSON value for programs')
    .addHelpText(
      'after',
      `
Run it as the user that the chunkserver runs as: LevelDB tidies its files up when they are opened. Ends with 0 when every chunk's file is as
long as its record says (and with CHUNK, when every block matches), 1 otherwise.

Example:
  gfs-chunkserver inspect --data /disk1/gfs --data /disk2/gfs
  gfs-chunkserver inspect --data /disk1/gfs 000000000000002a`,
    );
  addCommonOptions(command, { logLevel: 'warn' });
  command.action((chunk, options) => inspect(chunk, options));
}

async function inspect(text: string | undefined, options: InspectOptions): Promise<void> {
  for (const path of options.data) checkDirectoryOption('--data', path);
  const handle = text === undefined ? undefined : parseHandle(text);
  if (text !== undefined && handle === undefined) throw usageError(`${text}: is no handle of a chunk (hex digits)`);
  if (handle === undefined) await inspectAll(options);
  else await inspectOne(handle, options);
}

async function inspectAll(options: InspectOptions): Promise<void> {
  const { buildPlatform } = await import('../build-platform.js');
  const platform = buildPlatform(options, 'gfs-chunkserver');
  const found: Array<{ path: string } & InspectedDirectory> = [];
  for (const path of options.data) found.push({ path, ...(await inspectDirectory(platform, path)) });
  const isWell = found.every(({ chunks, strays }) => strays.length === 0 && chunks.every(isSound));
  if (options.json)
    printJson({
      clean: isWell,
      directories: found.map(({ chunks, ...rest }) => ({ ...rest, chunks: chunks.map(jsonChunk) })),
    });
  else for (const directory of found) show(directory);
  if (!isWell) process.exitCode = EXIT.failed;
}

async function inspectOne(handle: ChunkHandle, options: InspectOptions): Promise<void> {
  const { buildPlatform } = await import('../build-platform.js');
  const platform = buildPlatform(options, 'gfs-chunkserver');
  const found: VerifiedChunk[] = [];
  for (const [i, path] of options.data.entries()) {
    try {
      found.push(await inspectChunk(platform, path, handle));
    } catch (error) {
      // It is on one of the disks only; none at all is the failure.
      const isLast = i === options.data.length - 1;
      if (!hasCode(error, 'NO_CHUNK') || (isLast && found.length === 0)) throw error;
    }
  }
  if (options.json)
    printJson(found.map(chunk => ({ ...jsonChunk(chunk), badBlocks: chunk.badBlocks, writers: jsonWriters(chunk) })));
  else for (const chunk of found) showChunk(chunk);
  if (found.some(chunk => !isSound(chunk) || chunk.badBlocks.length > 0)) process.exitCode = EXIT.failed;
}

/** The file holds what the record counts; what is behind that is a torn append. */
function isSound({ record, fileBytes }: InspectedChunk): boolean {
  if (record.tombstone) return fileBytes === undefined;
  return !record.corrupt && (fileBytes ?? 0) >= record.lengthBytes;
}

function show({ path, identity, batches, chunks, strays }: { path: string } & InspectedDirectory): void {
  if (!identity) print(`${path}: no server has used it yet`);
  else {
    const stop = identity.clean ? 'stopped cleanly' : 'not stopped cleanly';
    const cluster = identity.clusterId === '' ? 'no cluster yet' : `cluster ${identity.clusterId}`;
    print(`${path}: server ${identity.server}, disk ${identity.disk}, ${cluster}, start ${identity.epoch}, ${stop}`);
  }
  const bytes = chunks.reduce((sum, { record }) => sum + record.lengthBytes, 0);
  print(`${chunks.length} records, ${showBytes(bytes)}, ${batches} batches written`);
  const rows = chunks.map(chunk => [
    handleName(chunk.handle),
    stateOf(chunk),
    String(chunk.record.version),
    String(chunk.record.lengthBytes),
    chunk.fileBytes === undefined ? 'none' : String(chunk.fileBytes),
    notesOn(chunk).join(', '),
  ]);
  if (rows.length > 0) print(table(['chunk', 'state', 'version', 'length', 'file', 'notes'], rows));
  for (const stray of strays) print(`without a record: ${stray}`);
}

function showChunk(chunk: VerifiedChunk): void {
  const { handle, record, path, fileBytes, badBlocks, writers } = chunk;
  print(`chunk ${handleName(handle)}: ${stateOf(chunk)}, version ${record.version}, ${record.lengthBytes} bytes`);
  print(`file ${path}: ${fileBytes === undefined ? 'none' : `${fileBytes} bytes`}`);
  print(`synced to ${record.syncedBytes}, made at start ${record.createdEpoch}, fenced at ${record.fencedVersion}`);
  const notes = notesOn(chunk);
  if (notes.length > 0) print(notes.join(', '));
  for (const { fromByte, lengthBytes } of badBlocks)
    print(`bytes ${fromByte} to ${fromByte + lengthBytes - 1} do not match their checksum`);
  if (badBlocks.length === 0 && !record.tombstone) print('every block matches its checksum');
  for (const [writer, { appends, atMs }] of writers) {
    const last = appends[appends.length - 1];
    const place = last ? `, the last (${last.sequence}) at ${last.offset}, ${last.lengthBytes} bytes` : '';
    print(`writer ${writer}: ${appends.length} appends kept${place}, ${showTime(atMs)}`);
  }
}

function stateOf({ record }: InspectedChunk): string {
  return record.tombstone ? 'tombstone' : record.state;
}

function notesOn(chunk: InspectedChunk): string[] {
  const { record, fileBytes } = chunk;
  const size = fileBytes ?? 0;
  return [
    ...(record.suspect ? ['suspect'] : []),
    ...(record.corrupt ? ['corrupt'] : []),
    ...(!record.tombstone && size < record.lengthBytes ? ['file too short'] : []),
    ...(!record.tombstone && size > record.lengthBytes ? ['torn append behind the end'] : []),
  ];
}

function jsonChunk({ handle, record, path, fileBytes }: InspectedChunk): Record<string, unknown> {
  const { lengthBytes, syncedBytes, ...rest } = record;
  const sizes = { length: lengthBytes, synced: syncedBytes, file: fileBytes ?? null };
  return { handle: handleName(handle), path, ...rest, ...sizes };
}

function jsonWriters({ writers }: VerifiedChunk): Array<Record<string, unknown>> {
  return writers.map(([writer, row]) => ({ writer, ...row }));
}
