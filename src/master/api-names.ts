// Handlers of names and attributes: each resolves, changes, announces to other sessions, and answers durably. What a name may be and what a
// change does is namespace.ts's and its neighbours'.
import { GfsError } from '../protocol/errors.js';
import type { InodeId } from '../protocol/ids.js';
import type { Reply, Request, WireTarget, WireWhere } from '../protocol/messages.js';
import type { CallContext, Handlers } from '../rpc/types.js';
import { answerDurably, changeOnce, deadlineOf, type Rooms } from './api-context.js';
import { setAttributes } from './attributes.js';
import { fileSpace } from './cluster-space.js';
import { readCounters } from './counters.js';
import { sealTail } from './file-cuts.js';
import { truncateFile } from './file-extents.js';
import { sizeBytes, toAttributes } from './inodes.js';
import { momentOf } from './master-context.js';
import type { Moment } from './moment.js';
import {
  createFile,
  link,
  makeDirectory,
  makeSymlink,
  readDirectory,
  removeDirectory,
  renameEntry,
  resolve,
  unlink,
  walk,
} from './namespace.js';
import type { Notices } from './notices.js';
import { findReply, runOnce } from './once-table.js';
import type { Place } from './resolve.js';
import { snapshotFile } from './snapshot.js';
import type { Change, Reader } from './store.js';
import { getXattr, listXattrs, removeXattr, setXattr } from './xattrs.js';

type NameKind =
  | 'lookup'
  | 'readDirectory'
  | 'createFile'
  | 'makeDirectory'
  | 'makeSymlink'
  | 'link'
  | 'unlink'
  | 'removeDirectory'
  | 'rename'
  | 'setAttributes'
  | 'getXattr'
  | 'setXattr'
  | 'listXattrs'
  | 'removeXattr'
  | 'statfs'
  | 'snapshot';

