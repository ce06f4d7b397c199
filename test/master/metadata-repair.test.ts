// gfs fsck --repair on a store that was damaged on purpose, one kind of contradiction at a time: found, said what would be done, put right through the store,
// clean afterwards and after a restart; and those that are not put right, because bytes are at stake, are left as they are with advice.
import test, { type ExecutionContext } from 'ava';
import { findChunk, openChunk, putChunk, sealChunk } from '../../src/master/chunks.js';
import { readCounters, writeCounters } from '../../src/master/counters.js';
import { findInode, putInode } from '../../src/master/inodes.js';
import {
  chunkKey,
  entryKey,
  extentKey,
  garbageKey,
  inodeKey,
  trashKey,
  xattrKey,
  xattrNamesKey,
} from '../../src/master/keys.js';
import { momentOf } from '../../src/master/master-context.js';
import { ENTRY, EXTENT, GARBAGE, type InodeRecord, TRASH, XATTR } from '../../src/master/records.js';
import type { Change, Store } from '../../src/master/store.js';
import { type ChunkHandle, type InodeId, ROOT_INODE } from '../../src/protocol/ids.js';
import type { Reply } from '../../src/protocol/messages.js';
import { FakeCluster, fakeConnection, throwsCode } from './fake-cluster.js';

const at = (path: string) => ({ start: ROOT_INODE, path });
const OWNER = { uid: 0, gid: 0 };

/** A tree with a bit of everything. */
interface Scene {
  cluster: FakeCluster;
  store: Store;
  /** /d/e and /d/e/f (a sealed chunk of 100 bytes, an attribute), /g (the same), /open (an open chunk), /gone in the trash. */
  d: InodeId;
  e: InodeId;
  f: InodeId;
  g: InodeId;
  open: InodeId;
  gone: InodeId;
  chunk: ChunkHandle;
  tail: ChunkHandle;
}

async function scene(t: ExecutionContext): Promise<Scene> {
  const cluster = await FakeCluster.start(t, { servers: 3 });
  const { store } = cluster.master.rooms.context;
  const directory = async (path: string): Promise<InodeId> =>
    (await cluster.ask('makeDirectory', { once: cluster.once(), where: at(path), mode: 0o755, ...OWNER })).attributes
      .inode;
  const d = await directory('d');
  const e = await directory('d/e');
  const [f, g, open, gone] = [
    await cluster.createFile('d/e/f'),
    await cluster.createFile('g'),
    await cluster.createFile('open'),
    await cluster.createFile('gone'),
  ];
  const moment = momentOf(cluster.master.rooms.context);
  const sealed = (inode: InodeId): ChunkHandle => {
    const { handle } = store.change(change => openChunk(change, { inode, chain: chain(cluster) }, moment));
    store.change(change => sealChunk(change, handle, 100, moment));
    return handle;
  };
  const chunk = sealed(f);
  sealed(g);
  sealed(gone);
  const { handle: tail } = store.change(change => openChunk(change, { inode: open, chain: chain(cluster) }, moment));
  await cluster.ask('setXattr', {
    ...{ once: cluster.once(), where: at('d/e/f'), follow: true, name: 'user.a' },
    ...{ value: Buffer.from('1'), create: false, replace: false },
  });
  await cluster.ask('unlink', { once: cluster.once(), where: at('gone') });
  t.deepEqual((await look(cluster)).problems, []);
  return { cluster, store, d, e, f, g, open, gone, chunk, tail };
}

const chain = (cluster: FakeCluster) => cluster.servers.map(({ id, epoch }) => ({ server: id, epoch }));

const look = (cluster: FakeCluster, repair = false): Promise<Reply<'checkMetadata'>> =>
  cluster.ask('checkMetadata', { repair }, { ...fakeConnection(), role: 'admin' });

async function pathsOf(cluster: FakeCluster, path: string): Promise<string[]> {
  const { attributes } = await cluster.ask('lookup', { where: at(path), follow: true });
  const { entries } = await cluster.ask('readDirectory', { inode: attributes.inode, after: '', limit: 100 });
  return entries.map(({ name }) => name);
}

function edit(change: Change, inode: InodeId, fields: Partial<InodeRecord>): void {
  putInode(change, { ...findInode(change, inode)!, ...fields });
}

const rowsOf = (cluster: FakeCluster): string[] =>
  [...cluster.kv.only.rows.values()].map(([key, value]) => `${key.toString('hex')}=${value.toString('hex')}`).sort();

interface Damage {
  name: string;
  break: (change: Change, scene: Scene) => void;
  says: RegExp;
  does: RegExp;
  after?: (t: ExecutionContext, scene: Scene) => unknown;
}

