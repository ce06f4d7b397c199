// The client of a file system, by inode: assembles the rooms of this folder and turns each operation into calls to the master. It keeps no
// names; what it caches is in the rooms.

import { assert } from '../lib/assert.js';
import { settledOrLate } from '../lib/settled-or-late.js';
import type { Address } from '../lib/transport.js';
import type { InodeId } from '../protocol/ids.js';
import { LIMITS } from '../protocol/limits.js';
import type { Kind, Reply, Request, WireAttributes, WireLockRange, WireTail, WireWhere } from '../protocol/messages.js';
import type { PeerPool } from '../rpc/types.js';
import { AppendSender } from './append-sender.js';
import { BlockCache } from './block-cache.js';
import { BlockFetcher } from './block-fetcher.js';
import { ChunkReader } from './chunk-reader.js';
import { ChunkSync } from './chunk-sync.js';
import { InodeTable } from './inode-table.js';
import { Locks, type OnLost } from './locks.js';
import { MasterLink } from './master-link.js';
import { GfsOpenFile, type OpenFileParts } from './open-file.js';
import type { ClientParts } from './parts.js';
import { Session } from './session.js';
import { TailSizes } from './tail.js';
import type {
  Attributes,
  ChangeNotice,
  CreateOptions,
  FileSystemClient,
  OpenFile,
  ReadDirectoryResult,
  Where,
} from './types.js';
import { Writers } from './writers.js';

/** What the client wants to hear from its connections. */
export interface PeerHooks {
  /** '' until the first session stands. */
  clusterId: () => string;
  onNotice: (address: Address, kind: Kind, body: unknown) => void;
  onLost: (address: Address) => void;
}

export interface ClientOptions extends Omit<ClientParts, 'peers'> {
  master: Address;
  /** Makes the connections. */
  openPeers: (hooks: PeerHooks) => PeerPool;
  /** Shown to people who look at the master's sessions. */
  name: string;
  wantsChanges: boolean;
}

export class GfsFileSystemClient implements FileSystemClient {
  onChange: (notice: ChangeNotice) => void = () => undefined;
  readonly #parts: ClientParts;
  readonly #link: MasterLink;
  readonly #session: Session;
  readonly #inodes = new InodeTable();
  readonly #tails: TailSizes;
  readonly #locks: Locks;
  readonly #fileParts: Omit<OpenFileParts, 'recordBytesMax'>;
  readonly #openFiles = new Set<GfsOpenFile>();
  #closing: Promise<void> | undefined;

  /** Settles with a client that has a session. Rejects with UNREACHABLE or TIMED_OUT when the master does not answer within connectTimeoutMs. */
  static async connect(options: ClientOptions): Promise<GfsFileSystemClient> {
    const client = new GfsFileSystemClient(options);
    try {
      await client.#session.start(options.clock.monotonicMs() + options.settings.connectTimeoutMs);
      return client;
    } catch (error) {
      await client.close();
      throw error;
    }
  }

