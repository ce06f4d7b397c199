// System calls on extended attributes. All names are kept except those that would promise access control lists, which nothing here enforces.
import { GfsError, hasCode } from '../protocol/errors.js';
import { BoundedMap } from './attribute-cache.js';
import { clientWhere, type MountContext } from './context.js';
import type { Where } from './fuse-operations.js';
import { MOUNT_LIMITS } from './settings.js';

const ACL_PREFIX = 'system.posix_acl_';
/** The kernel asks for it before every write(2). */
const CAPABILITY = 'security.capability';

export class XattrOperations {
  /** Inodes without file capabilities, and when that was learned. */
  private readonly withoutCapability = new BoundedMap<number, number>(MOUNT_LIMITS.cacheEntriesMax);

  constructor(private readonly context: MountContext) {}

  async get(where: Where, name: string): Promise<Buffer> {
    if (name.startsWith(ACL_PREFIX)) throw new GfsError('NOT_SUPPORTED', 'access control lists are not kept');
    if (name !== CAPABILITY) return this.context.client.getXattr(clientWhere(where), name);
    return this.getCapability(where);
  }

  async set(where: Where, name: string, value: Buffer, options: { create: boolean; replace: boolean }): Promise<void> {
    if (name.startsWith(ACL_PREFIX)) throw new GfsError('NOT_SUPPORTED', 'access control lists are not kept');
    if (name === CAPABILITY) this.withoutCapability.clear();
    await this.context.client.setXattr(clientWhere(where), name, value, options);
    this.drop(where);
  }

  list(where: Where): Promise<string[]> {
    return this.context.client.listXattrs(clientWhere(where));
  }

  async remove(where: Where, name: string): Promise<void> {
    await this.context.client.removeXattr(clientWhere(where), name);
    this.drop(where);
  }

  private async getCapability(where: Where): Promise<Buffer> {
    const inode = await this.context.inodeOf(where);
    const { clock, settings } = this.context;
    const learnedMs = this.withoutCapability.get(inode);
    if (learnedMs !== undefined && clock.monotonicMs() - learnedMs < settings.attributeTimeout)
      throw new GfsError('NO_ATTRIBUTE');
    const askedMs = clock.monotonicMs();
    try {
      return await this.context.client.getXattr(clientWhere({ start: inode, path: '' }), CAPABILITY);
    } catch (error) {
      if (hasCode(error, 'NO_ATTRIBUTE')) this.withoutCapability.set(inode, askedMs);
      throw error;
    }
  }

  /** The change time moved. */
  private drop(where: Where): void {
    const inode = this.context.cache.inodeOf(where);
    if (inode !== undefined) this.context.cache.dropInode(inode);
  }
}
