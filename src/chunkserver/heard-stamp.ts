// The highest stamp of the metadata that a master of this cluster told: kept beside the index of every disk and named at the next registration, so that a
// master on an old copy finds out. It is never lowered, and this server draws no conclusion from it.
import type { Clock } from '../lib/clock.js';
import type { WireStamp } from '../protocol/messages.js';
import type { DataDirectory } from './data-directory.js';
import { BOUNDS } from './settings.js';

export class HeardStamp {
  private stamp: WireStamp | undefined;
  private saved: WireStamp | undefined;
  private savedMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly disks: readonly DataDirectory[],
    private readonly clock: Clock,
  ) {
    for (const disk of disks) this.raise(disk.index.stamp());
    this.saved = this.stamp;
  }

  get highest(): WireStamp | undefined {
    return this.stamp;
  }

  /** Settles when it is written down, if it is time for that: that of another start of the master at once, and on the disk. */
  async hear(told: WireStamp | undefined): Promise<void> {
    this.raise(told);
    if (this.stamp?.start !== this.saved?.start) await this.save({ sync: true });
    else if (this.clock.monotonicMs() - this.savedMs >= BOUNDS.stampSaveMs) await this.save({ sync: false });
  }

  /** Writes down what is not yet. A disk that cannot be written fails. */
  async save(options: { sync: boolean }): Promise<void> {
    const { stamp } = this;
    if (!stamp || stamp.number === this.saved?.number) return;
    this.saved = stamp;
    this.savedMs = this.clock.monotonicMs();
    for (const disk of this.disks) {
      if (disk.failure) continue;
      try {
        await disk.index.saveStamp(stamp, options);
      } catch (error) {
        disk.failIndex(error);
      }
    }
  }

  private raise(told: WireStamp | undefined): void {
    if (told && told.number > (this.stamp?.number ?? 0)) this.stamp = told;
  }
}
