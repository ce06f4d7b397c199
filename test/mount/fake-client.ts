// A FileSystemClient in memory, for tests of the mount: one store, any number of clients on it, failures and delays on demand. It keeps the contract of
// src/client/types.ts and none of its machinery.
import type { Attributes, ChangeNotice, FileSystemClient, OpenFile, Where } from '../../src/client/types.js';
import { type ErrorCode, GfsError } from '../../src/protocol/errors.js';
import type { InodeId } from '../../src/protocol/ids.js';
import type { WireLockRange } from '../../src/protocol/messages.js';

interface Node {
  attributes: Attributes;
  content: Buffer;
  children: Map<string, Node>;
  xattrs: Map<string, Buffer>;
  locks: WireLockRange[];
}

export interface AppendCall {
  bytes: number;
  split: boolean;
  expectedOffset: number | undefined;
}

export class FakeStore {
  readonly root: Node;
  readonly nodes = new Map<number, Node>();
  /** Every append that reached the store, of all clients. */
  readonly appends: AppendCall[] = [];
  /** Failures of the next appends, in order; undefined lets one pass. */
  readonly appendFailures: Array<ErrorCode | undefined> = [];
  /** When set, appends wait for it. */
  gate: Promise<void> | undefined;
  /** Calls by name. */
  readonly calls = new Map<string, number>();
  now = 1_000_000_000n;
  private nextInode = 1;

  constructor() {
    this.root = this.makeNode('directory', 0o755, 0, 0);
  }

  makeNode(type: 'file' | 'directory' | 'symlink', mode: number, uid: number, gid: number, target?: string): Node {
    const inode = this.nextInode++ as InodeId;
    const at = this.now++;
    const node: Node = {
      attributes: {
        inode,
        generation: 1,
        type,
        mode,
        uid,
        gid,
        nlink: 1,
        sizeBytes: 0,
        atimeNs: at,
        mtimeNs: at,
        ctimeNs: at,
        goal: 3,
        ...(target === undefined ? {} : { target }),
      },
      content: Buffer.alloc(0),
      children: new Map(),
      xattrs: new Map(),
      locks: [],
    };
    this.nodes.set(inode, node);
    return node;
  }

  node(inode: number): Node {
    const node = this.nodes.get(inode);
    if (!node) throw new GfsError('STALE');
    return node;
  }

  find(where: Where): Node {
    let node = this.node(where.start);
    for (const name of parts(where)) {
      if (node.attributes.type !== 'directory') throw new GfsError('NOT_DIRECTORY');
      const child = node.children.get(name);
      if (!child) throw new GfsError('NOT_FOUND');
      node = child;
    }
    return node;
  }

  parentOf(where: Where): { parent: Node; name: string } {
    const names = parts(where);
    const name = names.pop()!;
    return { parent: this.find({ start: where.start, path: names.join('/') }), name };
  }

  append(node: Node, data: Buffer): number {
    const offset = node.content.length;
    this.setContent(node, Buffer.concat([node.content, data]));
    return offset;
  }

  truncate(node: Node, sizeBytes: number): Attributes {
    this.count('truncate');
    if (sizeBytes < node.content.length)
      node.attributes = { ...node.attributes, generation: node.attributes.generation + 1 };
    const content = Buffer.alloc(sizeBytes);
    node.content.copy(content);
    this.setContent(node, content);
    return node.attributes;
  }

  text(path: string): string {
    return this.find({ start: this.root.attributes.inode, path }).content.toString();
  }

  count(name: string): void {
    this.calls.set(name, (this.calls.get(name) ?? 0) + 1);
  }

  private setContent(node: Node, content: Buffer): void {
    node.content = content;
    node.attributes = { ...node.attributes, sizeBytes: content.length, mtimeNs: this.now++ };
  }
}

function parts(where: Where): string[] {
  return where.path === '' ? [] : where.path.split('/');
}

class FakeFile implements OpenFile {
  private last: Promise<unknown> = Promise.resolve();
  isClosed = false;
  readonly changedMs = undefined;

