// Handlers of files' content: where bytes are and where the next ones go. Bytes themselves never pass the master.
import type { Handlers } from '../rpc/types.js';
import { answerDurably, deadlineOf, type Rooms } from './api-context.js';
import { truncate } from './file-cuts.js';
import { getFile } from './inodes.js';

type DataKind = 'openFile' | 'closeFile' | 'truncate' | 'locate' | 'appendTarget' | 'complain';

export function dataHandlers(rooms: Rooms): Handlers<DataKind> {
  const { context, sessions, views, targets, complaints } = rooms;
  return {
    openFile: async ({ session, inode, connection }, call) => ({
      body: await answerDurably(rooms, async () => {
        getFile(context.store, inode);
        sessions.openFile(session, inode, connection);
        const { client } = sessions.get(session);
        context.notices.sawInode(client, inode);
        return await views.view(inode, deadlineOf(rooms, call), client);
      }),
    }),

    closeFile: ({ session, inode, unused, connection }) => {
      sessions.closeFile(session, inode, connection);
      if (unused) rooms.unusedChunks.add({ inode, ...unused, client: sessions.get(session).client });
      return { body: {} };
    },

    truncate: async (request, call) => ({ body: await truncate(rooms, request, deadlineOf(rooms, call)) }),

    locate: async (request, call) => ({
      body: await answerDurably(rooms, () => views.locate(request, deadlineOf(rooms, call))),
    }),

    appendTarget: async ({ inode, client }, call) => ({
      body: await answerDurably(rooms, async () => ({
        target: await targets.target(inode, deadlineOf(rooms, call), client),
      })).finally(() => context.notices.flush()),
    }),

    complain: async (request, call) => ({
      body: await answerDurably(rooms, () => complaints.onComplain(request, deadlineOf(rooms, call))),
    }),
  };
}
