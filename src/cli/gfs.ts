// The program gfs: what people and operators do without mounting. Each command has a file in commands/; this one puts them together.
import { Command, Option } from 'commander';
import { addClusterCommands } from './commands/cluster.js';
import { addForgetCommand } from './commands/forget.js';
import { addCheckCommand } from './commands/fsck.js';
import { addLockCommand } from './commands/lock.js';
import { addNameCommands } from './commands/names.js';
import { addReadCommands } from './commands/read.js';
import { addRecoverCommand } from './commands/recover.js';
import { addServerCommands } from './commands/servers.js';
import { GFS_SETTINGS } from './commands/session.js';
import { addReplicationCommand } from './commands/setrep.js';
import { addTrashCommand } from './commands/trash.js';
import { addWriteCommands } from './commands/write.js';
import { runProgram } from './exit.js';
import { addCommonOptions, addressOption, addSettings } from './options.js';
import { VERSION } from './version.js';

function main(): Promise<void> {
  const program = new Command('gfs')
    .description('Works with the files and the servers of a GFS cluster, without mounting it.')
    .version(VERSION)
    .usage('[options] COMMAND …');
  addReadCommands(program);
  addWriteCommands(program);
  addNameCommands(program);
  addClusterCommands(program);
  addLockCommand(program);
  addTrashCommand(program);
  addReplicationCommand(program);
  addServerCommands(program);
  addForgetCommand(program);
  addCheckCommand(program);
  addRecoverCommand(program);
  // Before the command or behind it: people write both.
  for (const command of [program, ...program.commands]) addConnectionOptions(command);
  for (const command of program.commands) command.addOption(new Option('--json', 'print one JSON value for programs'));
  program.addHelpText(
    'after',
    `
Examples:
  gfs --master 10.0.0.1:9400 ls -l /             GFS_MASTER=HOST:PORT works in place of --master
  echo line | gfs append /log                    one record, never split, at the end of the file
  gfs info /big.bin                              chunks, their replicas and flat files
  gfs fsck                                       is everything there, and as often as it should be?
  gfs drain 10.0.0.7:9410                        moves all chunks off a server, before it is stopped
  gfs trash restore /logs/today                  gives a deleted file its name back
  gfs lock /jobs/nightly -- ./run-the-job        runs a program while nobody else holds the lock

Without --master the embedded cluster of gfs-mount is used when there is one, else 127.0.0.1:9400.
Exit codes: 0 done, 1 failed, 2 wrong usage.`,
  );
  return runProgram(program);
}

function addConnectionOptions(command: Command): void {
  command.addOption(addressOption('master', 'the master of the cluster', 'GFS_MASTER'));
  addSettings(command, GFS_SETTINGS);
  addCommonOptions(command, { logLevel: 'warn' });
}

await main();