const DAMAGES: Damage[] = [
  {
    name: 'an entry names no inode',
    break: change => change.put(entryKey(ROOT_INODE, 'x'), entry(999, 'file', entryKey(ROOT_INODE, 'x'))),
    says: /entry "x" of directory 1 names inode 999, which does not exist/,
    does: /removes the entry/,
  },
  {
    name: 'an entry is in a file',
    break: (change, { g }) => change.put(entryKey(g, 'x'), entry(g, 'file', entryKey(g, 'x'))),
    says: /is in no directory/,
    does: /removes the entry/,
  },
  {
    name: 'the inode of a directory is lost: its tree keeps its names',
    break: (change, { d }) => change.del(inodeKey(d)),
    says: /entry "d" of directory 1 names inode \d+, which does not exist/,
    does: /makes directory \d+ again/,
    after: async (t, { cluster, f }) => {
      const { attributes } = await cluster.ask('lookup', { where: at('d/e/f'), follow: true });
      t.like(attributes, { inode: f, sizeBytes: 100 });
    },
  },
  {
    name: 'the inode of a file is lost: its bytes are found again under its name',
    break: (change, { f }) => change.del(inodeKey(f)),
    says: /extent 0 of inode \d+ belongs to no inode/,
    does: /makes inode \d+ again from its 1 extents/,
    after: async (t, { cluster, f }) => {
      const { attributes } = await cluster.ask('lookup', { where: at('d/e/f'), follow: true });
      t.like(attributes, { inode: f, sizeBytes: 100, type: 'file' });
    },
  },
  {
    name: 'an entry says the wrong type',
    break: (change, { g }) => change.put(entryKey(ROOT_INODE, 'g'), entry(g, 'symlink', entryKey(ROOT_INODE, 'g'))),
    says: /says symlink, inode \d+ is a file/,
    does: /makes the entry say file/,
  },
  {
    name: 'a directory has two names',
    break: (change, { d }) =>
      change.put(entryKey(ROOT_INODE, 'again'), entry(d, 'directory', entryKey(ROOT_INODE, 'again'))),
    says: /names a directory that calls itself "d"/,
    does: /removes the entry: a directory has one name/,
    after: async (t, { cluster }) => t.deepEqual(await pathsOf(cluster, 'd'), ['e']),
  },
  {
    name: 'a directory does not know its name',
    break: (change, { d }) => edit(change, d, { name: 'other' }),
    says: /calls itself "other"/,
    does: /say so too/,
  },
  {
    name: 'the root has a name',
    break: change => change.put(entryKey(ROOT_INODE, 'up'), entry(1, 'directory', entryKey(ROOT_INODE, 'up'))),
    says: /inode 1 \(directory\) has 1 names/,
    does: /removes the entry/,
  },
  {
    name: 'a file has no name',
    break: change => change.del(entryKey(ROOT_INODE, 'g')),
    says: /has no name and is not in the trash/,
    does: /names it \/lost\+found\/inode-\d+/,
    after: async (t, { cluster, g }) => {
      const { attributes } = await cluster.ask('lookup', { where: at(`lost+found/inode-${g}`), follow: true });
      t.like(attributes, { inode: g, sizeBytes: 100, nlink: 1 });
    },
  },
  {
    name: 'a directory has no name',
    break: change => change.del(entryKey(ROOT_INODE, 'd')),
    says: /\(directory\) has 0 names/,
    does: /names it \/lost\+found\/inode-\d+/,
    after: async (t, { cluster, d }) => t.deepEqual(await pathsOf(cluster, `lost+found/inode-${d}/e`), ['f']),
  },
  {
    name: 'two directories are in each other',
    break: (change, { d, e }) => {
      change.del(entryKey(ROOT_INODE, 'd'));
      change.put(entryKey(e, 'loop'), entry(d, 'directory', entryKey(e, 'loop')));
      edit(change, d, { parent: e, name: 'loop' });
    },
    says: /is not below the root/,
    does: /out of the loop and names it \/lost\+found\/inode-\d+/,
    after: async (t, { cluster, d }) => t.deepEqual(await pathsOf(cluster, `lost+found/inode-${d}/e`), ['f']),
  },
  {
    name: '/lost+found is a file, and the name in it is taken',
    break: (change, { g }) => {
      change.del(entryKey(ROOT_INODE, 'g'));
      change.put(entryKey(ROOT_INODE, 'lost+found'), entry(g, 'file', entryKey(ROOT_INODE, 'lost+found')));
      change.del(entryKey(ROOT_INODE, 'd'));
    },
    says: /\(directory\) has 0 names/,
    does: /names it \/lost\+found\.1\/inode-\d+/,
  },
  {
    name: 'an attribute of no inode',
    break: change => {
      const key = xattrKey(999 as InodeId, 'user.x');
      change.put(key, XATTR.encode(key, { value: Buffer.from('1') }));
    },
    says: /attribute belongs to inode 999/,
    does: /removes the attribute/,
  },
  {
    name: 'the list of attributes is lost',
    break: (change, { f }) => change.del(xattrNamesKey(f)),
    says: /lists 0 attributes of 1/,
    does: /lists those that are there/,
    after: async (t, { cluster }) =>
      t.deepEqual((await cluster.ask('listXattrs', { where: at('d/e/f'), follow: true })).names, ['user.a']),
  },
  {
    name: 'a row of the trash speaks of no file',
    break: change => {
      const key = trashKey(5_000, 999 as InodeId);
      change.put(
        key,
        TRASH.encode(key, { inode: 999 as InodeId, deletedMs: 0, parent: ROOT_INODE, name: 'x', path: 'x' }),
      );
    },
    says: /the trash holds inode 999 due at 5000/,
    does: /removes the row of the trash/,
  },
  {
    name: 'a file of the trash has no row there',
    break: (change, { gone }) => change.del(trashKey(findInode(change, gone)!.trashDueMs!, gone)),
    says: /and the trash disagree/,
    does: /puts it into the trash again/,
    after: async (t, { cluster, gone }) => t.is((await cluster.ask('listTrash', { limit: 9 })).items[0]?.inode, gone),
  },
  {
    name: 'a file has a name and is in the trash',
    break: (change, { gone }) => {
      change.put(entryKey(ROOT_INODE, 'gone'), entry(gone, 'file', entryKey(ROOT_INODE, 'gone')));
      edit(change, gone, { nlink: 1 });
    },
    says: /has a name and is in the trash/,
    does: /takes it out of the trash/,
    after: async (t, { cluster }) => t.deepEqual((await cluster.ask('listTrash', { limit: 9 })).items, []),
  },
  {
    name: 'extents of a deleted file are lost: nobody misses them, and the file can be collected',
    break: (change, { gone, chunk }) => {
      edit(change, gone, { extentCount: 3, sealedBytes: 500 });
      extent(change, gone, 1, { fileOffset: 300, lengthBytes: 100, handle: 999 as ChunkHandle });
      extent(change, gone, 2, { fileOffset: 400, lengthBytes: 900, handle: chunk });
      putChunk(change, { ...findChunk(change, chunk)!, references: 2 });
    },
    says: /extent 1 of inode \d+ is at 300, not at 100/,
    does: /makes one list of the extents that the deleted file has \(3 of 500 bytes before, 2 of 200 now\)/,
    after: async (t, { cluster, gone }) => {
      await cluster.ask('purgeTrash', { inodes: [gone] }, { ...fakeConnection(), role: 'admin' });
      await cluster.clock.advance(5_000);
      t.deepEqual((await cluster.ask('listTrash', { limit: 9 })).items, []);
    },
  },
  {
    name: 'a row of the garbage speaks of no chunk',
    break: change => {
      const key = garbageKey(5_000, 999 as ChunkHandle);
      change.put(key, GARBAGE.encode(key, { handle: 999 as ChunkHandle, sinceMs: 0 }));
    },
    says: /chunk 999 is garbage due at 5000/,
    does: /removes the row of the garbage/,
  },
  {
    name: 'a chunk that a file has is garbage',
    break: (change, { chunk }) => {
      putChunk(change, { ...findChunk(change, chunk)!, garbageDueMs: 5_000_000_000_000 });
      const key = garbageKey(5_000_000_000_000, chunk);
      change.put(key, GARBAGE.encode(key, { handle: chunk, sinceMs: 0 }));
    },
    says: /has 1 references and 0 files that end in it, and is garbage/,
    does: /makes it no garbage/,
    after: (t, { store, chunk }) => t.is(findChunk(store, chunk)!.garbageDueMs, undefined),
  },
  {
    name: 'a chunk says that it is garbage, and is not among it',
    break: (change, { chunk }) => putChunk(change, { ...findChunk(change, chunk)!, garbageDueMs: 5_000_000_000_000 }),
    says: /and the garbage disagree/,
    does: /makes it no garbage/,
  },
  {
    name: 'a chunk with bytes belongs to no file',
    break: (change, { chunk }) => {
      const handle = 90 as ChunkHandle;
      putChunk(change, { ...findChunk(change, chunk)!, handle, inode: 0, references: 3 });
    },
    says: /chunk 90 \(sealed\) has 0 references and 0 files that end in it, and is not garbage/,
    does: /makes the file \/lost\+found\/chunk-000000000000005a of it/,
    after: async (t, { cluster, store }) => {
      const where = at('lost+found/chunk-000000000000005a');
      t.is((await cluster.ask('lookup', { where, follow: true })).attributes.sizeBytes, 100);
      t.is(readCounters(store).nextHandle, 91);
    },
  },
  {
    name: 'a sealed chunk without bytes belongs to no file',
    break: (change, { chunk }) =>
      putChunk(change, { ...findChunk(change, chunk)!, handle: 90 as ChunkHandle, lengthBytes: 0, references: 0 }),
    says: /chunk 90 \(sealed\) has 0 references/,
    does: /makes it garbage, as it has no bytes/,
  },
  {
    name: 'a file has forgotten its open chunk',
    break: (change, { open }) => edit(change, open, { tailHandle: 0 }),
    says: /belongs to inode \d+, which does not end in it/,
    does: /makes it the end of inode \d+ again/,
    after: (t, { store, open, tail }) => t.is(findInode(store, open)!.tailHandle, tail),
  },
  {
    name: 'the file of an open chunk is lost with its name',
    break: (change, { open }) => {
      change.del(entryKey(ROOT_INODE, 'open'));
      change.del(inodeKey(open));
    },
    says: /\(open\) has 0 references and 0 files that end in it, and is not garbage/,
    does: /makes the file \/lost\+found\/chunk-\w+ of it/,
  },
  {
    name: 'counts of entries, links, references and of all there is are wrong',
    break: (change, { d, g, chunk }) => {
      edit(change, d, { childCount: 7, nlink: 9 });
      edit(change, g, { nlink: 4 });
      putChunk(change, { ...findChunk(change, chunk)!, references: 5 });
      writeCounters(change, {
        ...readCounters(change),
        files: 77,
        trash: 0,
        openChunks: 9,
        nextInode: 2,
        nextHandle: 1,
      });
    },
    says: /has 1 entries, it says 7/,
    does: /sets the count right/,
    after: async (t, { cluster }) => {
      const { attributes } = await cluster.ask('lookup', { where: at('d'), follow: true });
      t.is(attributes.nlink, 3);
    },
  },
];

