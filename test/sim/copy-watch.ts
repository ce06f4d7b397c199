// Watches the copies of chunks that masters order and wait for, without the masters knowing. Owns the one place where Orders.give is wrapped.
import { Orders } from '../../src/master/orders.js';

export interface CopyWatcher {
  /** A copy was ordered. `servers`: its target and the source that is asked first, with the copies each takes part in now. */
  onCopy(copy: { handle: number; servers: Array<{ server: string; count: number }>; inAll: number }): void;
}

type Give = (this: Orders, server: string, kind: string, body: CopyBody, ...rest: unknown[]) => Promise<unknown>;
interface CopyBody {
  handle: number;
  sources: Array<{ server: string }>;
}

let current: CopyWatcher | undefined;
/** Of each master that runs, or was killed: which servers copy for it. */
const running = new WeakMap<Orders, string[]>();
let isInstalled = false;

/** One watcher per process. */
export function watchCopies(watcher: CopyWatcher): void {
  current = watcher;
  if (isInstalled) return;
  isInstalled = true;
  const prototype = Orders.prototype as unknown as { give: Give };
  const { give } = prototype;
  prototype.give = async function (server, kind, body, ...rest) {
    if (kind !== 'copyChunk') return give.call(this, server, kind, body, ...rest);
    const copies = running.get(this) ?? [];
    running.set(this, copies);
    const pair = `${server} ${body.sources[0]?.server ?? ''}`;
    copies.push(pair);
    const servers = pair
      .split(' ')
      .map(id => ({ server: id, count: copies.filter(copy => copy.split(' ').includes(id)).length }));
    current?.onCopy({ handle: body.handle, servers, inAll: copies.length });
    try {
      return await give.call(this, server, kind, body, ...rest);
    } finally {
      copies.splice(copies.indexOf(pair), 1);
    }
  };
}
