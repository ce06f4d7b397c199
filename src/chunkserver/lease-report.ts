// Which leases the next heartbeat names, so that the master extends them: all, or where they are too many for one message a part in turn. It extends
// and ends none.
import type { Request } from '../protocol/messages.js';
import type { LeaseHolder } from './lease-holder.js';

export class LeaseReport {
  /** How many of the leases, in their order, the last heartbeats have named. */
  private named = 0;

  constructor(
    private readonly leases: LeaseHolder,
    private readonly leasesMax: number,
  ) {}

  next(): Request<'heartbeat'>['leases'] {
    const held = this.leases.all().filter(({ state }) => state === 'held');
    const from = held.length > this.leasesMax ? this.named % held.length : 0;
    const part = [...held.slice(from), ...held.slice(0, from)].slice(0, this.leasesMax);
    this.named = from + part.length;
    return part.map(lease => ({
      handle: lease.chunk.handle,
      version: lease.version,
      committedBytes: lease.committedBytes,
      active: this.leases.isActive(lease),
      ...(lease.changedMs === undefined ? {} : { changedMs: lease.changedMs }),
    }));
  }
}
