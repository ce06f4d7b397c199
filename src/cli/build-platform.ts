// The real platform as the options of a command line want it.
import type { Platform } from '../lib/platform.js';
import { usageError } from './exit.js';
import type { CommonOptions } from './options.js';
import { pinoLogger } from './pino-logger.js';
import { systemPlatform } from './system-platform.js';

/** Throws USAGE when the log file cannot be opened. */
export function buildPlatform(options: CommonOptions, program: string): Platform {
  const { logLevel: level, logFile } = options;
  try {
    const logger = pinoLogger({ level, fields: { program }, ...(logFile === undefined ? {} : { file: logFile }) });
    return systemPlatform({ logger });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (logFile === undefined || code === undefined) throw error;
    throw usageError(`--log-file ${logFile}: cannot be opened (${code})`);
  }
}