  constructor(
    readonly store: FakeStore,
    readonly inode: number,
    private readonly recordBytesMax: number,
  ) {}

  async attributes(): Promise<Attributes> {
    this.store.count('file.attributes');
    return this.store.node(this.inode).attributes;
  }

  async read(offset: number, length: number): Promise<Buffer[]> {
    this.store.count('read');
    return [Buffer.from(this.store.node(this.inode).content.subarray(offset, offset + length))];
  }

  append(data: readonly Buffer[], options: { split: boolean; expectedOffset?: number }): Promise<number> {
    const bytes = Buffer.concat(data);
    if (!options.split && bytes.length > this.recordBytesMax) return Promise.reject(new GfsError('TOO_LARGE'));
    const { gate } = this.store;
    const result = this.last.then(async () => {
      if (gate) await gate;
      const failure = this.store.appendFailures.shift();
      if (failure) throw new GfsError(failure);
      const node = this.store.node(this.inode);
      const { expectedOffset, split } = options;
      if (expectedOffset !== undefined && expectedOffset !== node.content.length) throw new GfsError('OFFSET_MISMATCH');
      this.store.appends.push({ bytes: bytes.length, split, expectedOffset });
      return this.store.append(node, bytes);
    });
    this.last = result.catch(() => undefined);
    return result;
  }

  async sync(): Promise<void> {
    this.store.count('sync');
  }

  async truncate(sizeBytes: number): Promise<Attributes> {
    return this.store.truncate(this.store.node(this.inode), sizeBytes);
  }

  async close(): Promise<void> {
    if (!this.isClosed) this.store.count('file.close');
    this.isClosed = true;
  }
}

export class FakeClient implements FileSystemClient {
  readonly clusterId = 'fake';
  readonly chunkSizeBytes: number;
  onChange: (notice: ChangeNotice) => void = () => undefined;

  constructor(
    readonly store: FakeStore,
    readonly recordBytesMax = 16_384,
  ) {
    this.chunkSizeBytes = recordBytesMax * 4;
  }

  async lookup(where: Where): Promise<Attributes> {
    this.store.count('lookup');
    return this.store.find(where).attributes;
  }

  async readDirectory(
    inode: number,
    after: string,
    limit = 1000,
  ): Promise<{ entries: Array<{ name: string; attributes: Attributes }>; end: boolean }> {
    const all = [...this.store.node(inode).children]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .filter(([name]) => name > after);
    const entries = all.slice(0, limit).map(([name, node]) => ({ name, attributes: node.attributes }));
    return { entries, end: entries.length === all.length };
  }

  async createFile(
    where: Where,
    options: { mode: number; uid: number; gid: number; exclusive: boolean; truncate: boolean },
  ): Promise<{ attributes: Attributes; created: boolean; file: OpenFile }> {
    const { parent, name } = this.store.parentOf(where);
    let node = parent.children.get(name);
    const created = !node;
    if (node && options.exclusive) throw new GfsError('EXISTS');
    if (node && options.truncate) this.store.truncate(node, 0);
    if (!node) {
      node = this.store.makeNode('file', options.mode, options.uid, options.gid);
      parent.children.set(name, node);
    }
    return { attributes: node.attributes, created, file: this.open(node.attributes.inode) };
  }

  async openInode(inode: number): Promise<OpenFile> {
    this.store.count('openInode');
    this.store.node(inode);
    return this.open(inode);
  }

  async makeDirectory(where: Where, options: { mode: number; uid: number; gid: number }): Promise<Attributes> {
    return this.make(where, this.store.makeNode('directory', options.mode, options.uid, options.gid));
  }

  async makeSymlink(where: Where, target: string, options: { uid: number; gid: number }): Promise<Attributes> {
    return this.make(where, this.store.makeNode('symlink', 0o777, options.uid, options.gid, target));
  }

  async link(existing: Where, created: Where): Promise<Attributes> {
    const node = this.store.find(existing);
    node.attributes = { ...node.attributes, nlink: node.attributes.nlink + 1 };
    return this.make(created, node);
  }

