// gfs-master inspect: what is on the disk of a master that does not run.
import { type Command, Option } from 'commander';
import { INSPECT_KINDS, type InspectedStore, type InspectKind, inspectStore } from '../../master/inspection.js';
import { handleName } from '../../protocol/ids.js';
import { EXIT, usageError } from '../exit.js';
import { addCommonOptions, type CommonOptions, checkDirectoryOption } from '../options.js';
import { print, printJson } from './output.js';
import { showBytes, showTime, table } from './table.js';

type InspectOptions = CommonOptions & { data: string; list?: InspectKind[]; json?: boolean };

export function addInspectCommand(program: Command): void {
  const command = program
    .command('inspect')
    .description('show what the metadata on the disk says, and whether it contradicts itself; the master must not run')
    .requiredOption('--data <DIR>', 'directory of the metadata')
    .addOption(new Option('--list <KIND...>', 'rows to show').argParser(parseKinds))
    .option('--json', 'print one JSON value for programs')
    .addHelpText(
      'after',
      `
Kinds of rows: ${INSPECT_KINDS.join(', ')}. Run it as the user that the master runs as: LevelDB tidies its files up when they are opened.
Ends with 0 when the metadata is consistent, 1 when it is not.

Example:
  gfs-master inspect --data /srv/gfs/master --list names chunks`,
    );
  addCommonOptions(command, { logLevel: 'warn' });
  command.action(options => inspect(options));
}

function parseKinds(text: string, earlier: InspectKind[] | undefined): InspectKind[] {
  if (!(INSPECT_KINDS as readonly string[]).includes(text))
    throw usageError(`--list ${text}: is not one of ${INSPECT_KINDS.join(', ')}`);
  return [...(earlier ?? []), text as InspectKind];
}

async function inspect(options: InspectOptions): Promise<void> {
  checkDirectoryOption('--data', options.data);
  const { buildPlatform } = await import('../build-platform.js');
  const found = await inspectStore(buildPlatform(options, 'gfs-master'), options.data, options.list ?? []);
  if (options.json) printJson(found);
  else show(found);
  if (found.problems.length > 0) process.exitCode = EXIT.failed;
}

function show({ cluster, counters, servers, problems, lists }: InspectedStore): void {
  print(`cluster ${cluster.clusterId}, format ${cluster.formatVersion}, made ${showTime(cluster.createdMs)}`);
  print(
    `chunks of ${showBytes(cluster.chunkSizeBytes)}, ${cluster.replicas} copies, at least ${cluster.minReplicas}; ` +
      `next inode ${counters.nextInode}, next chunk ${handleName(counters.nextHandle as never)}`,
  );
  print(
    `${counters.files} files, ${counters.directories} directories, ${counters.trash} in the trash; ` +
      `${counters.chunks} chunks, ${counters.openChunks} open, ${counters.garbage} garbage`,
  );
  if (servers.length > 0)
    print(
      table(
        ['server', 'address', 'location', 'state'],
        servers.map(({ id, address, location, state }) => [id, address, location, state]),
      ),
    );
  for (const [kind, rows] of Object.entries(lists)) {
    print(`${kind}: ${rows.length}`);
    for (const row of rows) print(`  ${showRow(row)}`);
  }
  for (const problem of problems) print(`wrong: ${problem}`);
  print(problems.length === 0 ? 'the metadata is consistent' : `${problems.length} contradictions`);
}

/** field=value …, the path first where there is one. */
function showRow(row: Record<string, unknown>): string {
  const fields = Object.entries(row).filter(([name]) => name !== 'path');
  const shown = fields.map(
    ([name, value]) => `${name}=${name === 'handle' ? handleName(value as never) : text(value)}`,
  );
  return [...(row.path === undefined ? [] : [String(row.path)]), ...shown].join(' ');
}

function text(value: unknown): string {
  return typeof value === 'object' && value !== null ? JSON.stringify(value) : String(value);
}
