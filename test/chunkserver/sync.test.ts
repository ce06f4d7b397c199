// What fsync promises when the disk fails: the operating system tells of lost bytes once, and nobody else may be told that they are there (I2, DESIGN 6).
import test from 'ava';
import { OpenFiles } from '../../src/chunkserver/open-files.js';
import type { Disk, DiskFile } from '../../src/lib/disk.js';
import type { ChunkHandle } from '../../src/protocol/ids.js';
import { type Host, MiB, pattern, Rig } from './rig.js';

const hello = Buffer.from('hello\n');

/** Appends of 1 MiB each, no more of them at once than a writer may have. */
async function fill(rig: Rig, mebibytes: number): Promise<void> {
  await rig.appendAll(Array.from({ length: mebibytes }, (_, i) => pattern(MiB, i)));
}

function failNextSync(host: Host): void {
  host.node.disk.setFaults({ syncErrorsLeft: 1 }, '/data/chunks');
}

test('a sync beside one of write-back that fails is not confirmed, whichever of the two hears of it', async t => {
  for (let seed = 1; seed <= 20; seed++) {
    const rig = await Rig.start(t, { servers: 1, seed, chunkSizeBytes: 64 * MiB });
    const host = rig.hosts[0]!;
    await fill(rig, 7);
    failNextSync(host);

    // The eighth starts write-back, and the fsync comes at about the same time.
    const append = rig.append({ bytes: pattern(MiB), sequence: 8 });
    append.catch(() => undefined);
    await rig.pass(seed / 4);
    const refusal = await rig.refusal(() => rig.call(host, 'syncChunk', { token: rig.token(), lengthBytes: 7 * MiB }));

    t.true(['BROKEN', 'DISK_FAILED'].includes(refusal), `seed ${seed}: ${refusal}`);
    await rig.pass(500);
    t.like(rig.report(host), { corrupt: true });
  }
});

test('of two syncs at the same time, for a client and for a fence, none is confirmed after the one that failed', async t => {
  for (let seed = 1; seed <= 20; seed++) {
    const rig = await Rig.start(t, { servers: 1, seed });
    const host = rig.hosts[0]!;
    await rig.appendAll([hello]);
    failNextSync(host);

    const sync = rig.call(host, 'syncChunk', { token: rig.token(), lengthBytes: 6 });
    sync.catch(() => undefined);
    await rig.pass(seed / 8);
    const outcomes = await rig.do(() => Promise.allSettled([sync, rig.order(host, 'fence', { version: 2 })]));

    t.deepEqual(
      outcomes.map(({ status }) => status),
      ['rejected', 'rejected'],
      `seed ${seed}`,
    );
  }
});

test('no later sync of a chunk is believed after one that failed', async t => {
  const rig = await Rig.start(t, { servers: 1 });
  const host = rig.hosts[0]!;
  await rig.appendAll([hello]);
  failNextSync(host);
  const sync = (): Promise<unknown> => rig.call(host, 'syncChunk', { token: rig.token(), lengthBytes: 6 });

  t.is(await rig.refusal(sync), 'DISK_FAILED');
  t.is(await rig.refusal(sync), 'BROKEN');
  t.is(await rig.refusal(() => rig.order(host, 'fence', { version: 2 })), 'DISK_FAILED');
});

test('a replica that is corrupt, or took an append badly, confirms no sync to the one before it', async t => {
  const rig = await Rig.start(t);
  const host = rig.hosts[2]!;
  await rig.appendAll([hello]);
  host.node.disk.flipBit(host.path(), 0);
  t.is(await rig.refusal(() => rig.read(host, 0, 6)), 'CORRUPT');

  const token = rig.token();
  t.is(await rig.refusal(() => rig.call(rig.hosts[0]!, 'syncChunk', { token, lengthBytes: 6 })), 'BROKEN');
});

// ---- descriptors

/** A disk as Linux is to those who sync: an error is told to each descriptor that was open when it came, and to one more if none was. */
class ErrorOnceDisk {
  readonly log: string[] = [];
  private readonly inodes = new Map<string, { errors: number; isSeen: boolean }>();

