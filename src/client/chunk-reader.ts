// Committed bytes of a file from its chunks' replicas: finds the extents, asks the nearest replica, fails over to the next, and asks the master
// for newer locations when none served or they are old. It never asks for bytes past those known to be committed, and keeps no bytes.
import { Serial } from '../lib/serial.js';
import { asGfsError, GfsError } from '../protocol/errors.js';
import { type ChunkHandle, HOLE, type InodeId } from '../protocol/ids.js';
import { LIMITS } from '../protocol/limits.js';
import type { WireReplica } from '../protocol/messages.js';
import { Backoff } from './backoff.js';
import type { KnownExtent } from './chunk-map.js';
import type { InodeState } from './inode-state.js';
import type { MasterLink } from './master-link.js';
import type { ClientParts } from './parts.js';
import { ReplicaChoice } from './replica-choice.js';
import { CLIENT_LIMITS } from './settings.js';

/** The file was cut while its bytes were read: what was known of it is void, the caller begins again. */
export class Superseded extends Error {
  override name = 'Superseded';
}

/** Where bytes of the file are: a known extent, or what is known to be committed of the open chunk. */
interface Source {
  readonly handle: ChunkHandle;
  readonly fileOffset: number;
  readonly chunkOffset: number;
  readonly endByte: number;
  readonly replicas: readonly WireReplica[];
  readonly token: Buffer | undefined;
  /** The master's answer it comes from, to tell a newer one. */
  readonly origin: object;
  /** Undefined for the open chunk, whose copies never change. */
  readonly known: KnownExtent | undefined;
}

interface Job {
  readonly state: InodeState;
  readonly generation: number;
  readonly deadlineMs: number;
}

/** What a checksum covers: a damaged replica serves its other blocks. */
const BLOCK = LIMITS.blockBytes;
const ZEROS = Buffer.alloc(64 * 1024);

