// What a client may cache of files and names: of everything else that changes it is told, and of files that others append to it knows that it is not.
import test from 'ava';
import { type InodeId, ROOT_INODE } from '../../src/protocol/ids.js';
import type { WireAttributes } from '../../src/protocol/messages.js';
import { FakeCluster, fakeConnection, throwsCode } from './fake-cluster.js';

const idOf = (letter: string): string => letter.repeat(16);

class Client {
  readonly connection = fakeConnection();
  session = '';

  constructor(
    readonly cluster: FakeCluster,
    readonly letter: string,
  ) {}

  static async start(cluster: FakeCluster, letter: string): Promise<Client> {
    const client = new Client(cluster, letter);
    const request = { client: idOf(letter), name: letter, open: [], wantsChanges: true };
    client.session = (await cluster.ask('openSession', request, client.connection)).session;
    return client;
  }

  get once() {
    return this.cluster.once(idOf(this.letter));
  }

  async look(path: string): Promise<WireAttributes> {
    const where = { start: ROOT_INODE, path };
    return (await this.cluster.ask('lookup', { where, follow: false, session: this.session })).attributes;
  }

  async takeTarget(inode: InodeId): Promise<void> {
    await this.cluster.ask('appendTarget', { inode, client: idOf(this.letter) });
  }

  /** Inodes and names that it was told of since the last call. */
  told(): Array<number | string> {
    const notices = this.connection.notices.splice(0) as Array<{ inodes: number[]; entries: Array<{ name: string }> }>;
    return notices.flatMap(({ inodes, entries }) => [...inodes, ...entries.map(({ name }) => name)]);
  }
}

async function setup(t: Parameters<typeof FakeCluster.start>[0]) {
  const cluster = await FakeCluster.start(t);
  const [a, b] = [await Client.start(cluster, 'a'), await Client.start(cluster, 'b')];
  const inode = await cluster.createFile('f');
  return { cluster, a, b, inode };
}

test('who looked at a file at rest is told when another gets a target to append to it, once per lease', async t => {
  const { a, b, inode } = await setup(t);
  t.falsy((await a.look('f')).growing);

  await b.takeTarget(inode);

  t.deepEqual(a.told(), [inode]);
  t.true((await a.look('f')).growing);
  await b.takeTarget(inode);
  t.deepEqual(a.told(), []);
});

test('a file that only the asking client appends to is not growing for it, until another begins', async t => {
  const { a, b, inode } = await setup(t);
  await a.takeTarget(inode);
  t.falsy((await a.look('f')).growing);

  await b.takeTarget(inode);

  t.deepEqual(a.told(), [inode]);
  t.true((await a.look('f')).growing);
  t.true((await b.look('f')).growing);
});

test('an appender that does not say who it is makes a file anybody’s', async t => {
  const { cluster, a, inode } = await setup(t);
  await a.takeTarget(inode);
  await a.look('f');

  await cluster.target(inode);

  t.deepEqual(a.told(), [inode]);
  t.true((await a.look('f')).growing);
});

test('a listing says of each file whether others may be appending to it', async t => {
  const { cluster, a, b, inode } = await setup(t);
  await cluster.createFile('quiet');
  await b.takeTarget(inode);

  const page = { inode: ROOT_INODE, after: '', limit: 10, session: a.session };
  const { entries } = await cluster.ask('readDirectory', page);

  t.deepEqual(
    entries.map(({ name, attributes }) => [name, attributes.growing === true]),
    [
      ['f', true],
      ['quiet', false],
    ],
  );
});

test('who made a directory is told when another changes or removes it', async t => {
  const { cluster, a, b } = await setup(t);
  const where = { start: ROOT_INODE, path: 'd' };
  const options = { where, mode: 0o755, uid: 0, gid: 0 };
  const { attributes } = await cluster.ask('makeDirectory', { once: a.once, ...options });

  await cluster.ask('setAttributes', { once: b.once, where, follow: false, mode: 0o700 });
  t.deepEqual(a.told(), [attributes.inode]);

  await cluster.ask('removeDirectory', { once: b.once, where });
  t.true(a.told().includes('d'));
});

test('who renamed a file is told when another removes it under its new name', async t => {
  const { cluster, a, b } = await setup(t);
  const place = (path: string) => ({ start: ROOT_INODE, path });
  const move = { from: place('f'), to: place('g'), noReplace: false, exchange: false };
  await cluster.ask('rename', { once: a.once, ...move });

  await cluster.ask('unlink', { once: b.once, where: place('g') });

  t.true(a.told().includes('g'));
});

test('a session that ended gets no answers that nobody would correct', async t => {
  const { cluster, a } = await setup(t);
  await cluster.ask('closeSession', { session: a.session });

  await throwsCode(t, a.look('f'), 'SESSION_EXPIRED');
});
