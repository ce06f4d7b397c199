// Chunkservers for the master's tests: they keep the little that orders are about (version, length, state) and answer as the protocol asks;
// a test can take one down, make it suspect, or put other answers in its mouth.
import { GfsError } from '../../src/protocol/errors.js';
import type { ChunkHandle, ServerId } from '../../src/protocol/ids.js';
import type {
  Kind,
  MASTER_TO_CHUNKSERVER,
  Reply,
  Request,
  WireChunkReport,
  WireSpace,
  WireStamp,
} from '../../src/protocol/messages.js';
import type { CallOptions, CallResult, Peer, PeerPool } from '../../src/rpc/types.js';

export type OrderKind = keyof typeof MASTER_TO_CHUNKSERVER;

interface FakeChunk {
  version: number;
  lengthBytes: number;
  state: 'open' | 'fenced' | 'sealed';
  suspect: boolean;
  /** Of a fence where there was nothing. */
  noneSince?: number;
}

export class FakeServer {
  readonly id: ServerId;
  readonly address: string;
  readonly chunks = new Map<ChunkHandle, FakeChunk>();
  /** Appends that findAppend knows: `${writer}:${sequence}` → offset. */
  readonly appends = new Map<string, number>();
  /** What it says to have committed as a primary. */
  readonly committed = new Map<ChunkHandle, number>();
  readonly orders: Array<{ kind: OrderKind; body: Record<string, unknown> }> = [];
  /** What mendChunk cannot mend; with nothing here it mends all. */
  readonly bad = new Map<ChunkHandle, Reply<'mendChunk'>['bad']>();
  /** Copies that were told to stop: they end half-way. */
  readonly stopped = new Set<ChunkHandle>();
  /** Replicas that it reports as corrupt. */
  readonly corrupt = new Set<ChunkHandle>();
  /** Replicas that its next heartbeat names. */
  readonly changed = new Set<ChunkHandle>();
  epoch = 1;
  /** Of its last report or heartbeat. */
  sequence = 0;
  isReachable = true;
  capacityBytes = 10 ** 9;
  usedBytes = 0;
  /** The highest that a master told it. */
  stamp: WireStamp | undefined;
  freeBytes = 10 ** 9;
  /** On which its chunks are; without one it is as an older server, which does not say. */
  fileSystem: string | undefined;
  /** Called before an order is answered; may throw or wait. */
  before: (kind: OrderKind, body: Record<string, unknown>) => void | Promise<void> = () => undefined;

  constructor(
    index: number,
    readonly location = `/az/pod/rack${index}/host`,
  ) {
    this.id = String(index).repeat(16).slice(0, 16) as ServerId;
    this.address = `server${index}:1`;
  }

  get space(): WireSpace {
    const { capacityBytes, usedBytes, freeBytes, fileSystem } = this;
    const disks = fileSystem === undefined ? undefined : [{ fileSystem, capacityBytes, freeBytes }];
    return { capacityBytes, usedBytes, freeBytes, chunks: this.chunks.size, ...(disks ? { disks } : {}) };
  }

  hear(stamp: WireStamp | undefined): void {
    if (stamp && stamp.number > (this.stamp?.number ?? 0)) this.stamp = stamp;
  }

  /** Bytes that appends left in an open chunk. */
  hold(handle: ChunkHandle, lengthBytes: number, options: { version?: number; suspect?: boolean } = {}): void {
    this.chunks.set(handle, {
      version: options.version ?? 1,
      lengthBytes,
      state: 'open',
      suspect: options.suspect ?? false,
    });
  }

  reports(): WireChunkReport[] {
    return [...this.chunks]
      .filter(([, chunk]) => chunk.noneSince === undefined)
      .map(([handle, { version, lengthBytes, state, suspect }]) => ({
        handle,
        version,
        lengthBytes,
        state,
        suspect,
        corrupt: this.corrupt.has(handle),
      }));
  }

  takeChanges(): WireChunkReport[] {
    const reports = this.reports().filter(({ handle }) => this.changed.has(handle as ChunkHandle));
    this.changed.clear();
    return reports;
  }

  countOf(kind: OrderKind): number {
    return this.orders.filter(order => order.kind === kind).length;
  }

  /** To clients' tailLength: of the only chunk that a test gave a length. */
  tailLength(): Reply<'tailLength'> {
    const [committedBytes] = this.committed.values();
    if (committedBytes === undefined) throw new GfsError('FENCED');
    return { committedBytes };
  }

