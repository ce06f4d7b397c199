// Handles that may have been given out by metadata that is lost: after an operator accepted an old copy, replicas of such chunks are no garbage, whatever the
// numbers given out since say. Ranges in one row; they are never taken back.
import type { ChunkHandle } from '../protocol/ids.js';
import { metaKey } from './keys.js';
import { LOST_HANDLES } from './records.js';
import type { Change, Reader } from './store.js';

const KEY = metaKey('lostHandles');

export function isLost(reader: Reader, handle: ChunkHandle): boolean {
  return rangesOf(reader).some(({ from, before }) => handle >= from && handle < before);
}

export function addLost(change: Change, range: { from: number; before: number }): void {
  change.put(KEY, LOST_HANDLES.encode(KEY, { ranges: [...rangesOf(change), range] }));
}

function rangesOf(reader: Reader): Array<{ from: number; before: number }> {
  const value = reader.get(KEY);
  return value === undefined ? [] : LOST_HANDLES.decode(KEY, value).ranges;
}