  private constructor(options: ClientOptions) {
    const { clock, random, logger, settings, master, wantsChanges } = options;
    const peers = options.openPeers({
      clusterId: () => this.#session.clusterId,
      onNotice: (_address, kind, body) => this.#onNotice(kind, body),
      onLost: address => this.#onLost(address),
    });
    const parts: ClientParts = { clock, random, logger, peers, settings };
    const link = new MasterLink(parts, master);
    this.#parts = parts;
    this.#link = link;
    this.#session = new Session(parts, link, {
      name: options.name,
      wantsChanges,
      onRenewed: () => this.#onRenewed(),
      onResumed: () => {
        this.#forgetAll();
        this.#locks.onHeard();
      },
      onKept: () => this.#locks.onHeard(),
      onSilence: silentMs => this.#locks.onSilence(silentMs),
    });
    this.#tails = new TailSizes(parts, link, this.#session, this.#inodes);
    this.#locks = new Locks(parts, link, this.#session);
    this.#fileParts = {
      ...parts,
      link,
      sender: new AppendSender(parts),
      writers: new Writers(random),
      tails: this.#tails,
      blocks: new BlockFetcher(parts, new ChunkReader(parts, link), new BlockCache(settings.cacheBytes)),
      chunkSync: new ChunkSync(parts, link),
      truncate: (inode, sizeBytes, deadlineMs) => this.#truncate(inode, sizeBytes, deadlineMs),
      onClosed: file => this.#onClosed(file),
    };
  }

  get clusterId(): string {
    return this.#session.clusterId;
  }

  get chunkSizeBytes(): number {
    return this.#session.facts.chunkSizeBytes;
  }

  get recordBytesMax(): number {
    return this.#session.facts.recordBytesMax;
  }

  async lookup(where: Where, options: { follow?: boolean } = {}): Promise<Attributes> {
    const deadlineMs = this.#link.deadline();
    const looked = await this.#session.within(deadlineMs, session =>
      this.#link.call('lookup', { where, follow: options.follow === true, session }, { deadlineMs }),
    );
    return this.#tails.exact(looked.attributes.inode, deadlineMs, looked);
  }

  async readDirectory(inode: number, after: string, limit?: number): Promise<ReadDirectoryResult> {
    const deadlineMs = this.#link.deadline();
    const page = Math.min(limit ?? LIMITS.directoryPageMax, LIMITS.directoryPageMax);
    const { entries, end } = await this.#session.within(deadlineMs, session =>
      this.#link.call(
        'readDirectory',
        { inode: inode as InodeId, after, limit: Math.max(1, page), session },
        { deadlineMs },
      ),
    );
    return { entries: entries.map(({ name, attributes }) => ({ name, attributes: this.#asKnown(attributes) })), end };
  }

  async createFile(
    where: Where,
    options: CreateOptions,
  ): Promise<{ attributes: Attributes; created: boolean; file: OpenFile }> {
    const deadlineMs = this.#link.deadline();
    const { clock } = this.#parts;
    const askedMs = clock.monotonicMs();
    const reply = await this.#link.once(once =>
      this.#session.within(deadlineMs, session =>
        this.#link.call(
          'createFile',
          { once, where, ...options, session, wantTarget: true },
          { deadlineMs, held: true },
        ),
      ),
    );
    const { inode } = reply.attributes;
    this.#session.noteOpen(inode);
    const file = this.#newFile(inode);
    file.state.note(reply.attributes, reply.tail, clock.monotonicMs());
    if (reply.target && reply.created) file.state.noteFirstTarget(reply.target, askedMs);
    else if (reply.target) file.state.noteTarget(reply.target, askedMs);
    try {
      // A file that was just made is empty: no primary needs to be asked.
      if (reply.created) return { attributes: reply.attributes, created: true, file };
      return { attributes: await this.#tails.exact(inode, deadlineMs, reply), created: false, file };
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async openInode(inode: number): Promise<OpenFile> {
    const deadlineMs = this.#link.deadline();
    const { attributes, tail } = await this.#session.openFile(inode as InodeId, deadlineMs);
    const file = this.#newFile(attributes.inode);
    file.state.note(attributes, tail, this.#parts.clock.monotonicMs());
    return file;
  }

  async makeDirectory(where: Where, options: { mode: number; uid: number; gid: number }): Promise<Attributes> {
    const { attributes } = await this.#change('makeDirectory', { where, ...options });
    return attributes;
  }

  async makeSymlink(where: Where, target: string, options: { uid: number; gid: number }): Promise<Attributes> {
    const { attributes } = await this.#change('makeSymlink', { where, target, ...options });
    return attributes;
  }

  async link(existing: Where, created: Where): Promise<Attributes> {
    const { attributes } = await this.#change('link', { existing, created });
    return this.#noted(attributes, 'unknown');
  }

  async unlink(where: Where): Promise<void> {
    await this.#change('unlink', { where });
  }

  async removeDirectory(where: Where): Promise<void> {
    await this.#change('removeDirectory', { where });
  }

  async rename(from: Where, to: Where, options: { noReplace?: boolean; exchange?: boolean } = {}): Promise<void> {
    const { noReplace = false, exchange = false } = options;
    await this.#change('rename', { from, to, noReplace, exchange });
  }

  async setAttributes(
    where: Where,
    changes: { mode?: number; uid?: number; gid?: number; atimeNs?: bigint; mtimeNs?: bigint },
    options: { follow?: boolean } = {},
  ): Promise<Attributes> {
    const deadlineMs = this.#link.deadline();
    const request = { where, follow: options.follow === true, ...changes };
    const reply = await this.#change('setAttributes', request, { deadlineMs });
    return this.#tails.exact(reply.attributes.inode, deadlineMs, reply);
  }

  truncate(inode: number, sizeBytes: number): Promise<Attributes> {
    return this.#truncate(inode as InodeId, sizeBytes, this.#link.deadline());
  }

  async #truncate(inode: InodeId, sizeBytes: number, deadlineMs: number): Promise<Attributes> {
    const { attributes } = await this.#change('truncate', { inode, sizeBytes }, { held: true, deadlineMs });
    const state = this.#inodes.get(attributes.inode);
    // The open chunk was sealed for it.
    if (attributes.generation >= state.generation) state.target = undefined;
    return this.#noted(attributes, undefined);
  }

  async getXattr(where: Where, name: string): Promise<Buffer> {
    const deadlineMs = this.#link.deadline();
    const { value } = await this.#link.call('getXattr', { where, follow: false, name }, { deadlineMs });
    return value;
  }

  async setXattr(
    where: Where,
    name: string,
    value: Buffer,
    options: { create?: boolean; replace?: boolean } = {},
  ): Promise<void> {
    const { create = false, replace = false } = options;
    await this.#change('setXattr', { where, follow: false, name, value, create, replace });
  }

  async listXattrs(where: Where): Promise<string[]> {
    const { names } = await this.#link.call(
      'listXattrs',
      { where, follow: false },
      { deadlineMs: this.#link.deadline() },
    );
    return names;
  }

  async removeXattr(where: Where, name: string): Promise<void> {
    await this.#change('removeXattr', { where, follow: false, name });
  }

  statfs(): Promise<Reply<'statfs'>> {
    return this.#link.call('statfs', {}, { deadlineMs: this.#link.deadline() });
  }

  async snapshot(from: Where, to: Where, options: { uid: number; gid: number }): Promise<Attributes> {
    const { attributes } = await this.#change('snapshot', { from, to, ...options }, { held: true });
    return this.#noted(attributes, 'unknown');
  }

  lock(inode: number, lock: WireLockRange, options: { waitMs?: number; onLost?: OnLost } = {}): Promise<void> {
    return this.#locks.lock(inode as InodeId, lock, options.waitMs ?? 0, options.onLost);
  }

  unlock(inode: number, lock: Pick<WireLockRange, 'owner' | 'startByte' | 'endByte' | 'space'>): Promise<void> {
    return this.#locks.unlock(inode as InodeId, lock);
  }

  testLock(inode: number, lock: WireLockRange): Promise<WireLockRange | undefined> {
    return this.#locks.test(inode as InodeId, lock);
  }

  /** The chunks of a file with the state of every replica, a page from `fromChunk` on; for people who look into the system. */
  fileInfo(where: WireWhere, fromChunk: number): Promise<Reply<'fileInfo'>> {
    const request: Request<'fileInfo'> = { where, fromChunk, limit: LIMITS.extentPageMax };
    return this.#link.call('fileInfo', request, { deadlineMs: this.#link.deadline() });
  }

  close(options: { waitMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(options.waitMs);
    return this.#closing;
  }

  async #close(waitMs: number | undefined): Promise<void> {
    const ended = Promise.allSettled([...this.#openFiles].map(file => file.close())).then(() => this.#session.close());
    if (waitMs === undefined) await ended;
    else await settledOrLate(this.#parts.clock, ended, waitMs);
    this.#link.close();
    // Where it was waited for in vain it has nobody to ask any more.
    await this.#session.close();
    await this.#parts.peers.close();
  }

  /** A change that carries `once`, repeated until the master answers. */
  #change<K extends ChangeKind>(
    kind: K,
    request: Omit<Request<K>, 'once'>,
    { held = false, deadlineMs = this.#link.deadline() }: { held?: boolean; deadlineMs?: number } = {},
  ): Promise<Reply<K>> {
    return this.#link.once(once => this.#link.call(kind, { ...request, once } as Request<K>, { deadlineMs, held }));
  }

  #newFile(inode: InodeId): GfsOpenFile {
    const state = this.#inodes.get(inode);
    this.#inodes.hold(state);
    const file = new GfsOpenFile({ ...this.#fileParts, recordBytesMax: this.recordBytesMax }, state);
    this.#openFiles.add(file);
    return file;
  }

  #onClosed(file: GfsOpenFile): void {
    const wasOpen = this.#openFiles.delete(file);
    assert(wasOpen, 'a file is closed once');
    this.#inodes.release(file.state);
    // Nobody waits for it: when it fails, the file stays open at the master until the session ends.
    void this.#session.closeFile(file.inode, () => file.state.giveUpUnused());
  }

  #noted(attributes: WireAttributes, tail: WireTail | undefined | 'unknown'): WireAttributes {
    if (attributes.type !== 'file') return attributes;
    return this.#inodes.get(attributes.inode).note(attributes, tail, this.#parts.clock.monotonicMs());
  }

  /** Attributes of a listing: as old as the master's knowledge, but never older than this client's. */
  #asKnown(attributes: WireAttributes): WireAttributes {
    const state = attributes.type === 'file' ? this.#inodes.peek(attributes.inode) : undefined;
    if (!state || attributes.generation > state.generation) return attributes;
    return { ...attributes, generation: state.generation, sizeBytes: Math.max(attributes.sizeBytes, state.sizeBytes) };
  }

  #onNotice(kind: Kind, body: unknown): void {
    if (kind !== 'changed') return;
    const { inodes, entries, forgotten = false } = body as Request<'changed'>;
    for (const inode of inodes) this.#inodes.expire(inode);
    this.onChange({ lost: false, ...(forgotten ? { forgotten } : {}), inodes, entries });
  }

  #onLost(address: Address): void {
    if (address !== this.#link.address || this.#closing) return;
    this.#forgetAll();
    void this.#session.reconnect();
  }

  #onRenewed(): void {
    this.#forgetAll();
    void this.#locks.claim();
  }

  /** Something may have changed of which no notice came. Once when the connection breaks, and once when the next one gets notices. */
  #forgetAll(): void {
    this.#inodes.expireAll();
    this.onChange({ lost: true, inodes: [], entries: [] });
  }
}

type ChangeKind =
  | 'makeDirectory'
  | 'makeSymlink'
  | 'link'
  | 'unlink'
  | 'removeDirectory'
  | 'rename'
  | 'setAttributes'
  | 'truncate'
  | 'setXattr'
  | 'removeXattr'
  | 'snapshot';
