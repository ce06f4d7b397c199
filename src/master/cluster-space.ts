// How much the cluster has room for, from what its servers say of their disks: a file system counts once, whoever keeps chunks there, and copies of a
// chunk need different servers. It knows no chunk and asks nobody.
import type { ServerId } from '../protocol/ids.js';
import type { WireSpace } from '../protocol/messages.js';
import type { Server } from './servers.js';

export interface SpaceRules {
  /** Copies of each chunk, where there are enough servers. */
  replicas: number;
  /** With fewer servers up nothing is written. */
  minReplicas: number;
  /** A server that is down for so long has its chunks copied elsewhere. */
  rereplicateAfterMs: number;
}

/** In bytes of files. */
export interface FileSpace {
  /** What is used, and all that there would be room for if every server were up. */
  capacityBytes: number;
  /** What can be written now with all its copies. */
  freeBytes: number;
  usedBytes: number;
}

type SpaceOf = Pick<Server, 'id' | 'space'>;

/** Servers that are joined by the file systems they have in common, and those. */
interface Group {
  /** What each server could still take, if no other did. */
  servers: Array<{ id: ServerId; freeBytes: number }>;
  /** Of each file system: what may still be written there, and what each of its servers may. */
  fileSystems: Array<{ freeBytes: number; ofServers: number[] }>;
}

export function fileSpace(
  servers: readonly Server[],
  downForMs: (server: ServerId) => number,
  { replicas, minReplicas, rereplicateAfterMs }: SpaceRules,
): FileSpace {
  // One that has not said what it has since the master's start is unknown; one without any disk that works is of no use.
  const counted = servers.filter(
    ({ id, space }) => space.capacityBytes > 0 && downForMs(id) < Math.max(1, rereplicateAfterMs),
  );
  const lasting = counted.filter(({ draining }) => !draining);
  const up = lasting.filter(({ state }) => state !== 'down');
  const usedBytes = Math.floor(
    counted.reduce((sum, { space }) => sum + space.usedBytes, 0) / Math.max(1, Math.min(replicas, counted.length)),
  );
  const roomBytes = roomFor(lasting, replicas);
  // With one server less there are fewer copies, and so more room; but the server will be back and want its copies.
  const upBytes = up.length === lasting.length ? roomBytes : Math.min(roomBytes, roomFor(up, replicas));
  const freeBytes = up.length < minReplicas ? 0 : upBytes;
  return { capacityBytes: usedBytes + roomBytes, freeBytes, usedBytes };
}

/**
 * The most bytes that fit on these servers with each copy of them on another one; with fewer servers than copies there are as many copies as servers.
 * Exact but for servers with several disks of which others share only a part: there it may be too much.
 */
export function roomFor(servers: readonly SpaceOf[], replicas: number): number {
  const copies = Math.min(replicas, servers.length);
  if (copies === 0) return 0;
  const groups = groupsOf(servers);
  const taken = (bytes: number): number => {
    let sum = 0;
    for (const group of groups) sum += takenBy(group, bytes);
    return sum;
  };
  // Of x bytes no server takes more than x; where that leaves room for all copies, they can be dealt so that none meets another.
  let low = 0;
  let high = Math.floor(taken(Number.MAX_SAFE_INTEGER) / copies);
  // INVARIANT: low fits, and nothing above high does.
  while (low < high) {
    const middle = low + Math.ceil((high - low) / 2);
    if (taken(middle) >= copies * middle) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Of each server, itself and those that keep chunks on one of its file systems. */
export function sharersOf(servers: readonly SpaceOf[]): Map<ServerId, ServerId[]> {
  const sharers = new Map<ServerId, ServerId[]>();
  for (const group of groupsOf(servers)) {
    const ids = group.servers.map(({ id }) => id);
    for (const id of ids) sharers.set(id, ids);
  }
  return sharers;
}

/** How many bytes the group has room for when no server is to take more than `bytes`. */
function takenBy({ servers, fileSystems }: Group, bytes: number): number {
  let byServers = 0;
  for (const { freeBytes } of servers) byServers += Math.min(freeBytes, bytes);
  let byFileSystems = 0;
  for (const { freeBytes, ofServers } of fileSystems) {
    let wanted = 0;
    for (const of of ofServers) wanted += Math.min(of, bytes);
    byFileSystems += Math.min(freeBytes, wanted);
  }
  return Math.min(byServers, byFileSystems);
}

function groupsOf(servers: readonly SpaceOf[]): Group[] {
  const groupOf = new Map<string, Group>();
  const fileSystemOf = new Map<string, Group['fileSystems'][number]>();
  const groups = new Set<Group>();
  for (const { id, space } of servers) {
    const disks = disksOf(id, space);
    const [group = { servers: [], fileSystems: [] }, ...others] = new Set(
      disks.flatMap(({ fileSystem }) => groupOf.get(fileSystem) ?? []),
    );
    groups.add(group);
    for (const other of others) {
      group.servers.push(...other.servers);
      group.fileSystems.push(...other.fileSystems);
      groups.delete(other);
      for (const [fileSystem, of] of groupOf) if (of === other) groupOf.set(fileSystem, group);
    }
    group.servers.push({ id, freeBytes: disks.reduce((sum, { freeBytes }) => sum + freeBytes, 0) });
    for (const { fileSystem, freeBytes } of disks) {
      groupOf.set(fileSystem, group);
      let shared = fileSystemOf.get(fileSystem);
      if (!shared) {
        shared = { freeBytes: 0, ofServers: [] };
        fileSystemOf.set(fileSystem, shared);
        group.fileSystems.push(shared);
      }
      // Servers may keep different reserves free there.
      shared.freeBytes = Math.max(shared.freeBytes, freeBytes);
      shared.ofServers.push(freeBytes);
    }
  }
  return [...groups];
}

/** Its file systems, each once. An older server tells only sums. */
function disksOf(id: ServerId, { freeBytes, disks }: WireSpace): Array<{ fileSystem: string; freeBytes: number }> {
  if (!disks) return [{ fileSystem: `of server ${id}`, freeBytes }];
  return [...new Map(disks.map(disk => [disk.fileSystem, disk])).values()];
}
