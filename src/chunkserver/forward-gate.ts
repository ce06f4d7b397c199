// Lets small appends of one chunk go on to the next replica in batches: while one batch is on its way the rest gathers, and leaves together once
// that is answered. So many appenders cost the chain little more than one, and a lone append never waits. It keeps order and sends nothing itself.
import type { Clock } from '../lib/clock.js';
import { BOUNDS } from './settings.js';

/** Sends an append on; calls `leave` once it was answered, whatever the answer. */
type Go = (leave: () => void) => void;

export class ForwardGate {
  private readonly waiting: Go[] = [];
  /** Of the batch that is on its way. */
  private unanswered = 0;
  /** What comes in the turn in which a batch leaves still goes with it. */
  private isOpen = false;

  constructor(private readonly clock: Clock) {}

  /** Calls `go` at once or later, in the order of the calls. */
  enter(lengthBytes: number, go: Go): void {
    // Large appends are streams: they fill the chain by themselves and gain nothing by company.
    if (lengthBytes >= BOUNDS.forwardAloneBytes && this.waiting.length === 0) {
      go(() => undefined);
      return;
    }
    this.waiting.push(go);
    if (this.isOpen || this.unanswered === 0) this.send();
  }

  private send(): void {
    if (!this.isOpen) {
      this.isOpen = true;
      this.clock.soon(() => {
        this.isOpen = false;
        this.sendIfAnswered();
      });
    }
    for (const go of this.waiting.splice(0)) {
      this.unanswered++;
      go(() => {
        this.unanswered--;
        this.sendIfAnswered();
      });
    }
  }

  private sendIfAnswered(): void {
    if (this.waiting.length > 0 && this.unanswered === 0 && !this.isOpen) this.send();
  }
}
