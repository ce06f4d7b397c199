// A master and three chunkservers as far as clients can tell, in one process on virtual time: one truth per chunk, answers that a test can bend.
import type { ExecutionContext } from 'ava';
import { GfsFileSystemClient, type PeerHooks } from '../../src/client/client.js';
import { CLIENT_SETTINGS, type ClientSettings } from '../../src/client/settings.js';
import { crc32OfAll } from '../../src/lib/checksum.js';
import type { Platform } from '../../src/lib/platform.js';
import { settingValues } from '../../src/lib/settings.js';
import { type ErrorCode, GfsError } from '../../src/protocol/errors.js';
import type { ChunkHandle, InodeId, ServerId } from '../../src/protocol/ids.js';
import { recordBytesMax } from '../../src/protocol/limits.js';
import type {
  Kind,
  Reply,
  Request,
  WireAttributes,
  WireExtent,
  WireReplica,
  WireTail,
  WireTarget,
} from '../../src/protocol/messages.js';
import type { CallOptions, CallResult, Peer, PeerPool } from '../../src/rpc/types.js';
import { SimNetwork } from '../sim/platform/sim-network.js';
import { SimNode } from '../sim/platform/sim-node.js';
import { Simulator } from '../sim/platform/simulator.js';

export const MASTER = 'master:9400';
const SERVERS = ['cs1:1', 'cs2:1', 'cs3:1'];
/** Virtual time of one call. */
const CALL_MS = 1;
const TEST_MS_MAX = 300_000;

export interface Call {
  readonly address: string;
  readonly kind: Kind;
  readonly request: Record<string, unknown>;
}

/** What happens to a call: nothing special; refused; lost before or after it was done; never answered. */
export type Bend = undefined | ErrorCode | 'lose-request' | 'lose-reply' | 'hang';

const ROOT: { attributes: WireAttributes } = {
  attributes: {
    inode: 1 as InodeId,
    generation: 0,
    type: 'directory',
    mode: 0o644,
    uid: 0,
    gid: 0,
    nlink: 1,
    sizeBytes: 0,
    goal: 3,
    atimeNs: 1n,
    mtimeNs: 1n,
    ctimeNs: 1n,
  },
};

interface Chunk {
  handle: ChunkHandle;
  version: number;
  isSealed: boolean;
  inode: InodeId;
  base: number;
  bytes: Buffer;
  /** What single servers hold past these bytes: an append that did not reach every replica. */
  leftovers: Map<string, Buffer>;
  /** By "writer sequence". */
  writers: Map<string, { offset: number; lengthBytes: number }>;
  isFull: boolean;
}

interface File {
  attributes: WireAttributes;
  extents: WireExtent[];
  tail: Chunk | undefined;
}

export class FakeCluster {
  readonly chunkSizeBytes: number;
  readonly calls: Call[] = [];
  /** Decides about each call; the first answer that is not undefined counts. */
  bends: Array<(call: Call) => Bend> = [];
  leaseMs = 60_000;
  session = '00000000000000aa';
  /** Answers createFile with an append target. */
  tellsTargets = false;
  /** Whether locks of an earlier session may be claimed. */
  grantsClaims = true;
  readonly files = new Map<InodeId, File>();
  readonly chunks = new Map<ChunkHandle, Chunk>();
  readonly names = new Map<string, InodeId>();
  hooks: PeerHooks | undefined;
  readonly outcomes = new Map<string, unknown>();
  private readonly pushes = new Map<string, Buffer[]>();
  private nextInode = 2;
  private nextHandle = 1;

  constructor(
    readonly simulator: Simulator,
    readonly platform: Platform,
    options: { chunkSizeBytes?: number } = {},
  ) {
    this.chunkSizeBytes = options.chunkSizeBytes ?? 4096;
  }

  connect(settings: Partial<ClientSettings> = {}): Promise<GfsFileSystemClient> {
    const { clock, random, logger } = this.platform;
    return GfsFileSystemClient.connect({
      clock,
      random,
      logger,
      settings: settingValues(CLIENT_SETTINGS, settings),
      master: MASTER,
      name: 'test',
      wantsChanges: true,
      openPeers: hooks => {
        this.hooks = hooks;
        return new FakePeers(this);
      },
    });
  }

