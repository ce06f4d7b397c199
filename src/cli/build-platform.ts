// The real platform as the options of a command line want it.
import type { Logger } from '../lib/logger.js';
import type { Platform } from '../lib/platform.js';
import { usageError } from './exit.js';
import { HeldLog } from './held-log.js';
import type { CommonOptions } from './options.js';
import { pinoLogger } from './pino-logger.js';
import { systemPlatform } from './system-platform.js';

/** Throws USAGE when the log file cannot be opened. */
export function buildPlatform(options: CommonOptions, program: string): Platform {
  return systemPlatform({ logger: buildLogger(options, program) });
}

/**
 * For programs whose start may fail: their log waits until `release`, so that a failed start leaves one line on standard error and not two. A log file
 * gets everything at once.
 */
export function buildHeldPlatform(
  options: CommonOptions,
  program: string,
): { platform: Platform; release: () => void } {
  const logger = buildLogger(options, program);
  if (options.logFile !== undefined) return { platform: systemPlatform({ logger }), release: () => undefined };
  const held = new HeldLog();
  return { platform: systemPlatform({ logger: held.logger(logger) }), release: () => held.release() };
}

function buildLogger(options: CommonOptions, program: string): Logger {
  const { logLevel: level, logFile } = options;
  try {
    return pinoLogger({ level, fields: { program }, ...(logFile === undefined ? {} : { file: logFile }) });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (logFile === undefined || code === undefined) throw error;
    throw usageError(`--log-file ${logFile}: cannot be opened (${code})`);
  }
}
