// Handlers of what chunkservers send.
import type { CHUNKSERVER_TO_MASTER } from '../protocol/messages.js';
import type { Handlers } from '../rpc/types.js';
import type { Rooms } from './api-context.js';

export function serverHandlers({ context, heartbeats }: Rooms): Handlers<keyof typeof CHUNKSERVER_TO_MASTER> {
  return {
    register: async request => ({ body: await heartbeats.onRegister(request) }),

    reportChunks: request => {
      heartbeats.onReportChunks(request);
      return { body: {} };
    },

    heartbeat: request => {
      const body = heartbeats.onHeartbeat(request);
      context.notices.flush();
      return { body };
    },

    returnLease: async request => {
      await heartbeats.onReturnLease(request);
      context.notices.flush();
      return { body: {} };
    },
  };
}