  /** The whole content, as the truth has it. */
  content(inode: number): Buffer {
    const file = this.file(inode as InodeId);
    const parts = file.extents.map(extent =>
      this.chunks.get(extent.handle)!.bytes.subarray(extent.chunkOffset, extent.chunkOffset + extent.lengthBytes),
    );
    return Buffer.concat([...parts, file.tail?.bytes ?? Buffer.alloc(0)]);
  }

  count(kind: Kind, address?: string): number {
    return this.calls.filter(call => call.kind === kind && (address === undefined || call.address === address)).length;
  }

  requests<K extends Kind>(kind: K): Array<Request<K>> {
    return this.calls.filter(call => call.kind === kind).map(call => call.request as Request<K>);
  }

  /** Bends the first `count` calls of this kind (to this address) after the first `skip`. */
  bend(kind: Kind, bend: Bend, options: { address?: string; skip?: number; count?: number } = {}): void {
    const { address, skip = 0, count = 1 } = options;
    let seen = 0;
    this.bends.push(call => {
      if (call.kind !== kind || (address !== undefined && call.address !== address)) return undefined;
      seen++;
      return seen > skip && seen <= skip + count ? bend : undefined;
    });
  }

  seal(chunk: Chunk): void {
    if (chunk.isSealed) return;
    chunk.isSealed = true;
    chunk.version++;
    const file = this.file(chunk.inode);
    if (file.tail !== chunk) return;
    file.tail = undefined;
    if (chunk.bytes.length > 0) file.extents.push(this.extentOf(chunk));
    file.attributes.sizeBytes = chunk.base + chunk.bytes.length;
  }

  tailOf(inode: number): Chunk {
    return this.file(inode as InodeId).tail!;
  }

  truncate(inode: InodeId, sizeBytes: number): WireAttributes {
    const file = this.file(inode);
    if (file.tail) this.seal(file.tail);
    if (sizeBytes < file.attributes.sizeBytes) file.attributes.generation++;
    file.extents = file.extents.flatMap(extent => {
      const lengthBytes = Math.min(extent.lengthBytes, sizeBytes - extent.fileOffset);
      return lengthBytes > 0 ? [{ ...extent, lengthBytes }] : [];
    });
    file.attributes.sizeBytes = sizeBytes;
    return { ...file.attributes };
  }

  // ---- answers

