// Checks of how much copying goes on: copies at once, in all and at each server, and bytes a second, in all and out of each server.
import type { Checker, HistoryEvent } from '../history.js';

export interface CopyLimits {
  copiesMax: number;
  copiesPerServer: number;
  /** Bytes a second; 0 without limit. */
  copyRate: number;
  serverCopyRate: number;
  chunkSizeBytes: number;
  /** What one read of a copy asks for at most. */
  pieceBytes: number;
}

/** Clocks go faster by up to this part: what drift and its fault make of them. */
const FASTER_MAX = 0.13;
/** Copies may be begun for so long ahead of what is paid for (master/copy-limits.ts), and a server may send so much at once (rate-limit.ts). */
const AHEAD_MS = 1_000;
const BURST_MS = 250;
/** Reads of copies that were given up may still wait at a server, beside those of the ones that took their places. */
const GIVEN_UP = 4;

/** Of one master: copies that it waits for. */
export class CopyLimitsHold implements Checker {
  readonly promise = 'Copies stay within their limits, in all and at each server.';

  constructor(private readonly limits: CopyLimits) {}

  on(event: HistoryEvent): string | undefined {
    if (event.kind !== 'copying') return undefined;
    const { copiesMax, copiesPerServer } = this.limits;
    if (event.inAll > copiesMax) return `${event.inAll} at once, allowed are ${copiesMax}.`;
    if (event.atServer > copiesPerServer)
      return `${event.atServer} at once with ${event.server}, allowed are ${copiesPerServer}.`;
    return undefined;
  }
}

/** What copies moved that one master began in any window of time, beside what one may begin ahead. */
export class CopyRateHolds implements Checker {
  readonly promise = 'All copies together move no more bytes a second than they may.';
  private readonly ofMaster = new Map<number, Window>();

  constructor(private readonly limits: CopyLimits) {}

  on(event: HistoryEvent): string | undefined {
    const { copyRate, chunkSizeBytes } = this.limits;
    if (event.kind !== 'copied' || copyRate === 0 || event.bytes === 0) return undefined;
    const window = this.ofMaster.get(event.master) ?? new Window(copyRate, AHEAD_MS, chunkSizeBytes);
    this.ofMaster.set(event.master, window);
    return window.add(event.beganMs, event.bytes);
  }
}

/** Bytes that one process sent to copies. */
export class ServerRateHolds implements Checker {
  readonly promise = 'No server sends more bytes a second to copies than it may.';
  private readonly ofProcess = new Map<string, Window>();

  constructor(private readonly limits: CopyLimits) {}

  on(event: HistoryEvent): string | undefined {
    const { serverCopyRate, copiesPerServer, pieceBytes } = this.limits;
    if (event.kind !== 'sentCopy' || serverCopyRate === 0) return undefined;
    const extra = GIVEN_UP * copiesPerServer * pieceBytes;
    const window = this.ofProcess.get(event.process) ?? new Window(serverCopyRate, BURST_MS, extra);
    this.ofProcess.set(event.process, window);
    return window.add(event.atMs, event.bytes);
  }
}

/** Amounts at times: whether any span of time has more than the rate allows for it and `aheadMs`, and `extra` besides. */
class Window {
  private readonly amounts: Array<{ atMs: number; bytes: number }> = [];

  constructor(
    private readonly rate: number,
    private readonly aheadMs: number,
    private readonly extra: number,
  ) {}

  /** Returns what is wrong with a span that holds the new amount. */
  add(atMs: number, bytes: number): string | undefined {
    const { amounts } = this;
    let place = amounts.length;
    while (place > 0 && amounts[place - 1]!.atMs > atMs) place--;
    amounts.splice(place, 0, { atMs, bytes });
    for (let from = place, before = 0; from >= 0; from--) {
      before += amounts[from]!.bytes;
      for (let to = place, sum = before; to < amounts.length; to++) {
        if (to > place) sum += amounts[to]!.bytes;
        const ms = amounts[to]!.atMs - amounts[from]!.atMs;
        const allowed = (this.rate * (ms * (1 + FASTER_MAX) + this.aheadMs)) / 1000 + this.extra;
        if (sum > allowed) return `${sum} bytes in ${ms.toFixed(0)} ms, allowed are ${allowed.toFixed(0)}.`;
      }
    }
    return undefined;
  }
}
