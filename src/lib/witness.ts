// A number that survives the death of this process but not a loss of power, and that costs no disk access to raise.
// Beside a counter in the store it tells whether unsynced writes were lost: the store came back with a smaller one.

export interface Witness {
  /** The number last raised under `name`, or undefined when the machine has no memory of it (it was rebooted, or never had one). */
  recall(name: string): number | undefined;
  /** Remembers `value` (0 to 2^53-1) under `name`; synchronous and cheap. */
  raise(name: string, value: number): void;
}
