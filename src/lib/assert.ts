// Assertions for our own bugs: they stay on in production and end the operation loudly.
// They never judge input from outside; a peer's bad message or a full disk is a GfsError (protocol/errors.ts).

/** A broken promise inside this program. Catching one to go on is itself a bug. */
export class AssertionError extends Error {
  override name = 'AssertionError';
}

/** Throws AssertionError with `message` unless `condition` holds. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** For the end of an exhaustive switch: a case that the types say cannot be. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable case: ${String(value)}`);
}
