// The program gfs-chunkserver: it reads the command line and builds the real parts; nothing else.
import { Command } from 'commander';
import { CHUNKSERVER_SETTINGS } from '../chunkserver/settings.js';
import { addInspectCommand } from './commands/inspect-chunkserver.js';
import { checkPidFile, runDaemon } from './daemon.js';
import { runProgram } from './exit.js';
import {
  addCommonOptions,
  addressOption,
  addSettings,
  type CommonOptions,
  checkDirectoryOption,
  DEFAULT_MASTER,
  settingsFrom,
} from './options.js';
import { Reopening } from './reopening.js';
import { VERSION } from './version.js';

const STOP_MS_MAX = 10_000;

function main(): Promise<void> {
  const program = new Command('gfs-chunkserver')
    .description(
      'A chunkserver of a GFS cluster: it keeps chunks as plain files, checks every byte it serves, and obeys the master.',
    )
    .version(VERSION);

  const serve = program
    .command('serve')
    .description('serve the chunks in one or more data directories, until SIGTERM or SIGINT')
    .requiredOption('--data <DIR>', 'directory of the chunks, made when absent; once per disk', collect)
    .addOption(addressOption('master', 'the master of the cluster', 'GFS_MASTER').default(DEFAULT_MASTER))
    .option('--pid-file <FILE>', 'write the process id here when ready');
  const { master: _, ...own } = CHUNKSERVER_SETTINGS as typeof CHUNKSERVER_SETTINGS & { master?: unknown };
  addSettings(serve, own);
  addCommonOptions(serve, { logLevel: 'info' });
  serve.action(options => serveChunks(options));

  addInspectCommand(program);
  program.addHelpText(
    'after',
    `
Example:
  gfs-chunkserver serve --data /disk1/gfs --data /disk2/gfs --master 127.0.0.1:9400 --listen 127.0.0.1:9411 --location /az1/pod1/rack1/host1
  gfs-chunkserver inspect --data /disk1/gfs --data /disk2/gfs

Sizes are written like 64KiB or 1MiB, durations like 300ms, 2s or 1d. Exit codes: 0 done, 1 failed, 2 wrong usage.`,
  );
  return runProgram(program);
}

async function serveChunks(
  options: CommonOptions & { data: string[]; master: string; pidFile?: string } & Record<string, unknown>,
): Promise<void> {
  const settings = settingsFrom(options, CHUNKSERVER_SETTINGS);
  // Of several disks one may have failed.
  for (const path of options.data) if (options.data.length === 1 || path === '') checkDirectoryOption('--data', path);
  checkPidFile(options.pidFile);
  await runDaemon({
    name: 'gfs-chunkserver',
    ...(options.pidFile === undefined ? {} : { pidFile: options.pidFile }),
    stopMsMax: STOP_MS_MAX,
    start: async () => {
      const { buildHeldPlatform } = await import('./build-platform.js');
      const { Chunkserver } = await import('../chunkserver/chunkserver.js');
      const { Carried } = await import('../chunkserver/carried.js');
      const { platform, release } = buildHeldPlatform(options, 'gfs-chunkserver');
      const { data, master, secretFile } = options;
      const own = { ...settings, data, master, secret: secretFile?.content, carried: new Carried() };
      const server = new Reopening(
        platform,
        (events, listen = settings.listen) => new Chunkserver(platform, { ...own, ...events, listen }),
      );
      const address = await server.start();
      release();
      const { promise: ended } = server.ended;
      return { readyLine: `gfs-chunkserver ready on ${address}`, ended, stop: () => server.stop() };
    },
  });
}

function collect(value: string, earlier: string[] | undefined): string[] {
  return [...(earlier ?? []), value];
}

await main();
