// System calls on names and attributes: stat, chmod, mkdir, link, rename and their kind, and listing. It moves no file data.

import { GfsError } from '../protocol/errors.js';
import { LIMITS } from '../protocol/limits.js';
import { clientWhere, inodeWhere, type MountContext } from './context.js';
import type {
  AttributeChanges,
  Attributes,
  Caller,
  DirectoryEntry,
  FileSystemSpace,
  Where,
} from './fuse-operations.js';
import { HandleTable } from './handles.js';

/** The unit of statfs(2): large, because fuse-native counts blocks in 32 bits. */
const STATFS_BLOCK_BYTES = 64 * 1024;
const STATFS_FILES_MAX = 0xffff_ffff;

export class NameOperations {
  private readonly directories = new HandleTable<{ inode: number }>();

  constructor(private readonly context: MountContext) {}

  async getAttributes(where: Where, handle?: number): Promise<Attributes> {
    const { context } = this;
    const opened = handle === undefined ? undefined : context.handles.find(handle);
    if (!opened) return context.attributesOf(where);
    const cached = context.cache.getInode(opened.file.inode);
    if (cached && !opened.file.hasUnsettled) return cached;
    return context.attributesOfFile(opened.file);
  }

  async setAttributes(where: Where, changes: AttributeChanges, handle?: number): Promise<Attributes> {
    const { client, cache, files, handles } = this.context;
    const inode =
      (handle === undefined ? undefined : handles.find(handle)?.file.inode) ?? (await this.context.inodeOf(where));
    const file = files.find(inode);
    // Appends that land later would set the modification time anew.
    await file?.settle();
    cache.dropInode(inode);
    const { sizeBytes, ...others } = changes;
    let attributes: Attributes | undefined;
    if (sizeBytes !== undefined) {
      attributes = await (file ? file.truncate(sizeBytes) : client.truncate(inode, sizeBytes));
      // Changing the size sets both times to now already.
      if (others.mtimeNs === 'now') delete others.mtimeNs;
    }
    const wire = wireChanges(others);
    const ticket = cache.ticket();
    if (Object.keys(wire).length > 0)
      attributes = await client.setAttributes(inodeWhere(inode), wire, { follow: false });
    attributes ??= await client.lookup(inodeWhere(inode), { follow: false });
    file?.noteAttributes(attributes);
    cache.put(ticket, { start: inode, path: '' }, attributes);
    return attributes;
  }

  async readLink(where: Where): Promise<string> {
    const attributes = await this.context.lookup(where);
    const { target } = attributes as { target?: string };
    if (attributes.type !== 'symlink' || target === undefined)
      throw new GfsError('INVALID', 'this is not a symbolic link');
    return target;
  }

  async makeDirectory(where: Where, mode: number, caller?: Caller): Promise<Attributes> {
    const options = await this.context.ownership(where, 'directory', mode, caller);
    return this.made(where, () => this.context.client.makeDirectory(clientWhere(where), options));
  }

  async symlink(where: Where, target: string, caller?: Caller): Promise<Attributes> {
    const { uid, gid } = await this.context.ownership(where, 'symlink', 0o777, caller);
    return this.made(where, () => this.context.client.makeSymlink(clientWhere(where), target, { uid, gid }));
  }

  async link(existing: Where, created: Where): Promise<Attributes> {
    const { client, cache } = this.context;
    const inode = await this.context.inodeOf(existing);
    const attributes = await this.made(created, () => client.link(inodeWhere(inode), clientWhere(created)));
    cache.dropInode(inode);
    const file = this.context.files.find(inode);
    return file?.hasUnsettled ? file.attributes() : attributes;
  }

  async unlink(where: Where): Promise<void> {
    const { client, cache, files } = this.context;
    const inode = cache.inodeOf(where);
    try {
      await client.unlink(clientWhere(where));
    } finally {
      cache.dropName(where);
      this.context.dropParent(where);
    }
    if (inode !== undefined) files.drop(inode);
  }

  async removeDirectory(where: Where): Promise<void> {
    try {
      await this.context.client.removeDirectory(clientWhere(where));
    } finally {
      this.context.cache.dropName(where);
      this.context.dropParent(where);
    }
  }

  async rename(from: Where, to: Where, options: { noReplace: boolean; exchange: boolean }): Promise<void> {
    const { client, cache, files } = this.context;
    const replaced = cache.inodeOf(to);
    try {
      await client.rename(clientWhere(from), clientWhere(to), options);
    } finally {
      cache.clear();
    }
    if (replaced !== undefined) files.drop(replaced);
  }

  async openDirectory(where: Where): Promise<{ handle: number }> {
    const attributes = await this.context.attributesOf(where);
    if (attributes.type !== 'directory') throw new GfsError('NOT_DIRECTORY');
    return { handle: this.directories.add({ inode: attributes.inode }) };
  }

  async readDirectory(handle: number, afterName: string): Promise<DirectoryEntry[]> {
    const { client, cache, files } = this.context;
    const { inode } = this.directories.get(handle);
    const ticket = cache.ticket();
    const { entries } = await client.readDirectory(inode, afterName, LIMITS.directoryPageMax);
    const unsettled = entries.map(entry => files.find(entry.attributes.inode)).filter(file => file?.hasUnsettled);
    await Promise.all(unsettled.map(file => file!.settle()));
    return entries.map(entry => {
      const attributes = cache.withKnownEnd(entry.attributes);
      // The size of a growing file is that of its last heartbeat in a listing.
      if (!attributes.growing) cache.put(ticket, { start: inode, path: entry.name }, attributes);
      return { name: entry.name, inode: attributes.inode, type: attributes.type, attributes };
    });
  }

  async releaseDirectory(handle: number): Promise<void> {
    this.directories.remove(handle);
  }

  async statfs(): Promise<FileSystemSpace> {
    const space = await this.context.client.statfs();
    return {
      blockSizeBytes: STATFS_BLOCK_BYTES,
      blocks: Math.ceil(space.capacityBytes / STATFS_BLOCK_BYTES),
      // What nobody can write now, because servers are down, is not used either.
      blocksFree: Math.floor(Math.max(0, space.capacityBytes - space.usedBytes) / STATFS_BLOCK_BYTES),
      blocksAvailable: Math.floor(space.freeBytes / STATFS_BLOCK_BYTES),
      files: STATFS_FILES_MAX,
      filesFree: Math.max(0, STATFS_FILES_MAX - space.files),
      nameMaxBytes: LIMITS.nameBytesMax,
    };
  }

  private async made(where: Where, make: () => Promise<Attributes>): Promise<Attributes> {
    this.context.cache.dropName(where);
    this.context.dropParent(where);
    const ticket = this.context.cache.ticket();
    const attributes = await make();
    this.context.cache.put(ticket, where, attributes);
    return attributes;
  }
}

/** As the client takes them: time 0 means "the master's now" there, so that a true 1970 moves by a nanosecond. */
function wireChanges(changes: AttributeChanges): {
  mode?: number;
  uid?: number;
  gid?: number;
  atimeNs?: bigint;
  mtimeNs?: bigint;
} {
  const { mode, uid, gid, atimeNs, mtimeNs } = changes;
  return {
    ...(mode === undefined ? {} : { mode }),
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
    ...(atimeNs === undefined ? {} : { atimeNs: wireTime(atimeNs) }),
    ...(mtimeNs === undefined ? {} : { mtimeNs: wireTime(mtimeNs) }),
  };
}

function wireTime(time: bigint | 'now'): bigint {
  if (time === 'now') return 0n;
  return time === 0n ? 1n : time;
}
