// Tells sessions that what they looked at was changed by another client, so that they drop it from their caches. It remembers per session
// a bounded set of inodes and entries; what falls out of the set is announced as forgotten, since nobody would announce its changes later.
import type { InodeId } from '../protocol/ids.js';
import type { ServerConnection } from '../rpc/types.js';

const NOTICE_ITEMS_MAX = 1024;

export interface EntryName {
  parent: InodeId;
  name: string;
}

/** What a session is to be told. */
interface Told {
  readonly inodes: Set<InodeId>;
  readonly entries: Map<string, EntryName>;
}

interface Watcher {
  readonly client: string;
  readonly connection: ServerConnection;
  /** In the order of interest, the oldest first. */
  readonly interests: Set<string>;
  readonly changed: Told;
  readonly forgotten: Told;
}

export class Notices {
  /** By session. */
  private readonly watchers = new Map<string, Watcher>();
  private readonly byClient = new Map<string, Watcher>();
  private readonly bySubject = new Map<string, Set<Watcher>>();
  /** Watchers with something to be told. */
  private readonly pending = new Set<Watcher>();

  constructor(private readonly bounds: { interestsPerSessionMax: number; noticeQueuedBytesMax: number }) {}

  /** `session` of `client` wants notices on this connection, until it is gone. */
  watch(session: string, client: string, connection: ServerConnection): void {
    this.forget(session);
    const watcher = {
      client,
      connection,
      interests: new Set<string>(),
      changed: { inodes: new Set<InodeId>(), entries: new Map<string, EntryName>() },
      forgotten: { inodes: new Set<InodeId>(), entries: new Map<string, EntryName>() },
    };
    this.watchers.set(session, watcher);
    this.byClient.set(client, watcher);
    connection.onClose(() => {
      if (this.watchers.get(session) === watcher) this.forget(session);
    });
  }

  forget(session: string): void {
    const watcher = this.watchers.get(session);
    if (!watcher) return;
    this.watchers.delete(session);
    if (this.byClient.get(watcher.client) === watcher) this.byClient.delete(watcher.client);
    this.pending.delete(watcher);
    for (const subject of watcher.interests) this.unlink(subject, watcher);
  }

  /** The client was shown the attributes of this inode, or knows them because it changed them. */
  sawInode(client: string | undefined, inode: InodeId): void {
    this.saw(client, `i${inode}`);
  }

  /** The client was shown this entry, or that there is none, or made it. */
  sawEntry(client: string | undefined, { parent, name }: EntryName): void {
    this.saw(client, `e${parent}/${name}`);
  }

  /** Something about the inode changed; everybody but `client` who saw it is told at the next `flush`. */
  inodeChanged(inode: InodeId, client?: string): void {
    const subject = `i${inode}`;
    for (const watcher of [...(this.bySubject.get(subject) ?? [])])
      if (watcher.client !== client) this.tell(watcher, subject, watcher.changed);
  }

  entryChanged({ parent, name }: EntryName, client?: string): void {
    const subject = `e${parent}/${name}`;
    for (const watcher of [...(this.bySubject.get(subject) ?? [])])
      if (watcher.client !== client) this.tell(watcher, subject, watcher.changed);
  }

  /** Sends what has gathered. Called once the changes are durable. */
  flush(): void {
    for (const watcher of this.pending) {
      // All of it: who lists a large directory gives up interests faster than one notice a time could tell.
      while (this.pending.has(watcher)) {
        // A peer that does not read gets no more: its cache would be wrong for long, so it must lose the connection and look anew.
        if (watcher.connection.queuedBytes > this.bounds.noticeQueuedBytesMax) break;
        this.tellSome(watcher);
      }
    }
  }

  private tellSome(watcher: Watcher): void {
    const { connection, changed, forgotten } = watcher;
    if (isEmpty(changed)) connection.notify('changed', { ...takeSome(forgotten), forgotten: true });
    else connection.notify('changed', takeSome(changed));
    if (isEmpty(changed) && isEmpty(forgotten)) this.pending.delete(watcher);
  }

  private saw(client: string | undefined, subject: string): void {
    const watcher = client === undefined ? undefined : this.byClient.get(client);
    if (!watcher) return;
    // Seen again: the youngest once more.
    watcher.interests.delete(subject);
    watcher.interests.add(subject);
    const watchers = this.bySubject.get(subject) ?? new Set<Watcher>();
    this.bySubject.set(subject, watchers);
    watchers.add(watcher);
    if (watcher.interests.size > this.bounds.interestsPerSessionMax) {
      const oldest = watcher.interests.values().next().value as string;
      this.tell(watcher, oldest, watcher.forgotten);
    }
  }

  private tell(watcher: Watcher, subject: string, told: Told): void {
    watcher.interests.delete(subject);
    this.unlink(subject, watcher);
    if (subject[0] === 'i') told.inodes.add(Number(subject.slice(1)) as InodeId);
    else {
      const slash = subject.indexOf('/');
      told.entries.set(subject, {
        parent: Number(subject.slice(1, slash)) as InodeId,
        name: subject.slice(slash + 1),
      });
    }
    this.pending.add(watcher);
  }

  private unlink(subject: string, watcher: Watcher): void {
    const watchers = this.bySubject.get(subject);
    watchers?.delete(watcher);
    if (watchers?.size === 0) this.bySubject.delete(subject);
  }
}

function isEmpty({ inodes, entries }: Told): boolean {
  return inodes.size === 0 && entries.size === 0;
}

/** As much of it as one notice says. */
function takeSome(told: Told): { inodes: InodeId[]; entries: EntryName[] } {
  const inodes = first(told.inodes, NOTICE_ITEMS_MAX);
  const keys = first(told.entries.keys(), NOTICE_ITEMS_MAX);
  const entries = keys.map(key => told.entries.get(key)!);
  for (const inode of inodes) told.inodes.delete(inode);
  for (const key of keys) told.entries.delete(key);
  return { inodes, entries };
}

function first<T>(items: Iterable<T>, limit: number): T[] {
  const taken: T[] = [];
  for (const item of items) {
    if (taken.length === limit) break;
    taken.push(item);
  }
  return taken;
}