export class ChunkReader {
  readonly #choice: ReplicaChoice;
  /** One question about the map of a file at a time. */
  readonly #asking = new Serial<InodeId>();
  /** Whether places are being asked for that a read did not have to wait for: one question at a time, over all files. */
  #isRefreshing = false;
  /** After a question that failed. */
  #refreshNotBeforeMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly parts: ClientParts,
    private readonly link: MasterLink,
  ) {
    this.#choice = new ReplicaChoice(parts);
  }

  /**
   * Bytes `fromByte` to `toByte` (exclusive) of the present generation. Requires: they are known to be committed. Rejects with Superseded when the
   * file is cut meanwhile; UNAVAILABLE or CORRUPT when no replica serves them in time.
   */
  async fetch(state: InodeState, fromByte: number, toByte: number, deadlineMs: number): Promise<Buffer[]> {
    const job: Job = { state, generation: state.generation, deadlineMs };
    const pieces: Array<Promise<Buffer[]>> = [];
    for (let at = fromByte; at < toByte; ) {
      const source = find(state, at) ?? (await this.#locate(job, at, undefined));
      const endByte = Math.min(toByte, source.endByte, at + LIMITS.readBytesMax);
      const piece = this.#readPiece(job, at, endByte);
      // It may fail while the next one is still being located, before anybody waits for it; and the first failure speaks for all.
      piece.catch(() => undefined);
      pieces.push(piece);
      at = endByte;
    }
    return (await Promise.all(pieces)).flat();
  }

  /** Up to where, from `fromByte` on, it is known without asking the master where the bytes are; at most `toByte`. */
  reach(state: InodeState, fromByte: number, toByte: number): number {
    let at = fromByte;
    for (let source = find(state, at); source && at < toByte; source = find(state, at)) at = source.endByte;
    return Math.min(at, toByte);
  }

  /** Bytes of one extent, from whichever replica serves them. */
  async #readPiece(job: Job, fromByte: number, toByte: number): Promise<Buffer[]> {
    const { clock, settings } = this.parts;
    const patientUntilMs = Math.min(job.deadlineMs, clock.monotonicMs() + settings.readPatienceMs);
    const backoff = new Backoff(this.parts, patientUntilMs);
    let source = find(job.state, fromByte) ?? (await this.#locate(job, fromByte, undefined));
    if (source.known && source.handle !== HOLE) this.#refreshOld(job.state, source.known);
    for (let round = 1; ; round++) {
      if (source.endByte < toByte) throw new Superseded('an extent became shorter');
      if (source.handle === HOLE) return zeros(toByte - fromByte);
      const errors: GfsError[] = [];
      const bytes = await this.#askReplicas(job, source, fromByte, toByte, errors);
      if (bytes) return bytes;
      const isOver = clock.monotonicMs() >= patientUntilMs;
      const isDamaged = errors.some(({ code }) => code === 'CORRUPT');
      if (isDamaged && (isOver || (round > 1 && errors.every(({ code }) => code === 'CORRUPT'))))
        return this.#readBlocks(job, source, fromByte, toByte);
      if (isOver) throw failureOf(source, errors, { fromByte, toByte });
      if (round > 1) await backoff.pause();
      source = await this.#locate(job, fromByte, source);
    }
  }

  /** Every copy is damaged, which need not be in the same place: one block after another, each from whichever replica has it. */
  async #readBlocks(job: Job, source: Source, fromByte: number, toByte: number): Promise<Buffer[]> {
    const base = source.fileOffset - source.chunkOffset;
    const buffers: Buffer[] = [];
    for (let at = fromByte; at < toByte; ) {
      const endByte = Math.min(toByte, base + (Math.floor((at - base) / BLOCK) + 1) * BLOCK);
      const errors: GfsError[] = [];
      const bytes = await this.#askReplicas(job, source, at, endByte, errors);
      if (!bytes) throw failureOf(source, errors, { fromByte: at, toByte: endByte });
      buffers.push(...bytes);
      at = endByte;
    }
    return buffers;
  }

  /** The bytes from the first replica that has them; undefined, with the reasons in `errors`, when none does. */
  async #askReplicas(
    job: Job,
    source: Source,
    fromByte: number,
    toByte: number,
    errors: GfsError[],
  ): Promise<Buffer[] | undefined> {
    const { clock, settings, peers, logger } = this.parts;
    const { token } = source;
    if (!token) return undefined;
    const request = {
      token,
      offset: source.chunkOffset + (fromByte - source.fileOffset),
      lengthBytes: toByte - fromByte,
    };
    for (const replica of this.#choice.order(source.replicas)) {
      const leftMs = job.deadlineMs - clock.monotonicMs();
      if (leftMs <= 0) break;
      try {
        const timeoutMs = Math.min(leftMs, settings.readTryMs);
        const { payload } = await peers.get(replica.address).call('read', request, { timeoutMs });
        const received = payload.reduce((sum, buffer) => sum + buffer.length, 0);
        if (received !== request.lengthBytes) {
          throw new GfsError('BAD_MESSAGE', `${replica.address} sent ${received} of ${request.lengthBytes} bytes`);
        }
        this.#choice.onServed(replica);
        return payload;
      } catch (error) {
        const failure = asGfsError(error);
        errors.push(failure);
        if (failure.code !== 'CORRUPT' && failure.code !== 'NO_CHUNK' && failure.code !== 'BAD_TOKEN') {
          this.#choice.onFailed(replica);
        }
        logger.debug(
          { handle: source.handle, server: replica.server, code: failure.code, reason: failure.message },
          'a replica did not serve a read',
        );
      }
    }
    return undefined;
  }

  /** Asks the master where the byte at `offset` is; settles at once when somebody else learned it since `known`. */
  #locate(job: Job, offset: number, known: Source | undefined): Promise<Source> {
    const { state, deadlineMs } = job;
    return this.#asking.run(state.inode, async () => {
      const backoff = new Backoff(this.parts, deadlineMs);
      for (;;) {
        if (state.generation !== job.generation) throw new Superseded('the file was cut');
        const found = find(state, offset);
        if (found && found.origin !== known?.origin) return found;
        const leftMs = deadlineMs - this.parts.clock.monotonicMs();
        if (leftMs <= 0) throw new GfsError('TIMED_OUT', `the chunk at offset ${offset} could not be found in time`);
        await this.#askMaster(state, offset, deadlineMs);
        if (state.generation !== job.generation) throw new Superseded('the file was cut');
        // A chunk that is being sealed may be neither an extent nor the open chunk for a moment.
        if (!find(state, offset)) await backoff.pause();
      }
    });
  }

  /** Places of a page of extents from `offset` on, noted. */
  async #askMaster(state: InodeState, offset: number, deadlineMs: number): Promise<void> {
    const { clock, random, settings } = this.parts;
    const request = { inode: state.inode, fromByte: offset, limit: CLIENT_LIMITS.extentPage };
    const page = await this.link.call('locate', request, { deadlineMs });
    const nowMs = clock.monotonicMs();
    // A page that ends before the open chunk tells nothing of it.
    state.note(page.attributes, page.more ? 'unknown' : page.tail, nowMs);
    if (page.attributes.generation !== state.generation) return;
    const ageMs = settings.relocateMs * (1 + CLIENT_LIMITS.relocateJitter * random.float());
    state.chunks.insert(page.extents, nowMs + ageMs);
  }

  /** A chunk that is read much gets more copies: who reads it hears of them after a while, without waiting (paper, §2.4; document 001). */
  #refreshOld(state: InodeState, known: KnownExtent): void {
    const { clock, settings, logger } = this.parts;
    const nowMs = clock.monotonicMs();
    if (nowMs < known.freshUntilMs || this.#isRefreshing || nowMs < this.#refreshNotBeforeMs) return;
    this.#isRefreshing = true;
    this.#askMaster(state, known.pageByte, this.link.deadline())
      .catch(error => {
        const { code } = asGfsError(error);
        logger.debug({ inode: state.inode, code }, 'reading goes on with the places known before');
        this.#refreshNotBeforeMs = clock.monotonicMs() + settings.relocateMs;
      })
      .finally(() => {
        this.#isRefreshing = false;
      });
  }
}

