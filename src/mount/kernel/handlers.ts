// The table from operation to handler. It only joins: an operation of opcodes.ts without a handler does not compile here.
import { directoryHandlers } from './directory-handlers.js';
import { fileHandlers } from './file-handlers.js';
import type { Handler, HandlerContext } from './handler.js';
import { lockHandlers } from './lock-handlers.js';
import { nameHandlers } from './name-handlers.js';
import type { AnsweredOpcode } from './opcodes.js';
import { xattrHandlers } from './xattr-handlers.js';

export type HandlerTable = Readonly<Record<AnsweredOpcode, Handler>>;

export function createHandlers(context: HandlerContext): HandlerTable {
  return {
    ...nameHandlers(context),
    ...fileHandlers(context),
    ...directoryHandlers(context),
    ...xattrHandlers(context),
    ...lockHandlers(context),
  };
}
