// System calls on open files: open, create, read, write, flush, fsync, release, and what stands on them. What a write means is decided in mounted-file.ts.
import { GfsError, hasCode } from '../protocol/errors.js';
import { BoundedMap } from './attribute-cache.js';
import { clientWhere, type MountContext } from './context.js';
import type { Attributes, Caller, Where } from './fuse-operations.js';
import type { FileHandle, HandleFlags, MountedFile } from './mounted-file.js';
import { MOUNT_LIMITS } from './settings.js';

/** open(2) flags of Linux x64. */
export const OPEN_FLAGS = {
  accessMode: 0o3,
  writeOnly: 0o1,
  readWrite: 0o2,
  create: 0o100,
  exclusive: 0o200,
  truncate: 0o1000,
  append: 0o2000,
  dataSync: 0o10000,
} as const;

const FALLOCATE_KEEP_SIZE = 1;

export class FileOperations {
  private readonly refusedFiles = new BoundedMap<number, true>(MOUNT_LIMITS.loggedFilesMax);
  /** The generation whose pages the kernel may have, per inode. */
  private readonly pageGenerations = new BoundedMap<number, number>(MOUNT_LIMITS.cacheEntriesMax);

  constructor(private readonly context: MountContext) {}

  /**
   * The kernel asks when it found no such name. When another mount made it meanwhile, STALE has the kernel look again and do what the caller asked for:
   * open the file, or say EEXIST where O_EXCL or mknod(2) was meant, which cannot be told apart here.
   */
  async makeNode(where: Where, mode: number, caller?: Caller): Promise<Attributes> {
    try {
      const { attributes, file } = await this.createFile(where, OPEN_FLAGS.exclusive, mode, caller);
      file.noteMade();
      return attributes;
    } catch (error) {
      if (!hasCode(error, 'EXISTS')) throw error;
      throw new GfsError('STALE', 'another mount made a file of this name a moment ago', { cause: error });
    }
  }

  async open(where: Where, flags: number): Promise<{ handle: number; keepCache: boolean }> {
    const { client, cache, files } = this.context;
    const inode = await this.context.inodeOf(where);
    const attributes = cache.getInode(inode);
    if (attributes?.type === 'directory') throw new GfsError('IS_DIRECTORY');
    const handle = await files.openHandle(inode, () => client.openInode(inode), handleFlags(flags));
    const { file } = handle;
    if (where.path !== '') file.place = where.path;
    if (attributes && file.generation === 0) file.generation = attributes.generation;
    try {
      // What another mount closed before this open must be seen: sizes from before do not do.
      const isNew = file.takeNew();
      if ((flags & OPEN_FLAGS.truncate) !== 0 && !isNew) await this.truncate(file);
      else if (handle.readable) await this.refresh(file);
    } catch (error) {
      files.closeHandle(handle);
      throw error;
    }
    return { handle: this.context.handles.add(handle), keepCache: this.keepsPages(file) };
  }

  async create(
    where: Where,
    flags: number,
    mode: number,
    caller?: Caller,
  ): Promise<{ attributes: Attributes; handle: number; keepCache: boolean }> {
    const { attributes, file } = await this.createFile(where, flags, mode, caller);
    const open = (): ReturnType<typeof this.context.client.openInode> => this.context.client.openInode(file.inode);
    const handle = await this.context.files.openHandle(file.inode, open, handleFlags(flags));
    return { attributes, handle: this.context.handles.add(handle), keepCache: this.keepsPages(handle.file) };
  }

  async read(handle: number, offset: number, length: number): Promise<Buffer[]> {
    const opened = this.context.handles.get(handle);
    if (!opened.readable) throw new GfsError('BAD_HANDLE', 'the file is not open for reading');
    return opened.file.read(offset, length);
  }

  async write(handle: number, offset: number, data: Buffer): Promise<number> {
    const opened = this.context.handles.get(handle);
    if (!opened.writable) throw new GfsError('BAD_HANDLE', 'the file is not open for writing');
    try {
      return await opened.file.write(opened, offset, data);
    } catch (error) {
      if (hasCode(error, 'NOT_APPEND')) this.logRefusal(opened, error);
      throw error;
    }
  }

  async flush(handle: number): Promise<void> {
    const opened = this.context.handles.get(handle);
    if (opened.writable) await opened.file.flush(opened);
  }

  async fsync(handle: number): Promise<void> {
    const opened = this.context.handles.get(handle);
    await opened.file.sync(opened);
  }

