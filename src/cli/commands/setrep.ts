// gfs setrep: how many copies files have, and what is made in a directory.
import type { Command } from 'commander';
import type { FileSystemClient, Where } from '../../client/types.js';
import { LIMITS } from '../../protocol/limits.js';
import type { AskMaster } from '../connect.js';
import { usageError } from '../exit.js';
import {
  about,
  asOperator,
  childOf,
  optionsOf,
  placeOf,
  print,
  printJson,
  type SessionOptions,
  withClient,
} from './session.js';
import { howMany } from './table.js';

type Totals = { files: number; directories: number; changed: number; shared: number };

export function addReplicationCommand(program: Command): void {
  program
    .command('setrep')
    .description('set how many copies a file has; of a directory, what files and directories made in it later get')
    .argument('<N>', `copies of every chunk, 1 to ${LIMITS.replicasMax}`)
    .argument('<PATH...>', 'paths in the file system')
    .option('-R, --recursive', 'directories with all that is in them')
    .addHelpText(
      'after',
      `
The chunk that is being written is closed at its length, and the file goes on in one with the new number. Copies are made and taken away in the
background; gfs report and gfs fsck show how far that is. A chunk that a snapshot shares never loses copies that the other file wants.

Examples:
  gfs setrep 5 /important.log
  gfs setrep -R 2 /scratch`,
    )
    .action((number, paths, _, command) => setReplication(number, paths, optionsOf(command)));
}

async function setReplication(
  text: string,
  paths: readonly string[],
  options: SessionOptions & { recursive?: boolean },
): Promise<void> {
  const goal = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (goal < 1 || goal > LIMITS.replicasMax)
    throw usageError(`${text}: is not a number of copies, 1 to ${LIMITS.replicasMax}`);
  const places = paths.map(placeOf);
  const totals: Totals = { files: 0, directories: 0, changed: 0, shared: 0 };
  const isRecursive = options.recursive === true;
  await withClient(options, client =>
    asOperator(options, async ask => {
      for (const [i, where] of places.entries())
        await about(paths[i]!, () => setBelow(where, { client, ask, goal, isRecursive, totals }));
    }),
  );
  if (options.json) return printJson({ goal, ...totals });
  const { files, directories, changed } = totals;
  print(
    `${howMany(goal, 'copy')} for ${howMany(files, 'file')} (${howMany(changed, 'chunk')} changed) and ${howMany(directories, 'directory')}`,
  );
  if (totals.shared > 0) print(`with more copies, because other files share them: ${howMany(totals.shared, 'chunk')}`);
}

interface Job {
  client: FileSystemClient;
  ask: AskMaster;
  goal: number;
  isRecursive: boolean;
  totals: Totals;
}

async function setBelow(where: Where, job: Job): Promise<void> {
  const { client, ask, goal, totals } = job;
  const { attributes, changed, shared } = await ask('setReplication', { where, goal });
  totals.changed += changed;
  totals.shared += shared;
  if (attributes.type !== 'directory') {
    totals.files++;
    return;
  }
  totals.directories++;
  if (!job.isRecursive) return;
  for (let after = ''; ; ) {
    const page = await client.readDirectory(attributes.inode, after);
    for (const { name, attributes: child } of page.entries) {
      const place = childOf(where, name);
      if (child.type !== 'symlink') await about(`/${place.path}`, () => setBelow(place, job));
    }
    if (page.end || page.entries.length === 0) return;
    after = page.entries[page.entries.length - 1]!.name;
  }
}
