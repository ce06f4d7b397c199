// A chunk of which two disks of one server have a record: one of them was away while the chunk was made anew, or asked for. It says which of the two
// counts, and takes the other one out of its index; it deletes no bytes.
import type { Logger } from '../lib/logger.js';
import type { Chunk } from './chunk.js';
import type { ChunkStore } from './chunk-store.js';

/**
 * Leaves one of both in the store, durably, and returns it: bytes before none, the newest version, sealed, longest. No append that the other one was fenced
 * for is taken by it. The file of the other one is set aside, where its disk is looked through already, or as any file without a record. `known` is in the
 * store. Rejects as ChunkStore.commit.
 */
export async function keepOneTwin(store: ChunkStore, logger: Logger, known: Chunk, found: Chunk): Promise<Chunk> {
  const [kept, other] = isBetter(found, known) ? [found, known] : [known, found];
  const { handle } = kept;
  const about = { handle, kept: kept.disk.path, other: other.disk.path };
  logger.error({ ...about, isEmpty: !other.exists }, 'a chunk is on two disks of this server: one of them counts');
  if (kept === found) {
    if (other.exists && !other.disk.failure) await other.disk.setAside(handle);
    store.disown(other);
    store.adopt(kept);
  }
  if (kept.state !== 'sealed' && other.version > kept.version) {
    kept.moveTo('fenced');
    kept.version = other.version;
    kept.fencedVersion = Math.max(kept.fencedVersion, other.fencedVersion);
  }
  // Nothing can be written there: both records are met again at the next start.
  if (kept.disk.failure) return kept;
  await store.commit(kept, { sync: true });
  other.gone = true;
  if (!other.disk.failure) await store.commit(other, { sync: true, ops: await other.disk.index.removalOps(handle) });
  return kept;
}

function isBetter(a: Chunk, b: Chunk): boolean {
  // Also where they cannot be reached now: nobody may hear that there are none.
  if (a.exists !== b.exists) return a.exists;
  if ((a.disk.failure === undefined) !== (b.disk.failure === undefined)) return a.disk.failure === undefined;
  if (a.version !== b.version) return a.version > b.version;
  if (a.state !== b.state) return a.state === 'sealed';
  return a.writtenBytes > b.writtenBytes;
}
