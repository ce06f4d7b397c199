// The directory to mount on: what must be true of it, and the cleaning of one whose server died. It never looks inside a living mount.
import { spawn } from 'node:child_process';
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { Logger } from '../lib/logger.js';
import { findMount, removeDeadMount } from '../mount/mount-table.js';
import { GfsError } from '../protocol/errors.js';

const LOOK_MS_MAX = 2000;

/** The absolute path, when one can mount there. Throws a GfsError that names it and says what to do. */
export async function checkMountPoint(given: string, logger: Logger): Promise<string> {
  const path = await absolutePath(given);
  const entry = await findMount(path);
  if (entry?.type.startsWith('fuse')) {
    if (!(await isDeadSoon(path)))
      throw new GfsError(
        'IN_USE',
        `mount point ${path} is in use: ${entry.source} is mounted there (fusermount -u ${path})`,
      );
    await removeDeadMount(path);
    logger.info({ mountPoint: path }, 'a mount left by a dead process was removed');
  }
  try {
    if (!(await stat(path)).isDirectory())
      throw new GfsError('NOT_DIRECTORY', `mount point ${path} is not a directory`);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT')
      throw new GfsError('NOT_FOUND', `mount point ${path} does not exist; make it with: mkdir -p ${path}`);
    if (code === 'ENOTDIR') throw new GfsError('NOT_DIRECTORY', `mount point ${path}: a part of it is not a directory`);
    throw error;
  }
  return path;
}

/** Without symbolic links, as the kernel lists it; a mount whose server is dead or stands still cannot be asked for its own path. */
async function absolutePath(given: string): Promise<string> {
  const path = resolve(given);
  const above = await realpath(dirname(path)).catch(() => undefined);
  if (above !== undefined && (await findMount(join(above, basename(path))))) return join(above, basename(path));
  try {
    return await realpath(path);
  } catch {
    // Absent or dead: the directory above it tells, or its absence is found by whoever looks at the path next.
    const parent = await realpath(dirname(path)).catch(() => dirname(path));
    return join(parent, basename(path));
  }
}

/**
 * Whether the server of the mount there is gone. One that stands still answers nothing, not even that, and counts as living. Another process asks: a call
 * of our own that waits for it would keep this program from ending.
 */
function isDeadSoon(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const child = spawn('stat', ['--', path], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    let errorText = '';
    const giveUp = setTimeout(() => {
      child.kill('SIGKILL');
      child.unref();
      child.stderr.destroy();
      resolve(false);
    }, LOOK_MS_MAX);
    const finish = (isDead: boolean): void => {
      clearTimeout(giveUp);
      resolve(isDead);
    };
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errorText += text;
    });
    child.once('error', () => finish(false));
    child.once('close', () => finish(/endpoint is not connected|connection abort/i.test(errorText)));
  });
}
