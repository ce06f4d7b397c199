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
    if (name === CAPABILITY || this.hasNone(where)) throw new GfsError('NO_ATTRIBUTE');
    return await this.context.client.getXattr(clientWhere(where), name);
  }

  async set(where: Where, name: string, value: Buffer, options: { create: boolean; replace: boolean }): Promise<void> {
    if (name.startsWith(ACL_PREFIX)) throw new GfsError('NOT_SUPPORTED', 'access control lists are not kept');
    if (name === CAPABILITY) throw new GfsError('NOT_SUPPORTED', 'file capabilities are not kept');
    try {
      await this.context.client.setXattr(clientWhere(where), name, value, options);
    } finally {
      this.drop(where);
    }
  }

  async list(where: Where): Promise<string[]> {
    if (this.hasNone(where)) return [];
    return await this.context.client.listXattrs(clientWhere(where));
  }

  async remove(where: Where, name: string): Promise<void> {
    try {
      await this.context.client.removeXattr(clientWhere(where), name);
    } finally {
      this.drop(where);
    }
  }

  /** `ls -l` asks for an attribute of every file: what is cached answers that. */
  private hasNone(where: Where): boolean {
    const { cache } = this.context;
    const inode = cache.inodeOf(where);
    return inode !== undefined && cache.hasNoXattrs(inode);
  }

  /** The change time moved, and perhaps there were none before. */
  private drop(where: Where): void {
    const { cache } = this.context;
    const inode = cache.inodeOf(where);
    if (inode === undefined) cache.clear();
    else cache.dropInode(inode);
  }
}
