// What a name, a path and a symlink target may be (limits.ts), and nothing about what they lead to.
import { GfsError } from '../protocol/errors.js';
import { LIMITS } from '../protocol/limits.js';

/** Throws NAME_INVALID, NAME_TOO_LONG unless `name` can be an entry of a directory. */
export function checkName(name: string): void {
  if (name === '' || name === '.' || name === '..') {
    throw new GfsError('NAME_INVALID', `${JSON.stringify(name)} cannot be the name of a file`);
  }
  if (/[/\0]/.test(name)) throw new GfsError('NAME_INVALID', 'a name holds no slash and no NUL byte');
  if (!isUnicode(name)) throw new GfsError('NAME_INVALID', 'a name is valid Unicode');
  if (isLonger(name, LIMITS.nameBytesMax)) {
    throw new GfsError('NAME_TOO_LONG', `a name has at most ${LIMITS.nameBytesMax} bytes`);
  }
}

/** The components of a path as requests carry it ('' has none). Throws NAME_INVALID, NAME_TOO_LONG. */
export function splitPath(path: string): string[] {
  if (path === '') return [];
  if (isLonger(path, LIMITS.pathBytesMax)) {
    throw new GfsError('NAME_TOO_LONG', `a path has at most ${LIMITS.pathBytesMax} bytes`);
  }
  const names = path.split('/');
  for (const name of names) checkName(name);
  return names;
}

/** Throws NOT_FOUND (empty, as symlink(2)), NAME_INVALID, NAME_TOO_LONG unless `target` can be a symlink's target. */
export function checkTarget(target: string): void {
  if (target === '') throw new GfsError('NOT_FOUND', 'a symbolic link points somewhere');
  if (target.includes('\0')) throw new GfsError('NAME_INVALID', 'a target holds no NUL byte');
  if (!isUnicode(target)) throw new GfsError('NAME_INVALID', 'a target is valid Unicode');
  if (isLonger(target, LIMITS.pathBytesMax - 1)) {
    throw new GfsError('NAME_TOO_LONG', `a target has less than ${LIMITS.pathBytesMax} bytes`);
  }
}

/** The steps of a symlink's target: names, '.' and '..'. A trailing slash asks for a directory. */
export function splitTarget(target: string): { absolute: boolean; steps: string[] } {
  const steps = target.split('/').filter(step => step !== '');
  if (target.endsWith('/')) steps.push('.');
  return { absolute: target.startsWith('/'), steps };
}

/** Whether the text has an encoding in UTF-8: no lone surrogates. */
export function isUnicode(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}

/** Most texts are short enough whatever their characters are. */
function isLonger(text: string, bytesMax: number): boolean {
  return text.length * 3 > bytesMax && Buffer.byteLength(text, 'utf8') > bytesMax;
}
