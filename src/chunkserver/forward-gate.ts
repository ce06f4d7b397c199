// Lets small appends of one chunk go on to the next replica in batches: while one batch is on its way the rest gathers, and leaves together once
// that is answered. So many appenders cost the chain little more than one, and a lone append never waits. It keeps order and sends nothing itself.
import type { Clock, Timer } from '../lib/clock.js';
import { BOUNDS } from './settings.js';

interface Waiting {
  lengthBytes: number;
  go: (leave: () => void) => void;
}

export class ForwardGate {
  private readonly waiting: Waiting[] = [];
  /** Of the batch that is on its way. */
  private unanswered = 0;
  /** Most appends that were here at the same time since the last batch left: as many are expected to make up the next one. */
  private expected = 1;
  private present = 0;
  private patience: Timer | undefined;
  /** The batch that is being sent still takes what comes in this turn. */
  private isOpen = false;

  constructor(private readonly clock: Clock) {}

  /**
   * Calls `go` when the append may be sent, at once or later, in the order of the calls; `go` must call what it is given once the append was answered.
   */
  enter(lengthBytes: number, go: (leave: () => void) => void): void {
    if (isLarge(lengthBytes) && this.waiting.length === 0) {
      go(() => undefined);
      return;
    }
    this.present++;
    this.expected = Math.max(this.expected, this.present);
    this.waiting.push({ lengthBytes, go });
    if (this.isOpen) this.sendAll();
    else this.sendIfGathered();
  }

  private sendIfGathered(): void {
    if (this.unanswered > 0 || this.isOpen || this.waiting.length === 0) return;
    if (this.waiting.length >= Math.min(this.expected, BOUNDS.forwardBatchMax)) {
      this.begin();
      return;
    }
    this.patience ??= this.clock.setTimer(BOUNDS.forwardPatienceMs, () => {
      this.patience = undefined;
      if (this.unanswered === 0 && !this.isOpen) this.begin();
    });
  }

  private begin(): void {
    this.patience?.cancel();
    this.patience = undefined;
    this.expected = this.present;
    this.isOpen = true;
    this.sendAll();
    this.clock.soon(() => {
      this.isOpen = false;
      this.sendIfGathered();
    });
  }

  private sendAll(): void {
    for (const { go } of this.waiting.splice(0)) {
      this.unanswered++;
      go(() => {
        this.unanswered--;
        this.present--;
        this.sendIfGathered();
      });
    }
  }
}

/** Large appends are streams: they fill the chain by themselves, and gain nothing by company. */
function isLarge(lengthBytes: number): boolean {
  return lengthBytes >= BOUNDS.forwardAloneBytes;
}
