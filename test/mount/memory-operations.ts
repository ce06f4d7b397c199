// FuseOperations on plain memory, for tests and benchmarks of the transports: everything POSIX asks for, nothing shared, nothing durable.
// Files grow by doubling; locks are kept per inode and granted in the order of asking.
import type {
  AttributeChanges,
  Attributes,
  Caller,
  DirectoryEntry,
  FileSystemSpace,
  FileType,
  FuseNotifier,
  FuseOperations,
  LockRange,
  Where,
} from '../../src/mount/fuse-operations.js';
import { GfsError } from '../../src/protocol/errors.js';

interface Node {
  attributes: Attributes;
  content: Buffer;
  target: string;
  children: Map<string, Node>;
  xattrs: Map<string, Buffer>;
  locks: LockRange[];
  waiting: Set<() => void>;
}

interface Handle {
  node: Node;
  flags: number;
}

const O_ACCMODE = 3;
const O_EXCL = 0o200;
const O_TRUNC = 0o1000;
const O_APPEND = 0o2000;
const PAGE_ENTRIES = 500;
const NAME_MAX_BYTES = 255;

export class MemoryOperations implements FuseOperations {
  notifier: FuseNotifier | undefined;
  /** Inodes the kernel has forgotten, in order. */
  readonly forgotten: number[] = [];
  /** Names of operations that never settle, for tests of deadlines. */
  readonly stuck = new Set<string>();

  private readonly nodes = new Map<number, Node>();
  private readonly handles = new Map<number, Handle>();
  private nextInode = 1;
  private nextHandle = 1;

  constructor() {
    const root = this.newNode('directory', 0o755);
    root.attributes.nlink = 2;
  }

  attachNotifier(notifier: FuseNotifier): void {
    this.notifier = notifier;
  }

  forget(inode: number): void {
    this.forgotten.push(inode);
  }

  async getAttributes(where: Where): Promise<Attributes> {
    return { ...this.find(where).attributes };
  }

  async setAttributes(where: Where, changes: AttributeChanges, handle?: number): Promise<Attributes> {
    const node = handle === undefined ? this.find(where) : this.handle(handle).node;
    const { attributes } = node;
    const now = nowNs();
    if (changes.mode !== undefined) attributes.mode = changes.mode;
    if (changes.uid !== undefined) attributes.uid = changes.uid;
    if (changes.gid !== undefined) attributes.gid = changes.gid;
    if (changes.sizeBytes !== undefined) this.resize(node, changes.sizeBytes);
    if (changes.atimeNs !== undefined) attributes.atimeNs = changes.atimeNs === 'now' ? now : changes.atimeNs;
    if (changes.mtimeNs !== undefined) attributes.mtimeNs = changes.mtimeNs === 'now' ? now : changes.mtimeNs;
    attributes.ctimeNs = now;
    return { ...attributes };
  }

  async readLink(where: Where): Promise<string> {
    const node = this.find(where);
    if (node.attributes.type !== 'symlink') throw new GfsError('INVALID');
    return node.target;
  }

  async makeNode(where: Where, mode: number, caller?: Caller): Promise<Attributes> {
    return { ...this.add(where, 'file', mode, caller).attributes };
  }

  async makeDirectory(where: Where, mode: number, caller?: Caller): Promise<Attributes> {
    const node = this.add(where, 'directory', mode, caller);
    node.attributes.nlink = 2;
    this.parentOf(where).parent.attributes.nlink++;
    return { ...node.attributes };
  }

  async symlink(where: Where, target: string, caller?: Caller): Promise<Attributes> {
    const node = this.add(where, 'symlink', 0o777, caller);
    node.target = target;
    node.attributes.sizeBytes = Buffer.byteLength(target);
    return { ...node.attributes };
  }

  async link(existing: Where, created: Where): Promise<Attributes> {
    const node = this.find(existing);
    if (node.attributes.type === 'directory') throw new GfsError('NOT_PERMITTED');
    const { parent, name } = this.parentOf(created);
    if (parent.children.has(name)) throw new GfsError('EXISTS');
    parent.children.set(name, node);
    touch(parent);
    node.attributes.nlink++;
    node.attributes.ctimeNs = nowNs();
    return { ...node.attributes };
  }

