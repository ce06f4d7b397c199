// Handlers of extended attributes. A size of 0 in a question means "how long is it"; a size too small ends in ERANGE.
// Names keep their namespace ("user.x"); which ones are allowed is decided by the operations.
import { GfsError } from '../../protocol/errors.js';
import type { Answer, Handler, HandlerContext } from './handler.js';
import { here } from './name-handlers.js';
import * as wire from './wire.js';

const XATTR_CREATE = 1;
const XATTR_REPLACE = 2;

export function xattrHandlers(context: HandlerContext) {
  const { operations } = context;
  return {
    SETXATTR: async request => {
      const { size, flags } = request.take(wire.SETXATTR_IN);
      const name = request.takeText();
      const value = Buffer.from(request.takeBytes(size));
      await operations.setExtendedAttribute(here(request), name, value, {
        create: (flags & XATTR_CREATE) !== 0,
        replace: (flags & XATTR_REPLACE) !== 0,
      });
      return {};
    },
    GETXATTR: async request => {
      const { size } = request.take(wire.GETXATTR_IN);
      return sized(await operations.getExtendedAttribute(here(request), request.takeText()), size);
    },
    LISTXATTR: async request => {
      const { size } = request.take(wire.GETXATTR_IN);
      const names = await operations.listExtendedAttributes(here(request));
      return sized(Buffer.from(names.map(name => `${name}\0`).join('')), size);
    },
    REMOVEXATTR: async request => {
      await operations.removeExtendedAttribute(here(request), request.takeText());
      return {};
    },
  } satisfies Record<string, Handler>;
}

function sized(value: Buffer, askedBytes: number): Answer {
  if (askedBytes === 0) return { data: [wire.GETXATTR_OUT.encode({ size: value.length })] };
  if (value.length > askedBytes) throw new GfsError('ATTRIBUTE_TOO_LARGE');
  return { data: [value] };
}
