// Several users on one mount (issue 5): what a user makes is his, what others protected stays closed to him, sticky and setgid directories keep their
// rules. The kernel checks, by the owners and modes that the cluster keeps.
import { kernelTransportProblem } from '../../src/mount/kernel/transport.js';
import { Cluster } from './cluster.js';
import { testUnless } from './needs.js';
import { must, shell } from './processes.js';

const canSwitch = process.getuid?.() === 0 && (await shell('command -v setpriv')).code === 0;
const problem = kernelTransportProblem() ?? (canSwitch ? undefined : 'this test is for root');
// Switching users takes root, and enforcing their rights the kernel transport, which mounts as root.
const kernelTest = testUnless(problem);

/** Alice is in the group `team` (3000), Bob is not. Neither is in /etc/passwd, and need not be. */
const ALICE = 'setpriv --reuid 1001 --regid 1001 --groups 3000';
const BOB = 'setpriv --reuid 1002 --regid 1002 --clear-groups';

kernelTest('users share a mount: owners are right, foreign files are protected, on another mount as well', async t => {
  const cluster = await Cluster.start(t, { servers: 2, minReplicas: 1 });
  await must(t, `chmod 755 ${cluster.folder}`);
  const args = ['--fuse', 'kernel', '-o', 'allow_other'];
  const [one, two] = [await cluster.mount({ args }), await cluster.mount({ args })];
  await must(t, `mkdir -m 1777 ${one}/tmp; mkdir ${one}/team; chgrp 3000 ${one}/team; chmod 2770 ${one}/team`);

  await must(
    t,
    `cd ${one}/tmp; umask 022; ${ALICE} sh -c 'echo secret > a; chmod 600 a; mkdir d; ln -s a l; echo open > o'`,
  );
  const owners = `cd ${two}/tmp; stat -c "%n %u %g %a" a d l o`;
  t.is(await must(t, owners), 'a 1001 1001 600\nd 1001 1001 755\nl 1001 1001 777\no 1001 1001 644\n');

  for (const point of [one, two]) {
    const refused = async (command: string, pattern: RegExp): Promise<void> => {
      const { code, stderr } = await shell(`cd ${point}/tmp && ${BOB} sh -c '${command}'`);
      t.not(code, 0, command);
      t.regex(stderr, pattern, command);
    };
    await refused('cat a', /Permission denied/);
    await refused('echo x >> a', /Permission denied/);
    await refused('echo x >> o', /Permission denied/);
    await refused('chmod 666 a', /Operation not permitted/);
    await refused('chown 1002 a', /Operation not permitted/);
    await refused('touch -d 2001-01-01 o', /Permission denied|not permitted/);
    await refused('truncate -s 0 o', /Permission denied/);
    await refused('echo x > d/f', /Permission denied/);
    // The sticky bit: everybody may make files, only owners remove and rename them.
    await refused('rm -f o', /Operation not permitted/);
    await refused('mv o p', /Operation not permitted/);
    await refused('ls ../team', /Permission denied/);
    t.is(await must(t, `cd ${point}/tmp; ${BOB} cat o`), 'open\n');
  }
  t.is(await must(t, `cd ${one}/tmp; ${BOB} sh -c 'echo mine > b; stat -c "%u %g" b; rm b'`), '1002 1002\n');

  // setgid: files of the team belong to the team, and directories pass it on.
  await must(t, `cd ${one}/team; umask 007; ${ALICE} sh -c 'echo x > f; mkdir d; echo x > d/g'`);
  t.is(await must(t, `cd ${two}/team; stat -c "%u %g %a" f d d/g`), '1001 3000 660\n1001 3000 2770\n1001 3000 660\n');

  // What is opened to Bob shows to the mount where it was cached as closed.
  t.not((await shell(`${BOB} cat ${two}/tmp/a`)).code, 0);
  await must(t, `${ALICE} chmod 644 ${one}/tmp/a; sleep 0.3`);
  t.is(await must(t, `${BOB} cat ${two}/tmp/a`), 'secret\n');
});
