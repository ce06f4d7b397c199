// Handlers of fcntl(2) and flock(2) locks: ranges to and from the wire, waiting that an interrupt ends.
// Who may hold what is decided by the operations; without them the kernel keeps locks by itself (ENOSYS).
import { GfsError, hasCode } from '../../protocol/errors.js';
import { Refusal } from '../errno.js';
import type { LockRange } from '../fuse-operations.js';
import type { Handler, HandlerContext } from './handler.js';
import type { Request } from './request.js';
import * as wire from './wire.js';

const KINDS = ['shared', 'exclusive', 'unlock'] as const;
/** The kernel's OFFSET_MAX: to the end of the file, wherever that is. */
const OFFSET_MAX = 2n ** 63n - 1n;
const BYTE_MAX = BigInt(Number.MAX_SAFE_INTEGER);

export function lockHandlers(context: HandlerContext) {
  const { operations } = context;

  const set = async (request: Request, wait: boolean) => {
    const { handle, lock } = takeLock(request);
    if (operations.setLock === undefined) throw new Refusal('ENOSYS');
    try {
      await operations.setLock(handle, lock, { wait, signal: request.signal });
      return {};
    } catch (error) {
      throw hasCode(error, 'LOCKED') ? new Refusal('EAGAIN') : error;
    }
  };

  return {
    GETLK: async request => {
      const { handle, lock } = takeLock(request);
      if (operations.testLock === undefined) throw new Refusal('ENOSYS');
      const held = await operations.testLock(handle, lock);
      return { data: [wire.LK_OUT.encode(lockValues(held ?? { ...lock, kind: 'unlock' }))] };
    },
    SETLK: request => set(request, false),
    SETLKW: request => set(request, true),
  } satisfies Record<string, Handler>;
}

function takeLock(request: Request): { handle: number; lock: LockRange } {
  const { fh, owner, start, end, type, pid, lkFlags } = request.take(wire.LK_IN);
  const kind = KINDS[type];
  if (kind === undefined) throw new GfsError('INVALID', 'unknown type of lock');
  if (start > BYTE_MAX || end < start) throw new GfsError('INVALID', 'a lock range is upside down or too far out');
  const lock: LockRange = {
    owner,
    kind,
    startByte: Number(start),
    endByte: Number(end > BYTE_MAX ? BYTE_MAX : end),
    pid,
    flock: (lkFlags & wire.LK_FLOCK) !== 0,
  };
  return { handle: fh, lock };
}

function lockValues(lock: LockRange) {
  return {
    start: BigInt(lock.startByte),
    end: lock.endByte === Number.MAX_SAFE_INTEGER ? OFFSET_MAX : BigInt(lock.endByte),
    type: KINDS.indexOf(lock.kind),
    pid: lock.pid,
  };
}
