// Time and timers as an interface, so that the simulator can hold both. Nothing else in src/ reads the platform's clock.

/** A timer that was set; `cancel` may be called any number of times, also after it fired. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since some fixed past moment; never goes back. For durations, deadlines, leases. */
  monotonicMs(): number;
  /** Milliseconds since 1970 UTC; may jump. For timestamps that people see. */
  wallMs(): number;
  /** Calls `fire` once, no earlier than `delayMs` (0 or more) from now. A pending timer does not keep the process alive when `background`. */
  setTimer(delayMs: number, fire: () => void, options?: { background?: boolean }): Timer;
  /** Calls `fire` once everything that has arrived by now was handed over: what comes together can be dealt with together. No time passes. */
  soon(fire: () => void): void;
}

/** Settles after `delayMs`; never rejects. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise(resolve => {
    clock.setTimer(delayMs, resolve);
  });
}

/** Settles once everything that has arrived by now was handed over: of long work others have their turn. */
export function nextTurn(clock: Clock): Promise<void> {
  return new Promise(resolve => clock.soon(resolve));
}

/** Calls `work` again and again, `everyMs` after the previous call settled, until `stop()` is called. */
export function every(clock: Clock, everyMs: number, work: () => Promise<void> | void): { stop(): void } {
  let stopped = false;
  let timer: Timer | undefined;
  const next = (): void => {
    if (stopped) return;
    timer = clock.setTimer(
      everyMs,
      () => {
        void Promise.resolve().then(work).finally(next);
      },
      { background: true },
    );
  };
  next();
  return {
    stop: () => {
      stopped = true;
      timer?.cancel();
    },
  };
}