  async answer(kind: OrderKind, body: Record<string, unknown>): Promise<unknown> {
    if (!this.isReachable) throw new GfsError('UNREACHABLE', `${this.address} is off`);
    this.orders.push({ kind, body });
    await this.before(kind, body);
    const handle = body.handle as ChunkHandle;
    switch (kind) {
      case 'grant':
        return this.grant(handle, body.version as number);
      case 'fence':
        return this.fence(handle, body.version as number);
      case 'fix':
        return this.fix(handle, body.version as number, body.lengthBytes as number);
      case 'copyChunk': {
        const had = this.chunks.get(handle)?.lengthBytes ?? 0;
        const { version, lengthBytes } = body as { version: number; lengthBytes: number };
        if (this.stopped.delete(handle)) {
          const half = Math.max(had, Math.floor(lengthBytes / 2));
          this.chunks.set(handle, { version, lengthBytes: half, state: 'fenced', suspect: false });
          this.changed.add(handle);
          return { copiedBytes: half - had, stopped: true };
        }
        this.chunks.set(handle, { version, lengthBytes, state: 'sealed', suspect: false });
        return { copiedBytes: body.whole ? lengthBytes : Math.max(0, lengthBytes - had) };
      }
      case 'stopCopy':
        this.stopped.add(handle);
        return {};
      case 'mendChunk': {
        const bad = this.bad.get(handle) ?? [];
        const { version, lengthBytes } = body as { version: number; lengthBytes: number };
        if (bad.length === 0) this.chunks.set(handle, { version, lengthBytes, state: 'sealed', suspect: false });
        return { copiedBytes: 0, bad };
      }
      case 'deleteChunk':
        this.chunks.delete(handle);
        return {};
      case 'findAppend': {
        const chunk = this.chunks.get(handle);
        if (chunk?.state !== 'sealed' || chunk.lengthBytes !== body.lengthBytes) throw new GfsError('NO_CHUNK');
        const offset = this.appends.get(`${body.writer}:${body.sequence}`);
        return offset === undefined ? {} : { offset };
      }
      case 'inspectChunk': {
        const report = this.reports().find(chunk => chunk.handle === handle);
        return { exists: report !== undefined, report, path: report ? `/data/${handle}` : '' };
      }
      default:
        return {};
    }
  }

  private grant(handle: ChunkHandle, version: number): Reply<'grant'> {
    const chunk = this.chunks.get(handle);
    if (!chunk || chunk.noneSince !== undefined)
      return { exists: false, lengthBytes: 0, suspect: false, epoch: this.epoch };
    if (chunk.state !== 'open' || chunk.version >= version) throw new GfsError('SUPERSEDED');
    chunk.version = version;
    return { exists: true, lengthBytes: chunk.lengthBytes, suspect: chunk.suspect, epoch: this.epoch };
  }

  private fence(handle: ChunkHandle, version: number): Reply<'fence'> {
    let chunk = this.chunks.get(handle);
    if (!chunk) {
      chunk = { version, lengthBytes: 0, state: 'fenced', suspect: false, noneSince: this.epoch };
      this.chunks.set(handle, chunk);
    } else if (chunk.state === 'sealed') {
      return { exists: true, lengthBytes: chunk.lengthBytes, suspect: false, epoch: this.epoch, fixed: true };
    } else if (chunk.state === 'fenced' && chunk.version >= version) throw new GfsError('SUPERSEDED');
    chunk.version = version;
    chunk.state = 'fenced';
    const exists = chunk.noneSince === undefined;
    const { lengthBytes, suspect } = chunk;
    const answer = { exists, lengthBytes, suspect, epoch: chunk.noneSince ?? this.epoch, fixed: false };
    return this.corrupt.has(handle) ? { ...answer, corrupt: true } : answer;
  }

  private fix(handle: ChunkHandle, version: number, lengthBytes: number): Reply<'fix'> {
    const chunk = this.chunks.get(handle);
    if (!chunk) throw new GfsError('NO_CHUNK');
    if (chunk.lengthBytes < lengthBytes) return { short: true, lengthBytes: chunk.lengthBytes };
    Object.assign(chunk, { version, lengthBytes, state: 'sealed', suspect: false });
    return { short: false, lengthBytes };
  }
}

/** The network between a master and fake servers. */
export class FakePeers implements PeerPool {
  constructor(readonly servers: readonly FakeServer[]) {}

  get(address: string): Peer {
    const server = this.servers.find(other => other.address === address)!;
    return {
      address,
      queuedBytes: 0,
      connectionNumber: 1,
      send: () => undefined,
      call: async <K extends Kind>(kind: K, request: Request<K>, _options: CallOptions): Promise<CallResult<K>> => {
        if (kind === 'tailLength') return { body: server.tailLength() as Reply<K>, payload: [] };
        const body = (await server.answer(kind as OrderKind, request as Record<string, unknown>)) as Reply<K>;
        return { body, payload: [] };
      },
    };
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
