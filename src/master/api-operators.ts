// Handlers of operators' commands: draining, trash, copies wanted, safe mode, checks, recovery. What changes something is for operators only;
// each command's meaning stands in its own file.
import { GfsError, hasCode } from '../protocol/errors.js';
import type { ADMIN_TO_MASTER, Reply, Request } from '../protocol/messages.js';
import type { CallContext, Handlers } from '../rpc/types.js';
import { answerDurably, deadlineOf, type Rooms } from './api-context.js';
import { drainState, findServer, setDraining } from './draining.js';
import { forgetServer } from './forgetting.js';
import { checkChunks, checkFiles, checkOrphans, clipPath } from './fsck.js';
import { findInode, getFile, sizeBytes, toAttributes } from './inodes.js';
import { momentOf } from './master-context.js';
import { checkMetadata } from './metadata-repair.js';
import { makeParents, type Walk, walk } from './namespace.js';
import { recoverMetadata } from './old-metadata.js';
import { recoverFile } from './recovery.js';
import { setReplication } from './replication-goal.js';
import type { Change } from './store.js';
import { listTrash, purgeTrash, restoreTrash } from './trash.js';

type OperatorKind = Exclude<keyof typeof ADMIN_TO_MASTER, 'fileInfo' | 'report'>;

export function operatorHandlers(rooms: Rooms): Handlers<OperatorKind> {
  const { context } = rooms;
  return {
    setDraining: async ({ server, draining }, call) => {
      operatorOnly(call);
      return { body: await answerDurably(rooms, () => setDraining(rooms, server, draining)) };
    },

    drainStatus: async ({ server }) => ({
      body: await answerDurably(rooms, () => drainState(rooms, findServer(rooms, server))),
    }),

    listTrash: async request => ({ body: await answerDurably(rooms, () => trashPage(rooms, request)) }),

    restoreTrash: async (request, call) => {
      operatorOnly(call);
      return { body: await answerDurably(rooms, () => restore(rooms, request)).finally(() => context.notices.flush()) };
    },

    purgeTrash: async (request, call) => {
      operatorOnly(call);
      return { body: await answerDurably(rooms, () => purge(rooms, request)) };
    },

    setReplication: async (request, call) => {
      operatorOnly(call);
      return { body: await answerDurably(rooms, () => setReplication(rooms, request, deadlineOf(rooms, call))) };
    },

    safemode: async ({ action }, call) => {
      if (action !== 'get') operatorOnly(call);
      return { body: await answerDurably(rooms, () => safemode(rooms, action)) };
    },

    checkMetadata: async (request, call) => {
      if (request.repair) operatorOnly(call);
      return {
        body: await answerDurably(rooms, () => checkMetadata(rooms, request)).finally(() => context.notices.flush()),
      };
    },

    checkFiles: async (request, call) => {
      if (request.repair) operatorOnly(call);
      return { body: await answerDurably(rooms, () => checkFiles(rooms, request)) };
    },

    checkChunks: async (request, call) => {
      if (request.repair) operatorOnly(call);
      return { body: await answerDurably(rooms, () => checkChunks(rooms, request)) };
    },

    checkOrphans: async (request, call) => {
      if (request.repair) operatorOnly(call);
      return { body: await answerDurably(rooms, () => checkOrphans(rooms, request)) };
    },

    recoverFile: async (request, call) => {
      if (request.accept) operatorOnly(call);
      return { body: await answerDurably(rooms, () => recoverFile(rooms, request, deadlineOf(rooms, call))) };
    },

    recoverMetadata: async (request, call) => {
      if (request.accept) operatorOnly(call);
      return {
        body: await answerDurably(rooms, () => recoverMetadata(rooms, request)).finally(() => context.notices.flush()),
      };
    },

    forgetServer: async (request, call) => {
      operatorOnly(call);
      return { body: await answerDurably(rooms, () => forgetServer(rooms, request)) };
    },
  };
}

/** Throws ACCESS_DENIED unless the caller greeted as an operator's tool. Who may do that is decided by the shared secret. */
function operatorOnly({ connection }: CallContext): void {
  if (connection.role !== 'admin') throw new GfsError('ACCESS_DENIED', "only operators' tools may ask for this");
}

async function trashPage({ context }: Rooms, { after, limit }: Request<'listTrash'>): Promise<Reply<'listTrash'>> {
  const { store } = context;
  const items = await listTrash(store, { ...(after ? { after } : {}), limit });
  return {
    items: items.map(({ inode, path, deletedMs, dueMs, file }) => ({
      ...{ inode, deletedMs, dueMs },
      path: clipPath(path),
      sizeBytes: sizeBytes(store, file),
    })),
    // Rows that went meanwhile make a page shorter, so only an empty one is the last for certain.
    end: items.length === 0,
  };
}

function restore({ context }: Rooms, { inode, to, parents }: Request<'restoreTrash'>): Reply<'restoreTrash'> {
  const { store, notices } = context;
  const at = momentOf(context);
  return store.change(change => {
    const { mode, uid, gid } = getFile(change, inode);
    // Who may read the file may look for it.
    const owned = { mode: 0o700 | mode | ((mode & 0o444) >> 2), uid, gid };
    const made = parents ? makeParents(change, { where: to, ...owned }, at) : [];
    const { place } = walkToRestore(change, to);
    const file = restoreTrash(change, inode, to, at);
    for (const { parent, name } of place ? [...made, { parent: place.parent.inode, name: place.name }] : made) {
      notices.entryChanged({ parent, name });
      notices.inodeChanged(parent);
    }
    notices.inodeChanged(inode);
    return { attributes: toAttributes(change, file) };
  });
}

function walkToRestore(change: Change, to: Request<'restoreTrash'>['to']): Walk {
  try {
    return walk(change, to, false);
  } catch (error) {
    if (!hasCode(error, 'NOT_FOUND')) throw error;
    throw new GfsError('NOT_FOUND', 'its directory is gone: restore with --parents, or with --to under another name');
  }
}

function purge({ context }: Rooms, { inodes }: Request<'purgeTrash'>): Reply<'purgeTrash'> {
  const { store } = context;
  const at = momentOf(context);
  let purged = 0;
  for (const inode of inodes) {
    // Collected or restored since it was listed.
    if (findInode(store, inode)?.trashDueMs === undefined) continue;
    store.change(change => purgeTrash(change, inode, at));
    purged++;
  }
  return { purged };
}

function safemode({ context }: Rooms, action: Request<'safemode'>['action']): Reply<'safemode'> {
  const { safeMode } = context;
  if (action === 'enter') safeMode.enter();
  if (action === 'leave') safeMode.leave();
  const { isOn, reason, isByOperator, isDistrusting } = safeMode;
  return { on: isOn, reason: reason.slice(0, 500), byOperator: isByOperator, oldMetadata: isDistrusting };
}