  async unlink(where: Where): Promise<void> {
    const { parent, name } = this.parentOf(where);
    const node = this.find(where);
    if (node.attributes.type === 'directory') throw new GfsError('IS_DIRECTORY');
    this.drop(parent, name, node);
  }

  async removeDirectory(where: Where): Promise<void> {
    const { parent, name } = this.parentOf(where);
    const node = this.find(where);
    if (node.attributes.type !== 'directory') throw new GfsError('NOT_DIRECTORY');
    if (node.children.size > 0) throw new GfsError('NOT_EMPTY');
    this.drop(parent, name, node);
  }

  async rename(from: Where, to: Where, options: { noReplace: boolean; exchange: boolean }): Promise<void> {
    const source = this.parentOf(from);
    const target = this.parentOf(to);
    const node = this.find(from);
    const other = target.parent.children.get(target.name);
    if (options.exchange) {
      if (other === undefined) throw new GfsError('NOT_FOUND');
      source.parent.children.set(source.name, other);
      target.parent.children.set(target.name, node);
      return;
    }
    if (other === node) return;
    if (other !== undefined) {
      if (options.noReplace) throw new GfsError('EXISTS');
      if (other.children.size > 0) throw new GfsError('NOT_EMPTY');
      if (other.attributes.type === 'directory' && node.attributes.type !== 'directory') {
        throw new GfsError('IS_DIRECTORY');
      }
      if (other.attributes.type !== 'directory' && node.attributes.type === 'directory') {
        throw new GfsError('NOT_DIRECTORY');
      }
      this.drop(target.parent, target.name, other);
    }
    source.parent.children.delete(source.name);
    target.parent.children.set(target.name, node);
    if (node.attributes.type === 'directory') {
      source.parent.attributes.nlink--;
      target.parent.attributes.nlink++;
    }
    touch(source.parent);
    touch(target.parent);
  }

  async open(where: Where, flags: number): Promise<{ handle: number; keepCache: boolean }> {
    await this.maybeStuck('open');
    const node = this.find(where);
    if (node.attributes.type === 'directory') throw new GfsError('IS_DIRECTORY');
    if ((flags & O_TRUNC) !== 0 && (flags & O_ACCMODE) !== 0) this.resize(node, 0);
    return { handle: this.newHandle(node, flags), keepCache: true };
  }

  async create(
    where: Where,
    flags: number,
    mode: number,
    caller?: Caller,
  ): Promise<{ attributes: Attributes; handle: number; keepCache: boolean }> {
    const { parent, name } = this.parentOf(where);
    let node = parent.children.get(name);
    if (node === undefined) node = this.add(where, 'file', mode, caller);
    else if ((flags & O_EXCL) !== 0) throw new GfsError('EXISTS');
    else if ((flags & O_TRUNC) !== 0) this.resize(node, 0);
    return { attributes: { ...node.attributes }, handle: this.newHandle(node, flags), keepCache: false };
  }

  async read(handle: number, offset: number, length: number): Promise<Buffer[]> {
    await this.maybeStuck('read');
    const { node } = this.handle(handle);
    return [node.content.subarray(offset, Math.min(node.attributes.sizeBytes, offset + length))];
  }

  async write(handle: number, offset: number, data: Buffer): Promise<number> {
    const { node, flags } = this.handle(handle);
    const at = (flags & O_APPEND) !== 0 ? node.attributes.sizeBytes : offset;
    const end = at + data.length;
    this.reserve(node, end);
    data.copy(node.content, at);
    node.attributes.sizeBytes = Math.max(node.attributes.sizeBytes, end);
    touch(node);
    return data.length;
  }

  async flush(handle: number, lockOwner?: bigint): Promise<void> {
    const { node } = this.handle(handle);
    if (lockOwner !== undefined) this.unlockAll(node, lockOwner, false);
  }

  async fsync(handle: number): Promise<void> {
    this.handle(handle);
  }

  async release(handle: number, lockOwner?: bigint): Promise<void> {
    const { node } = this.handle(handle);
    if (lockOwner !== undefined) this.unlockAll(node, lockOwner, true);
    this.handles.delete(handle);
  }

  async openDirectory(where: Where): Promise<{ handle: number }> {
    const node = this.find(where);
    if (node.attributes.type !== 'directory') throw new GfsError('NOT_DIRECTORY');
    return { handle: this.newHandle(node, 0) };
  }

