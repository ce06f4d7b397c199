// Changes that were already made, by (client, sequence), with their replies: a request that is sent again is answered, not done again (I3 for names).
// A reply is written in the same change as what it reports. Refusals are not kept: nothing was done, and trying again is right.
import { GfsError } from '../protocol/errors.js';
import type { WireOnce } from '../protocol/messages.js';
import { onceClientKey, onceClientRange, onceReplyKey, parseOnceClientKey } from './keys.js';
import { ONCE_CLIENT, ONCE_REPLY, type OnceClientRecord } from './records.js';
import type { Change, Reader, Store } from './store.js';

/** Replies kept per client; a client acknowledges long before that. */
export const ONCE_REPLIES_MAX = 1024;

/**
 * The recorded reply of this request, or that of `work`, which is recorded. What `work` throws passes through with nothing recorded. Replies below
 * `ackedBelow` are dropped. Throws ALREADY_PAST (it was acknowledged before, so nobody waits for this answer), OVERLOADED (too many unacknowledged).
 */
export function runOnce<T>(change: Change, once: WireOnce, nowMs: number, work: () => T): T {
  const recorded = findReply<T>(change, once);
  if (recorded !== undefined) return recorded.reply;
  const reply = work();
  const client = readClient(change, once.client);
  const kept = client.sequences.filter(sequence => sequence >= once.ackedBelow);
  for (const sequence of client.sequences) {
    if (sequence < once.ackedBelow) change.del(onceReplyKey(once.client, sequence));
  }
  if (kept.length >= ONCE_REPLIES_MAX) throw new GfsError('OVERLOADED', 'too many changes without an acknowledgement');
  const key = onceReplyKey(once.client, once.sequence);
  change.put(key, ONCE_REPLY.encode(key, { reply }));
  writeClient(change, once.client, {
    ackedBelow: Math.max(client.ackedBelow, once.ackedBelow),
    sequences: [...kept, once.sequence],
    lastMs: nowMs,
  });
  return reply;
}

/**
 * The recorded reply of this request, or undefined when it has to be done; for requests that wait for something before their change. Throws
 * ALREADY_PAST.
 */
export function findReply<T>(reader: Reader, once: WireOnce): { reply: T } | undefined {
  const key = onceReplyKey(once.client, once.sequence);
  const value = reader.get(key);
  if (value !== undefined) return ONCE_REPLY.decode(key, value) as { reply: T };
  if (once.sequence < readClient(reader, once.client).ackedBelow) {
    throw new GfsError('ALREADY_PAST', 'this change was made and acknowledged before');
  }
  return undefined;
}

/**
 * Forgets clients that changed nothing since `beforeMs`, looking at no more than `limit` after client `after` ('' : from the start). Resolves with
 * where to go on, undefined at the end. Requires that no client sends a request again after so long.
 */
export async function purgeClients(
  store: Store,
  { beforeMs, after, limit }: { beforeMs: number; after: string; limit: number },
): Promise<string | undefined> {
  const rows = await store.scan({ ...onceClientRange(after), limit });
  for (const [key] of rows) {
    const client = parseOnceClientKey(key);
    store.change(change => {
      const record = readClient(change, client);
      if (record.lastMs >= beforeMs) return;
      for (const sequence of record.sequences) change.del(onceReplyKey(client, sequence));
      change.del(key);
    });
  }
  return rows.length < limit ? undefined : parseOnceClientKey(rows[rows.length - 1]![0]);
}

function readClient(reader: Reader, client: string): OnceClientRecord {
  const key = onceClientKey(client);
  const value = reader.get(key);
  return value === undefined ? { ackedBelow: 0, sequences: [], lastMs: 0 } : ONCE_CLIENT.decode(key, value);
}

function writeClient(change: Change, client: string, record: OnceClientRecord): void {
  const key = onceClientKey(client);
  change.put(key, ONCE_CLIENT.encode(key, record));
}