export function nameHandlers(rooms: Rooms): Handlers<NameKind> {
  const { context, views, sessions } = rooms;
  const { store, notices } = context;

  /** Announces that what stands at `where` came, went or changed its kind. */
  const announceEntry = (reader: Reader, where: WireWhere, client: string): void => {
    const { place } = walk(reader, where, false);
    if (place) announcePlace(notices, place, client);
  };

  /** As announceEntry; the client knows the entry from now on, and the inode that it leads to. */
  const announceMade = (reader: Reader, where: WireWhere, client: string): void => {
    announceEntry(reader, where, client);
    const { place, inode } = walk(reader, where, false);
    if (place) notices.sawEntry(client, { parent: place.parent.inode, name: place.name });
    if (inode) notices.sawInode(client, inode.inode);
  };

  /** The client of a session. Throws SESSION_EXPIRED: nobody would tell it of changes. */
  const clientOf = (session: string | undefined): string | undefined =>
    session === undefined ? undefined : sessions.get(session).client;

  return {
    lookup: async ({ where, follow, session }, call) => ({
      body: await answerDurably(rooms, async () => {
        const client = clientOf(session);
        const { inode, place } = walk(store, where, follow);
        if (place) notices.sawEntry(client, { parent: place.parent.inode, name: place.name });
        if (!inode) throw new GfsError('NOT_FOUND', `there is no ${place.name}`);
        notices.sawInode(client, inode.inode);
        return await views.view(inode.inode, deadlineOf(rooms, call), client);
      }),
    }),

    readDirectory: async ({ session, ...page }) => ({
      body: await answerDurably(rooms, async () => {
        const client = clientOf(session);
        const { entries, end } = await readDirectory(store, page);
        notices.sawInode(client, page.inode);
        for (const { name, record } of entries) {
          notices.sawEntry(client, { parent: page.inode, name });
          notices.sawInode(client, record.inode);
        }
        return {
          entries: entries.map(({ name, record }) => ({ name, attributes: views.glance(record, client) })),
          end,
        };
      }),
    }),

    createFile: async (request, call) => ({ body: await create(rooms, request, call) }),

    makeDirectory: async ({ once, ...options }) => ({
      body: await changeOnce(rooms, once, (change, at) => {
        const made = makeDirectory(change, options, at);
        announceMade(change, options.where, once.client);
        return { attributes: toAttributes(change, made) };
      }),
    }),

    makeSymlink: async ({ once, ...options }) => ({
      body: await changeOnce(rooms, once, (change, at) => {
        const made = makeSymlink(change, options, at);
        announceMade(change, options.where, once.client);
        return { attributes: toAttributes(change, made) };
      }),
    }),

    link: async ({ once, ...options }) => ({
      body: await changeOnce(rooms, once, (change, at) => {
        const linked = link(change, options, at);
        announceMade(change, options.created, once.client);
        notices.inodeChanged(linked.inode, once.client);
        return { attributes: views.glance(linked, once.client) };
      }),
    }),

    unlink: async ({ once, where }) => ({
      body: await changeOnce(rooms, once, (change, at) => {
        announceEntry(change, where, once.client);
        notices.inodeChanged(unlink(change, where, at).inode, once.client);
        return {};
      }),
    }),

    removeDirectory: async ({ once, where }) => ({
      body: await changeOnce(rooms, once, (change, at) => {
        announceEntry(change, where, once.client);
        notices.inodeChanged(removeDirectory(change, where, at).inode, once.client);
        return {};
      }),
    }),

    rename: async ({ once, ...options }) => ({
      body: await changeOnce(rooms, once, (change, at) => {
        announceEntry(change, options.from, once.client);
        const { moved, other } = renameEntry(change, options, at);
        notices.inodeChanged(moved.inode, once.client);
        if (other) notices.inodeChanged(other.inode, once.client);
        announceMade(change, options.to, once.client);
        if (options.exchange) announceMade(change, options.from, once.client);
        return {};
      }),
    }),

    setAttributes: async ({ once, ...options }, call) => {
      // Bytes appended before do not count as a change after it.
      if (options.mtimeNs !== undefined) await views.learnLength(resolve(store, options.where, options.follow).inode);
      const { inode } = await changeOnce(rooms, once, (change, at) => {
        const changed = setAttributes(change, options, at);
        notices.inodeChanged(changed.inode, once.client);
        notices.sawInode(once.client, changed.inode);
        return { inode: changed.inode };
      });
      return { body: await answerDurably(rooms, () => views.view(inode, deadlineOf(rooms, call), once.client)) };
    },

    getXattr: async ({ where, follow, name }) => ({
      body: await answerDurably(rooms, () => ({ value: getXattr(store, resolve(store, where, follow), name) })),
    }),

    setXattr: async ({ once, where, follow, ...options }) => ({
      body: await changeOnce(rooms, once, (change, at) => {
        const inode = resolve(change, where, follow);
        setXattr(change, inode, options, at);
        notices.inodeChanged(inode.inode, once.client);
        return {};
      }),
    }),

    listXattrs: async ({ where, follow }) => ({
      body: await answerDurably(rooms, () => ({ names: listXattrs(store, resolve(store, where, follow)) })),
    }),

    removeXattr: async ({ once, where, follow, name }) => ({
      body: await changeOnce(rooms, once, (change, at) => {
        const inode = resolve(change, where, follow);
        removeXattr(change, inode, name, at);
        notices.inodeChanged(inode.inode, once.client);
        return {};
      }),
    }),

    statfs: async () => ({ body: await answerDurably(rooms, () => statfs(rooms)) }),

    snapshot: async (request, call) => ({ body: await snapshot(rooms, request, call) }),
  };
}

/** An entry came, went or leads elsewhere, by the doing of `client`. */
function announcePlace(notices: Notices, { parent, name }: Place, client: string): void {
  notices.entryChanged({ parent: parent.inode, name }, client);
  notices.inodeChanged(parent.inode, client);
}