  async readDirectory(handle: number, afterName: string): Promise<DirectoryEntry[]> {
    const { node } = this.handle(handle);
    const names = [...node.children.keys()].filter(name => name > afterName).sort();
    return names.slice(0, PAGE_ENTRIES).map(name => {
      const { attributes } = node.children.get(name) as Node;
      return { name, inode: attributes.inode, type: attributes.type, attributes: { ...attributes } };
    });
  }

  async releaseDirectory(handle: number): Promise<void> {
    this.handle(handle);
    this.handles.delete(handle);
  }

  async statfs(): Promise<FileSystemSpace> {
    return {
      blockSizeBytes: 65536,
      blocks: 2 ** 33,
      blocksFree: 2 ** 32,
      blocksAvailable: 2 ** 32,
      files: this.nodes.size + 1e6,
      filesFree: 1e6,
      nameMaxBytes: NAME_MAX_BYTES,
    };
  }

  async getExtendedAttribute(where: Where, name: string): Promise<Buffer> {
    const value = this.find(where).xattrs.get(name);
    if (value === undefined) throw new GfsError('NO_ATTRIBUTE');
    return value;
  }

  async setExtendedAttribute(
    where: Where,
    name: string,
    value: Buffer,
    options: { create: boolean; replace: boolean },
  ): Promise<void> {
    const { xattrs } = this.find(where);
    if (options.create && xattrs.has(name)) throw new GfsError('EXISTS');
    if (options.replace && !xattrs.has(name)) throw new GfsError('NO_ATTRIBUTE');
    xattrs.set(name, value);
  }

  async listExtendedAttributes(where: Where): Promise<string[]> {
    return [...this.find(where).xattrs.keys()];
  }

  async removeExtendedAttribute(where: Where, name: string): Promise<void> {
    if (!this.find(where).xattrs.delete(name)) throw new GfsError('NO_ATTRIBUTE');
  }

  async allocate(handle: number, mode: number, offset: number, length: number): Promise<void> {
    if (mode !== 0) throw new GfsError('NOT_SUPPORTED');
    const { node } = this.handle(handle);
    if (offset + length > node.attributes.sizeBytes) this.resize(node, offset + length);
  }

  async seek(handle: number, offset: number, whence: 'data' | 'hole'): Promise<number> {
    const { sizeBytes } = this.handle(handle).node.attributes;
    if (offset >= sizeBytes) throw new GfsError('NOT_FOUND');
    return whence === 'data' ? offset : sizeBytes;
  }

  async copyRange(
    from: { handle: number; offset: number },
    to: { handle: number; offset: number },
    length: number,
  ): Promise<number> {
    const [data] = await this.read(from.handle, from.offset, length);
    return this.write(to.handle, to.offset, Buffer.from(data as Buffer));
  }

  async testLock(handle: number, lock: LockRange): Promise<LockRange | undefined> {
    return this.conflict(this.handle(handle).node, lock);
  }

  async setLock(handle: number, lock: LockRange, options: { wait: boolean; signal?: AbortSignal }): Promise<void> {
    const { node } = this.handle(handle);
    if (lock.kind === 'unlock') {
      this.unlock(node, lock);
      return;
    }
    while (this.conflict(node, lock) !== undefined) {
      if (!options.wait) throw new GfsError('LOCKED');
      await new Promise<void>((resolve, reject) => {
        const wake = (): void => {
          node.waiting.delete(wake);
          resolve();
        };
        node.waiting.add(wake);
        options.signal?.addEventListener(
          'abort',
          () => {
            node.waiting.delete(wake);
            reject(new GfsError('INTERRUPTED'));
          },
          { once: true },
        );
      });
    }
    this.unlock(node, lock);
    node.locks.push(lock);
  }

  private async maybeStuck(name: string): Promise<void> {
    if (this.stuck.has(name)) await new Promise(() => undefined);
  }

  private conflict(node: Node, lock: LockRange): LockRange | undefined {
    return node.locks.find(
      held =>
        held.flock === lock.flock &&
        held.owner !== lock.owner &&
        held.startByte <= lock.endByte &&
        lock.startByte <= held.endByte &&
        (held.kind === 'exclusive' || lock.kind === 'exclusive'),
    );
  }

