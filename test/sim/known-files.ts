// The files of a scenario as its workloads told of them: which there are, under which names, and which may be gone. It judges nothing.
import type { Checker, HistoryEvent } from './history.js';

export class KnownFiles implements Checker {
  readonly promise = '';
  readonly files = new Map<number, HistoryEvent & { kind: 'file' }>();
  /** The names that were acknowledged last. */
  readonly names = new Map<number, string>();
  /** Files whose deletion was asked for. */
  readonly mayBeGone = new Set<number>();
  /** Files that were deleted; those of them that left the trash for good, and the names that others got out of it. */
  readonly unlinked = new Set<number>();
  readonly purged = new Set<number>();
  readonly restored = new Map<number, string>();

  on(event: HistoryEvent): undefined {
    if (event.kind === 'file') this.files.set(event.file, event);
    if (event.kind === 'unlinked') this.unlinked.add(event.file);
    if (event.kind !== 'named') return;
    if (event.path === undefined) this.names.delete(event.file);
    else this.names.set(event.file, event.path);
    if (event.mayGo) this.mayBeGone.add(event.file);
  }

  /** Whether the file may not be gone: nobody asked for its deletion, or it was got out of the trash. */
  mustStay(inode: number): boolean {
    return !this.mayBeGone.has(inode) || this.restored.has(inode);
  }

  /** What has to be in the trash. */
  get deleted(): number[] {
    return [...this.unlinked].filter(inode => !this.purged.has(inode)).sort((a, b) => a - b);
  }
}
