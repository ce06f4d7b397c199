// Handlers of sessions and of the locks that end with them. The tables are sessions.ts's and lock-table.ts's; here are the waiting and the timers.
import { type Deferred, deferred } from '../lib/deferred.js';
import { randomId } from '../lib/random.js';
import { recordBytesMax } from '../protocol/limits.js';
import type { Reply } from '../protocol/messages.js';
import type { Handlers } from '../rpc/types.js';
import type { Rooms } from './api-context.js';
import type { LockWait } from './lock-table.js';

type SessionKind = 'openSession' | 'keepSession' | 'closeSession' | 'lock' | 'unlock' | 'testLock';

export interface SessionRoom {
  handlers: Handlers<SessionKind>;
  /** Ends what nobody kept. Called regularly. */
  expire(): void;
}

export function sessionRoom({ context, sessions, locks }: Rooms): SessionRoom {
  const { cluster, settings, platform, notices } = context;
  const { clock, random } = platform;
  const waiting = new Map<LockWait, Deferred<Reply<'lock'>>>();

  const wake = (woken: readonly LockWait[]): void => {
    for (const wait of woken) {
      waiting.get(wait)?.resolve({ granted: true });
      waiting.delete(wait);
    }
  };

  const giveUp = (wait: LockWait): void => {
    const waiter = waiting.get(wait);
    if (!waiter) return;
    waiting.delete(wait);
    locks.cancel(wait);
    const conflict = locks.test(wait.session, wait.inode, wait.lock);
    waiter.resolve({ granted: false, ...(conflict ? { conflict } : {}) });
  };

  const end = (ids: readonly string[]): void => {
    for (const id of ids) notices.forget(id);
    const ended = new Set(ids);
    for (const wait of [...waiting.keys()]) if (ended.has(wait.session)) giveUp(wait);
    wake(locks.endSessions(ids));
  };

  const expire = (): void => {
    const expired = sessions.expire(clock.monotonicMs());
    if (expired.length === 0) return;
    platform.logger.info({ sessions: expired.length }, 'sessions expired');
    end(expired);
  };

  const handlers: Handlers<SessionKind> = {
    openSession: (request, call) => {
      expire();
      const session = sessions.open({ ...request, id: randomId(random) }, clock.monotonicMs());
      if (request.wantsChanges) notices.watch(session.id, request.client, call.connection);
      else notices.forget(session.id);
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

    keepSession: ({ session }) => {
      sessions.keep(session, clock.monotonicMs());
      return { body: {} };
    },

    closeSession: ({ session }) => {
      if (sessions.close(session)) end([session]);
      return { body: {} };
    },

    lock: async ({ session, inode, lock, waitMs }, call) => {
      sessions.get(session);
      const outcome = locks.lock(session, inode, lock);
      if (outcome.granted) {
        wake(outcome.woken);
        return { body: { granted: true } };
      }
      const untilMs = Math.min(clock.monotonicMs() + waitMs, call.deadlineMs - 50);
      if (waitMs === 0 || untilMs <= clock.monotonicMs())
        return { body: { granted: false, conflict: outcome.conflict } };
      const wait = locks.wait(session, inode, lock, untilMs);
      const waiter = deferred<Reply<'lock'>>();
      waiting.set(wait, waiter);
      const timer = clock.setTimer(untilMs - clock.monotonicMs(), () => giveUp(wait));
      // Whoever is gone must not be given a lock that he does not know of.
      call.connection.onClose(() => giveUp(wait));
      try {
        return { body: await waiter.promise };
      } finally {
        timer.cancel();
      }
    },

    unlock: ({ session, inode, ...range }) => {
      sessions.get(session);
      wake(locks.unlock(session, inode, range));
      return { body: {} };
    },

    testLock: ({ session, inode, lock }) => {
      sessions.get(session);
      const conflict = locks.test(session, inode, lock);
      return { body: conflict ? { conflict } : {} };
    },
  };
  return { handlers, expire };
}