  master(kind: Kind, request: never): unknown {
    const answers: Partial<{ [K in Kind]: (request: Request<K>) => Reply<K> }> = {
      openSession: () => ({
        session: this.session,
        ttlMs: 60_000,
        clusterId: 'fake',
        chunkSizeBytes: this.chunkSizeBytes,
        recordBytesMax: recordBytesMax(this.chunkSizeBytes),
        replicas: 3,
      }),
      keepSession: ({ session }) => this.checkSession(session),
      closeSession: () => ({}),
      createFile: ({ once, where, exclusive, truncate, session, wantTarget }) => {
        this.checkSession(session);
        return this.once(once, () => {
          const known = this.names.get(where.path);
          if (known && exclusive) throw new GfsError('EXISTS');
          const inode = known ?? this.newFile(where.path);
          if (known && truncate) this.truncate(inode, 0);
          const target = wantTarget && this.tellsTargets ? { target: this.target(inode) } : {};
          return { ...this.view(inode), created: known === undefined, ...target };
        });
      },
      makeDirectory: ({ once, where }) =>
        this.once(once, () => {
          if (this.names.has(where.path)) throw new GfsError('EXISTS');
          return this.view(this.newFile(where.path, 'directory'));
        }),
      readDirectory: ({ inode, after, limit }) => {
        const path = [...this.names].find(([, other]) => other === inode)?.[0] ?? '';
        const prefix = path === '' ? '' : `${path}/`;
        const entries = [...this.names]
          .filter(([name]) => name.startsWith(prefix) && !name.slice(prefix.length).includes('/') && name !== path)
          .map(([name, child]) => ({ name: name.slice(prefix.length), ...this.view(child) }))
          .filter(({ name }) => name > after)
          .sort((a, b) => (a.name < b.name ? -1 : 1));
        return { entries: entries.slice(0, Math.min(limit, 3)), end: entries.length <= 3 };
      },
      unlink: ({ once, where }) => this.once(once, () => this.remove(where.path)),
      removeDirectory: ({ once, where }) => this.once(once, () => this.remove(where.path)),
      lookup: ({ where, session }) => {
        this.checkSession(session);
        if (where.path === '' && Number(where.start) === 1) return ROOT;
        return this.view(where.path === '' ? where.start : this.inodeAt(where.path));
      },
      openFile: ({ session, inode }) => {
        this.checkSession(session);
        return this.view(inode);
      },
      closeFile: () => ({}),
      setAttributes: ({ once, where }) => this.once(once, () => this.view(this.inodeAt(where.path))),
      truncate: ({ once, inode, sizeBytes }) =>
        this.once(once, () => ({ attributes: this.truncate(inode, sizeBytes) })),
      locate: ({ inode, fromByte, limit }) => {
        const { extents } = this.file(inode);
        const found = extents.filter(extent => extent.fileOffset + extent.lengthBytes > fromByte);
        return { ...this.view(inode), extents: found.slice(0, limit), more: found.length > limit };
      },
      appendTarget: ({ inode }) => ({ target: this.target(inode) }),
      complain: ({ handle, version, append }) => this.complain(handle, version, append),
      lock: ({ session, claim }) => {
        this.checkSession(session);
        return { granted: !claim || this.grantsClaims };
      },
      testLock: ({ session }) => this.checkSession(session),
      unlock: () => ({}),
    };
    const answer = answers[kind] as ((request: never) => unknown) | undefined;
    if (!answer) throw new GfsError('NOT_SUPPORTED', kind);
    return answer(request);
  }

  server(address: string, kind: Kind, request: never, payload: Buffer[]): { body: unknown; payload: Buffer[] } {
    if (kind === 'append') return { body: this.append(address, request, payload), payload: [] };
    if (kind === 'read') return { body: {}, payload: [this.read(address, request)] };
    const { token } = request as { token: Buffer };
    const chunk = this.byToken(token);
    if (kind === 'tailLength') return { body: { committedBytes: this.live(chunk, token).bytes.length }, payload: [] };
    if (kind === 'syncChunk') {
      this.live(chunk, token);
      return { body: {}, payload: [] };
    }
    throw new GfsError('NOT_SUPPORTED', kind);
  }

  stage(address: string, request: Request<'push'>, payload: readonly Buffer[]): void {
    const key = `${address} ${request.push}`;
    this.pushes.set(key, [...(this.pushes.get(key) ?? []), ...payload]);
  }

  private append(address: string, request: Request<'append'>, payload: Buffer[]): Reply<'append'> {
    const { writer, sequence, after, settled = 0, expectedOffset, lengthBytes, push } = request;
    this.forget(writer, settled);
    const chunk = this.live(this.byToken(request.token), request.token);
    const known = chunk.writers.get(`${writer} ${sequence}`);
    if (known) return { offset: known.offset, committedBytes: chunk.bytes.length };
    const bytes = push === undefined ? payload : this.pushes.get(`${address} ${push}`);
    if (!bytes || Buffer.concat(bytes).length !== lengthBytes) throw new GfsError('PUSH_LOST');
    if (crc32OfAll(bytes) !== request.crc) throw new GfsError('BAD_MESSAGE', 'crc');
    for (const key of chunk.writers.keys()) {
      const [other, at] = key.split(' ');
      if (other === writer && Number(at) > sequence) throw new GfsError('ALREADY_PAST');
    }
    if (after !== 0 && !chunk.writers.has(`${writer} ${after}`)) throw new GfsError('OUT_OF_ORDER');
    const offset = chunk.bytes.length;
    if (expectedOffset !== undefined && expectedOffset !== offset) throw new GfsError('OFFSET_MISMATCH');
    if (chunk.isFull || offset + lengthBytes > this.chunkSizeBytes) {
      chunk.isFull = true;
      throw new GfsError('FULL');
    }
    chunk.bytes = Buffer.concat([chunk.bytes, ...bytes]);
    chunk.writers.set(`${writer} ${sequence}`, { offset, lengthBytes });
    return { offset, committedBytes: chunk.bytes.length };
  }

