// The program gfs-mount: it reads the command line, goes to the background, and keeps one mount until somebody unmounts it.
import { join } from 'node:path';
import { Argument, Command, Option } from 'commander';
import { silentLogger } from '../lib/logger.js';
import { sizeSetting } from '../lib/settings.js';
import { MOUNT_SETTINGS } from '../mount/settings.js';
import { LIMITS } from '../protocol/limits.js';
import { detach, isDetached, report } from './background.js';
import { checkPidFile, runDaemon } from './daemon.js';
import { EXIT, failureOf, runProgram, usageError } from './exit.js';
import { defaultDataDirectory, makeDataDirectory } from './local-cluster.js';
import { parseMountOptions } from './mount-options.js';
import {
  addCommonOptions,
  addressOption,
  addSettings,
  type CommonOptions,
  checkDirectoryOption,
  checkSetting,
  settingsFrom,
} from './options.js';
import { VERSION } from './version.js';

const TRANSPORTS = ['auto', 'native', 'kernel'] as const;
/** Ending has a deadline of its own (mounting.ts); this one is for programs of the system that hang. */
const STOP_MS_MAX = 5_000;
/** What was given up, such as appends to servers that do not answer, may keep the process no longer than this. */
const EXIT_MS_MAX = 100;
const CHUNK_SIZE = sizeSetting(LIMITS.chunkSizeBytesDefault, '', {
  min: LIMITS.chunkSizeBytesMin,
  max: LIMITS.chunkSizeBytesMax,
});

interface Options extends CommonOptions {
  master?: string;
  data?: string;
  chunkSize?: string;
  foreground?: boolean;
  option?: string[];
  fuse: (typeof TRANSPORTS)[number];
  pidFile?: string;
  location?: string;
}

function main(): Promise<void> {
  const program = new Command('gfs-mount')
    .description(
      'Mounts a GFS cluster as a directory. Without --master it brings up a cluster of its own on this machine, one master and three chunkservers, and ends it with the mount.',
    )
    .version(VERSION)
    .addArgument(new Argument('<MOUNTPOINT>', 'an existing directory'))
    .addOption(addressOption('master', 'mount the cluster of this master instead of an embedded one', 'GFS_MASTER'))
    .option('--data <DIR>', `directory of the embedded cluster (default: ${defaultDataDirectory()})`)
    .option('--chunk-size <SIZE>', 'chunk size of the embedded cluster, at its first start (default: 64MiB)')
    .option('-f, --foreground', 'stay in front instead of going to the background')
    .option(
      '-o, --option <LIST>',
      'mount options such as ro, allow_other, noexec, fsname=NAME; separated by commas',
      collect,
    )
    .addOption(
      new Option(
        '--fuse <TRANSPORT>',
        `how to talk to the kernel: ${TRANSPORTS.join(', ')}; native (what auto takes where it can) cannot set one time alone (tar x, touch -m) nor lock between mounts, kernel can and needs root`,
      )
        .default('auto')
        .argParser(parseTransport),
    )
    .option('--pid-file <FILE>', 'write the process id here when the mount works')
    .option('--location <PATH>', 'where this machine is, such as /az/pod/rack/host: near replicas are read first');
  addSettings(program, MOUNT_SETTINGS);
  addCommonOptions(program, { logLevel: 'info' });
  program.addHelpText(
    'after',
    `
Examples:
  gfs-mount /mnt/gfs                             a cluster of its own, data under ${defaultDataDirectory()}
  gfs-mount --master 10.0.0.1:9400 /mnt/gfs      a cluster that runs already (GFS_MASTER works too)
  gfs-mount -f -o ro,allow_other /mnt/gfs        in front, read-only, for all users
  fusermount -u /mnt/gfs                         ends it: everything is flushed, nothing stays behind

Files can be written at their end only: >>, cp, tar, editors that replace the file all work; changing bytes in
the middle is refused with "Operation not supported". A mount in the background logs to mount.log in the data
directory, or where --log-file says. Sizes are written like 64KiB, durations like 300ms or 2s.
Exit codes: 0 done, 1 failed, 2 wrong usage.`,
  );
  program.action((mountPoint: string, options: Options) => mount(mountPoint, options));
  return runProgram(program);
}

async function mount(mountPoint: string, options: Options): Promise<void> {
  const settings = settingsFrom(options as unknown as Record<string, unknown>, MOUNT_SETTINGS);
  const list = parseMountOptions(options.option ?? []);
  const data = options.data ?? defaultDataDirectory();
  if (options.master === undefined) checkDirectoryOption('--data', data);
  else if (options.data !== undefined)
    throw usageError(`--data ${data}: is for the embedded cluster, not with --master`);
  if (options.chunkSize !== undefined) checkSetting('--chunk-size', CHUNK_SIZE, options.chunkSize);
  checkPidFile(options.pidFile);
  if (mountPoint === '') throw usageError('MOUNTPOINT : must not be empty');

  if (!options.foreground && !isDetached()) return goToBackground(mountPoint, options, data);
  const { startMount } = await import('./mounting.js');
  const request = {
    mountPoint,
    master: options.master,
    data,
    chunkSize: options.chunkSize,
    common: options,
    fuse: options.fuse,
    list,
    settings,
    location: options.location,
  };
  const owesReport = isDetached();
  try {
    await runDaemon({
      name: 'gfs-mount',
      ...(options.pidFile === undefined ? {} : { pidFile: options.pidFile }),
      stopMsMax: STOP_MS_MAX,
      start: async () => {
        const running = await startMount(request);
        return { ...running, readyLine: [running.embedded, running.readyLine].filter(Boolean).join('\n') };
      },
      onReady: readyLine => {
        if (owesReport) report({ ready: readyLine.split('\n') });
      },
    });
    setTimeout(() => process.exit(), EXIT_MS_MAX).unref();
  } catch (error) {
    if (!owesReport) throw error;
    const { message, exitCode } = failureOf(error);
    report({ failed: message, exitCode });
    process.exitCode = exitCode;
  }
}

async function goToBackground(mountPoint: string, options: Options, data: string): Promise<void> {
  const { checkMountPoint } = await import('./mount-point.js');
  await checkMountPoint(mountPoint, silentLogger);
  if (options.master === undefined) await makeDataDirectory(data);
  const state = options.master === undefined ? data : defaultDataDirectory();
  const result = await detach(options.logFile ?? join(state, 'mount.log'));
  if ('ready' in result) {
    for (const line of result.ready) process.stdout.write(`${line}\n`);
    return;
  }
  process.stderr.write(`gfs-mount: ${result.failed}\n`);
  process.exitCode = result.exitCode === EXIT.done ? EXIT.failed : result.exitCode;
}

function parseTransport(text: string): string {
  if (!(TRANSPORTS as readonly string[]).includes(text))
    throw usageError(`--fuse ${text}: is not one of ${TRANSPORTS.join(', ')}`);
  return text;
}

function collect(value: string, earlier: string[] | undefined): string[] {
  return [...(earlier ?? []), value];
}

await main();
