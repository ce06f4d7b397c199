// gfs ls, cat and get: looking at names and taking content out.
import { createWriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Writable } from 'node:stream';
import type { Command } from 'commander';
import type { Attributes, FileSystemClient, Where } from '../../client/types.js';
import { GfsError } from '../../protocol/errors.js';
import { Progress } from './progress.js';
import { about, optionsOf, placeOf, print, printJson, type SessionOptions, withClient } from './session.js';
import { showMode, showTime, table } from './table.js';

const READ_BYTES = 1024 * 1024;
/** A file printed as JSON is held in memory. */
const JSON_BYTES_MAX = 64 * 1024 * 1024;

export function addReadCommands(program: Command): void {
  program
    .command('ls')
    .description('list a directory, or show one file')
    .argument('[PATH]', 'a path in the file system', '/')
    .option('-l, --long', 'with mode, owner, size and time')
    .action((path, _, command) => list(path, optionsOf(command)));
  program
    .command('cat')
    .description('print the content of files')
    .argument('<PATH...>')
    .action((paths, _, command) => cat(paths, optionsOf(command)));
  program
    .command('get')
    .description('copy a file out of the file system; shows its progress on a terminal')
    .argument('<PATH>', 'a path in the file system')
    .argument('[LOCAL]', 'a local file or directory, - for standard output', '.')
    .action((path, local, _, command) => get(path, local, optionsOf(command)));
}

async function list(path: string, options: SessionOptions & { long?: boolean }): Promise<void> {
  const where = placeOf(path);
  const entries = await withClient(options, client => about(path, () => readEntries(client, path, where)));
  if (options.json) return printJson(entries.map(({ name, attributes }) => ({ name, ...jsonAttributes(attributes) })));
  if (!options.long) {
    for (const { name, attributes } of entries) print(attributes.type === 'directory' ? `${name}/` : name);
    return;
  }
  const rows = entries.map(({ name, attributes }) => longRow(name, attributes));
  if (rows.length > 0) print(table(['mode', 'links', 'uid', 'gid', 'size', 'modified', 'name'], rows));
}

async function readEntries(
  client: FileSystemClient,
  path: string,
  where: Where,
): Promise<Array<{ name: string; attributes: Attributes }>> {
  const attributes = await client.lookup(where, { follow: true });
  if (attributes.type !== 'directory') return [{ name: path, attributes }];
  const entries: Array<{ name: string; attributes: Attributes }> = [];
  for (let after = ''; ; ) {
    const page = await client.readDirectory(attributes.inode, after);
    for (const entry of page.entries) entries.push(entry);
    if (page.end || page.entries.length === 0) return entries;
    after = page.entries.at(-1)!.name;
  }
}

function longRow(name: string, attributes: Attributes): string[] {
  const { type, mode, nlink, uid, gid, sizeBytes, mtimeNs, target } = attributes;
  const shown = type === 'symlink' ? `${name} -> ${target}` : type === 'directory' ? `${name}/` : name;
  const numbers = [nlink, uid, gid, sizeBytes].map(String);
  return [showMode(type, mode), ...numbers, showTime(Number(mtimeNs / 1_000_000n)), shown];
}

function jsonAttributes(attributes: Attributes): Record<string, unknown> {
  const { inode, type, mode, uid, gid, nlink, sizeBytes, mtimeNs, target } = attributes;
  const modifiedMs = Number(mtimeNs / 1_000_000n);
  return { inode, type, size: sizeBytes, mode, uid, gid, links: nlink, modifiedMs, ...(target ? { target } : {}) };
}

async function cat(paths: readonly string[], options: SessionOptions): Promise<void> {
  paths.forEach(placeOf);
  await withClient(options, async client => {
    const results: unknown[] = [];
    for (const path of paths) {
      if (options.json) results.push({ path, ...(await readWhole(client, path)) });
      else await copyOut(client, path, process.stdout);
    }
    if (options.json) printJson(results);
  });
}

async function readWhole(client: FileSystemClient, path: string): Promise<{ size: number; base64: string }> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of contentOf(client, path)) {
    size += piece.length;
    if (size > JSON_BYTES_MAX) throw new GfsError('TOO_LARGE', `${path}: is too large for --json; use gfs get`);
    pieces.push(piece);
  }
  return { size, base64: Buffer.concat(pieces).toString('base64') };
}

async function get(path: string, local: string, options: SessionOptions): Promise<void> {
  const where = placeOf(path);
  await withClient(options, async client => {
    const { sizeBytes } = await about(path, () => client.lookup(where, { follow: true }));
    const progress = new Progress(basename(path), sizeBytes, options.json === true);
    if (local === '-') {
      await copyOut(client, path, process.stdout, progress);
      return;
    }
    const target = (await isDirectory(local)) ? join(local, basename(path)) : local;
    // Under another name until it is whole, so that a failure leaves no half file under this one.
    const temporary = `${target}.gfs-${process.pid}`;
    let bytes: number;
    try {
      const stream = createWriteStream(temporary);
      bytes = await copyOut(client, path, stream, progress);
      await new Promise<void>((resolve, reject) => {
        stream.once('error', reject);
        stream.end(resolve);
      });
      await rename(temporary, target);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
    progress.end();
    if (options.json) printJson({ path, local: target, size: bytes });
  });
}

async function copyOut(client: FileSystemClient, path: string, out: Writable, progress?: Progress): Promise<number> {
  let failure: Error | undefined;
  const onError = (error: Error): void => {
    failure = error;
  };
  out.on('error', onError);
  let bytes = 0;
  for await (const piece of contentOf(client, path)) {
    // A reader that has enough (`gfs cat f | head`) ends the command in peace.
    if ((failure as NodeJS.ErrnoException | undefined)?.code === 'EPIPE') return bytes;
    if (failure) throw failure;
    if (!out.write(piece)) await drained(out);
    bytes += piece.length;
    progress?.add(piece.length);
  }
  return bytes;
}

function drained(out: Writable): Promise<void> {
  return new Promise(resolve => {
    const done = (): void => {
      for (const event of ['drain', 'error', 'close']) out.removeListener(event, done);
      resolve();
    };
    for (const event of ['drain', 'error', 'close']) out.once(event, done);
  });
}

async function* contentOf(client: FileSystemClient, path: string): AsyncGenerator<Buffer> {
  const { inode, type } = await about(path, () => client.lookup(placeOf(path), { follow: true }));
  if (type === 'directory') throw new GfsError('IS_DIRECTORY', `${path}: is a directory`);
  const file = await about(path, () => client.openInode(inode));
  try {
    for (let offset = 0; ; ) {
      const at = offset;
      const pieces = await about(path, () => file.read(at, READ_BYTES));
      const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
      if (bytes === 0) return;
      offset += bytes;
      yield* pieces;
    }
  } finally {
    await file.close();
  }
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
