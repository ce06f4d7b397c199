// Chunks of which every copy is damaged, but not in the same places: has the servers mend their replicas from one another, block by block, and
// remembers which bytes no copy had. It deletes nothing; what is mended is copied and replaced by healing as any other chunk.
import type { Clock } from '../lib/clock.js';
import { asGfsError, GfsError } from '../protocol/errors.js';
import type { ChunkHandle, ServerId } from '../protocol/ids.js';
import { LIMITS } from '../protocol/limits.js';
import type { Reply } from '../protocol/messages.js';
import { isCurrent } from './locations.js';
import type { MasterContext } from './master-context.js';
import type { ChunkRecord } from './records.js';
import type { Moved } from './replica-copies.js';
import { askReplica } from './replica-question.js';

export type ByteRange = Reply<'mendChunk'>['bad'][number];

interface Lost {
  readonly ranges: readonly ByteRange[];
  /** The replicas that were asked: with others there may be more to save. */
  readonly asked: string;
  readonly atMs: number;
}

/** Chunks with lost bytes that are remembered; of more the oldest are asked about again. */
const LOST_CHUNKS_MAX = 10_000;
/** The same replicas are tried again after this long. */
const AGAIN_MS = 300_000;

export class Mending {
  private readonly lost = new Map<ChunkHandle, Lost>();

  constructor(
    private readonly context: Pick<
      MasterContext,
      'locations' | 'servers' | 'tokens' | 'orders' | 'settings' | 'platform'
    >,
  ) {}

  private get clock(): Clock {
    return this.context.platform.clock;
  }

  /** Bytes of the chunk that no copy has whole, as far as is known; undefined while a copy is good or nobody was asked. */
  lostOf(chunk: ChunkRecord): readonly ByteRange[] | undefined {
    return this.hasGood(chunk) ? undefined : this.lost.get(chunk.handle)?.ranges;
  }

  private hasGood(chunk: ChunkRecord): boolean {
    const { locations, servers } = this.context;
    return locations.get(chunk.handle).some(each => servers.isLive(each.server) && isCurrent(each, chunk));
  }

  /** An operator says that there may be more to save. */
  tryAgain(handle: ChunkHandle): void {
    const lost = this.lost.get(handle);
    if (lost) this.lost.set(handle, { ...lost, asked: '' });
  }

  /** All that these replicas can give was taken, lately. */
  isTried({ handle }: ChunkRecord): boolean {
    const lost = this.lost.get(handle);
    return lost !== undefined && lost.asked === this.present(handle) && this.clock.monotonicMs() < lost.atMs + AGAIN_MS;
  }

  /**
   * Has the damaged replicas on `servers` mended, one after another, until one is good; each asks `sources`, which have places within the limits,
   * before all others. Never rejects: `failure` is CORRUPT when bytes are lost, which is remembered, UNAVAILABLE when not all sources answered, and
   * what the last server said when none could say.
   */
  async mend(chunk: ChunkRecord, servers: readonly ServerId[], sources: readonly ServerId[]): Promise<Moved> {
    const { platform, locations } = this.context;
    const { handle, version, lengthBytes } = chunk;
    await this.lookAgain(chunk);
    const asked = this.present(handle);
    let lost: ByteRange[] | undefined;
    let movedBytes = 0;
    let failure = new GfsError('UNAVAILABLE', `no replica of chunk ${handle} can be mended`);
    for (const server of servers) {
      try {
        const answer = await this.give(chunk, server, sources);
        movedBytes += answer.copiedBytes;
        lost = lost ? common(lost, badOf(answer, lengthBytes)) : badOf(answer, lengthBytes);
        if (answer.bad.length > 0) continue;
        this.lost.delete(handle);
        platform.logger.info({ handle, server, movedBytes }, 'a damaged replica is mended');
        locations.put(handle, { server, version, lengthBytes, state: 'sealed', suspect: false, corrupt: false });
        return { movedBytes };
      } catch (error) {
        failure = asGfsError(error);
        const { code, message } = failure;
        platform.logger.warn({ handle, server, code, reason: message }, 'a damaged replica cannot be mended');
      }
    }
    if (!lost) return { movedBytes, failure };
    // Each could have been made whole: a source did not answer, and is asked again.
    if (lost.length === 0 || this.hasGood(chunk))
      return { movedBytes, failure: new GfsError('UNAVAILABLE', `not all copies of chunk ${handle} could be read`) };
    this.remember(handle, { ranges: lost, asked, atMs: this.clock.monotonicMs() });
    platform.logger.error({ handle, ranges: lost.slice(0, 8), count: lost.length }, 'bytes are damaged in every copy');
    failure = new GfsError('CORRUPT', `every copy of chunk ${handle} that can be reached has the same bytes damaged`);
    return { movedBytes, failure };
  }

