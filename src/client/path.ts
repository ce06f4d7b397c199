// Paths of the public API as places in the tree: absolute, with '.', '..' and doubled slashes taken out by text. It asks no server.
import { GfsError } from '../protocol/errors.js';
import { ROOT_INODE } from '../protocol/ids.js';
import type { WireWhere } from '../protocol/messages.js';

/** The components of an absolute path. Throws INVALID for a relative one. */
export function componentsOf(path: string): string[] {
  if (typeof path !== 'string') throw new TypeError('a path is a string');
  if (!path.startsWith('/')) throw new GfsError('INVALID', `'${path}' is not an absolute path; begin it with '/'`);
  const components: string[] = [];
  for (const name of path.split('/')) {
    if (name === '' || name === '.') continue;
    if (name === '..') components.pop();
    else components.push(name);
  }
  return components;
}

export function placeOf(path: string): WireWhere {
  return { start: ROOT_INODE, path: componentsOf(path).join('/') };
}
