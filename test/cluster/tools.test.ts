// The plain tools of a shell on a real mount, one test per habit and transport. Each runs in a folder of its own on one shared cluster, mounted once
// with fuse-native and once with the kernel's protocol.
import test, { type ExecutionContext } from 'ava';
import { nativeTransportProblem } from '../../src/mount/fuse-native.js';
import { kernelTransportProblem } from '../../src/mount/kernel/transport.js';
import { Cluster } from './cluster.js';
import { must, shell } from './processes.js';

type Kind = 'native' | 'kernel';
const PROBLEMS: Record<Kind, string | undefined> = {
  native: nativeTransportProblem(),
  kernel: kernelTransportProblem(),
};
const KINDS = Object.keys(PROBLEMS) as Kind[];

let points: Record<Kind, string>;
let counter = 0;
let endShared: () => Promise<void> = async () => undefined;

test.before(async t => {
  // The cluster outlives single tests, so its end belongs to the after hook, not to a teardown of this hook's own.
  const ends: Array<() => unknown> = [];
  const keeper = {
    ...t,
    teardown: (end: () => unknown) => ends.unshift(end),
    log: t.log,
    passed: true,
  } as unknown as ExecutionContext;
  endShared = async () => {
    for (const end of ends) await end();
  };
  const cluster = await Cluster.start(keeper, { chunkSize: '256KiB' });
  const usable = KINDS.filter(kind => PROBLEMS[kind] === undefined);
  const mounted = await Promise.all(
    usable.map(async kind => [kind, await cluster.mount({ name: kind, args: ['--fuse', kind] })]),
  );
  points = Object.fromEntries(mounted);
});

test.after.always(() => endShared());

interface Differences {
  /** Why fuse-native cannot: the test must fail there, so that this list only shrinks. */
  nativeCannot?: string;
}

/** One test per transport. */
function onEach(
  title: string,
  run: (t: ExecutionContext, point: string) => Promise<void>,
  not: Differences = {},
): void {
  for (const kind of KINDS) {
    const problem = PROBLEMS[kind];
    const isKnown = kind === 'native' && not.nativeCannot !== undefined;
    const register = problem !== undefined ? test.serial.skip : isKnown ? test.serial.failing : test.serial;
    // A transport that cannot serve here is told in the title rather than left out silently.
    const note = problem ? ` (skipped: ${problem})` : isKnown ? ` (known: ${not.nativeCannot})` : '';
    register(`${kind}: ${title}${note}`, t => run(t, points[kind]));
  }
}

/** A test whose script runs in a fresh folder of the mount and must print exactly `expected`. */
function tool(title: string, script: string, expected = '', not: Differences = {}): void {
  const run = async (t: ExecutionContext, point: string): Promise<void> => {
    const place = `${point}/t${counter++}`;
    const out = await must(t, `mkdir ${place}\ncd ${place}\n${script}`);
    t.is(out.trim(), expected.trim());
  };
  onEach(title, run, not);
}