function entry(inode: number, type: 'file' | 'directory' | 'symlink', key: Buffer): Buffer {
  return ENTRY.encode(key, { inode: inode as InodeId, type });
}

for (const damage of DAMAGES)
  test(`put right: ${damage.name}`, async t => {
    const here = await scene(t);
    const { cluster, store } = here;
    store.change(change => damage.break(change, here));
    await store.durable();
    const before = rowsOf(cluster);

    // A dry run names it and what would be done, and does nothing.
    const dry = await look(cluster);
    t.true(dry.exact);
    const index = dry.problems.findIndex(problem => damage.says.test(problem));
    t.true(index >= 0, dry.problems.join('\n'));
    const wouldDo = dry.remedies!.filter(({ repairable }) => repairable).map(({ text }) => text);
    t.true(
      wouldDo.some(text => damage.does.test(text)),
      wouldDo.join('\n'),
    );
    t.deepEqual(rowsOf(cluster), before);

    const { repaired, problems } = await look(cluster, true);
    t.deepEqual(problems, []);
    t.true(
      repaired!.some(({ action }) => damage.does.test(action)),
      JSON.stringify(repaired),
    );
    t.true(
      cluster.kv.only.batches.every(({ sync }) => sync),
      'as any change: in synced batches',
    );
    await damage.after?.(t, here);

    // Nothing is left to do, also for a master that starts on it.
    const again = await look(cluster, true);
    t.deepEqual([again.problems, again.repaired], [[], []]);
    await cluster.restartMaster();
    t.deepEqual((await look(cluster)).problems, []);
    await cluster.createFile('d2');
  });

