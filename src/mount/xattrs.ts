// System calls on extended attributes. All names are kept except those that would promise access control lists or file capabilities, which
// nothing here enforces.
import { GfsError } from '../protocol/errors.js';
import { clientWhere, type MountContext } from './context.js';
import type { Where } from './fuse-operations.js';

const ACL_PREFIX = 'system.posix_acl_';
/** The kernel asks for it before every write(2). */
export const CAPABILITY = 'security.capability';

export class XattrOperations {
  constructor(private readonly context: MountContext) {}

  async get(where: Where, name: string): Promise<Buffer> {
    if (name.startsWith(ACL_PREFIX)) throw new GfsError('NOT_SUPPORTED', 'access control lists are not kept');
    // Refused in set, so nothing has one.
    if (name === CAPABILITY) throw new GfsError('NO_ATTRIBUTE');
    return await this.context.client.getXattr(clientWhere(where), name);
  }

  async set(where: Where, name: string, value: Buffer, options: { create: boolean; replace: boolean }): Promise<void> {
    if (name.startsWith(ACL_PREFIX)) throw new GfsError('NOT_SUPPORTED', 'access control lists are not kept');
    if (name === CAPABILITY) throw new GfsError('NOT_SUPPORTED', 'file capabilities are not kept');
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

  /** The change time moved. */
  private drop(where: Where): void {
    const inode = this.context.cache.inodeOf(where);
    if (inode !== undefined) this.context.cache.dropInode(inode);
  }
}