  open(path: string): Promise<DiskFile> {
    const inode = this.inodes.get(path) ?? { errors: 0, isSeen: true };
    this.inodes.set(path, inode);
    let told = inode.isSeen ? inode.errors : inode.errors - 1;
    const name = path.slice(-1);
    this.log.push(`open ${name}`);
    const file = {
      write: async () => void this.log.push(`write ${name}`),
      sync: async () => {
        this.log.push(`sync ${name}`);
        if (told === inode.errors) return;
        told = inode.errors;
        inode.isSeen = true;
        throw Object.assign(new Error('lost'), { code: 'EIO' });
      },
      close: async () => void this.log.push(`close ${name}`),
    };
    return Promise.resolve(file as unknown as DiskFile);
  }

  /** Linux could not write what it had taken. */
  loseBytes(path: string): void {
    const inode = this.inodes.get(path)!;
    inode.errors++;
    inode.isSeen = false;
  }

  /** Memory is short: what is known of a file that nobody has open goes. */
  forget(path: string): void {
    this.inodes.delete(path);
  }
}

const A = 0xa as ChunkHandle;
const B = 0xb as ChunkHandle;

function openFiles(): { disk: ErrorOnceDisk; files: OpenFiles; lost: ChunkHandle[] } {
  const disk = new ErrorOnceDisk();
  const lost: ChunkHandle[] = [];
  const files = new OpenFiles(disk as unknown as Disk, '/chunks', 1, handle => void lost.push(handle));
  return { disk, files, lost };
}

const CREATE = { create: true };

test('a file that was written to is synced before it makes room for others, and what it lost is told', async t => {
  const { disk, files, lost } = openFiles();
  await files.use(A, CREATE, file => file.write([hello], 0));
  disk.loseBytes(files.pathOf(A));

  await files.use(B, CREATE, file => file.write([hello], 0));
  disk.forget(files.pathOf(A));
  await files.use(A, CREATE, file => file.sync());

  t.deepEqual(lost, [A]);
  t.true(disk.log.indexOf('sync a') < disk.log.indexOf('close a'));
  t.is(disk.log.filter(line => line === 'open a').length, 2);
});

test('a file that was synced, or is removed, is closed as it is', async t => {
  const { disk, files, lost } = openFiles();
  await files.use(A, CREATE, file => file.write([hello], 0));
  await files.use(A, CREATE, file => file.sync());
  await files.use(B, CREATE, file => file.write([hello], 0));
  await files.drop(B, { discard: true });

  t.deepEqual(
    disk.log.filter(line => !line.startsWith('open') && !line.startsWith('write')),
    ['sync a', 'close a', 'close b'],
  );
  t.deepEqual(lost, []);
});

test('a chunk has one descriptor at a time: who opens it while it is being closed waits, and hears of no success before its failure was told', async t => {
  const { disk, files, lost } = openFiles();
  await files.use(A, CREATE, file => file.write([hello], 0));
  disk.loseBytes(files.pathOf(A));
  const dropped = files.drop(A, { discard: false });

  await files.use(A, CREATE, file => file.sync());

  t.deepEqual(lost, [A]);
  t.deepEqual(disk.log, ['open a', 'write a', 'sync a', 'close a', 'open a', 'sync a']);
  await dropped;
});

test('who is still at work when a disk is closed is waited for, and nobody gets a file after that: the next server of the process may have it', async t => {
  const { disk, files } = openFiles();
  let finish = (): void => undefined;
  const slow = files.use(A, CREATE, () => new Promise<void>(resolve => (finish = resolve)));
  await files.use(B, CREATE, file => file.write([hello], 0));

  let isClosed = false;
  const closed = files.closeAll().then(() => (isClosed = true));
  await t.throwsAsync(
    files.use(A, CREATE, file => file.write([hello], 0)),
    { code: 'STOPPING' } as never,
  );
  await Promise.resolve();
  t.false(isClosed);

  finish();
  await slow;
  await closed;
  t.is(
    disk.log.filter(line => line.startsWith('close')).length,
    disk.log.filter(line => line.startsWith('open')).length,
  );
});
