// gfs rm and mkdir: changing names.
import type { Command } from 'commander';
import type { FileSystemClient, Where } from '../../client/types.js';
import { GfsError, hasCode } from '../../protocol/errors.js';
import { usageError } from '../exit.js';
import { ownIds } from '../own-ids.js';
import { about, childOf, optionsOf, placeOf, printJson, type SessionOptions, withClient } from './session.js';

const DIRECTORY_MODE = 0o755;

export function addNameCommands(program: Command): void {
  program
    .command('rm')
    .description('remove files; they stay in the trash for a while')
    .argument('<PATH...>')
    .option('-r, --recursive', 'remove directories and all that is in them')
    .option('-f, --force', 'names that do not exist are fine')
    .action((paths, _, command) => remove(paths, optionsOf(command)));
  program
    .command('mkdir')
    .description('make directories')
    .argument('<PATH...>')
    .option('-p, --parents', 'make missing parents too; an existing directory is fine')
    .action((paths, _, command) => makeDirectories(paths, optionsOf(command)));
}

async function remove(
  paths: readonly string[],
  options: SessionOptions & { recursive?: boolean; force?: boolean },
): Promise<void> {
  const places = paths.map(placeOf);
  if (places.some(where => where.path === '')) throw usageError('/: the root directory cannot be removed');
  let removed = 0;
  await withClient(options, async client => {
    for (const [i, where] of places.entries()) {
      await about(paths[i]!, async () => {
        try {
          removed += await removeOne(client, where, options.recursive === true);
        } catch (error) {
          if (!options.force || !hasCode(error, 'NOT_FOUND')) throw error;
        }
      });
    }
  });
  if (options.json) printJson({ removed });
}

/** How many names went. */
async function removeOne(client: FileSystemClient, where: Where, isRecursive: boolean): Promise<number> {
  const { type, inode } = await client.lookup(where, { follow: false });
  if (type !== 'directory') {
    await client.unlink(where);
    return 1;
  }
  if (!isRecursive) throw new GfsError('IS_DIRECTORY', 'is a directory; remove it with rm -r');
  let removed = 0;
  // From the start each time: what was listed is gone.
  for (;;) {
    const { entries } = await client.readDirectory(inode, '');
    if (entries.length === 0) break;
    for (const { name } of entries) removed += await removeOne(client, childOf(where, name), true);
  }
  await client.removeDirectory(where);
  return removed + 1;
}

async function makeDirectories(
  paths: readonly string[],
  options: SessionOptions & { parents?: boolean },
): Promise<void> {
  const places = paths.map(placeOf);
  let made = 0;
  await withClient(options, async client => {
    for (const [i, where] of places.entries()) {
      await about(paths[i]!, async () => {
        if (options.parents) made += await makeWithParents(client, where);
        else {
          await client.makeDirectory(where, { mode: DIRECTORY_MODE, ...ownIds() });
          made++;
        }
      });
    }
  });
  if (options.json) printJson({ made });
}

async function makeWithParents(client: FileSystemClient, where: Where): Promise<number> {
  let made = 0;
  const parts = where.path === '' ? [] : where.path.split('/');
  for (let count = 1; count <= parts.length; count++) {
    const part = { start: where.start, path: parts.slice(0, count).join('/') };
    try {
      await client.makeDirectory(part, { mode: DIRECTORY_MODE, ...ownIds() });
      made++;
    } catch (error) {
      if (!hasCode(error, 'EXISTS')) throw error;
      const { type } = await client.lookup(part, { follow: true });
      if (type !== 'directory') throw new GfsError('NOT_DIRECTORY', `/${part.path}: is not a directory`);
    }
  }
  return made;
}
