// Message bodies as bytes: MessagePack through msgpackr, the one place that imports it. It distrusts nothing itself; schemas check what it decodes.
import { Packr } from 'msgpackr';
import { GfsError } from './errors.js';

// Plain maps with text keys: readable in a dump, and no shared record structures that a broken peer could poison.
const packr = new Packr({ useRecords: false, mapsAsObjects: true, moreTypes: false, int64AsType: 'bigint' });

export function encodeBody(value: unknown): Buffer {
  return packr.pack(value);
}

/** Throws BAD_MESSAGE when the bytes are not one MessagePack value. */
export function decodeBody(bytes: Buffer): unknown {
  try {
    return packr.unpack(bytes);
  } catch (error) {
    throw new GfsError('BAD_MESSAGE', 'the body is not valid MessagePack', { cause: error });
  }
}
