// Work that repeats by itself: starts it, logs what fails, and ends it so that nothing runs on when stop settles.
import { every } from '../lib/clock.js';
import type { Platform } from '../lib/platform.js';
import { asGfsError } from '../protocol/errors.js';

export class Background {
  private readonly loops: Array<{ stop(): void }> = [];
  private readonly running = new Set<Promise<void>>();
  private isStopped = false;

  constructor(
    private readonly platform: Platform,
    /** What keeps work from being done is known, and was logged where it happened. */
    private readonly isHindered: () => boolean,
  ) {}

  /** Does `work` again and again, `everyMs` after it was done. A failure is logged and ends nothing. */
  every(name: string, everyMs: number, work: () => Promise<void> | void): void {
    this.loops.push(every(this.platform.clock, everyMs, () => this.once(name, work)));
  }

  /** Does `work` once, now. Never rejects. */
  once(name: string, work: () => Promise<void> | void): Promise<void> {
    if (this.isStopped) return Promise.resolve();
    const run = this.guarded(name, work);
    this.running.add(run);
    return run.finally(() => this.running.delete(run));
  }

  /** Does `work` once, when others have had their turn. */
  soon(name: string, work: () => void): void {
    this.platform.clock.soon(() => void this.once(name, work));
  }

  /** Starts nothing more; settles when what runs is done. */
  async stop(): Promise<void> {
    this.isStopped = true;
    for (const loop of this.loops) loop.stop();
    await Promise.all([...this.running]);
  }

  private async guarded(name: string, work: () => Promise<void> | void): Promise<void> {
    try {
      await work();
    } catch (error) {
      const { code, message } = asGfsError(error);
      // Stopping and a failed store end the process; they were logged where they happened.
      if (code === 'STOPPING' || code === 'STORE_FAILED' || this.isHindered()) return;
      this.platform.logger.error(
        { work: name, code, reason: message, stack: error instanceof Error ? error.stack : undefined },
        'background work failed',
      );
    }
  }
}
