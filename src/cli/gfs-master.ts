// The program gfs-master: `format` makes a cluster, `serve` runs its master. It reads the command line and builds the real parts; nothing else.
import { Command } from 'commander';
import { countSetting, sizeSetting } from '../lib/settings.js';
import { MASTER_SETTINGS } from '../master/settings.js';
import { LIMITS } from '../protocol/limits.js';
import { addInspectCommand } from './commands/inspect-master.js';
import { checkPidFile, runDaemon } from './daemon.js';
import { runProgram, usageError } from './exit.js';
import { addCommonOptions, addSettings, type CommonOptions, checkDirectoryOption, settingsFrom } from './options.js';
import { ownIds } from './own-ids.js';
import { Reopening } from './reopening.js';
import { VERSION } from './version.js';

/** What belongs to the whole cluster and is fixed for its life. */
export const FORMAT_SETTINGS = {
  chunkSize: sizeSetting(
    LIMITS.chunkSizeBytesDefault,
    'size at which a chunk is full and the file goes on in the next',
    {
      min: LIMITS.chunkSizeBytesMin,
      max: LIMITS.chunkSizeBytesMax,
    },
  ),
  replicas: countSetting(3, 'copies of every chunk', { min: 1, max: LIMITS.replicasMax }),
  minReplicas: countSetting(2, 'copies without which nothing is written', { min: 1, max: LIMITS.replicasMax }),
};

const STOP_MS_MAX = 10_000;

function main(): Promise<void> {
  const program = new Command('gfs-master')
    .description(
      'The master of a GFS cluster: it keeps the names, knows where every chunk is, and heals. File data never passes through it.',
    )
    .version(VERSION);

  const format = program
    .command('format')
    .description('make a new, empty cluster in a directory that holds none yet')
    .requiredOption('--data <DIR>', 'directory of the metadata; made when absent');
  addSettings(format, FORMAT_SETTINGS);
  addCommonOptions(format, { logLevel: 'warn' });
  format.action(options => formatCluster(options));

  const serve = program
    .command('serve')
    .description('serve a cluster that `gfs-master format` made, until SIGTERM or SIGINT')
    .requiredOption('--data <DIR>', 'directory of the metadata')
    .option('--pid-file <FILE>', 'write the process id here when ready');
  addSettings(serve, MASTER_SETTINGS);
  addCommonOptions(serve, { logLevel: 'info' });
  serve.action(options => serveCluster(options));

  addInspectCommand(program);
  program.addHelpText(
    'after',
    `
Example:
  gfs-master format --data /srv/gfs/master --chunk-size 64MiB --replicas 3 --min-replicas 2
  gfs-master serve --data /srv/gfs/master --listen 127.0.0.1:9400
  gfs-master inspect --data /srv/gfs/master

Sizes are written like 64KiB or 1MiB, durations like 300ms, 2s or 1d. Exit codes: 0 done, 1 failed, 2 wrong usage.`,
  );
  return runProgram(program);
}

async function formatCluster(options: CommonOptions & { data: string } & Record<string, unknown>): Promise<void> {
  const settings = settingsFrom(options, FORMAT_SETTINGS);
  checkDirectoryOption('--data', options.data);
  if (settings.minReplicas > settings.replicas)
    throw usageError(`--min-replicas ${settings.minReplicas}: is more than --replicas ${settings.replicas}`);
  const { buildPlatform } = await import('./build-platform.js');
  const { formatMaster } = await import('../master/format.js');
  const platform = buildPlatform(options, 'gfs-master');
  const { clusterId } = await formatMaster(platform, { ...settings, data: options.data, owner: ownIds() });
  process.stdout.write(`gfs-master formatted ${options.data}: cluster ${clusterId}\n`);
}

async function serveCluster(
  options: CommonOptions & { data: string; pidFile?: string } & Record<string, unknown>,
): Promise<void> {
  const settings = settingsFrom(options, MASTER_SETTINGS);
  checkDirectoryOption('--data', options.data);
  checkPidFile(options.pidFile);
  await runDaemon({
    name: 'gfs-master',
    ...(options.pidFile === undefined ? {} : { pidFile: options.pidFile }),
    stopMsMax: STOP_MS_MAX,
    start: async () => {
      const { buildHeldPlatform } = await import('./build-platform.js');
      const { Master } = await import('../master/master.js');
      const { platform, release } = buildHeldPlatform(options, 'gfs-master');
      const own = { ...settings, data: options.data, secret: options.secretFile?.content };
      const master = new Reopening(
        platform,
        (events, listen = settings.listen) => new Master(platform, { ...own, ...events, listen }),
      );
      const address = await master.start();
      release();
      const { promise: ended } = master.ended;
      return { readyLine: `gfs-master ready on ${address}`, ended, stop: () => master.stop() };
    },
  });
}

await main();