function find(state: InodeState, offset: number): Source | undefined {
  const extent = state.chunks.find(offset);
  if (extent) {
    const { handle, fileOffset, chunkOffset, lengthBytes, replicas, token } = extent;
    const endByte = fileOffset + lengthBytes;
    return { handle, fileOffset, chunkOffset, endByte, replicas, token, origin: extent, known: extent };
  }
  const { tail } = state;
  const endByte = state.tailEndByte();
  if (!tail || offset < tail.base || offset >= endByte) return undefined;
  return {
    handle: tail.handle,
    fileOffset: tail.base,
    chunkOffset: 0,
    endByte,
    replicas: tail.chain,
    token: tail.token,
    origin: tail,
    known: undefined,
  };
}

function zeros(lengthBytes: number): Buffer[] {
  const buffers: Buffer[] = [];
  for (let left = lengthBytes; left > 0; left -= ZEROS.length) buffers.push(ZEROS.subarray(0, left));
  return buffers;
}

function failureOf(
  source: Source,
  errors: readonly GfsError[],
  { fromByte, toByte }: { fromByte: number; toByte: number },
): GfsError {
  const reasons = errors.map(error => `${error.code}: ${error.message}`).join('; ');
  const cause = errors[errors.length - 1];
  if (errors.length > 0 && errors.every(({ code }) => code === 'CORRUPT'))
    return new GfsError(
      'CORRUPT',
      `bytes ${fromByte} to ${toByte - 1} of the file cannot be read: every copy of chunk ${source.handle} is damaged there`,
      { cause },
    );
  const what = source.replicas.length === 0 ? 'no server that is up has a copy' : `no copy can be read (${reasons})`;
  return new GfsError('UNAVAILABLE', `chunk ${source.handle}: ${what}`, { cause });
}
