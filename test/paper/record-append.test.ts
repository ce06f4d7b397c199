// The paper's atomic record appends (§3.3), as far as this system keeps them: once instead of at least once, sealed instead of padded
// (docs/divergence.md).
import test from 'ava';
import { PaperCluster, recordOf } from './paper-cluster.js';

const CHUNK_BYTES = 4096;

test.serial('§3.3 a record is at most one-fourth of the maximum chunk size', async t => {
  const paper = await PaperCluster.start();
  t.is(paper.client().recordBytesMax, CHUNK_BYTES / 4);
  const file = await paper.open('f');
  const largest = recordOf('w', 1, CHUNK_BYTES / 4);
  t.is(await paper.append(file, largest), 0);
  t.is(await paper.codeOf(file.append([recordOf('w', 2, CHUNK_BYTES / 4 + 1)], { split: false })), 'TOO_LARGE');
  t.deepEqual(await paper.read(file), largest);
});

test.serial(
  '§3.3 a record that would exceed the chunk goes to the next chunk (this one is sealed shorter, not padded)',
  async t => {
    const paper = await PaperCluster.start({ seed: 2 });
    const file = await paper.open('f');
    const record = recordOf('w', 1, 1000);
    for (let i = 0; i < 5; i++) t.is(await paper.append(file, record), i * 1000);

    const { extents, tail } = await paper.locate(file.inode);
    t.deepEqual(
      extents.map(({ fileOffset, lengthBytes }) => ({ fileOffset, lengthBytes })),
      [{ fileOffset: 0, lengthBytes: 4000 }],
    );
    t.is(tail?.base, 4000);
    const replicas = paper.replicasOf(extents[0]!.handle);
    t.is(replicas.length, 3);
    for (const { bytes, state } of replicas) {
      t.is(state, 'sealed');
      t.is(bytes.length, 4000);
    }
    t.deepEqual(await paper.read(file), Buffer.concat(Array.from({ length: 5 }, () => record)));
  },
);

for (const victim of [0, 1, 2]) {
  const role = ['primary', 'secondary', 'last'][victim]!;
  test.serial(
    `§3.3 if an append fails at any replica the client retries: replicas may differ behind, never in what was acknowledged (the ${role} dies)`,
    async t => {
      const paper = await PaperCluster.start({ seed: 10 + victim, servers: 5 });
      const file = await paper.open('f');
      const records = [recordOf('w', 1), recordOf('w', 2), recordOf('w', 3)];
      for (const record of records.slice(0, 2)) await paper.append(file, record);
      const { handle } = paper.targetOf(file);
      const chain = paper.chainOf(file);
      const sentTo = victim === 2 ? chain[2] : chain[1];
      paper.once(
        ({ kind, to }) => kind === 'replicate' && to === sentTo,
        () => paper.machine(chain[victim]!).kill(),
      );
      await paper.append(file, records[2]!);
      t.is(paper.machine(chain[victim]!).isReady, false);
      t.deepEqual(await paper.read(file), Buffer.concat(records), 'it stands, once');

      paper.machine(chain[victim]!).start();
      await paper.until(() => paper.machine(chain[victim]!).isReady);
      const acknowledged = Buffer.concat(records.slice(0, 2));
      const replicas = paper.replicasOf(handle);
      t.true(replicas.length >= 3);
      for (const { bytes } of replicas) t.deepEqual(bytes.subarray(0, acknowledged.length), acknowledged);
    },
  );
}

test.serial(
  '§3.3 for the operation to report success the data stands at the same offset on all replicas of some chunk',
  async t => {
    const paper = await PaperCluster.start({ seed: 20 });
    const file = await paper.open('f');
    for (let i = 0; i < 6; i++) {
      const record = recordOf('w', i);
      const offset = await paper.append(file, record);
      const { handle, base } = paper.targetOf(file);
      const replicas = paper.replicasOf(handle);
      t.is(replicas.length, 3);
      for (const { bytes } of replicas)
        t.deepEqual(bytes.subarray(offset - base, offset - base + record.length), record);
    }
  },
);