tool('echo > makes a file and replaces its content', 'echo one > f; echo two > f; cat f', 'two');
tool('echo >> appends, also to a file that did not exist', 'echo one >> f; echo two >> f; cat f', 'one\ntwo');
tool('tee -a appends', 'echo one | tee f > /dev/null; echo two | tee -a f > /dev/null; cat f', 'one\ntwo');
tool(
  'head -c and tail -c read parts',
  'seq 1 20000 > f; head -c 5 f | tr "\\n" " "; tail -c 12 f | tr "\\n" " "',
  '1 2 319999 20000',
);
tool(
  'cp and cmp',
  'head -c 3000000 /dev/urandom > /tmp/gfs-tools-$$; cp /tmp/gfs-tools-$$ a; cp a b; cmp /tmp/gfs-tools-$$ b; rm /tmp/gfs-tools-$$; stat -c %s b',
  '3000000',
);
tool(
  'mv renames, replaces, and moves between folders',
  'mkdir d; echo a > a; echo b > b; mv a d/x; mv b d/x; cat d/x; ls; ls d',
  'b\nd\nx',
);
tool('rm -r removes a tree', 'mkdir -p a/b/c; touch a/b/c/f a/g; rm -r a; ls -A');
tool('mkdir -p, rmdir, and find', 'mkdir -p a/b/c; touch a/f; rmdir a/b/c; find . | sort', '.\n./a\n./a/b\n./a/f');
tool(
  'wc and grep -r',
  'mkdir d; printf "one\\ntwo\\n" > d/f; printf "two\\n" > d/g; wc -l < d/f; grep -r two . | sort',
  '2\n./d/f:two\n./d/g:two',
);
tool(
  'dd writes and reads in blocks',
  'dd if=/dev/zero of=f bs=64k count=20 2> /dev/null; dd if=f bs=1M 2> /dev/null | wc -c',
  '1310720',
);
tool(
  'ls -lR shows names, sizes and types',
  'mkdir d; echo hello > d/f; ln -s f d/l; ls -lR | grep -c "^[-dl]"; ls -l d/f | cut -d" " -f5',
  '3\n6',
);
tool(
  'stat shows size, mode, links and type',
  'echo hello > f; chmod 640 f; stat -c "%s %a %h %F" f',
  '6 640 1 regular file',
);
tool(
  'df has a size, a used and a free part',
  "df -P . | tail -1 | awk '{ print ($2 > 0) ($4 > 0) ($2 >= $3) }'",
  '111',
);
tool('du counts what is there', 'head -c 100000 /dev/zero > f; du --apparent-size -b f | cut -f1', '100000');
tool(
  'touch makes a file and moves its time on',
  'touch f; a=$(stat -c %Y f); sleep 1.1; touch f; b=$(stat -c %Y f); [ "$b" -gt "$a" ] && echo later',
  'later',
);
tool(
  'ln makes a second name for the same file',
  'echo one > f; ln f g; echo two >> g; cat f; stat -c %h f; rm f; cat g; stat -c %h g',
  'one\ntwo\n2\none\ntwo\n1',
);
tool(
  'ln -s makes a symlink that is followed',
  'echo one > f; ln -s f l; cat l; readlink l; ln -s nowhere m; cat m 2> /dev/null || echo dangling',
  'one\nf\ndangling',
);
tool(
  'sed -i edits through a temporary file',
  'printf "a\\nb\\n" > f; chmod 600 f; sed -i s/b/c/ f; cat f; stat -c %a f; ls',
  'a\nc\n600\nf',
);
tool('sort -o onto its own input', 'printf "3\\n1\\n2\\n" > f; sort -o f f; tr "\\n" " " < f', '1 2 3');
tool(
  'gzip and gunzip',
  'seq 1 50000 > f; s=$(sha256sum < f); gzip f; ls; gunzip f.gz; [ "$s" = "$(sha256sum < f)" ] && echo same',
  'f.gz\nsame',
);
tool(
  'tar c from and tar x into the mount',
  'mkdir -p a/b; seq 1 1000 > a/b/f; ln -s b/f a/l; tar cf t.tar a; mkdir x; tar xf t.tar -C x; diff -r a x/a; readlink x/a/l',
  'b/f',
);
tool(
  'git init, add, commit, log and fsck',
  'export HOME=$PWD GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b; mkdir r; cd r; git init -q; seq 1 1000 > f; mkdir d; echo x > d/g; git add .; git commit -qm first; echo y >> f; git commit -qam second; git fsck 2>&1 | grep -v "^notice" || true; git log --oneline | wc -l; git gc -q; git status --short; cd ..; git clone -q r s; diff r/f s/f',
  '2',
);
tool(
  'truncate to nothing, to smaller, and to larger with zeros',
  'printf 123456 > f; truncate -s 3 f; cat f; echo; truncate -s 5 f; od -An -c f; : > f; stat -c %s f',
  '123\n   1   2   3  \\0  \\0\n0',
);
tool(
  'appending after a truncation lands at the new end',
  'printf 123456 > f; truncate -s 2 f; printf ab >> f; cat f',
  '12ab',
);
tool(
  'extended attributes are set, read, listed and removed',
  'touch f; python3 - <<P\nimport os\nos.setxattr("f", "user.a", b"1"); os.setxattr("f", "user.b", b"2" * 100)\nprint(sorted(os.listxattr("f")), os.getxattr("f", "user.a"))\nos.removexattr("f", "user.a")\nprint(os.listxattr("f"))\nP',
  "['user.a', 'user.b'] b'1'\n['user.b']",
);
tool('a file deleted while open stays readable', 'echo content > f; exec 3< f; rm f; cat <&3; ls', 'content');
tool(
  'mmap for reading',
  'seq 1 100000 > f; python3 - <<P\nimport mmap\nwith open("f","rb") as f:\n m=mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ); print(m[0:4], m.rfind(b"100000"))\nP',
  "b'1\\n2\\n' 588888",
);
tool(
  'a name of 255 bytes is fine, of 256 is refused',
  'n=$(printf "x%.0s" $(seq 255)); touch $n; ls | wc -c; touch "$n"x 2>&1 | grep -o "File name too long"',
  '256\nFile name too long',
);