  /** Everywhere at once, so that a client which asks again after it said that it would not goes wrong. */
  private forget(writer: string, settled: number): void {
    for (const { writers } of this.chunks.values()) {
      for (const key of writers.keys()) {
        const [name, at] = key.split(' ');
        if (name === writer && Number(at) <= settled) writers.delete(key);
      }
    }
  }

  private read(address: string, { token, offset, lengthBytes }: Request<'read'>): Buffer {
    const chunk = this.byToken(token);
    const bytes = Buffer.concat([chunk.bytes, chunk.leftovers.get(address) ?? Buffer.alloc(0)]);
    if (offset + lengthBytes > bytes.length) throw new GfsError('NO_CHUNK');
    return bytes.subarray(offset, offset + lengthBytes);
  }

  private complain(handle: ChunkHandle, version: number, append: Request<'complain'>['append']): Reply<'complain'> {
    const chunk = this.chunks.get(handle);
    if (!chunk) throw new GfsError('STALE');
    if (!chunk.isSealed && version === chunk.version) this.seal(chunk);
    if (!chunk.isSealed || !append) return { outcome: 'again' };
    const found = chunk.writers.get(`${append.writer} ${append.sequence}`);
    return found ? { outcome: 'stands', offset: found.offset } : { outcome: 'absent' };
  }

  private target(inode: InodeId): WireTarget {
    const file = this.file(inode);
    if (!file.tail) {
      const handle = this.nextHandle++ as ChunkHandle;
      const base = file.attributes.sizeBytes;
      const bytes = Buffer.alloc(0);
      const none = { bytes, leftovers: new Map(), writers: new Map() };
      file.tail = { handle, version: 1, isSealed: false, inode, base, isFull: false, ...none };
      this.chunks.set(handle, file.tail);
    }
    const { handle, version, base } = file.tail;
    const { generation } = file.attributes;
    const { chunkSizeBytes, leaseMs } = this;
    const token = tokenOf(handle, version);
    return { inode, generation, handle, version, base, chunkSizeBytes, chain: this.chain(handle), token, leaseMs };
  }

  private view(inode: InodeId): { attributes: WireAttributes; tail?: WireTail } {
    const file = this.file(inode);
    const { tail } = file;
    if (!tail) return { attributes: { ...file.attributes } };
    const { handle, version, base } = tail;
    return {
      attributes: { ...file.attributes },
      tail: {
        handle,
        version,
        base,
        committedBytes: 0,
        leased: true,
        chain: this.chain(handle),
        token: tokenOf(handle, version),
      },
    };
  }

  private extentOf(chunk: Chunk): WireExtent {
    const { handle, version, base } = chunk;
    return {
      fileOffset: base,
      lengthBytes: chunk.bytes.length,
      handle,
      chunkOffset: 0,
      version,
      replicas: this.chain(handle),
      token: tokenOf(handle, version),
    };
  }

  /** Each chunk has another primary. */
  private chain(handle: number): WireReplica[] {
    return SERVERS.map((_, i) => {
      const address = SERVERS[(handle + i) % SERVERS.length]!;
      return { server: address as ServerId, address, location: '' };
    });
  }

  private byToken(token: Buffer): Chunk {
    return this.chunks.get(Number(token.toString().split('.')[0]) as ChunkHandle)!;
  }

  private live(chunk: Chunk, token: Buffer): Chunk {
    if (chunk.isSealed || `${chunk.handle}.${chunk.version}` !== token.toString()) throw new GfsError('FENCED');
    return chunk;
  }

  private file(inode: InodeId): File {
    const file = this.files.get(inode);
    if (!file) throw new GfsError('NOT_FOUND');
    return file;
  }

  private inodeAt(path: string): InodeId {
    const inode = this.names.get(path);
    if (!inode) throw new GfsError('NOT_FOUND');
    return inode;
  }