async function create(rooms: Rooms, request: Request<'createFile'>, call: CallContext): Promise<Reply<'createFile'>> {
  const { context, sessions, views, targets } = rooms;
  const { store, notices } = context;
  const deadlineMs = deadlineOf(rooms, call);
  if (request.session !== undefined) sessions.hear(request.session, request.connection);
  return await answerDurably(rooms, async () => {
    if (request.truncate) await sealBeforeCut(rooms, request, deadlineMs);
    const at = momentOf(context);
    const { inode, created } = store.change(change =>
      runOnce(change, request.once, at.nowMs, () => createOrCut(rooms, change, request, at)),
    );
    // All of this in the turn of the change: an unlink that comes next finds the file open, and one batch takes file and chunk.
    if (request.session !== undefined) sessions.openFile(request.session, inode, request.connection);
    notices.sawInode(request.once.client, inode);
    const hasTarget = request.wantTarget && targets.prepare(inode);
    const view = await views.view(inode, deadlineMs, request.once.client);
    const target = hasTarget ? await targetIfPossible(rooms, inode, deadlineMs, request.once.client) : undefined;
    return { ...view, created, ...(target ? { target } : {}) };
  }).finally(() => notices.flush());
}

/** Requires that a file to be cut has no open chunk. */
function createOrCut(
  { context: { notices } }: Rooms,
  change: Change,
  request: Request<'createFile'>,
  at: Moment,
): { inode: InodeId; created: boolean } {
  const { client } = request.once;
  const { file, created, place } = createFile(change, request, at);
  if (place && created) announcePlace(notices, place, client);
  if (place) notices.sawEntry(client, { parent: place.parent.inode, name: place.name });
  if (!created && request.truncate && file.type === 'file' && sizeBytes(change, file) > 0) {
    truncateFile(change, file.inode, 0, at);
    notices.inodeChanged(file.inode, client);
  }
  return { inode: file.inode, created };
}

/** An open file's tail is sealed before the change that cuts it; a repeated request finds its reply and needs none of it. */
async function sealBeforeCut(rooms: Rooms, request: Request<'createFile'>, deadlineMs: number): Promise<void> {
  const { store } = rooms.context;
  // What must be new is not cut.
  if (request.exclusive || findReply(store, request.once)) return;
  for (;;) {
    const { inode } = walk(store, request.where, true);
    if (inode?.type !== 'file' || inode.tailHandle === 0) return;
    await sealTail(rooms, inode.inode, deadlineMs);
  }
}

/** An extra that may be left out: the client asks again when it needs to. */
async function targetIfPossible(
  rooms: Rooms,
  inode: InodeId,
  deadlineMs: number,
  client: string,
): Promise<WireTarget | undefined> {
  try {
    return await rooms.targets.target(inode, deadlineMs, client);
  } catch (error) {
    if (error instanceof GfsError && error.code !== 'STORE_FAILED') return undefined;
    throw error;
  }
}

async function snapshot(rooms: Rooms, request: Request<'snapshot'>, call: CallContext): Promise<Reply<'snapshot'>> {
  const { store, notices } = rooms.context;
  const { once, ...options } = request;
  const deadlineMs = deadlineOf(rooms, call);
  return await answerDurably(rooms, async () => {
    const recorded = findReply<Reply<'snapshot'>>(store, once);
    if (recorded) return recorded.reply;
    for (;;) {
      const source = resolve(store, options.from, true);
      if (source.type === 'file' && source.tailHandle !== 0) {
        await sealTail(rooms, source.inode, deadlineMs);
        continue;
      }
      // Nothing may come between the look at the tail and the change.
      const at = momentOf(rooms.context);
      return store.change(change =>
        runOnce(change, once, at.nowMs, () => {
          const made = snapshotFile(change, options, at);
          const { place } = walk(change, options.to, false);
          if (place) {
            announcePlace(notices, place, once.client);
            notices.sawEntry(once.client, { parent: place.parent.inode, name: place.name });
          }
          notices.sawInode(once.client, made.inode);
          return { attributes: toAttributes(change, made) };
        }),
      );
    }
  }).finally(() => notices.flush());
}

/** Space as files see it: every byte is there as often as the cluster wants copies. */
function statfs({ context }: Rooms): Reply<'statfs'> {
  const { servers, cluster, settings, store } = context;
  const space = fileSpace(servers.members(), server => servers.downForMs(server), {
    replicas: cluster.replicas,
    minReplicas: cluster.minReplicas,
    rereplicateAfterMs: settings.rereplicateAfter,
  });
  const { files, directories } = readCounters(store);
  return { ...space, files: files + directories };
}
