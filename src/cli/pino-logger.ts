// Logger over pino, the only file that knows the package: one JSON object a line, to standard error or a file.
// Lines are written in the background and dropped when the reader is too far behind, so that a stuck pipe never stops a server.
import { openSync } from 'node:fs';
import { pino } from 'pino';
import type { LogFields, Logger } from '../lib/logger.js';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

const STANDARD_ERROR = 2;
/** Bytes of lines waiting to be written; newer ones are dropped above it. */
const BACKLOG_BYTES_MAX = 4 * 1024 * 1024;

export interface PinoLoggerOptions {
  level: LogLevel;
  /** A file to append to; standard error without it. */
  file?: string;
  /** Fields of every line, such as the name of the program. */
  fields?: LogFields;
}

/** Throws an Error with an errno code when the file cannot be opened. What is still queued is written when the process exits by itself. */
export function pinoLogger(options: PinoLoggerOptions): Logger {
  const destination = pino.destination({
    dest: options.file === undefined ? STANDARD_ERROR : openSync(options.file, 'a', 0o644),
    sync: false,
    maxLength: BACKLOG_BYTES_MAX,
  });
  // What a full disk does not take stays in the backlog and is tried again with the next line. Unheard, the event would end the process.
  destination.on('error', () => undefined);
  return pino(
    {
      level: options.level,
      base: { pid: process.pid, ...options.fields },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: label => ({ level: label }) },
      serializers: { err: pino.stdSerializers.err, error: pino.stdSerializers.err, cause: pino.stdSerializers.err },
    },
    destination,
  );
}
