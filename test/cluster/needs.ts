// What not every machine has and some tests need. Such a test is registered as skipped, with the reason in its title, so that nobody counts it as
// passed; which tests those are, the tests say.
import test, { type ImplementationFn } from 'ava';
import { shell } from './processes.js';

type Register = (title: string, run: ImplementationFn<[]>) => void;

/** Registers serial tests, or skips them when there is a problem. */
export function testUnless(problem: string | undefined): Register {
  return (title, run) => {
    if (problem === undefined) test.serial(title, run);
    else test.serial.skip(`${title} (skipped: ${problem})`, run);
  };
}

async function problemOf(script: string, problem: string): Promise<string | undefined> {
  const { code } = await shell(script);
  return code === 0 ? undefined : problem;
}

/** Why this user cannot mount small file systems here. */
export function mountProblem(): Promise<string | undefined> {
  const script = 'd=$(mktemp -d) && trap "rmdir $d" EXIT && mount -t tmpfs -o size=1M none $d && umount $d';
  return problemOf(script, 'this user may not mount file systems');
}

/** Why there are no mount namespaces of one's own here. */
export function mountNamespaceProblem(): Promise<string | undefined> {
  return problemOf('unshare -m true', 'this user may not make mount namespaces');
}

/** Why no file system here can lose its power. */
export function powerLossProblem(): Promise<string | undefined> {
  const script = 'command -v xfs_io && command -v mkfs.ext4 && [ "$(id -u)" = 0 ] && losetup -f';
  return problemOf(script, 'that needs root, loop devices, xfs_io and mkfs.ext4');
}

/** Why npm cannot install packages here. */
export function registryProblem(): Promise<string | undefined> {
  return problemOf('npm ping --fetch-retries=0 --fetch-timeout=5000', "npm's registry cannot be reached");
}