  private remove(path: string): Record<string, never> {
    this.inodeAt(path);
    if ([...this.names.keys()].some(name => name.startsWith(`${path}/`))) throw new GfsError('NOT_EMPTY');
    this.names.delete(path);
    return {};
  }

  private newFile(path: string, type: 'file' | 'directory' = 'file'): InodeId {
    const inode = this.nextInode++ as InodeId;
    this.names.set(path, inode);
    const attributes = { ...ROOT.attributes, inode, type };
    this.files.set(inode, { attributes, extents: [], tail: undefined });
    return inode;
  }

  private once<T>(once: { client: string; sequence: number }, work: () => T): T {
    const key = `${once.client} ${once.sequence}`;
    if (!this.outcomes.has(key)) this.outcomes.set(key, work());
    return this.outcomes.get(key) as T;
  }

  private checkSession(session: string | undefined): Record<string, never> {
    if (session !== this.session) throw new GfsError('SESSION_EXPIRED');
    return {};
  }
}

class FakePeers implements PeerPool {
  private readonly peers = new Map<string, FakePeer>();

  constructor(private readonly cluster: FakeCluster) {}

  get(address: string): Peer {
    const peer = this.peers.get(address) ?? new FakePeer(address, this.cluster);
    this.peers.set(address, peer);
    return peer;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

class FakePeer implements Peer {
  readonly queuedBytes = 0;
  connectionNumber = 0;

  constructor(
    readonly address: string,
    private readonly cluster: FakeCluster,
  ) {}

  async call<K extends Kind>(kind: K, request: Request<K>, options: CallOptions): Promise<CallResult<K>> {
    const { cluster, address } = this;
    const call: Call = { address, kind, request: request as Record<string, unknown> };
    cluster.calls.push(call);
    this.connectionNumber ||= 1;
    const bend = cluster.bends.map(decide => decide(call)).find(decided => decided !== undefined);
    await cluster.simulator.sleep(CALL_MS);
    if (bend === 'hang') {
      await cluster.simulator.sleep(options.timeoutMs - CALL_MS);
      throw new GfsError('TIMED_OUT', `${kind} hangs`);
    }
    if (bend === 'lose-request') throw new GfsError('CONNECTION_LOST');
    if (bend !== undefined && bend !== 'lose-reply') throw new GfsError(bend, `${kind} is bent`);
    const result =
      address === MASTER
        ? { body: cluster.master(kind, request as never), payload: [] }
        : cluster.server(address, kind, request as never, [...(options.payload ?? [])]);
    if (bend === 'lose-reply') throw new GfsError('CONNECTION_LOST');
    return result as CallResult<K>;
  }

  send<K extends Kind>(kind: K, request: Request<K>, payload: readonly Buffer[] = []): void {
    const { cluster, address } = this;
    const call: Call = { address, kind, request: request as Record<string, unknown> };
    cluster.calls.push(call);
    if (cluster.bends.some(decide => decide(call) !== undefined)) return;
    cluster.stage(address, request as Request<'push'>, payload);
  }
}

function tokenOf(handle: number, version: number): Buffer {
  return Buffer.from(`${handle}.${version}`);
}

/** Runs a test's body with a cluster, in virtual time. */
export async function withCluster(
  t: ExecutionContext,
  body: (cluster: FakeCluster) => Promise<void>,
  options: { chunkSizeBytes?: number } = {},
): Promise<void> {
  const simulator = new Simulator({ seed: 1 });
  const platform = new SimNode(simulator, new SimNetwork(simulator), 'client').boot();
  const cluster = new FakeCluster(simulator, platform, options);
  await simulator.drive(body(cluster), TEST_MS_MAX);
  t.pass();
}

/** A file named 'f', made and open. */
export async function newFile(client: GfsFileSystemClient): ReturnType<GfsFileSystemClient['createFile']> {
  const owner = { mode: 0o644, uid: 0, gid: 0 };
  return client.createFile({ start: 1 as InodeId, path: 'f' }, { ...owner, exclusive: false, truncate: false });
}
