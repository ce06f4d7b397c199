// The master's answers to the world: one handler per message, a missing one does not compile. Each room has its own; here they are joined.
import type { MasterKind } from '../protocol/messages.js';
import type { Handlers } from '../rpc/types.js';
import { adminHandlers } from './api-admin.js';
import type { Rooms } from './api-context.js';
import { dataHandlers } from './api-data.js';
import { nameHandlers } from './api-names.js';
import { operatorHandlers } from './api-operators.js';
import { serverHandlers } from './api-servers.js';
import type { SessionRoom } from './api-sessions.js';

export function masterHandlers(rooms: Rooms, sessions: SessionRoom): Handlers<MasterKind> {
  return {
    ...nameHandlers(rooms),
    ...dataHandlers(rooms),
    ...serverHandlers(rooms),
    ...sessions.handlers,
    ...adminHandlers(rooms),
    ...operatorHandlers(rooms),
  };
}
