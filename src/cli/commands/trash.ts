// gfs trash: what was deleted and can still be had back. Files are named by the path that they had, or by their inode where several had it.
import { Argument, type Command } from 'commander';
import { GfsError } from '../../protocol/errors.js';
import type { InodeId } from '../../protocol/ids.js';
import { LIMITS } from '../../protocol/limits.js';
import type { Reply } from '../../protocol/messages.js';
import { usageError } from '../exit.js';
import { about, askMaster, optionsOf, placeOf, print, printJson, type SessionOptions } from './session.js';
import { howMany, showBytes, showTime, table } from './table.js';

type Item = Reply<'listTrash'>['items'][number];
type TrashOptions = SessionOptions & { to?: string; all?: boolean; parents?: boolean; recursive?: boolean };

export function addTrashCommand(program: Command): void {
  program
    .command('trash')
    .description('list deleted files, give one its name back, or delete them for good')
    .addArgument(new Argument('<ACTION>', 'what to do').choices(['ls', 'restore', 'purge']))
    .argument('[FILE...]', 'the path that a file had, or its inode as gfs trash ls shows it')
    .option('--to <PATH>', 'restore: under this name instead of the old one')
    .option('-p, --parents', 'restore: make directories that are missing on the way')
    .option('-r, --recursive', 'restore: FILE was a directory; all its files of the trash, with their directories')
    .option('--all', 'purge: everything in the trash')
    .addHelpText(
      'after',
      `
Of several files that had the same path, the one deleted last is meant; the others are named by their inodes. How long files stay
is set at the master with --trash (a day). Directories do not go to the trash: made again, they belong to the owner of the file. What is purged cannot be had back; its space is free once --gc-grace has passed.

Examples:
  gfs trash ls
  gfs trash restore /logs/today
  gfs trash restore 1742 --to /logs/yesterday
  gfs trash restore -r /logs          what rm -r /logs deleted
  gfs trash purge --all`,
    )
    .action((action, files, _, command) => trash(action, files, optionsOf(command)));
}

async function trash(action: 'ls' | 'restore' | 'purge', files: string[], options: TrashOptions): Promise<void> {
  if (options.to !== undefined && action !== 'restore') throw usageError('--to: belongs to restore');
  if (options.parents && action !== 'restore') throw usageError('--parents: belongs to restore');
  if (options.recursive && action !== 'restore') throw usageError('--recursive: belongs to restore');
  if (options.recursive && options.to !== undefined) throw usageError('--to: takes one file, not a directory');
  if (options.all && action !== 'purge') throw usageError('--all: belongs to purge');
  if (action === 'ls') return list(files, options);
  if (action === 'restore') return restore(files, options);
  return purge(files, options);
}

async function list(files: readonly string[], options: TrashOptions): Promise<void> {
  const items = await readTrash(options);
  const shown = files.length === 0 ? items : files.flatMap(file => matches(items, file));
  if (options.json) return printJson(shown.map(jsonItem));
  const rows = shown.map(item => [
    String(item.inode),
    showBytes(item.sizeBytes),
    showTime(item.deletedMs),
    showTime(item.dueMs),
    `/${item.path}`,
  ]);
  if (rows.length > 0) print(table(['inode', 'size', 'deleted', 'kept until', 'path'], rows));
}

async function restore(files: readonly string[], options: TrashOptions): Promise<void> {
  if (files.length === 0) throw usageError('FILE: say which file to restore');
  if (options.to !== undefined && files.length > 1) throw usageError(`--to ${options.to}: takes one file`);
  const to = options.to === undefined ? undefined : placeOf(options.to);
  const items = await readTrash(options);
  const restored: Array<Record<string, unknown>> = [];
  const parents = options.parents === true || options.recursive === true;
  const chosen = files.flatMap(file => (options.recursive ? below(items, file) : [newest(items, file)]));
  for (const item of chosen) {
    const path = to ? `/${to.path}` : `/${item.path}`;
    const request = { inode: item.inode, to: to ?? placeOf(path), parents };
    await about(path, () => askMaster(options, 'restoreTrash', request));
    restored.push({ inode: item.inode, path });
    if (!options.json) print(`restored ${path}`);
  }
  if (options.json) printJson({ restored });
}

async function purge(files: readonly string[], options: TrashOptions): Promise<void> {
  if ((files.length === 0) === !options.all) throw usageError('FILE: name files of the trash, or --all');
  const items = await readTrash(options);
  const chosen = options.all ? items : files.map(file => newest(items, file));
  let purged = 0;
  for (let from = 0; from < chosen.length; from += LIMITS.trashPageMax) {
    const inodes = chosen.slice(from, from + LIMITS.trashPageMax).map(({ inode }) => inode as InodeId);
    purged += (await askMaster(options, 'purgeTrash', { inodes })).purged;
  }
  if (options.json) printJson({ purged });
  else print(`${howMany(purged, 'file')} gone for good`);
}

async function readTrash(options: SessionOptions): Promise<Item[]> {
  const items: Item[] = [];
  for (;;) {
    const last = items[items.length - 1];
    const after = last ? { after: { dueMs: last.dueMs, inode: last.inode } } : {};
    const page = await askMaster(options, 'listTrash', { ...after, limit: LIMITS.trashPageMax });
    items.push(...page.items);
    if (page.end) return items;
  }
}

/** The files that had this path, or the one with this inode; those deleted last come first. */
function matches(items: readonly Item[], file: string): Item[] {
  const found = /^\d+$/.test(file)
    ? items.filter(({ inode }) => inode === Number(file))
    : items.filter(({ path }) => path === placeOf(file).path);
  return found.sort((a, b) => b.deletedMs - a.deletedMs || b.inode - a.inode);
}

/** Of each path below a directory that was removed, the file deleted last. */
function below(items: readonly Item[], directory: string): Item[] {
  const { path } = placeOf(directory);
  const isBelow = (item: Item): boolean => path === '' || item.path.startsWith(`${path}/`);
  const paths = [...new Set(items.filter(isBelow).map(item => item.path))].sort();
  if (paths.length === 0)
    throw new GfsError('NOT_FOUND', `${directory}: nothing below it is in the trash; gfs trash ls shows what is`);
  return paths.map(name => newest(items, `/${name}`));
}

function newest(items: readonly Item[], file: string): Item {
  const [item] = matches(items, file);
  if (!item) throw new GfsError('NOT_FOUND', `${file}: is not in the trash; gfs trash ls shows what is`);
  return item;
}

function jsonItem({ inode, path, sizeBytes, deletedMs, dueMs }: Item): Record<string, unknown> {
  return { inode, path: `/${path}`, size: sizeBytes, deletedMs, dueMs };
}
