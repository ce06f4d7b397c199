// What a workload is: a habit of a client process, simple enough that its check is one sentence. Workloads never judge what they see.
import type { Where } from '../../../src/client/types.js';
import { ROOT_INODE } from '../../../src/protocol/ids.js';
import type { Actor } from '../actor.js';

export interface Workload {
  readonly name: string;
  /**
   * Lives on one client process until the actor is over; then it settles, soon. Called once for each start of the process, and never settles when the
   * process dies. Never rejects for what the file system answered.
   */
  run(actor: Actor): Promise<void>;
}

/** A file or directory below the root. */
export function at(path: string): Where {
  return { start: ROOT_INODE, path };
}

export const OWNER = { uid: 1000, gid: 1000 } as const;
export const NEW_FILE = { ...OWNER, mode: 0o644, exclusive: false, truncate: false } as const;
