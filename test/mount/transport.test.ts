// One suite for both transports, on real mounts of a file system in memory, used with shell tools. One after another: forty servers at once are slow.
import test from 'ava';
import { nativeTransportProblem } from '../../src/mount/fuse-native.js';
import { kernelTransportProblem } from '../../src/mount/kernel/transport.js';
import { holdOpen, isMounted, mountMemory, removeDeadMount, unmountDirectory } from './mounted.js';

const PYTHON_XATTRS = `python3 -c '
import os
os.setxattr("f", "user.a", b"one"); os.setxattr("f", "user.b", b"x" * 3000)
print(os.getxattr("f", "user.a"), len(os.getxattr("f", "user.b")), sorted(os.listxattr("f")))
os.removexattr("f", "user.a"); print(os.listxattr("f"))
try: os.getxattr("f", "user.a")
except OSError as error: print(error.errno)
'`;

const PYTHON_SELDOM_CALLS = `python3 -c '
import ctypes, errno, os
a = os.open("a", os.O_RDWR | os.O_CREAT); b = os.open("b", os.O_RDWR | os.O_CREAT)
os.write(a, b"hello"); os.posix_fallocate(a, 0, 8); print(os.fstat(a).st_size)
print(os.lseek(a, 3, os.SEEK_DATA), os.lseek(a, 3, os.SEEK_HOLE))
try: os.lseek(a, 8, os.SEEK_DATA)
except OSError as error: print(errno.errorcode[error.errno])
print(os.copy_file_range(a, b, 5, 1, 0), os.pread(b, 4, 0).decode())
libc = ctypes.CDLL(None, use_errno=True)
def rename(flags): return libc.renameat2(-100, b"a", -100, b"b", flags)
rename(1); print(errno.errorcode[ctypes.get_errno()])
inodes = {os.fstat(a).st_ino: "a", os.fstat(b).st_ino: "b"}
rename(2); print(inodes[os.stat("a").st_ino], inodes[os.stat("b").st_ino])
'`;

