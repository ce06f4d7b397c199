// Logger into the simulator's trace, with the process before each line.
import type { LogFields, Logger } from '../../../src/lib/logger.js';
import type { SimProcess } from './sim-process.js';

export const SIM_LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type SimLogLevel = (typeof SIM_LOG_LEVELS)[number];

export class SimLogger implements Logger {
  readonly #process: SimProcess;
  readonly #level: SimLogLevel;
  readonly #fields: LogFields;

  constructor(process: SimProcess, level: SimLogLevel, fields: LogFields = {}) {
    this.#process = process;
    this.#level = level;
    this.#fields = fields;
  }

  debug(fields: LogFields, message: string): void {
    this.#log('debug', fields, message);
  }

  info(fields: LogFields, message: string): void {
    this.#log('info', fields, message);
  }

  warn(fields: LogFields, message: string): void {
    this.#log('warn', fields, message);
  }

  error(fields: LogFields, message: string): void {
    this.#log('error', fields, message);
  }

  child(fields: LogFields): Logger {
    return new SimLogger(this.#process, this.#level, { ...this.#fields, ...fields });
  }

  #log(level: SimLogLevel, fields: LogFields, message: string): void {
    if (!this.#process.isAlive || SIM_LOG_LEVELS.indexOf(level) < SIM_LOG_LEVELS.indexOf(this.#level)) return;
    const details = JSON.stringify({ ...this.#fields, ...fields }, toPlain);
    this.#process.simulator.trace(`${this.#process.name} ${level}: ${message} ${details}`);
  }
}

function toPlain(_key: string, value: unknown): unknown {
  if (value instanceof Error) return `${(value as { code?: string }).code ?? value.name}: ${value.message}`;
  return typeof value === 'bigint' ? value.toString() : value;
}
