// What a master's store holds, read from the disk without a master. It changes nothing that means anything and refuses a store whose master runs.
import type { Platform } from '../lib/platform.js';
import { asGfsError, GfsError } from '../protocol/errors.js';
import { findInconsistencies } from './check.js';
import { readCounters } from './counters.js';
import { openCluster } from './format.js';
import { findInode, sizeBytes } from './inodes.js';
import { type KeyPrefix, parseEntryKey, rangeOf, successor } from './keys.js';
import {
  CHUNK,
  type ClusterRecord,
  type Codec,
  type CountersRecord,
  ENTRY,
  GARBAGE,
  SERVER,
  type ServerRecord,
  TRASH,
} from './records.js';
import { pathOf } from './resolve.js';
import type { Store } from './store.js';

export const INSPECT_KINDS = ['names', 'chunks', 'servers', 'trash', 'garbage'] as const;
export type InspectKind = (typeof INSPECT_KINDS)[number];

export interface InspectedStore {
  cluster: ClusterRecord;
  counters: CountersRecord;
  servers: ServerRecord[];
  /** What is wrong between the rows; empty when all is well. */
  problems: string[];
  /** The rows of each kind that was asked for. */
  lists: Partial<Record<InspectKind, Array<Record<string, unknown>>>>;
}

const PAGE_ROWS = 1_024;
const CACHE_ENTRIES = 10_000;
const CACHE_BYTES = 16 * 1024 * 1024;

/** Rejects with IN_USE, WRONG_DATA. */
export async function inspectStore(
  platform: Platform,
  data: string,
  kinds: readonly InspectKind[],
): Promise<InspectedStore> {
  const { store, cluster } = await openCluster(platform.kv, data, {
    cacheEntriesMax: CACHE_ENTRIES,
    cacheBytesMax: CACHE_BYTES,
    logger: platform.logger,
  });
  try {
    const servers: ServerRecord[] = [];
    for await (const [, server] of rows(store, 'server', SERVER)) servers.push(server);
    const lists: InspectedStore['lists'] = {};
    for (const kind of kinds) lists[kind] = await list(store, kind);
    return { cluster, counters: readCounters(store), servers, problems: await problemsOf(store), lists };
  } finally {
    await store.close();
  }
}

async function problemsOf(store: Store): Promise<string[]> {
  try {
    return await findInconsistencies(store);
  } catch (error) {
    // A damaged row ends the check; it is what is to be shown.
    if (asGfsError(error).code !== 'WRONG_DATA') throw error;
    return [asGfsError(error).message];
  }
}

async function list(store: Store, kind: InspectKind): Promise<Array<Record<string, unknown>>> {
  const found: Array<Record<string, unknown>> = [];
  if (kind === 'names') {
    for await (const [key, { inode, type }] of rows(store, 'entry', ENTRY)) {
      const record = findInode(store, inode);
      found.push({
        path: `/${pathFrom(store, key)}`,
        inode,
        type,
        ...(record
          ? { size: sizeBytes(store, record), goal: record.goal, extents: record.extentCount, tail: record.tailHandle }
          : { missing: true }),
      });
    }
    return found;
  }
  const [prefix, codec] = ROWS[kind];
  for await (const [, record] of rows(store, prefix, codec as Codec<unknown>))
    found.push(record as Record<string, unknown>);
  return found;
}

const ROWS = {
  chunks: ['chunk', CHUNK],
  servers: ['server', SERVER],
  trash: ['trash', TRASH],
  garbage: ['garbage', GARBAGE],
} as const;

/** The path of an entry, or as much of it as there is. */
function pathFrom(store: Store, key: Buffer): string {
  const entry = parseEntryKey(key);
  try {
    return pathOf(store, entry);
  } catch (error) {
    if (!(error instanceof GfsError)) throw error;
    return `(inode ${entry.parent})/${entry.name}`;
  }
}

async function* rows<T>(store: Store, prefix: KeyPrefix, codec: Codec<T>): AsyncGenerator<[Buffer, T]> {
  let { gte, lt } = rangeOf(prefix);
  for (;;) {
    const page = await store.scan({ gte, lt, limit: PAGE_ROWS });
    for (const [key, value] of page) yield [key, codec.decode(key, value)];
    if (page.length < PAGE_ROWS) return;
    gte = successor(page[page.length - 1]![0]);
  }
}