  /**
   * Servers do not report each append: one that was cut off from the seal may have more good bytes than it said. What is known of one that does not
   * answer stays as it was.
   */
  private async lookAgain({ handle, lengthBytes }: ChunkRecord): Promise<void> {
    const { locations, servers, orders, platform } = this.context;
    const behind = locations.get(handle).filter(each => each.lengthBytes < lengthBytes && servers.isLive(each.server));
    const looks = behind.map(async ({ server }) => {
      try {
        locations.report(server, await askReplica(orders, server, handle));
      } catch (error) {
        platform.logger.debug({ handle, server, reason: asGfsError(error).message }, 'a replica does not show itself');
      }
    });
    await Promise.all(looks);
  }

  private give(chunk: ChunkRecord, server: ServerId, first: readonly ServerId[]): Promise<Reply<'mendChunk'>> {
    const { orders, servers, tokens, settings, locations } = this.context;
    const { handle, version, lengthBytes } = chunk;
    const missing = (replica: { lengthBytes: number }): number => Math.max(0, lengthBytes - replica.lengthBytes);
    const place = (source: ServerId): number => (first.includes(source) ? first.indexOf(source) : first.length);
    const others = locations
      .get(handle)
      .filter(replica => replica.server !== server && servers.isLive(replica.server))
      // Behind those with places the whole ones, then the longest of those that are behind.
      .sort((a, b) => place(a.server) - place(b.server) || missing(a) - missing(b))
      .slice(0, LIMITS.replicasMax);
    const sources = others.map(replica => ({
      server: replica.server,
      address: servers.get(replica.server)?.address ?? '',
      token: tokens.copy(handle, Math.min(version, replica.version), replica.server),
      ...(replica.lengthBytes < lengthBytes ? { lengthBytes: replica.lengthBytes } : {}),
    }));
    return orders.give(server, 'mendChunk', { handle, version, lengthBytes, sources }, settings.copyTimeout);
  }

  private remember(handle: ChunkHandle, lost: Lost): void {
    this.lost.delete(handle);
    for (const oldest of this.lost.keys()) {
      if (this.lost.size < LOST_CHUNKS_MAX) break;
      this.lost.delete(oldest);
    }
    this.lost.set(handle, lost);
  }

  /** The replicas that can be asked now. */
  private present(handle: ChunkHandle): string {
    const { locations, servers } = this.context;
    const live = locations.get(handle).filter(({ server }) => servers.isLive(server));
    return live
      .map(({ server, lengthBytes, corrupt }) => `${server} ${servers.get(server)?.epoch} ${lengthBytes} ${corrupt}`)
      .sort()
      .join(', ');
  }
}

/** Of an answer that was cut short everything behind it may be bad. */
function badOf({ bad, more }: Reply<'mendChunk'>, lengthBytes: number): ByteRange[] {
  const last = bad[bad.length - 1];
  if (!more || !last) return bad;
  return [...bad.slice(0, -1), { fromByte: last.fromByte, lengthBytes: lengthBytes - last.fromByte }];
}

/** What is in both; each in order and without overlaps. */
export function common(a: readonly ByteRange[], b: readonly ByteRange[]): ByteRange[] {
  const both: ByteRange[] = [];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    const [x, y] = [a[i]!, b[j]!];
    const fromByte = Math.max(x.fromByte, y.fromByte);
    const endByte = Math.min(x.fromByte + x.lengthBytes, y.fromByte + y.lengthBytes);
    if (endByte > fromByte) both.push({ fromByte, lengthBytes: endByte - fromByte });
    if (x.fromByte + x.lengthBytes < y.fromByte + y.lengthBytes) i++;
    else j++;
  }
  return both;
}

/** Ranges of a chunk as ranges of a file, of which `piece` is a part; where there are many, the last one stands for the rest. */
export function inFile(
  ranges: readonly ByteRange[],
  piece: { fileOffset: number; chunkOffset: number; lengthBytes: number },
): ByteRange[] {
  const { fileOffset, chunkOffset, lengthBytes } = piece;
  const all = common(ranges, [{ fromByte: chunkOffset, lengthBytes }]);
  const told = all.slice(0, LIMITS.lostRangesMax).map(range => ({ ...range }));
  const [lastTold, last] = [told[told.length - 1], all[all.length - 1]];
  if (lastTold && last) lastTold.lengthBytes = last.fromByte + last.lengthBytes - lastTold.fromByte;
  return told.map(range => ({ ...range, fromByte: fileOffset + range.fromByte - chunkOffset }));
}
