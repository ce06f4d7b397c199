// A log that waits: its lines go on only after `release`, in order, and are never written when that does not come.
import type { LogFields, Logger } from '../lib/logger.js';

/** Older lines are dropped above it. */
const LINES_MAX = 1000;

export class HeldLog {
  private waiting: Array<() => void> | undefined = [];

  logger(target: Logger): Logger {
    const pass = (write: () => void): void => {
      if (this.waiting) {
        this.waiting.push(write);
        if (this.waiting.length > LINES_MAX) this.waiting.shift();
      } else write();
    };
    return {
      debug: (fields: LogFields, message: string) => pass(() => target.debug(fields, message)),
      info: (fields: LogFields, message: string) => pass(() => target.info(fields, message)),
      warn: (fields: LogFields, message: string) => pass(() => target.warn(fields, message)),
      error: (fields: LogFields, message: string) => pass(() => target.error(fields, message)),
      child: (fields: LogFields) => this.logger(target.child(fields)),
    };
  }

  release(): void {
    const { waiting } = this;
    this.waiting = undefined;
    for (const write of waiting ?? []) write();
  }
}
