// A progress bar on a terminal, and nothing elsewhere.
import { showBytes } from './table.js';

const WIDTH = 30;
const REDRAW_MS = 100;

export class Progress {
  private done = 0;
  private drawnMs = 0;
  private readonly startMs = Date.now();
  private readonly isShown: boolean;

  /** `total` is unknown for pipes. */
  constructor(
    private readonly label: string,
    private readonly total: number | undefined,
    isQuiet: boolean,
  ) {
    this.isShown = process.stderr.isTTY === true && !isQuiet;
  }

  add(bytes: number): void {
    this.done += bytes;
    if (!this.isShown || Date.now() - this.drawnMs < REDRAW_MS) return;
    this.draw();
  }

  /** Leaves the last state on its line. */
  end(): void {
    if (!this.isShown) return;
    this.draw();
    process.stderr.write('\n');
  }

  private draw(): void {
    this.drawnMs = Date.now();
    const seconds = Math.max(0.001, (this.drawnMs - this.startMs) / 1000);
    const rate = `${showBytes(Math.round(this.done / seconds))}/s`;
    process.stderr.write(`\r\x1b[K${this.label} ${this.bar()}${showBytes(this.done)} ${rate}`);
  }

  private bar(): string {
    if (!this.total) return '';
    const share = Math.min(1, this.done / this.total);
    const full = Math.round(share * WIDTH);
    return `[${'#'.repeat(full)}${'.'.repeat(WIDTH - full)}] ${Math.floor(share * 100)} % `;
  }
}