  async release(handle: number): Promise<void> {
    const opened = this.context.handles.remove(handle);
    if (opened) this.context.files.closeHandle(opened);
  }

  async allocate(handle: number, mode: number, offset: number, length: number): Promise<void> {
    const opened = this.context.handles.get(handle);
    if (!opened.writable) throw new GfsError('BAD_HANDLE', 'the file is not open for writing');
    // Space is not reserved ahead, so keeping the size leaves nothing to do.
    if (mode === FALLOCATE_KEEP_SIZE) return;
    if (mode !== 0) throw new GfsError('NOT_SUPPORTED', `fallocate(2) with mode ${mode} would change bytes that stand`);
    await opened.file.extend(opened, offset + length);
    this.context.cache.dropInode(opened.file.inode);
  }

  /** All bytes count as data; the only hole is the one behind the end, as lseek(2) allows. */
  async seek(handle: number, offset: number, whence: 'data' | 'hole'): Promise<number> {
    const { sizeBytes } = await this.context.handles.get(handle).file.attributes();
    if (offset >= sizeBytes) throw new GfsError('NOT_FOUND', 'the offset is past the end of the file');
    return whence === 'data' ? offset : sizeBytes;
  }

  async copyRange(
    from: { handle: number; offset: number },
    to: { handle: number; offset: number },
    length: number,
  ): Promise<number> {
    const pieces = await this.read(from.handle, from.offset, Math.min(length, MOUNT_LIMITS.copyBytesMax));
    const data = Buffer.concat(pieces);
    if (data.length === 0) return 0;
    return this.write(to.handle, to.offset, data);
  }

  private async createFile(
    where: Where,
    flags: number,
    mode: number,
    caller?: Caller,
  ): Promise<{ attributes: Attributes; file: MountedFile }> {
    const { client, cache, files } = this.context;
    const exclusive = (flags & OPEN_FLAGS.exclusive) !== 0;
    const truncate = (flags & OPEN_FLAGS.truncate) !== 0;
    const owned = await this.context.ownership(where, 'file', mode, caller);
    // An existing file that is cut must first take what this mount has written to it.
    const known = truncate ? cache.inodeOf(where) : undefined;
    if (known !== undefined) await files.find(known)?.settle();
    cache.dropName(where);
    this.context.dropParent(where);
    const ticket = cache.ticket();
    const result = await client.createFile(clientWhere(where), { ...owned, exclusive, truncate });
    const file = files.adopt(result.file);
    if (where.path !== '') file.place = where.path;
    file.noteAttributes(result.attributes);
    cache.put(ticket, where, result.attributes);
    return { attributes: file.hasUnsettled ? await file.attributes() : result.attributes, file };
  }

  private async truncate(file: MountedFile): Promise<void> {
    this.context.cache.dropInode(file.inode);
    await file.truncate(0);
    this.context.cache.dropInode(file.inode);
  }

  /** Asks for the attributes, and makes the kernel ask too when it has others. */
  private async refresh(file: MountedFile): Promise<void> {
    const before = this.context.cache.lastSeen(file.inode);
    const now = await this.context.attributesOfFile(file);
    const isSame = before?.sizeBytes === now.sizeBytes && before.generation === now.generation;
    if (!isSame || before.mtimeNs !== now.mtimeNs) this.context.notifier?.invalidateInode(file.inode);
  }

  /** Bytes once read stay right until some are cut off (DESIGN 2), so the kernel keeps its pages as long as the generation stays. */
  private keepsPages(file: MountedFile): boolean {
    const keeps = this.pageGenerations.get(file.inode) === file.generation;
    this.pageGenerations.set(file.inode, file.generation);
    return keeps;
  }

  private logRefusal(handle: FileHandle, error: GfsError): void {
    const { inode } = handle.file;
    if (this.refusedFiles.get(inode)) return;
    this.refusedFiles.set(inode, true);
    this.context.logger.warn({ inode, code: error.code }, error.message);
  }
}

function handleFlags(flags: number): HandleFlags {
  const access = flags & OPEN_FLAGS.accessMode;
  return {
    readable: access !== OPEN_FLAGS.writeOnly,
    writable: access === OPEN_FLAGS.writeOnly || access === OPEN_FLAGS.readWrite,
    append: (flags & OPEN_FLAGS.append) !== 0,
    durable: (flags & OPEN_FLAGS.dataSync) !== 0,
  };
}
