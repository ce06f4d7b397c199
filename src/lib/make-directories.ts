// Makes a directory and those above it that are missing, as `mkdir -p`. Node's own `recursive` takes a read-only file system for a missing one, and tries
// for ever where the kernel makes no directories (below /proc).
import * as fs from 'node:fs';
import { dirname, resolve } from 'node:path';

/** Settles with the topmost directory that it made, undefined when all were there. Rejects with the system's code, such as EROFS, EACCES, EEXIST, ENOTDIR. */
export async function makeDirectories(path: string): Promise<string | undefined> {
  const whole = resolve(path);
  if (await isDirectory(whole)) return undefined;
  try {
    await fs.promises.mkdir(whole);
    return whole;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    // Another process was faster.
    if (code === 'EEXIST' && (await isDirectory(whole))) return undefined;
    if (code !== 'ENOENT') throw error;
    const above = dirname(whole);
    const made = await makeDirectories(above);
    // What is above was there all the time, so it is not for that that there is none here.
    if (made === undefined) throw error;
    return (await makeDirectories(whole)) === undefined ? undefined : made;
  }
}

async function isDirectory(path: string): Promise<boolean> {
  const stats = await fs.promises.stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  });
  return stats?.isDirectory() === true;
}