tool(
  'overwriting in the middle is refused with EOPNOTSUPP and changes nothing',
  'printf 0123456789 > f; printf XX | dd of=f bs=1 seek=3 conv=notrunc 2>&1 | grep -io "operation not supported" | head -1; cat f',
  'Operation not supported\n0123456789',
);
tool('a missing file is ENOENT', 'cat missing 2>&1 | grep -o "No such file or directory"', 'No such file or directory');
tool(
  'O_EXCL on an existing file is EEXIST',
  'touch f; set -o noclobber; (echo x > f) 2>&1 | grep -o "cannot overwrite existing file"',
  'cannot overwrite existing file',
);
tool(
  'a directory with entries is ENOTEMPTY',
  'mkdir d; touch d/f; rmdir d 2>&1 | grep -o "Directory not empty"',
  'Directory not empty',
);
tool(
  'a file where a directory is needed is ENOTDIR, the reverse EISDIR',
  'touch f; mkdir d; cat f/x 2>&1 | grep -o "Not a directory"; (echo x > d) 2>&1 | grep -o "Is a directory"',
  'Not a directory\nIs a directory',
);
tool(
  'a directory cannot be moved into itself',
  'mkdir -p a/b; mv a a/b/ 2>&1 | grep -o "to a subdirectory of itself"',
  'to a subdirectory of itself',
);
tool(
  'symlinks in a circle are ELOOP',
  'ln -s b a; ln -s a b; cat a 2>&1 | grep -o "Too many levels of symbolic links"',
  'Too many levels of symbolic links',
);

tool(
  'cp -p, cp -a and touch -d keep both times apart, to the millisecond',
  'S=$(mktemp -d); echo x > $S/f; touch -a -d "2010-01-01 UTC" $S/f; touch -m -d "2001-02-03 04:05:06.75 UTC" $S/f; cp -a $S d; cp -p $S/f g; rm -r $S; touch -d "1999-12-31 UTC" h; stat -c %.2Y d/f g h | tr "\\n" " "; [ g -nt h ] && echo newer',
  '981173106.75 981173106.75 946598400.00 newer',
);

const NO_MTIME = 'from libfuse nothing arrives when one time is set alone, and fuse-native passes milliseconds';
tool(
  'touch -m sets the modification time alone, with nanoseconds',
  'touch f; touch -m -d "2001-02-03 04:05:06.123456789 UTC" f; TZ=UTC stat -c %y f',
  '2001-02-03 04:05:06.123456789 +0000',
  { nativeCannot: NO_MTIME },
);
tool(
  'touch -a leaves the modification time alone',
  'touch -d "2001-02-03 04:05:06 UTC" f; touch -a -d "2010-01-01 UTC" f; stat -c "%X %Y" f',
  '1262304000 981173106',
  { nativeCannot: NO_MTIME },
);
tool(
  'cp -p and tar x keep the modification time',
  'echo x > f; touch -m -d "2001-02-03 04:05:06.5 UTC" f; cp -p f g; tar cf t.tar f; mkdir x; tar xf t.tar -C x; stat -c %.1Y f g x/f | tr "\\n" " "; [ g -nt f ] || [ f -nt g ] || echo same',
  '981173106.5 981173106.5 981173106.0 same',
  { nativeCannot: NO_MTIME },
);
tool(
  'a file that was removed while open leaves nothing in its directory',
  'echo content > f; exec 3<> f; rm f; ls -A | wc -l; cat <&3',
  '0\ncontent',
  { nativeCannot: 'libfuse 2 renames it to .fuse_hidden until it is closed' },
);
tool(
  'flock on one mount excludes, and ends with its holder',
  'touch f; flock f -c "flock -n f true || echo held"; flock -n f echo free',
  'held\nfree',
);
tool(
  'fallocate extends with zeros, punching a hole is refused',
  'printf ab > f; fallocate -l 5 f; od -An -c f; fallocate -p -o 0 -l 2 f 2> /dev/null || echo refused; fallocate -n -l 100 f; stat -c %s f',
  'a   b  \\0  \\0  \\0\nrefused\n5',
  { nativeCannot: 'it has no fallocate' },
);

onEach('tail -f shows appended lines within a second', async (t, point) => {
  const place = `${point}/tail${counter++}`;
  const script = `mkdir ${place}; cd ${place}; echo first > f; timeout 20 tail -n +1 -s 0.2 -f f > /tmp/gfs-tail-$$ & pid=$!
    sleep 0.5; echo second >> f; sleep 1; cat /tmp/gfs-tail-$$; kill $pid; wait $pid 2> /dev/null; rm /tmp/gfs-tail-$$`;
  const result = await shell(script);
  t.is(result.stdout, 'first\nsecond\n', result.stderr);
});

onEach('a directory of 1,500 entries, more than a page, lists each name once', async (t, point) => {
  const place = `${point}/many${counter++}`;
  const out = await must(
    t,
    `mkdir ${place}; cd ${place}; python3 -c 'for i in range(1500): open("file%d" % i, "w").close()'; ls | sort -u | wc -l; ls -f | wc -l; find . -type f | wc -l`,
  );
  t.deepEqual(out.trim().split(/\s+/), ['1500', '1502', '1500']);
});
