// Which server holds which replica, as the servers report it: in memory only, never on the master's disk (paper, §2.6.2). It says what is
// where and which replicas are current (I7); it orders nothing.
import type { ChunkHandle, ServerId } from '../protocol/ids.js';
import type { ChunkState, WireChunkReport } from '../protocol/messages.js';

export interface Replica {
  server: ServerId;
  version: number;
  lengthBytes: number;
  state: ChunkState;
  suspect: boolean;
  corrupt: boolean;
}

/** What the master records of a sealed chunk, as far as replicas are compared with it. */
export interface SealedAt {
  version: number;
  lengthBytes: number;
}

/** INVARIANT I7: only a replica that is exactly what the master recorded is read from or copied from. */
export function isCurrent(replica: Omit<Replica, 'server'>, sealed: SealedAt): boolean {
  return (
    replica.state === 'sealed' &&
    replica.version === sealed.version &&
    replica.lengthBytes === sealed.lengthBytes &&
    !replica.corrupt
  );
}

export class Locations {
  /** INVARIANT: a replica stands in `byHandle` exactly when its handle stands in `byServer` of its server. */
  private readonly byHandle = new Map<ChunkHandle, Replica[]>();
  private readonly byServer = new Map<ServerId, Set<ChunkHandle>>();

  /** How many chunks have at least one replica somewhere. */
  get handleCount(): number {
    return this.byHandle.size;
  }

  get(handle: ChunkHandle): readonly Replica[] {
    return this.byHandle.get(handle) ?? [];
  }

  find(handle: ChunkHandle, server: ServerId): Replica | undefined {
    return this.byHandle.get(handle)?.find(replica => replica.server === server);
  }

  handlesOf(server: ServerId): ReadonlySet<ChunkHandle> {
    return this.byServer.get(server) ?? NONE;
  }

  /** Handles of replicas on a server, from one to another inclusive; as cheap as the range is narrow. */
  handlesBetween(server: ServerId, from: number, through: number): ChunkHandle[] {
    const handles = this.handlesOf(server);
    if (through - from >= handles.size) return [...handles].filter(handle => handle >= from && handle <= through);
    const found: ChunkHandle[] = [];
    for (let handle = from; handle <= through; handle++)
      if (handles.has(handle as ChunkHandle)) found.push(handle as ChunkHandle);
    return found;
  }

  /** Takes over what a server said about one of its replicas. */
  report(server: ServerId, chunk: WireChunkReport): void {
    if (chunk.gone) {
      this.remove(chunk.handle, server);
      return;
    }
    this.put(chunk.handle, {
      server,
      version: chunk.version,
      lengthBytes: chunk.lengthBytes,
      state: chunk.state,
      suspect: chunk.suspect,
      corrupt: chunk.corrupt,
    });
  }

  put(handle: ChunkHandle, replica: Replica): void {
    const replicas = this.byHandle.get(handle);
    if (!replicas) this.byHandle.set(handle, [replica]);
    else {
      const index = replicas.findIndex(({ server }) => server === replica.server);
      // A list that is pushed to makes room for sixteen more, and there is one of each chunk.
      if (index < 0) this.byHandle.set(handle, replicas.concat(replica));
      else replicas[index] = replica;
    }
    const handles = this.byServer.get(replica.server) ?? new Set<ChunkHandle>();
    this.byServer.set(replica.server, handles);
    handles.add(handle);
  }

  remove(handle: ChunkHandle, server: ServerId): void {
    const replicas = this.byHandle.get(handle);
    const index = replicas?.findIndex(replica => replica.server === server) ?? -1;
    if (!replicas || index < 0) return;
    replicas.splice(index, 1);
    if (replicas.length === 0) this.byHandle.delete(handle);
    const handles = this.byServer.get(server);
    handles?.delete(handle);
    if (handles?.size === 0) this.byServer.delete(server);
  }

  /** Drops replicas of a server that its complete report did not name. Returns their handles. */
  retain(server: ServerId, reported: ReadonlySet<ChunkHandle>): ChunkHandle[] {
    const missing = [...this.handlesOf(server)].filter(handle => !reported.has(handle));
    for (const handle of missing) this.remove(handle, server);
    return missing;
  }

  /** Forgets a chunk everywhere. */
  forget(handle: ChunkHandle): void {
    for (const { server } of [...this.get(handle)]) this.remove(handle, server);
  }

  /** Throws when the two maps disagree; for tests. */
  checkInvariants(): void {
    let count = 0;
    for (const [handle, replicas] of this.byHandle) {
      const servers = new Set(replicas.map(({ server }) => server));
      if (replicas.length === 0 || servers.size !== replicas.length) throw new Error(`replicas of ${handle} repeat`);
      for (const server of servers)
        if (!this.byServer.get(server)?.has(handle)) throw new Error(`${handle} is missing at ${server}`);
      count += replicas.length;
    }
    for (const handles of this.byServer.values()) count -= handles.size;
    if (count !== 0) throw new Error('the maps of replicas differ in size');
  }
}

const NONE: ReadonlySet<ChunkHandle> = new Set();
