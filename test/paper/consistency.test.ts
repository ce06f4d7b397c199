// The paper's consistency model (§2.7), as far as this system keeps it; where it keeps more or another thing, docs/divergence.md says so.
import test from 'ava';
import type { OpenFile } from '../../src/client/types.js';
import { at, NEW_FILE } from '../sim/workloads/workload.js';
import { PaperCluster, pathOf, recordOf } from './paper-cluster.js';

const RECORDS = 30;

/** Two clients append at the same time. Returns every record with the offset that was returned for it. */
async function race(
  paper: PaperCluster,
  files: readonly OpenFile[],
): Promise<Array<{ offset: number; record: Buffer }>> {
  const work = files.flatMap((file, writer) =>
    Array.from({ length: RECORDS }, async (_, i) => {
      const record = recordOf(`w${writer}`, i, 100 + 7 * i);
      return { offset: await file.append([record], { split: false }), record };
    }),
  );
  return await paper.drive(Promise.all(work));
}

test.serial(
  '§2.7.1 file namespace mutations are atomic: of two clients that create a name with O_EXCL one wins',
  async t => {
    const paper = await PaperCluster.start();
    for (let i = 0; i < 5; i++) {
      const create = async (by: string): Promise<string> => {
        const { created } = await paper.client(by).createFile(at(`name${i}`), { ...NEW_FILE, exclusive: true });
        return created ? 'created' : 'opened';
      };
      const outcomes = await paper.drive(Promise.allSettled([create('c1'), create('c2')]));
      const won = outcomes.filter(({ status }) => status === 'fulfilled');
      const lost = outcomes.find(outcome => outcome.status === 'rejected');
      t.is(won.length, 1);
      t.is(lost?.reason.code, 'EXISTS');
    }
  },
);

test.serial(
  '§2.7.1 a file region is consistent: all clients see the same data, whichever replica they read from',
  async t => {
    const paper = await PaperCluster.start({ seed: 2 });
    const files = [await paper.open('f', 'c1'), await paper.open('f', 'c2')];
    await race(paper, files);
    const bytes = await paper.read(files[0]!);
    t.deepEqual(await paper.read(files[1]!), bytes);

    const { extents, tail } = await paper.locate(files[0]!.inode);
    t.true(extents.length > 1);
    t.truthy(tail);
    const runs = [
      ...extents.map(({ fileOffset, lengthBytes, replicas, token }) => ({ fileOffset, lengthBytes, replicas, token })),
      { fileOffset: tail!.base, lengthBytes: bytes.length - tail!.base, replicas: tail!.chain, token: tail!.token },
    ];
    for (const { fileOffset, lengthBytes, replicas, token } of runs) {
      t.is(replicas.length, 3);
      for (const { address } of replicas) {
        const { payload } = await paper.drive(paper.call(address, 'read', { token: token!, offset: 0, lengthBytes }));
        t.deepEqual(Buffer.concat(payload), bytes.subarray(fileOffset, fileOffset + lengthBytes));
      }
    }
  },
);

test.serial(
  '§2.7.1 a record is appended atomically, at an offset of GFS’s choosing that is returned (once here, not at least once), even among concurrent ones',
  async t => {
    const paper = await PaperCluster.start({ seed: 3 });
    const files = [await paper.open('f', 'c1'), await paper.open('f', 'c2')];
    await paper.append(files[0]!, 'first');
    const { to, request } = paper.calls('append')[0]!;
    const again = paper.call(`${to}:9411`, 'append', request, { payload: [Buffer.from('first')] });
    t.is((await paper.drive(again)).body.offset, 0);
    // The client never hears of an append that was done, and sends it again.
    const [primary] = paper.chainOf(files[0]!);
    paper.once(
      ({ kind, from }) => kind === 'append' && from === 'c1',
      () => paper.cluster.network.cut(primary!, 'c1', { oneWay: true }),
    );
    paper.simulator.schedule(2_000, () => paper.cluster.network.heal());
    const appended = await race(paper, files);
    t.true(paper.calls('append').length > appended.length + 1, 'some were sent again');

    const bytes = await paper.read(files[1]!);
    for (const { offset, record } of appended) t.deepEqual(bytes.subarray(offset, offset + record.length), record);
    // Nothing stands twice and nothing is padding: the records fill the file.
    t.is(bytes.length, 5 + appended.reduce((sum, { record }) => sum + record.length, 0));
  },
);

test.serial(
  '§2.7.1 a file region is defined after an append: a client sees what it wrote in its entirety, as do others at once',
  async t => {
    const paper = await PaperCluster.start({ seed: 4 });
    const mine = await paper.open('f', 'c1');
    const theirs = await paper.open('f', 'c2');
    let expected = '';
    for (let i = 0; i < 20; i++) {
      const record = recordOf('w', i, 300).toString();
      t.is(await paper.append(i % 2 === 0 ? mine : theirs, record), expected.length);
      expected += record;
      t.is((await paper.read(theirs)).toString(), expected);
      t.is((await paper.read(mine)).toString(), expected);
    }
  },
);

test.serial(
  '§2.7.1 data corruption is detected by checksums and valid replicas serve; without any the application gets an error, never corrupt data',
  async t => {
    const paper = await PaperCluster.start({ seed: 5 });
    const file = await paper.open('f');
    const record = recordOf('w', 1, 1000);
    await paper.append(file, record);
    const { handle } = paper.targetOf(file);
    const servers = paper.chainOf(file).map(name => paper.machine(name));
    const openAnew = async (name: string): Promise<OpenFile> => {
      const client = await paper.join(name);
      return await paper.drive(client.openInode(file.inode));
    };

    servers[0]!.node.disk.flipBit(pathOf(handle));
    servers[1]!.node.disk.flipBit(pathOf(handle));
    t.deepEqual(await paper.read(await openAnew('reader1')), record);
    servers[2]!.node.disk.flipBit(pathOf(handle));
    const reader = await openAnew('reader2');
    const code = await paper.codeOf(reader.read(0, record.length));
    t.true(code === 'CORRUPT' || code === 'UNAVAILABLE', code ?? 'it was read');
  },
);
