// What the groups of operations of one mount share: the client, the caches, the open files, and the way from a place to its inode.
import type { Where as ClientWhere, FileSystemClient } from '../client/types.js';
import type { Clock } from '../lib/clock.js';
import type { Logger } from '../lib/logger.js';
import { AttributeCache } from './attribute-cache.js';
import type { Attributes, Caller, FuseNotifier, Where } from './fuse-operations.js';
import { FileTable, HandleTable } from './handles.js';
import type { FileHandle, MountedFile } from './mounted-file.js';
import { MOUNT_LIMITS, type MountSettings } from './settings.js';

const SET_GROUP_ID = 0o2000;

export interface MountContextOptions {
  client: FileSystemClient;
  clock: Clock;
  logger: Logger;
  settings: MountSettings;
  /** Who new files belong to when the transport does not know the caller. */
  owner: { uid: number; gid: number };
}

export class MountContext {
  readonly client: FileSystemClient;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly settings: MountSettings;
  readonly cache: AttributeCache;
  readonly files: FileTable;
  readonly handles = new HandleTable<FileHandle>();
  notifier: FuseNotifier | undefined;
  private readonly owner: { uid: number; gid: number };

  constructor(options: MountContextOptions) {
    const { client, clock, logger, settings } = options;
    this.client = client;
    this.clock = clock;
    this.logger = logger;
    this.settings = settings;
    this.owner = options.owner;
    // The kernel keeps attributes for the other half of the time (transports are given it), so that nothing is older than the whole.
    const ageMsMax = settings.attributeTimeout / 2;
    this.cache = new AttributeCache({ clock, ageMsMax, entriesMax: MOUNT_LIMITS.cacheEntriesMax });
    this.files = new FileTable({
      clock,
      logger,
      file: {
        clock,
        settings,
        recordBytesMax: client.recordBytesMax,
        onLanded: (file, sizeBytes) => this.onLanded(file, sizeBytes),
        onFailed: (file, error) => {
          this.cache.dropInode(file.inode);
          this.notifier?.invalidateInode(file.inode);
          logger.error({ inode: file.inode, code: error.code, error }, 'written bytes were lost');
        },
      },
    });
  }

  /** Attributes of a place that count every write of this mount; from the cache when fresh. */
  async attributesOf(where: Where): Promise<Attributes> {
    const cached = this.cache.get(where);
    const known = cached ?? (await this.lookup(where));
    const file = this.files.find(known.inode);
    if (!file?.hasUnsettled) return known;
    return this.attributesOfFile(file);
  }

  /** Attributes of an open file, by inode: it may have no name any more. */
  async attributesOfFile(file: MountedFile): Promise<Attributes> {
    const ticket = this.cache.ticket();
    const attributes = await file.attributes();
    this.cache.put(ticket, { start: file.inode, path: '' }, attributes);
    return attributes;
  }

  /** The inode at a place; from the cache when fresh. */
  async inodeOf(where: Where): Promise<number> {
    return this.cache.inodeOf(where) ?? (await this.lookup(where)).inode;
  }

  async lookup(where: Where): Promise<Attributes> {
    const ticket = this.cache.ticket();
    const attributes = await this.client.lookup(clientWhere(where), { follow: false });
    this.cache.put(ticket, where, attributes);
    return attributes;
  }

  /** Who a new entry belongs to, with its mode: in a directory with the setgid bit the group is the directory's, and a directory passes the bit on. */
  async ownership(
    where: Where,
    type: 'file' | 'directory' | 'symlink',
    mode: number,
    caller?: Caller,
  ): Promise<{ uid: number; gid: number; mode: number }> {
    const uid = caller?.uid ?? this.owner.uid;
    const gid = caller?.gid ?? this.owner.gid;
    const place = parentOf(where);
    const known = this.cache.inodeOf(place);
    const parent =
      (known === undefined ? undefined : this.cache.getOwnership(known)) ?? (await this.attributesOf(place));
    if ((parent.mode & SET_GROUP_ID) === 0) return { uid, gid, mode };
    return { uid, gid: parent.gid, mode: type === 'directory' ? mode | SET_GROUP_ID : mode };
  }

  /** The directory of this place has other times and perhaps another link count now. */
  dropParent(where: Where): void {
    const parent = this.cache.inodeOf(parentOf(where));
    if (parent !== undefined) this.cache.noteEntriesChanged(parent);
  }

  private onLanded(file: MountedFile, sizeBytes: number): void {
    this.cache.grow(file.inode, file.generation, sizeBytes, file.client.changedMs);
  }
}

/** The directory that holds the last component of a place. */
export function parentOf(where: Where): Where {
  const slash = where.path.lastIndexOf('/');
  return { start: where.start, path: slash < 0 ? '' : where.path.slice(0, slash) };
}

/** The same place with the client's type of inode numbers. */
export function clientWhere(where: Where): ClientWhere {
  return where as ClientWhere;
}

export function inodeWhere(inode: number): ClientWhere {
  return { start: inode, path: '' } as ClientWhere;
}
