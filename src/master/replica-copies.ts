// Has one replica made current or deleted, by orders to its server, and writes down in the locations what came of it. It decides nothing and
// bounds nothing: healing and balancing do.
import { RateMeter } from '../lib/rate-meter.js';
import { asGfsError, GfsError } from '../protocol/errors.js';
import type { ServerId } from '../protocol/ids.js';
import { LIMITS } from '../protocol/limits.js';
import { findChunk } from './chunks.js';
import { isCurrent } from './locations.js';
import type { MasterContext } from './master-context.js';
import type { ChunkRecord } from './records.js';
import { askReplica } from './replica-question.js';
import type { Sealing } from './sealing.js';

export interface CopyTarget {
  server: ServerId;
  /** Distrust what is there. */
  whole: boolean;
}

/** What came of a piece of work, and what travelled for it in any case. */
export interface Moved {
  movedBytes: number;
  failure?: GfsError;
}

export class ReplicaCopies {
  /** Since the master's start: bytes that copies moved, and copies that were made. */
  copiedBytes = 0;
  copiesDone = 0;
  readonly rate = new RateMeter();

  constructor(
    private readonly context: MasterContext,
    private readonly sealing: () => Sealing,
  ) {}

  /** Servers that have all of the chunk, in the order they are to be asked. */
  sourcesOf(chunk: ChunkRecord, target: ServerId, copiesAt: (server: ServerId) => number): ServerId[] {
    const { locations, servers } = this.context;
    return locations
      .get(chunk.handle)
      .filter(replica => isCurrent(replica, chunk) && replica.server !== target && servers.isLive(replica.server))
      .map(({ server }) => server)
      .sort((a, b) => copiesAt(a) - copiesAt(b))
      .slice(0, LIMITS.replicasMax);
  }

  /** About how many bytes will travel: what is there already need not. */
  bytesMissing(chunk: ChunkRecord, { server, whole }: CopyTarget): number {
    const there = this.context.locations.find(chunk.handle, server);
    if (!there || whole || there.corrupt) return chunk.lengthBytes;
    return Math.max(0, chunk.lengthBytes - there.lengthBytes);
  }

  /**
   * Makes the replica on the target current: by cutting or taking the length over (`tryFix`), else by copying what is missing. Settles with the
   * bytes that moved. Rejects with UNAVAILABLE without a source, or as the order does.
   */
  async bring(
    chunk: ChunkRecord,
    { server, whole, sources, tryFix }: CopyTarget & { sources: ServerId[]; tryFix: boolean },
  ): Promise<number> {
    const { servers, tokens, orders, locations, settings, platform } = this.context;
    const { handle, version, lengthBytes } = chunk;
    if (tryFix && (await this.sealing().fix(chunk, server))) return 0;
    if (sources.length === 0) throw new GfsError('UNAVAILABLE', `no current replica of chunk ${handle} to copy from`);
    const startMs = platform.clock.monotonicMs();
    const { copiedBytes, stopped } = await orders.give(
      server,
      'copyChunk',
      {
        handle,
        version,
        lengthBytes,
        sources: sources.map(source => ({
          server: source,
          address: servers.get(source)?.address ?? '',
          token: tokens.copy(handle, version, source),
        })),
        whole,
      },
      settings.copyTimeout,
    );
    this.copiedBytes += copiedBytes;
    this.rate.add(copiedBytes, platform.clock.monotonicMs());
    // What is left of it, if anything, is reported by its server as a replica that is behind.
    if (stopped) return copiedBytes;
    this.copiesDone++;
    platform.logger.info(
      { handle, server, copiedBytes, lengthBytes, ms: Math.round(platform.clock.monotonicMs() - startMs) },
      'replica copied',
    );
    // The chunk may have been given up while it was copied; its deletion reaches this replica when the server reports it.
    if (!findChunk(this.context.store, handle)) return copiedBytes;
    locations.put(handle, { server, version, lengthBytes, state: 'sealed', suspect: false, corrupt: false });
    servers.noteAllocation(server);
    return copiedBytes;
  }

  /** Ends a copy that runs, which then settles with what moved; never rejects: it is lost effort if it goes on, and no harm. */
  async stop({ handle, version }: ChunkRecord, server: ServerId): Promise<void> {
    const { orders, platform } = this.context;
    platform.logger.info({ handle, server }, 'a copy is not needed any more and is stopped');
    try {
      await orders.give(server, 'stopCopy', { handle, version });
    } catch (error) {
      const { code, message } = asGfsError(error);
      platform.logger.debug({ handle, server, code, reason: message }, 'a copy was not stopped');
    }
  }

  /**
   * Rejects with UNAVAILABLE unless enough others say now that they are good, and one of them has read all its bytes: of what was reported some may be gone,
   * and of bytes that nobody read lately any may be bad. So no replica goes that could be the last good one.
   */
  async remove(chunk: ChunkRecord, server: ServerId, why: string): Promise<void> {
    const { orders, locations, platform, store } = this.context;
    const { handle, version } = chunk;
    const staying = await this.goodNow(chunk, server);
    const refuseFew = (): void => {
      const goal = findChunk(store, handle)?.goal ?? Number.POSITIVE_INFINITY;
      if (staying.length < goal)
        throw new GfsError(
          'UNAVAILABLE',
          `${staying.length} replicas of chunk ${handle} would be left, ${goal} are wanted`,
        );
    };
    refuseFew();
    await this.verify(chunk, staying[0]!);
    refuseFew();
    await orders.give(server, 'deleteChunk', { handle, version });
    locations.remove(handle, server);
    platform.logger.info({ handle, server, why }, 'replica deleted');
  }

  /** Has a server read all bytes of its replica; rejects with UNAVAILABLE when they are not what they should be, which is then known here. */
  private async verify(chunk: ChunkRecord, server: ServerId): Promise<void> {
    const { orders, locations, settings } = this.context;
    const { handle } = chunk;
    const truth = await askReplica(orders, server, handle, { verifyMs: settings.copyTimeout });
    if (isCurrent(truth, chunk)) return;
    locations.report(server, truth);
    throw new GfsError('UNAVAILABLE', `the replica of chunk ${handle} on ${server} was to stay and is not good`);
  }

  /** Servers beside `except` whose replicas are current by what they answer; what they answer is taken over. */
  private async goodNow(chunk: ChunkRecord, except: ServerId): Promise<ServerId[]> {
    const { orders, locations, servers } = this.context;
    const { handle } = chunk;
    const others = locations
      .get(handle)
      .filter(replica => replica.server !== except && isCurrent(replica, chunk) && servers.isLive(replica.server));
    const asked = others.map(async ({ server }) => {
      const truth = await askReplica(orders, server, handle);
      if (isCurrent(truth, chunk)) return [server];
      locations.report(server, truth);
      return [];
    });
    const answers = await Promise.allSettled(asked);
    return answers.flatMap(answer => (answer.status === 'fulfilled' ? answer.value : []));
  }
}