const HOPELESS: Array<{ name: string; break: Damage['break']; says: RegExp; advice: RegExp }> = [
  {
    name: 'extents of a file overlap',
    break: (change, { f, chunk }) => extent(change, f, 0, { fileOffset: 50, lengthBytes: 100, handle: chunk }),
    says: /extent 0 of inode \d+ is at 50, not at 0/,
    advice: /where bytes of the file are is not certain: copy out what can be read/,
  },
  {
    name: 'an extent is lost',
    break: (change, { f }) => change.del(extentKey(f, 0)),
    says: /has 0 extents, it says 1/,
    advice: /extents of the file are lost or doubled/,
  },
  {
    name: 'the chunk of an extent is lost',
    break: (change, { chunk }) => change.del(chunkKey(chunk)),
    says: /names chunk \d+, which does not exist/,
    advice: /bytes of the file are lost/,
  },
  {
    name: 'an extent reaches past its chunk',
    break: (change, { chunk }) => putChunk(change, { ...findChunk(change, chunk)!, lengthBytes: 60 }),
    says: /reaches past the 60 bytes/,
    advice: /bytes that its chunk has not/,
  },
  {
    name: 'the open chunk of a file is lost',
    break: (change, { tail }) => change.del(chunkKey(tail)),
    says: /ends in chunk \d+, which does not exist/,
    advice: /the end of the file is not certain/,
  },
  {
    name: 'a directory has content',
    break: (change, { d }) => edit(change, d, { tailHandle: 5 as ChunkHandle }),
    says: /has content/,
    advice: /delete it, or start the master on an older copy/,
  },
  {
    name: 'an open chunk has no chain',
    break: (change, { tail }) => putChunk(change, { ...findChunk(change, tail)!, chain: [] }),
    says: /has no chain/,
    advice: /start the master on an older copy/,
  },
];

