// The list after -o of mount programs: which names are passed on, which mean something only to mount(8) and fstab(5), and which are refused by name.
import { usageError } from './exit.js';

/** Passed to the kernel or the FUSE library as they are. */
const PASSED = [
  'rw',
  'allow_other',
  'allow_root',
  'default_permissions',
  'nosuid',
  'suid',
  'nodev',
  'dev',
  'noexec',
  'exec',
  'noatime',
  'atime',
  'sync',
  'async',
  'dirsync',
];

/** For fstab(5), mount(8) and systemd; nothing to do here. */
const IGNORED = ['defaults', 'auto', 'noauto', 'user', 'nouser', 'users', '_netdev', 'nofail', 'nonempty'];
const IGNORED_PATTERN = /^(x-|comment=)/;

export interface MountOptionList {
  readOnly: boolean;
  options: string[];
  sourceName?: string;
}

/** Throws USAGE for a name that is none of these. */
export function parseMountOptions(lists: readonly string[]): MountOptionList {
  const result: MountOptionList = { readOnly: false, options: [] };
  for (const name of lists.flatMap(list => list.split(',')).filter(name => name !== '')) {
    if (name === 'ro') result.readOnly = true;
    else if (name === 'rw') result.readOnly = false;
    else if (name.startsWith('fsname=')) result.sourceName = name.slice('fsname='.length);
    else if (PASSED.includes(name)) result.options.push(name);
    else if (!IGNORED.includes(name) && !IGNORED_PATTERN.test(name))
      throw usageError(
        `-o ${name}: is not a mount option of gfs-mount (it knows ro, ${PASSED.join(', ')}, fsname=NAME)`,
      );
  }
  // Files belong to their makers and have modes; without this the kernel would not look at either.
  if (!result.options.includes('default_permissions')) result.options.push('default_permissions');
  return result;
}
