// That the simulator's look at `gfs fsck` finds what is broken: each kind of damage is made on purpose in a cluster that was clean before.
import test from 'ava';
import { findChunk, putChunk } from '../../src/master/chunks.js';
import type { ChunkHandle, ServerId } from '../../src/protocol/ids.js';
import { findUnclean } from './checked.js';
import { Story } from './story.js';

test('a cluster in which nothing is wrong is clean; metadata, replicas and orphans that are wrong are named', async t => {
  const story = new Story(1);
  const file = await story.begin();
  await story.settle(file.append([Buffer.from('hello\n')], { split: false }));
  await story.simulator.run(1_000);
  const look = () => story.settle(findUnclean(story.cluster));
  t.is(await look(), undefined);
  const { rooms } = story.cluster.masterProcess!;
  const { store, locations, servers } = rooms.context;
  const handle = 1 as ChunkHandle;
  const record = findChunk(store, handle)!;
  const [server] = servers.all();

  store.change(change => putChunk(change, { ...record, references: record.references + 1 }));
  t.regex((await look())!, /^The metadata contradicts itself: .*chunk/);
  store.change(change => putChunk(change, record));
  t.is(await look(), undefined);

  const there = locations.find(handle, server!.id)!;
  locations.put(handle, { ...there, corrupt: true });
  t.regex((await look())!, /^chunk 1 \(open\) is .*corrupt/);
  locations.put(handle, there);
  t.is(await look(), undefined);

  const report = {
    handle: handle as number,
    version: 1,
    lengthBytes: 6,
    state: 'sealed',
    suspect: false,
    corrupt: false,
  };
  rooms.garbage.onUnknownReplica(server!.id as ServerId, { ...report, handle: 99 } as never);
  t.regex((await look())!, /^The master is in safe mode: .*never given out/);
});
