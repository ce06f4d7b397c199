// What the kernel says about mounts (/proc/self/mountinfo, /sys/fs/fuse/connections), and the programs that undo them.
// It touches the platform, as transports must, and never looks inside a mount point that may be dead, except to learn that it is.
import { spawn, spawnSync } from 'node:child_process';
import { type FileHandle, mkdtemp, open, readFile, rmdir, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Clock, sleep } from '../lib/clock.js';
import type { Logger } from '../lib/logger.js';
import { GfsError } from '../protocol/errors.js';

export interface MountEntry {
  /** The kernel's number of this mount; a later mount on the same directory has another. */
  id: number;
  /** Minor device number, which names the FUSE connection. */
  minor: number;
  mountPoint: string;
  type: string;
  source: string;
}

const CONNECTIONS = '/sys/fs/fuse/connections';
const OUTPUT_MAX = 4096;

/** Every mount this process sees, in the order of mounting. */
export async function readMountTable(): Promise<MountEntry[]> {
  return parseMountInfo(await readFile('/proc/self/mountinfo', 'utf8'));
}

/** The lines of proc(5) mountinfo; lines that are not of this shape are left out. */
export function parseMountInfo(text: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split('\n')) {
    const match = /^(\d+) \d+ \d+:(\d+) \S+ (\S+) .*? - (\S+) (\S+)/.exec(line);
    if (match === null) continue;
    const [, id, minor, mountPoint, type, source] = match as unknown as [
      string,
      string,
      string,
      string,
      string,
      string,
    ];
    entries.push({
      id: Number(id),
      minor: Number(minor),
      mountPoint: unescapeOctal(mountPoint),
      type,
      source: unescapeOctal(source),
    });
  }
  return entries;
}

/** The topmost mount on a directory, given by its absolute path without symbolic links. */
export async function findMount(mountPoint: string): Promise<MountEntry | undefined> {
  return (await readMountTable()).findLast(entry => entry.mountPoint === mountPoint);
}

/** Whether the kernel still has this FUSE connection, as it does after a lazy unmount while files are open; undefined where it does not tell. */
export async function hasConnection(minor: number): Promise<boolean | undefined> {
  if ((await modeOf(CONNECTIONS)) === undefined) return undefined;
  if ((await modeOf(`${CONNECTIONS}/${minor}`)) !== undefined) return true;
  return (await readMountTable()).some(entry => entry.type === 'fusectl') ? false : undefined;
}

/**
 * Ends a FUSE connection that is no longer mounted anywhere: every system call on it fails from now on. Requires that the connection was alive a moment
 * ago. The kernel gives a minor number that became free to the next mount, so nothing is done when a mount in the table has it: that is somebody else's.
 */
export async function abortDetachedConnection(minor: number): Promise<void> {
  const file = (await openAbort(CONNECTIONS, minor)) ?? (await openAbortPrivately(minor));
  if (file === undefined) return;
  try {
    // Looked at after opening: the open file stays with the connection it was opened for, whoever gets the number later.
    if ((await readMountTable()).some(entry => entry.minor === minor && entry.type.startsWith('fuse'))) return;
    await file.write('1');
  } finally {
    await file.close();
  }
}

/**
 * Takes this very mount away. Busy ones get `graceMs` to become idle; then they are detached and their connection ends, so that their users get errors
 * and the serving process is free. Settles when the table does not list the mount any more.
 */
export async function unmountEntry(
  entry: MountEntry,
  parts: { clock: Clock; logger: Logger; graceMs: number },
): Promise<void> {
  const deadlineMs = parts.clock.monotonicMs() + parts.graceMs;
  while (await isListed(entry)) {
    try {
      await unmountDirectory(entry.mountPoint, { lazy: false });
    } catch (error) {
      if (parts.clock.monotonicMs() >= deadlineMs) break;
      parts.logger.debug({ mountPoint: entry.mountPoint, reason: (error as Error).message }, 'the mount is busy');
      await sleep(parts.clock, BUSY_RETRY_MS);
    }
  }
  if (!(await isListed(entry))) return;
  parts.logger.warn({ mountPoint: entry.mountPoint }, 'files are still open: the mount is taken away from under them');
  try {
    await unmountDirectory(entry.mountPoint, { lazy: true });
  } catch (error) {
    // Somebody else (fusermount -u) took it away in this moment: that is all that was wanted.
    if (await isListed(entry)) throw error;
  }
}

