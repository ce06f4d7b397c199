// Watches the copies of chunks that masters order and wait for, and those that are mended from others, without the masters knowing. Owns the one place where
// Orders.give, ReplicaCopies.bring and Mending.mend are wrapped.
import { Mending } from '../../src/master/mending.js';
import { Orders } from '../../src/master/orders.js';
import { ReplicaCopies } from '../../src/master/replica-copies.js';

export interface CopyWatcher {
  /** A copy was ordered. `servers`: its target and the source that is asked first, with the copies each takes part in now. */
  onCopy(copy: { handle: number; servers: Array<{ server: string; count: number }>; inAll: number }): void;
  /** It is over; `master` numbers the processes of masters. It began when it took its place: its target may have been asked first whether it needs it. */
  onCopied(copy: { master: number; beganMs: number; bytes: number }): void;
  nowMs(): number;
}

type Give = (this: Orders, server: string, kind: string, body: CopyBody, ...rest: unknown[]) => Promise<unknown>;
interface CopyBody {
  handle: number;
  sources: Array<{ server: string }>;
}

let current: CopyWatcher | undefined;
/** Of each master that runs, or was killed: which servers copy for it. */
const running = new WeakMap<Orders, { master: number; pairs: string[] }>();
/** Of each master, when copies took their places. */
const begun = new WeakMap<Orders, Map<string, number>>();
let masters = 0;
let isInstalled = false;

/** One watcher per process. */
export function watchCopies(watcher: CopyWatcher): void {
  current = watcher;
  if (isInstalled) return;
  isInstalled = true;
  watchBeginnings();
  const prototype = Orders.prototype as unknown as { give: Give };
  const { give } = prototype;
  prototype.give = async function (server, kind, body, ...rest) {
    if (kind !== 'copyChunk' && kind !== 'mendChunk') return give.call(this, server, kind, body, ...rest);
    const copies = running.get(this) ?? { master: ++masters, pairs: [] };
    running.set(this, copies);
    const { master, pairs } = copies;
    const source = body.sources[0]?.server;
    const pair = source === undefined ? server : `${server} ${source}`;
    pairs.push(pair);
    const servers = pair
      .split(' ')
      .map(id => ({ server: id, count: pairs.filter(copy => copy.split(' ').includes(id)).length }));
    const watcher = current;
    watcher?.onCopy({ handle: body.handle, servers, inAll: pairs.length });
    const beganMs = begun.get(this)?.get(nameOf(body.handle, server)) ?? watcher?.nowMs() ?? 0;
    try {
      const reply = await give.call(this, server, kind, body, ...rest);
      watcher?.onCopied({ master, beganMs, bytes: (reply as { copiedBytes: number }).copiedBytes });
      return reply;
    } finally {
      pairs.splice(pairs.indexOf(pair), 1);
    }
  };
}

function watchBeginnings(): void {
  const prototype = ReplicaCopies.prototype;
  const { bring } = prototype;
  prototype.bring = function (chunk, copy) {
    return noted(this, [nameOf(chunk.handle, copy.server)], () => bring.call(this, chunk, copy));
  };
  const mending = Mending.prototype;
  const { mend } = mending;
  mending.mend = function (chunk, servers, sources) {
    const names = servers.map(server => nameOf(chunk.handle, server));
    return noted(this, names, () => mend.call(this, chunk, servers, sources));
  };
}

async function noted<T>(owner: object, names: readonly string[], work: () => Promise<T>): Promise<T> {
  const { orders } = (owner as { context: { orders: Orders } }).context;
  const beginnings = begun.get(orders) ?? new Map<string, number>();
  begun.set(orders, beginnings);
  if (current) for (const name of names) beginnings.set(name, current.nowMs());
  try {
    return await work();
  } finally {
    for (const name of names) beginnings.delete(name);
  }
}

const nameOf = (handle: number, server: string): string => `${handle} at ${server}`;
