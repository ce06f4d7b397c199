// Knows which replicas a master has made up its mind to delete, without the masters knowing. Owns the one place where ReplicaCopies.remove is wrapped.
import { ReplicaCopies } from '../../src/master/replica-copies.js';

/** An order whose fate is not known may still arrive for so long. */
const IN_FLIGHT_MS = 10_000;

type Remove = (this: ReplicaCopies, chunk: { handle: number }, server: string, why: string) => Promise<void>;

let current: Deletions | undefined;
let isInstalled = false;

export class Deletions {
  /** Until when, by chunk and server. */
  private readonly untilMs = new Map<string, number>();

  constructor(private readonly nowMs: () => number) {}

  has(handle: number, server: string): boolean {
    return (this.untilMs.get(`${handle} ${server}`) ?? 0) > this.nowMs();
  }

  begin(handle: number, server: string): void {
    this.untilMs.set(`${handle} ${server}`, Number.POSITIVE_INFINITY);
  }

  end(handle: number, server: string): void {
    this.untilMs.set(`${handle} ${server}`, this.nowMs() + IN_FLIGHT_MS);
  }
}

/** One watcher per process: what is decided from now on. */
export function watchDeletions(nowMs: () => number): Deletions {
  const deletions = new Deletions(nowMs);
  current = deletions;
  if (isInstalled) return deletions;
  isInstalled = true;
  const prototype = ReplicaCopies.prototype as unknown as { remove: Remove };
  const { remove } = prototype;
  prototype.remove = async function (chunk, server, why) {
    const watcher = current;
    watcher?.begin(chunk.handle, server);
    try {
      await remove.call(this, chunk, server, why);
    } finally {
      watcher?.end(chunk.handle, server);
    }
  };
  return deletions;
}
