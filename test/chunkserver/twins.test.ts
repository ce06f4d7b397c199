// A disk that was away at a start and is back at the next one: what its server may say of chunks meanwhile, and which of two replicas counts then (I8).
import test, { type ExecutionContext } from 'ava';
import type { Chunk } from '../../src/chunkserver/chunk.js';
import type { ChunkStore } from '../../src/chunkserver/chunk-store.js';
import { keepOneTwin } from '../../src/chunkserver/twins.js';
import type { Logger } from '../../src/lib/logger.js';
import { GfsError } from '../../src/protocol/errors.js';
import type { ChunkHandle } from '../../src/protocol/ids.js';
import { CHUNK, type Host, pattern, Rig } from './rig.js';

const hello = Buffer.from('hello\n');
const NEW = 9 as ChunkHandle;
const TWO = { data: ['/data', '/disk2'] };

/** Two servers with the chunk, which is on the first disk of each; the second one goes on without that disk. */
async function startBlind(t: ExecutionContext): Promise<{ rig: Rig; full: Host; host: Host }> {
  const rig = await Rig.start(t, { servers: 2, settings: TWO });
  const [full, host] = rig.hosts as [Host, Host];
  await rig.appendAll([hello]);
  t.deepEqual(host.file(), hello);
  host.node.kill();
  host.node.disk.setFaults({ isFull: true }, '/data');
  await host.start();
  await rig.pass(500);
  t.is(rig.report(host), undefined);
  return { rig, full, host };
}

async function open(rig: Rig, host: Host, data = TWO.data): Promise<void> {
  host.node.disk.clearFaults();
  host.node.kill();
  await host.start({ data });
  await rig.pass(500);
}

const fileAt = (host: Host, disk: string): Buffer | undefined => {
  const file = host.node.disk.file(host.path().replace('/data', disk));
  return file?.read(file.sizeBytes, 0);
};

test('a server that does not see all its disks says only of younger chunks that there is none (DESIGN 4, rule 4)', async t => {
  const { rig, host } = await startBlind(t);
  const older = { version: 2, epoch: 1 };

  t.is(await rig.refusal(() => rig.order(host, 'fence', older)), 'NO_SPACE');
  t.is(await rig.refusal(() => rig.order(host, 'fence', { version: 2 })), 'NO_SPACE');
  t.like(await rig.do(() => rig.order(host, 'inspectChunk', {})), { exists: false, unseen: true });
  const younger = { version: 2, epoch: host.epoch, handle: NEW };
  t.like(await rig.do(() => rig.order(host, 'fence', younger)), { exists: false });

  await open(rig, host);
  t.like(rig.report(host), { lengthBytes: 6, state: 'open', version: 1, corrupt: false });
  t.like(await rig.do(() => rig.order(host, 'fence', older)), { exists: true, lengthBytes: 6, suspect: false });
});

for (const data of [TWO.data, [...TWO.data].reverse()])
  test(`of a replica and a newer one that was made while its disk was away the newer one counts, whichever is found first: ${data.join(', ')}`, async t => {
    const { rig, full, host } = await startBlind(t);
    await rig.seal(2, [full]);
    await rig.do(() => rig.copy(host, [full], { version: 2, lengthBytes: 6 }));
    t.deepEqual(fileAt(host, '/disk2'), hello);

    for (const _ of [1, 2]) {
      await open(rig, host, data);

      t.like(rig.report(host), { lengthBytes: 6, state: 'sealed', version: 2, corrupt: false });
      t.deepEqual(fileAt(host, '/disk2'), hello);
      t.is(fileAt(host, '/data'), undefined);
      t.is(host.node.disk.filePaths('/data/orphans').length, 1, 'no bytes are deleted');
    }
    const token = rig.token({ right: 'read', version: 2 });
    t.deepEqual(await rig.do(() => rig.read(host, 0, 6, token)), hello);
  });

for (const data of [TWO.data, [...TWO.data].reverse()])
  test(`bytes count before a record that there are none, and take no append that was fenced meanwhile: ${data.join(', ')}`, async t => {
    const { rig, host } = await startBlind(t);
    // As servers did that did not know better.
    await rig.do(() => rig.order(host, 'fence', { version: 5, epoch: host.epoch }));

    await open(rig, host, data);

    t.like(rig.report(host), { lengthBytes: 6, state: 'fenced', version: 5, corrupt: false });
    t.deepEqual(host.file(), hello);
    t.is(await rig.refusal(() => rig.append({ bytes: hello, sequence: 2, to: host.address })), 'FENCED');
    await open(rig, host, data);
    t.like(rig.report(host), { lengthBytes: 6, state: 'fenced', version: 5 });
    t.is(await rig.refusal(() => rig.order(host, 'fence', { version: 5 })), 'SUPERSEDED');
    t.like(await rig.do(() => rig.order(host, 'fence', { version: 6 })), { exists: true, lengthBytes: 6 });
  });

/** A record on one of two disks, and a store that has it; what is written is noted. */
function record(path: string, fields: { exists: boolean; version: number; isFailed: boolean }): Chunk {
  const { exists, version, isFailed } = fields;
  const index = { removalOps: async () => [] };
  const failure = isFailed ? new GfsError('DISK_FAILED') : undefined;
  const disk = { path, failure, index, setAside: async () => undefined };
  const states = { state: 'open', fencedVersion: 0, writtenBytes: exists ? 6 : 0, moveTo: () => undefined };
  return { handle: CHUNK, disk, exists, version, gone: false, ...states } as unknown as Chunk;
}

for (const [known, found, kept] of [
  [{ exists: true, version: 1, isFailed: true }, { exists: false, version: 5, isFailed: false }, 'known'],
  [{ exists: false, version: 5, isFailed: true }, { exists: true, version: 1, isFailed: false }, 'found'],
  [{ exists: true, version: 5, isFailed: true }, { exists: true, version: 1, isFailed: false }, 'found'],
] as const)
  test(`of a record on a failed disk and one on another bytes count before none, then the disk that works: ${JSON.stringify([known, found])}`, async t => {
    const [first, second] = [record('/data', known), record('/disk2', found)];
    const written: Chunk[] = [];
    const commit = async (chunk: Chunk) => {
      t.is(chunk.disk.failure, undefined, 'nothing is written to a failed disk');
      written.push(chunk);
    };
    const store = { commit, disown: () => undefined, adopt: () => undefined } as unknown as ChunkStore;
    const logger = { error: () => undefined } as unknown as Logger;

    t.is(await keepOneTwin(store, logger, first, second), kept === 'known' ? first : second);
    t.deepEqual(written, kept === 'known' ? [] : [second]);
  });

test('a fence reads the end of what it vouches for: bytes that are damaged or gone are said to be (I8)', async t => {
  const rig = await Rig.start(t, { servers: 3 });
  const [sound, flipped, lost] = rig.hosts as [Host, Host, Host];
  await rig.appendAll([pattern(300 * 1024)]);
  flipped.node.disk.flipBit(flipped.path(), 299 * 1024);
  lost.node.disk.loseFile(lost.path());

  const fence = (host: Host) => rig.do(() => rig.order(host, 'fence', { version: 2 }));

  t.is((await fence(sound)).corrupt, undefined);
  t.true((await fence(flipped)).corrupt);
  t.true((await fence(lost)).corrupt);
});