  private unlock(node: Node, range: LockRange): void {
    node.locks = node.locks.flatMap(held => {
      if (held.flock !== range.flock || held.owner !== range.owner) return [held];
      if (held.endByte < range.startByte || range.endByte < held.startByte) return [held];
      const rest: LockRange[] = [];
      if (held.startByte < range.startByte) rest.push({ ...held, endByte: range.startByte - 1 });
      if (held.endByte > range.endByte) rest.push({ ...held, startByte: range.endByte + 1 });
      return rest;
    });
    for (const wake of [...node.waiting]) wake();
  }

  private unlockAll(node: Node, owner: bigint, flock: boolean): void {
    this.unlock(node, { owner, kind: 'unlock', startByte: 0, endByte: Number.MAX_SAFE_INTEGER, pid: 0, flock });
  }

  private find(where: Where): Node {
    let node = this.nodes.get(where.start);
    for (const name of where.path.split('/').filter(part => part !== '')) {
      if (Buffer.byteLength(name) > NAME_MAX_BYTES) throw new GfsError('NAME_TOO_LONG');
      if (node !== undefined && node.attributes.type !== 'directory') throw new GfsError('NOT_DIRECTORY');
      node = node?.children.get(name);
    }
    if (node === undefined) throw new GfsError('NOT_FOUND');
    return node;
  }

  private parentOf(where: Where): { parent: Node; name: string } {
    const slash = where.path.lastIndexOf('/');
    const parent = this.find({ start: where.start, path: where.path.slice(0, Math.max(slash, 0)) });
    const name = where.path.slice(slash + 1);
    if (Buffer.byteLength(name) > NAME_MAX_BYTES) throw new GfsError('NAME_TOO_LONG');
    return { parent, name };
  }

  private add(where: Where, type: FileType, mode: number, caller?: Caller): Node {
    const { parent, name } = this.parentOf(where);
    if (parent.children.has(name)) throw new GfsError('EXISTS');
    const node = this.newNode(type, mode, caller);
    parent.children.set(name, node);
    touch(parent);
    return node;
  }

  private drop(parent: Node, name: string, node: Node): void {
    parent.children.delete(name);
    touch(parent);
    node.attributes.nlink -= node.attributes.type === 'directory' ? 2 : 1;
    if (node.attributes.type === 'directory') parent.attributes.nlink--;
  }

  private newNode(type: FileType, mode: number, caller?: Caller): Node {
    const now = nowNs();
    const node: Node = {
      attributes: {
        inode: this.nextInode++,
        generation: 0,
        type,
        mode,
        uid: caller?.uid ?? 0,
        gid: caller?.gid ?? 0,
        nlink: 1,
        sizeBytes: 0,
        atimeNs: now,
        mtimeNs: now,
        ctimeNs: now,
      },
      content: Buffer.alloc(0),
      target: '',
      children: new Map(),
      xattrs: new Map(),
      locks: [],
      waiting: new Set(),
    };
    this.nodes.set(node.attributes.inode, node);
    return node;
  }

  private newHandle(node: Node, flags: number): number {
    const handle = this.nextHandle++;
    this.handles.set(handle, { node, flags });
    return handle;
  }

  private handle(number: number): Handle {
    const handle = this.handles.get(number);
    if (handle === undefined) throw new GfsError('BAD_HANDLE');
    return handle;
  }

  private resize(node: Node, sizeBytes: number): void {
    this.reserve(node, sizeBytes);
    if (sizeBytes < node.attributes.sizeBytes) node.content.fill(0, sizeBytes, node.attributes.sizeBytes);
    if (sizeBytes === 0) node.content = Buffer.alloc(0);
    node.attributes.sizeBytes = sizeBytes;
    touch(node);
  }

  private reserve(node: Node, sizeBytes: number): void {
    if (sizeBytes <= node.content.length) return;
    const grown = Buffer.alloc(Math.max(sizeBytes, node.content.length * 2));
    node.content.copy(grown);
    node.content = grown;
  }
}

function nowNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}

function touch(node: Node): void {
  node.attributes.mtimeNs = nowNs();
  node.attributes.ctimeNs = node.attributes.mtimeNs;
}
