// Handlers of sessions and of the locks that end with them. The tables are sessions.ts's and lock-table.ts's; here are the waiting and the timers.
import { type Deferred, deferred } from '../lib/deferred.js';
import { randomId } from '../lib/random.js';
import { GfsError } from '../protocol/errors.js';
import type { InodeId } from '../protocol/ids.js';
import { recordBytesMax } from '../protocol/limits.js';
import type { Reply, WireLockRange } from '../protocol/messages.js';
import type { Handlers } from '../rpc/types.js';
import type { Rooms } from './api-context.js';
import type { LockWait } from './lock-table.js';
import type { Session } from './sessions.js';

type SessionKind = 'openSession' | 'keepSession' | 'closeSession' | 'lock' | 'unlock' | 'testLock';

export interface SessionRoom {
  handlers: Handlers<SessionKind>;
  /** Ends what nobody kept. Called regularly. */
  expire(): void;
}

export function sessionRoom({ context, sessions, locks, claims, trace }: Rooms): SessionRoom {
  const { cluster, settings, platform, notices, store } = context;
  const { clock, random } = platform;
  const waiting = new Map<LockWait, { answer: Deferred<Reply<'lock'>>; connection: number | undefined }>();

  const wake = (woken: readonly LockWait[]): void => {
    for (const wait of woken) {
      waiting.get(wait)?.answer.resolve({ granted: true });
      waiting.delete(wait);
    }
  };

  const giveUp = (wait: LockWait): void => {
    const waiter = waiting.get(wait);
    if (!waiter) return;
    waiting.delete(wait);
    locks.cancel(wait);
    const conflict = locks.test(wait.session, wait.inode, wait.lock);
    waiter.answer.resolve({ granted: false, ...(conflict ? { conflict } : {}) });
  };

  // Its client has given these up with their connection, which may be open here for long.
  sessions.onMoved = session => {
    for (const [wait, { connection }] of [...waiting])
      if (wait.session === session.id && connection !== undefined && connection < session.connection) giveUp(wait);
  };

  const giveUpInRange = (session: string, inode: InodeId, range: Omit<WireLockRange, 'kind' | 'pid'>): void => {
    for (const wait of [...waiting.keys()])
      if (wait.session === session && wait.inode === inode && isSameRequest(wait.lock, range)) giveUp(wait);
  };

  const end = (over: readonly Session[]): void => {
    const ids = over.map(({ id }) => id);
    for (const { id, client } of over) {
      notices.forget(id);
      claims.release(client);
    }
    const ended = new Set(ids);
    for (const wait of [...waiting.keys()]) if (ended.has(wait.session)) giveUp(wait);
    wake(locks.endSessions(ids));
  };

  const expire = (): void => {
    const now = clock.monotonicMs();
    const expired = sessions.expire(now);
    const holders = locks.holders();
    claims.expire(now, new Set(sessions.list().flatMap(({ id, client }) => (holders.has(id) ? [client] : []))));
    trace.note(sessions.size, now);
    if (expired.length === 0) return;
    platform.logger.info({ sessions: expired.length }, 'sessions expired');
    end(expired);
  };

  /** What the next master has to know is on disk before the holder hears of its lock: also that whoever had it before has lost it. */
  const held = async (client: string): Promise<{ body: Reply<'lock'> }> => {
    claims.hold(client);
    await store.durable();
    return { body: { granted: true } };
  };

  const refuseWhileAwaiting = (): void => {
    if (claims.isAwaiting(clock.monotonicMs()))
      throw new GfsError('GRACE', 'the master has just started: clients that held locks claim them first; try again');
  };

  const handlers: Handlers<SessionKind> = {
    openSession: async (request, call) => {
      const { isReadOnly } = store;
      expire();
      const session = sessions.open({ ...request, id: randomId(random) }, clock.monotonicMs());
      if (request.wantsChanges) notices.watch(session.id, request.client, call.connection);
      else notices.forget(session.id);
      trace.note(sessions.size, clock.monotonicMs());
      if (!isReadOnly) await store.durable();
      return {
        body: {
          session: session.id,
          ttlMs: settings.sessionTtl,
          clusterId: cluster.clusterId,
          chunkSizeBytes: cluster.chunkSizeBytes,
          recordBytesMax: recordBytesMax(cluster.chunkSizeBytes),
          replicas: cluster.replicas,
        },
      };
    },

    keepSession: ({ session, claimed }) => {
      sessions.keep(session, clock.monotonicMs());
      if (claimed) claims.settle(sessions.get(session).client);
      return { body: {} };
    },

    closeSession: async ({ session }) => {
      const { isReadOnly } = store;
      const closed = sessions.close(session);
      if (closed) end([closed]);
      if (!isReadOnly) await store.durable();
      return { body: {} };
    },

    lock: async ({ session, inode, lock, waitMs, claim, connection, endWaits }, call) => {
      // Who holds locks has to be written down.
      store.requireWritable();
      const { client } = sessions.hear(session, connection);
      if (endWaits) giveUpInRange(session, inode, lock);
      if (claim && !claims.mayClaim(client, clock.monotonicMs())) return { body: { granted: false } };
      if (!claim) refuseWhileAwaiting();
      const outcome = locks.lock(session, inode, lock);
      if (outcome.granted) {
        wake(outcome.woken);
        return await held(client);
      }
      const untilMs = Math.min(clock.monotonicMs() + waitMs, call.deadlineMs - 50);
      if (waitMs === 0 || untilMs <= clock.monotonicMs())
        return { body: { granted: false, conflict: outcome.conflict } };
      const wait = locks.wait(session, inode, lock, untilMs);
      const answer = deferred<Reply<'lock'>>();
      waiting.set(wait, { answer, connection });
      const timer = clock.setTimer(untilMs - clock.monotonicMs(), () => giveUp(wait));
      // Whoever is gone must not be given a lock that he does not know of.
      call.connection.onClose(() => giveUp(wait));
      try {
        const body = await answer.promise;
        return body.granted ? await held(client) : { body };
      } finally {
        timer.cancel();
      }
    },

    unlock: ({ session, inode, connection, endWaits, ...range }) => {
      sessions.hear(session, connection);
      if (endWaits) giveUpInRange(session, inode, range);
      wake(locks.unlock(session, inode, range));
      return { body: {} };
    },

    testLock: ({ session, inode, lock }) => {
      sessions.get(session);
      refuseWhileAwaiting();
      const conflict = locks.test(session, inode, lock);
      return { body: conflict ? { conflict } : {} };
    },
  };
  return { handlers, expire };
}

/** Whether a wait is of this owner and touches this range. */
function isSameRequest(lock: WireLockRange, range: Omit<WireLockRange, 'kind' | 'pid'>): boolean {
  if (lock.owner !== range.owner || lock.space !== range.space) return false;
  return lock.space === 'flock' || (lock.startByte <= range.endByte && lock.endByte >= range.startByte);
}
