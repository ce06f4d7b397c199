// Cutting and extending files: the open chunk is sealed first, so that nothing acknowledged is overtaken (DESIGN 4, rule 6), then the extents
// change in the same turn in which the file was seen without an open chunk.
import { GfsError } from '../protocol/errors.js';
import type { InodeId } from '../protocol/ids.js';
import type { Reply, Request } from '../protocol/messages.js';
import { answerDurably, type Rooms } from './api-context.js';
import { truncateFile } from './file-extents.js';
import { getFile, toAttributes } from './inodes.js';
import { momentOf } from './master-context.js';
import { findReply, runOnce } from './once-table.js';

/** Settles when the file has no open chunk, at some moment; the caller looks again. Throws UNAVAILABLE, SAFE_MODE, STALE. */
export async function sealTail({ context, sealing }: Rooms, inode: InodeId, deadlineMs: number): Promise<void> {
  const { safeMode, platform, settings } = context;
  if (safeMode.isOn) await safeMode.pass(Math.min(deadlineMs, platform.clock.monotonicMs() + settings.safeModeWait));
  if (platform.clock.monotonicMs() >= deadlineMs)
    throw new GfsError('UNAVAILABLE', `the open chunk of inode ${inode} could not be sealed in time`);
  const { tailHandle } = getFile(context.store, inode);
  if (tailHandle !== 0) await sealing.seal(tailHandle, deadlineMs);
}

export async function truncate(
  rooms: Rooms,
  { once, inode, sizeBytes }: Request<'truncate'>,
  deadlineMs: number,
): Promise<Reply<'truncate'>> {
  const { store, notices } = rooms.context;
  return await answerDurably(rooms, async () => {
    const recorded = findReply<Reply<'truncate'>>(store, once);
    if (recorded) return recorded.reply;
    while (getFile(store, inode).tailHandle !== 0) await sealTail(rooms, inode, deadlineMs);
    const at = momentOf(rooms.context);
    return store.change(change =>
      runOnce(change, once, at.nowMs, () => {
        const cut = truncateFile(change, inode, sizeBytes, at);
        notices.inodeChanged(inode, once.client);
        notices.sawInode(once.client, inode);
        return { attributes: toAttributes(change, cut) };
      }),
    );
  }).finally(() => notices.flush());
}