for (const [kind, problem] of [
  ['native', nativeTransportProblem()],
  ['kernel', kernelTransportProblem()],
] as const) {
  // A transport that cannot load here is told in the title rather than left out silently.
  const run = problem === undefined ? test.serial : test.serial.skip;
  const title = (text: string): string => `${kind}: ${text}${problem === undefined ? '' : ` (skipped: ${problem})`}`;

  run(title('echo, append, cat and truncating redirection do what they say'), async t => {
    const { sh } = bound(await mountMemory(t, kind));

    t.is(await sh('echo one > f; echo two >> f; cat f; echo three > f; cat f; wc -c < f'), 'one\ntwo\nthree\n6');
    t.is(await sh('echo first >> new; echo second >> new; cat new'), 'first\nsecond');
  });

  run(title('some megabytes come back as they were written, also after the caches were dropped'), async t => {
    const { sh } = bound(await mountMemory(t, kind));

    const script =
      'S=$(mktemp); head -c 5000001 /dev/urandom > $S; cp $S f; cmp $S f && cp f g && cmp $S g && stat -c %s g; rm $S';
    t.is(await sh(script), '5000001');
  });

  run(title('directories, renames, links and removals'), async t => {
    const { sh } = bound(await mountMemory(t, kind));

    t.is(await sh('mkdir -p a/b/c && echo x > a/b/c/f && mv a/b z && cat z/c/f && ls a'), 'x');
    t.is(
      await sh('echo 1 > p; echo 2 > q; mv p q; cat q; ls p'),
      "1\nls: cannot access 'p': No such file or directory\nstatus 2",
    );
    t.is(await sh('ln q h; stat -c %h h; [ q -ef h ] && echo same; rm q; cat h'), '2\nsame\n1');
    t.is(await sh('ln -s h s; readlink s; cat s; rm s; cat h'), 'h\n1\n1');
    t.is(await sh('rmdir z'), "rmdir: failed to remove 'z': Directory not empty\nstatus 1");
    t.is(await sh('rm -r a z h; ls -A'), '');
  });

  run(title('modes, owners, sizes and both times set at once'), async t => {
    const { sh } = bound(await mountMemory(t, kind));

    t.is(
      await sh('echo hello > f; chmod 640 f; chown 12:34 f; stat -c "%a %u %g %s %F" f'),
      '640 12 34 6 regular file',
    );
    t.is(await sh('truncate -s 3 f; cat f; echo; truncate -s 6 f; od -An -c f | tr -d " "'), 'hel\nhel\\0\\0\\0');
    t.is(await sh('touch -d "2001-02-03 04:05:06 UTC" f; stat -c %Y f'), '981173106');
    t.is(await sh('umask 027; touch u; mkdir d; stat -c %a u d'), '640\n750');
  });

  run(title('cp -p and touch -r keep both times apart, to the millisecond'), async t => {
    const { sh } = bound(await mountMemory(t, kind));

    const made = 'S=$(mktemp); touch -a -d "2010-01-01 UTC" $S; touch -m -d "2001-02-03 04:05:06.75 UTC" $S';
    t.is(
      await sh(`${made}; touch g; touch -r $S g; cp -p $S f; rm $S; stat -c "%X %.2Y" f g`),
      '1262304000 981173106.75\n1262304000 981173106.75',
    );
  });

  // From libfuse nothing arrives when one is set alone, and the binding passes milliseconds (FUSE.md).
  const runTimes = kind === 'native' && problem === undefined ? test.serial.failing : run;
  runTimes(title('mtime alone, and with nanoseconds, is kept'), async t => {
    const { sh } = bound(await mountMemory(t, kind));

    t.is(
      await sh('touch f; touch -m -d "2001-02-03 04:05:06.123456789 UTC" f; TZ=UTC stat -c %y f'),
      '2001-02-03 04:05:06.123456789 +0000',
    );
  });

  run(title('df shows the space of the file system'), async t => {
    const { sh } = bound(await mountMemory(t, kind));

    t.is(await sh('df --output=source,size,avail -B1T . | tail -1 | tr -s " "'), 'gfs-memory 512 256');
  });

  run(title('extended attributes of any size are set, listed and removed'), async t => {
    const { sh } = bound(await mountMemory(t, kind));

    t.is(await sh(`touch f; ${PYTHON_XATTRS}`), "b'one' 3000 ['user.a', 'user.b']\n['user.b']\n61");
  });

  run(title('a directory of 5,000 entries is listed whole'), async t => {
    const { sh } = bound(await mountMemory(t, kind));

    t.is(
      await sh(
        `python3 -c 'import os; [os.mknod("n%d" % i) for i in range(5000)]'; ls -f | grep -c ^n; ls | sort -u | wc -l; find . -type f | wc -l; ls -l | wc -l`,
      ),
      '5000\n5000\n5000\n5001',
    );
  });

  run(title('a file that was removed can be read and written by those who have it open'), async t => {
    const { sh } = bound(await mountMemory(t, kind));

    t.is(
      await sh('echo hi > f; exec 5<>f; rm f; cat <&5; echo more >&5; [ -e f ] || echo gone; exec 5>&-; ls -A'),
      'hi\ngone',
    );
  });

  run(title('names that are no UTF-8 and names of 256 bytes are refused'), async t => {
    const { sh } = bound(await mountMemory(t, kind));

    t.regex(await sh("touch $'\\xff\\xfe'"), /Invalid or incomplete multibyte|status 1/);
    t.regex(await sh('touch $(printf %0256d 0)'), /File name too long\nstatus 1/);
    t.is(await sh('touch $(printf %0255d 0) "ä b€"; ls | wc -l; ls | tail -1'), '2\nä b€');
  });

  run(title('only regular files can be made with mknod'), async t => {
    const { sh } = bound(await mountMemory(t, kind));

    t.regex(await sh('mkfifo p'), /Operation not permitted\nstatus 1/);
  });

  run(title('a read-only mount refuses changes'), async t => {
    const { sh } = bound(await mountMemory(t, kind, { options: { readOnly: true } }));

    t.regex(await sh('echo x > f'), /Read-only file system\nstatus 1/);
  });

  run(title('an operation that never settles is answered ETIMEDOUT'), async t => {
    const { sh } = bound(await mountMemory(t, kind, { stuck: ['open'], options: { operationTimeoutMs: 300 } }));

    t.regex(await sh('touch f; cat f'), /Connection timed out/);
  });

  for (const [way, undo] of [
    ['fusermount -u', 'fusermount -u "$0"'],
    ['umount', 'umount "$0"'],
  ] as const) {
    run(title(`${way} ends the serving process with status 0`), async t => {
      const mounted = await mountMemory(t, kind);
      t.is(await mounted.sh('echo x > f'), '');

      const result = await mounted.sh(`cd /; ${undo}`);

      t.is(result, '');
      t.is(await mounted.exit, 0);
      t.false(await isMounted(mounted.directory));
    });
  }

  run(title('SIGTERM unmounts and ends the process with status 0, also while a file is open'), async t => {
    const mounted = await mountMemory(t, kind);
    await holdOpen(t, mounted);

    mounted.server.kill('SIGTERM');

    t.is(await mounted.exit, 0);
    t.false(await isMounted(mounted.directory));
  });

  run(title('a mount left dead by SIGKILL is removed, and the directory can be mounted again'), async t => {
    const mounted = await mountMemory(t, kind);
    mounted.server.kill('SIGKILL');
    t.is(await mounted.exit, 'SIGKILL');
    t.true(await isMounted(mounted.directory));

    t.true(await removeDeadMount(mounted.directory));
    t.false(await isMounted(mounted.directory));
    t.false(await removeDeadMount(mounted.directory));
  });

  run(title('a busy mount that is taken away leaves other mounts alone'), async t => {
    const busy = await mountMemory(t, kind);
    await holdOpen(t, busy);
    const others = await Promise.all([mountMemory(t, kind), mountMemory(t, kind)]);

    busy.server.kill('SIGTERM');
    t.is(await busy.exit, 0);
    const later = await mountMemory(t, kind);

    for (const other of [...others, later])
      t.is(await other.sh('for i in $(seq 20); do echo $i > f; sleep 0.02; done; cat f'), '20');
  });

  run(title('a mount is taken away lazily while it is in use'), async t => {
    const mounted = await mountMemory(t, kind);
    await holdOpen(t, mounted);

    await unmountDirectory(mounted.directory, { lazy: true });

    t.is(await mounted.exit, 0);
  });

  // fuse-native passes no locks on.
  const runKernel = kind === 'kernel' ? run : test.serial.skip;
  runKernel(title('flock excludes between descriptors, waits, and ends with its holder'), async t => {
    const { sh } = bound(await mountMemory(t, kind));

    t.is(await sh('touch f; flock f -c "flock -n f true || echo held"; flock -n f echo free'), 'held\nfree');
    t.is(
      await sh(
        '(flock f -c "touch held; sleep 0.3; echo first") & until [ -e held ]; do sleep 0.02; done; flock f echo second; wait',
      ),
      'first\nsecond',
    );
  });

  runKernel(
    title('fallocate, seeking data and holes, copying ranges and exchanging names work through system calls'),
    async t => {
      const { sh } = bound(await mountMemory(t, kind));

      t.is(await sh(PYTHON_SELDOM_CALLS), '8\n3 8\nENXIO\n5 ello\nEEXIST\nb a');
      // stat(1) asks for the time of birth, for which newer kernels send a message of its own; there is none.
      t.is(await sh('printf x > f; stat -c "%s %w" f'), '1 -');
    },
  );

  runKernel(title('a process that exits while it serves is not held up by its reads, and leaves no mount'), async t => {
    const mounted = await mountMemory(t, kind);
    t.is(await mounted.sh('echo x > f; cat f'), 'x');

    mounted.server.kill('SIGUSR2');

    t.is(await mounted.exit, 3);
    t.false(await isMounted(mounted.directory));
  });

  runKernel(title('new files belong to the caller, and foreign ones are protected'), async t => {
    const { sh } = bound(await mountMemory(t, kind));
    const asUser = 'setpriv --reuid 1234 --regid 1234 --clear-groups';

    t.is(await sh(`chmod 777 .; ${asUser} touch mine; stat -c "%u %g" mine`), '1234 1234');
    t.regex(await sh(`echo x > roots; chmod 600 roots; ${asUser} cat roots`), /Permission denied\nstatus 1/);
  });
}

function bound(mounted: Awaited<ReturnType<typeof mountMemory>>) {
  return { sh: (script: string) => mounted.sh(script) };
}
