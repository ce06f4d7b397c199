// The kernel reads a directory by position (a number), the operations by the last name: this keeps, per open directory, what turns one into the other.
// Whole pages are kept only near the reading position; of earlier pages only where they began, for the rare seekdir(3).
import { GfsError } from '../../protocol/errors.js';
import type { DirectoryEntry, FuseOperations } from '../fuse-operations.js';
import type { KeepTicket, KernelCache } from './kernel-cache.js';

interface Page {
  /** Position of the first entry. */
  first: number;
  /** What readDirectory is asked with to get this page. */
  afterName: string;
  entries: readonly DirectoryEntry[];
  /** From before the question. */
  ticket: KeepTicket;
}

interface Reader {
  /** Beginnings of the pages seen, in order. Grows by one per page, that is far slower than the directory. */
  starts: Array<{ first: number; afterName: string }>;
  /** The newest at the end. */
  pages: Page[];
}

/** One page the reader is in, and the one before it, from which entries may be asked again that did not fit the caller's buffer. */
const PAGES_KEPT = 2;

export class DirectoryReaders {
  private readonly operations: FuseOperations;
  private readonly cache: KernelCache;
  private readonly readers = new Map<number, Reader>();

  constructor(operations: FuseOperations, cache: KernelCache) {
    this.operations = operations;
    this.cache = cache;
  }

  open(handle: number): void {
    this.readers.set(handle, { starts: [{ first: 0, afterName: '' }], pages: [] });
  }

  close(handle: number): void {
    this.readers.delete(handle);
  }

  /** Entries from `position` (0 is the first) to the end of their page; none at the end of the directory. Throws BAD_HANDLE for an unknown handle. */
  async entriesAt(handle: number, position: number): Promise<Pick<Page, 'entries' | 'ticket'>> {
    const reader = this.readers.get(handle);
    if (reader === undefined) throw new GfsError('BAD_HANDLE');
    // rewinddir(3) wants to see what was added since.
    if (position === 0) this.open(handle);
    const fresh = this.readers.get(handle) as Reader;

    let page = fresh.pages.find(kept => position >= kept.first && position < kept.first + kept.entries.length);
    page ??= await this.loadPage(handle, fresh, position);
    return { entries: page.entries.slice(position - page.first), ticket: page.ticket };
  }

  private async loadPage(handle: number, reader: Reader, position: number): Promise<Page> {
    let start = reader.starts.findLast(known => known.first <= position) as Reader['starts'][number];
    for (;;) {
      const ticket = this.cache.ticket();
      const entries = await this.operations.readDirectory(handle, start.afterName);
      const page: Page = { ...start, entries, ticket };
      reader.pages = [...reader.pages, page].slice(-PAGES_KEPT);
      const last = entries.at(-1);
      if (last === undefined) return page;
      const next = { first: page.first + entries.length, afterName: last.name };
      if (next.first > (reader.starts.at(-1) as typeof next).first) reader.starts.push(next);
      if (position < next.first) return page;
      start = next;
    }
  }
}