  async unlink(where: Where): Promise<void> {
    const { parent, name } = this.store.parentOf(where);
    if (!parent.children.delete(name)) throw new GfsError('NOT_FOUND');
  }

  async removeDirectory(where: Where): Promise<void> {
    if (this.store.find(where).children.size > 0) throw new GfsError('NOT_EMPTY');
    await this.unlink(where);
  }

  async rename(from: Where, to: Where): Promise<void> {
    const node = this.store.find(from);
    const source = this.store.parentOf(from);
    const target = this.store.parentOf(to);
    source.parent.children.delete(source.name);
    target.parent.children.set(target.name, node);
  }

  async setAttributes(
    where: Where,
    changes: { mode?: number; uid?: number; gid?: number; atimeNs?: bigint; mtimeNs?: bigint },
  ): Promise<Attributes> {
    this.store.count('setAttributes');
    const node = this.store.find(where);
    const now = this.store.now++;
    const timed = { ...changes };
    if (timed.atimeNs === 0n) timed.atimeNs = now;
    if (timed.mtimeNs === 0n) timed.mtimeNs = now;
    node.attributes = { ...node.attributes, ...timed };
    return node.attributes;
  }

  async truncate(inode: number, sizeBytes: number): Promise<Attributes> {
    return this.store.truncate(this.store.node(inode), sizeBytes);
  }

  async getXattr(where: Where, name: string): Promise<Buffer> {
    this.store.count('getXattr');
    const value = this.store.find(where).xattrs.get(name);
    if (!value) throw new GfsError('NO_ATTRIBUTE');
    return value;
  }

  async setXattr(where: Where, name: string, value: Buffer): Promise<void> {
    this.store.find(where).xattrs.set(name, value);
  }

  async listXattrs(where: Where): Promise<string[]> {
    return [...this.store.find(where).xattrs.keys()];
  }

  async removeXattr(where: Where, name: string): Promise<void> {
    if (!this.store.find(where).xattrs.delete(name)) throw new GfsError('NO_ATTRIBUTE');
  }

  async statfs(): Promise<{ capacityBytes: number; freeBytes: number; usedBytes: number; files: number }> {
    return { capacityBytes: 10 * 2 ** 30, freeBytes: 5 * 2 ** 30, usedBytes: 4 * 2 ** 30, files: 7 };
  }

  async snapshot(from: Where, to: Where): Promise<Attributes> {
    const source = this.store.find(from);
    const copy = this.store.makeNode('file', source.attributes.mode, source.attributes.uid, source.attributes.gid);
    this.store.append(copy, source.content);
    return this.make(to, copy);
  }

  async lock(inode: number, lock: WireLockRange): Promise<void> {
    this.store.count('lock');
    const { locks } = this.store.node(inode);
    if (locks.some(held => conflicts(held, lock))) throw new GfsError('LOCKED');
    locks.push(lock);
  }

  async unlock(inode: number, lock: Pick<WireLockRange, 'owner' | 'space'>): Promise<void> {
    this.store.count('unlock');
    const node = this.store.node(inode);
    node.locks = node.locks.filter(held => held.owner !== lock.owner || held.space !== lock.space);
  }

  async testLock(inode: number, lock: WireLockRange): Promise<WireLockRange | undefined> {
    return this.store.node(inode).locks.find(held => conflicts(held, lock));
  }

  async close(): Promise<void> {
    this.store.count('close');
  }

  private open(inode: number): OpenFile {
    return new FakeFile(this.store, inode, this.recordBytesMax);
  }

  private make(where: Where, node: Node): Attributes {
    const { parent, name } = this.store.parentOf(where);
    if (parent.children.has(name)) throw new GfsError('EXISTS');
    parent.children.set(name, node);
    return node.attributes;
  }
}

function conflicts(held: WireLockRange, wanted: WireLockRange): boolean {
  if (held.owner === wanted.owner || held.space !== wanted.space) return false;
  if (held.kind === 'shared' && wanted.kind === 'shared') return false;
  return held.startByte <= wanted.endByte && wanted.startByte <= held.endByte;
}
