// Chunks that came with new files and were given back unused (touch, lock files). They go again, as if they had never been: otherwise the next look
// at such a file had to ask all servers of its chunk. It decides whether that is safe; nobody waits for it, so many go in one change.
import type { ChunkHandle, InodeId } from '../protocol/ids.js';
import { findChunk, isOpen, undoOpen } from './chunks.js';
import type { MasterContext } from './master-context.js';

/** Given back and still there; above it they go at once. */
const GIVEN_BACK_MAX = 1_024;

interface GivenBack {
  inode: InodeId;
  handle: ChunkHandle;
  version: number;
  /** Who was told of the chunk and says that it has sent nothing there. */
  client: string;
}

export class UnusedChunks {
  private readonly givenBack = new Map<ChunkHandle, GivenBack>();

  constructor(
    private readonly context: Pick<MasterContext, 'store' | 'leases' | 'time' | 'safeMode'>,
    /** It is being granted or sealed. */
    private readonly isSettling: (handle: ChunkHandle) => boolean,
  ) {}

  add(chunk: GivenBack): void {
    this.givenBack.set(chunk.handle, chunk);
    if (this.givenBack.size >= GIVEN_BACK_MAX) this.step();
  }

  /** Called regularly. */
  step(): void {
    const { store, leases, safeMode } = this.context;
    const unused = [...this.givenBack.values()].filter(chunk => this.isUnused(chunk));
    this.givenBack.clear();
    if (unused.length === 0 || safeMode.isDistrusting || store.isReadOnly) return;
    store.change(change => {
      for (const { handle } of unused) undoOpen(change, handle);
    });
    for (const { handle } of unused) leases.drop(handle);
  }

  /** Nobody but the client that gave it back was ever told of it, so that no server can have heard of it. */
  private isUnused({ inode, handle, version, client }: GivenBack): boolean {
    const { store, leases, time } = this.context;
    const chunk = findChunk(store, handle);
    if (!chunk || !isOpen(chunk) || chunk.inode !== inode || chunk.version !== version || chunk.lengthBytes > 0)
      return false;
    const lease = leases.live(handle, time.nowMs());
    return (
      lease?.version === version &&
      lease.committedBytes === 0 &&
      leases.isToldOnce(lease, client) &&
      !this.isSettling(handle)
    );
  }
}
