// Compares a piece of what a server holds with what the locations say of it, and has every difference confirmed by the server before it counts:
// a report that was on its way while an order changed a replica is no news. Acts on nothing itself.
import { asGfsError } from '../protocol/errors.js';
import type { ChunkHandle, ServerId } from '../protocol/ids.js';
import type { Request, WireChunkReport } from '../protocol/messages.js';
import type { MasterContext } from './master-context.js';
import { askReplica } from './replica-question.js';

type Piece = NonNullable<Request<'heartbeat'>['compared']>;

/** Confirmations asked for at once, and of one piece: what else differs is seen in the next round. */
const ASKED_MAX = 16;

export class ReportComparison {
  private asked = 0;
  /** Differences that were confirmed since the start. */
  foundCount = 0;

  constructor(
    private readonly context: MasterContext,
    private readonly take: (server: ServerId, report: WireChunkReport) => void,
  ) {}

  /** Settles when the differences of this piece are cleared up; never rejects. */
  async compare(server: ServerId, piece: Piece): Promise<void> {
    await Promise.all(this.differences(server, piece).map(handle => this.confirm(server, handle)));
  }

  private differences(server: ServerId, { from, through, chunks }: Piece): ChunkHandle[] {
    const { locations } = this.context;
    const named = new Map(chunks.map(chunk => [chunk.handle, chunk]));
    const differing = locations.handlesBetween(server, from, through).filter(handle => !named.has(handle));
    for (const report of chunks) {
      const known = locations.find(report.handle, server);
      const isSame =
        known &&
        known.version === report.version &&
        known.state === report.state &&
        known.corrupt === report.corrupt &&
        (known.lengthBytes === report.lengthBytes || report.state === 'open');
      if (!isSame) differing.push(report.handle);
    }
    return differing;
  }

  private async confirm(server: ServerId, handle: ChunkHandle): Promise<void> {
    if (this.asked >= ASKED_MAX) return;
    this.asked++;
    const { orders, platform } = this.context;
    try {
      const truth = await askReplica(orders, server, handle);
      if (!this.isKnown(server, truth)) {
        this.foundCount++;
        platform.logger.warn({ server, ...truth }, 'the slow comparison found a difference');
        this.take(server, truth);
      }
    } catch (error) {
      platform.logger.debug({ server, handle, code: asGfsError(error).code }, 'a difference was not confirmed');
    } finally {
      this.asked--;
    }
  }

  private isKnown(server: ServerId, report: WireChunkReport): boolean {
    const known = this.context.locations.find(report.handle, server);
    if (report.gone) return known === undefined;
    return known?.version === report.version && known.state === report.state && known.corrupt === report.corrupt;
  }
}
