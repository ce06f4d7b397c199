// How many bytes a second passed lately: a sum over the last seconds, for reports. It limits nothing (copy-limits.ts does).

const WINDOW_S = 30;
const SECOND_MS = 1_000;

export class RateMeter {
  /** Bytes of each second of the window, by the number of the second. INVARIANT: at most WINDOW_S entries. */
  private readonly seconds = new Map<number, number>();

  add(bytes: number, nowMs: number): void {
    const second = Math.floor(nowMs / SECOND_MS);
    this.seconds.set(second, (this.seconds.get(second) ?? 0) + bytes);
    this.forget(second);
  }

  /** Over the window, or since the oldest bytes in it. */
  bytesPerSecond(nowMs: number): number {
    const now = Math.floor(nowMs / SECOND_MS);
    this.forget(now);
    let bytes = 0;
    let first = now;
    for (const [second, count] of this.seconds) {
      bytes += count;
      first = Math.min(first, second);
    }
    return Math.round(bytes / (now - first + 1));
  }

  private forget(now: number): void {
    for (const second of this.seconds.keys()) if (second <= now - WINDOW_S) this.seconds.delete(second);
  }
}
