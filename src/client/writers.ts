// Writer identities: a name and a rising sequence, by which chunks know a repeated append (DESIGN 4, Exactly once). One open file uses a writer
// at a time; one whose appends all have a known outcome serves the next open file, so that short-lived files do not fill the chunks' tables.
import { type Random, randomId } from '../lib/random.js';
import { CLIENT_LIMITS } from './settings.js';

export class Writer {
  #sequence = 0;

  constructor(readonly id: string) {}

  next(): number {
    return ++this.#sequence;
  }
}

export class Writers {
  readonly #idle: Writer[] = [];

  constructor(private readonly random: Random) {}

  take(): Writer {
    return this.#idle.pop() ?? new Writer(randomId(this.random));
  }

  /** Requires: every append of this writer stands or certainly does not. */
  giveBack(writer: Writer): void {
    if (this.#idle.length < CLIENT_LIMITS.idleWritersMax) this.#idle.push(writer);
  }
}
