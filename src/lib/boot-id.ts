// Which start of which machine this is: a name that no two machines share, and a machine not with itself after its next start. It only reads it.
import * as fs from 'node:fs';

const BOOT_ID_PATH = '/proc/sys/kernel/random/boot_id';

/** '' where the system has none. */
export function readBootId(path: string = BOOT_ID_PATH): string {
  try {
    return fs.readFileSync(path, 'latin1').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}