const BUSY_RETRY_MS = 100;

/** Takes a mount away and ends its connection, at once and without the event loop: for a process that exits while it serves. */
export function dropMountNow(mountPoint: string): void {
  spawnSync('umount', ['-i', '-c', '-f', '-l', mountPoint], { stdio: 'ignore', timeout: DROP_TIMEOUT_MS });
}

const DROP_TIMEOUT_MS = 2000;

/** Unmounts the topmost mount on a directory; `lazy` detaches it and, as root, ends its connection as well. Rejects with BUSY when files are open (and not `lazy`), with FAILED otherwise. */
export async function unmountDirectory(mountPoint: string, options: { lazy: boolean }): Promise<void> {
  const attempts =
    process.getuid?.() === 0
      ? // -c: otherwise umount(8) first looks at the mount itself, whose answer may wait for servers, and for this very process.
        [['umount', '-i', '-c', ...(options.lazy ? ['-f', '-l'] : []), mountPoint]]
      : ['fusermount3', 'fusermount'].map(program => [program, options.lazy ? '-uz' : '-u', mountPoint]);
  let output = '';
  for (const [program, ...args] of attempts) {
    const result = await runProgram(program as string, args);
    if (result.status === 0) return;
    output = result.output;
    if (result.status !== undefined) break;
  }
  throw new GfsError(/busy/i.test(output) ? 'BUSY' : 'FAILED', `cannot unmount ${mountPoint}: ${output.trim()}`);
}

/** Whether this very mount is still in the table. */
export async function isListed(entry: MountEntry): Promise<boolean> {
  return (await readMountTable()).some(other => other.id === entry.id && other.minor === entry.minor);
}

/** Whether the directory is a mount whose server died ("Transport endpoint is not connected"). */
export async function isDeadMount(mountPoint: string): Promise<boolean> {
  try {
    await stat(mountPoint);
    return false;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    return code === 'ENOTCONN' || code === 'ECONNABORTED';
  }
}

/** Removes dead mounts from a directory; true when there was one. Requires that no living mount of this process is there. */
export async function removeDeadMount(mountPoint: string): Promise<boolean> {
  let isRemoved = false;
  for (let layer = 0; layer < DEAD_LAYERS_MAX && (await isDeadMount(mountPoint)); layer++) {
    await unmountDirectory(mountPoint, { lazy: true });
    isRemoved = true;
  }
  return isRemoved;
}

/** Dead mounts piled on one directory that are removed at once. */
const DEAD_LAYERS_MAX = 16;

/** Runs a program to its end. `status` is undefined when it could not be started. `inherited` becomes its descriptor 3. */
export function runProgram(
  program: string,
  args: readonly string[],
  inherited?: number,
): Promise<{ status: number | undefined; output: string }> {
  return new Promise(resolve => {
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe', ...(inherited === undefined ? [] : [inherited])],
      env: { ...process.env, LC_ALL: 'C' },
    });
    let output = '';
    const collect = (data: Buffer): void => {
      if (output.length < OUTPUT_MAX) output += data.toString('utf8');
    };
    child.stdout?.on('data', collect);
    child.stderr?.on('data', collect);
    child.once('error', error => resolve({ status: undefined, output: `${program}: ${error.message}` }));
    child.once('close', code => resolve({ status: code ?? -1, output }));
  });
}

async function openAbort(connections: string, minor: number): Promise<FileHandle | undefined> {
  try {
    return await open(`${connections}/${minor}/abort`, 'r+');
  } catch {
    return undefined; // No fusectl here, or the connection is gone already.
  }
}

/** Containers seldom have fusectl mounted: a look at it from a folder of our own, which is gone before the abort lets this process end. */
async function openAbortPrivately(minor: number): Promise<FileHandle | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'gfs-fusectl-'));
  let file: FileHandle | undefined;
  if ((await runProgram('mount', ['-i', '-t', 'fusectl', 'none', folder])).status === 0) {
    file = await openAbort(folder, minor);
    await runProgram('umount', ['-i', '-l', folder]);
  }
  await rmdir(folder);
  return file;
}

async function modeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).mode;
  } catch {
    return undefined; // Absent, or hidden from this user: either way there is nothing to learn from it.
  }
}

function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