function extent(
  change: Change,
  inode: InodeId,
  index: number,
  fields: { fileOffset: number; lengthBytes: number; handle: ChunkHandle },
): void {
  const key = extentKey(inode, index);
  change.put(key, EXTENT.encode(key, { chunkOffset: 0, ...fields }));
}

for (const damage of HOPELESS)
  test(`not put right, with advice: ${damage.name}`, async t => {
    const here = await scene(t);
    const { cluster, store, f } = here;
    store.change(change => damage.break(change, here));
    await store.durable();
    const filesBefore = [findInode(store, f), findInode(store, here.open)];

    const { problems, remedies } = await look(cluster, true);

    const index = problems.findIndex(problem => damage.says.test(problem));
    t.true(index >= 0, problems.join('\n'));
    t.false(remedies![index]!.repairable);
    t.regex(remedies![index]!.text, damage.advice);
    t.deepEqual([findInode(store, f), findInode(store, here.open)], filesBefore);
  });

test('the name of a lost file stays while its extents cannot be put in order', async t => {
  const { cluster, store, e, f, chunk } = await scene(t);
  store.change(change => {
    change.del(inodeKey(f));
    extent(change, f, 0, { fileOffset: 50, lengthBytes: 100, handle: chunk });
  });

  const { problems, remedies } = await look(cluster, true);

  const index = problems.findIndex(problem => /names inode \d+, which does not exist/.test(problem));
  t.false(remedies![index]!.repairable);
  t.truthy(store.get(entryKey(e, 'f')), 'an older copy of the metadata may have its inode');
});

test('a damaged row ends the check; nothing is repaired, and it is named', async t => {
  const { cluster, store, f } = await scene(t);
  store.change(change => change.put(inodeKey(f), Buffer.from('rubbish')));

  const { problems, remedies } = await look(cluster);
  t.regex(problems[0]!, /the inode record \w+ is damaged/);
  t.regex(remedies![0]!.text, /older copy/);
  await throwsCode(t, look(cluster, true), 'WRONG_DATA');
});

test('who is no operator repairs nothing, and in safe mode nobody does', async t => {
  const { cluster, store } = await scene(t);
  store.change(change => change.del(entryKey(ROOT_INODE, 'g')));
  await throwsCode(t, cluster.ask('checkMetadata', { repair: true }), 'ACCESS_DENIED');
  await cluster.ask('safemode', { action: 'enter' }, { ...fakeConnection(), role: 'admin' });

  await throwsCode(t, look(cluster, true), 'SAFE_MODE');
  t.true((await look(cluster)).problems.length > 0);
});

test('while files are changed nothing is repaired, and the refusal says what to do', async t => {
  const { cluster, store } = await scene(t);
  store.change(change => change.del(entryKey(ROOT_INODE, 'g')));
  await store.durable();
  const [kv] = [...cluster.kv.stores.values()];
  const scan = kv!.scan.bind(kv);
  let changes = 0;
  kv!.scan = async range => {
    const rows = await scan(range);
    store.change(change => edit(change, ROOT_INODE, { mode: 0o700 + (changes++ % 8) }));
    return rows;
  };

  await throwsCode(t, look(cluster, true), 'UNAVAILABLE');
  t.is(findInode(store, ROOT_INODE)!.childCount, 3);
});
