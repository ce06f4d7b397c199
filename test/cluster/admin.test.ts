// Operators' commands on real processes: draining a server, the trash, copies wanted, safe mode, fsck with a damaged chunk file, inspecting data.
import fs from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { Cluster, until } from './cluster.js';
import { program, run } from './processes.js';

interface Info {
  size: number;
  chunks: Array<{ handle: string; replicas: Array<{ server: string; path: string; state: string }> }>;
}
interface Fsck {
  clean: boolean;
  files: number;
  problems: Array<{ path: string; problems: string[]; good: number }>;
  unreadable: unknown[];
}

const TEXT = 'a line of text\n'.repeat(20_000);

async function put(cluster: Cluster, name: string): Promise<void> {
  const local = path.join(cluster.folder, 'local');
  fs.writeFileSync(local, TEXT);
  const { code, stderr } = await cluster.gfs('put', local, name);
  if (code !== 0) throw new Error(stderr);
}

test.serial('what operators do with a cluster of real processes', async t => {
  const cluster = await Cluster.start(t, {
    servers: 4,
    chunkSize: '128KiB',
    master: ['--lease', '2s', '--dead-after', '2s', '--rereplicate-after', '1s', '--gc-grace', '500ms'],
  });
  const run = async (...args: string[]): Promise<string> => {
    const result = await cluster.gfs(...args);
    t.is(result.code, 0, `gfs ${args.join(' ')}: ${result.stderr}`);
    return result.stdout;
  };
  const fsck = async (...args: string[]): Promise<Fsck> =>
    JSON.parse((await cluster.gfs('fsck', ...args, '--json')).stdout) as Fsck;
  const isClean = async (): Promise<boolean> => (await fsck()).clean;

  await put(cluster, '/f');
  await until('all copies are there', isClean);
  t.regex(await run('fsck'), /1 file, \d+ chunks: all is well/);

  // Drained: the server holds nothing that is not elsewhere, and can be stopped.
  const leaving = cluster.servers[0]!;
  t.regex(await run('drain', leaving.address), /can be stopped/);
  await leaving.daemon.stop();
  t.is(await run('cat', '/f'), TEXT);
  await until('all copies are on the other servers', isClean);

  // Nothing waits for a server that is gone for good. Should it come back, it is a new one.
  const report = () => cluster.json<{ servers: Array<{ id: string; address: string; state: string }> }>('report');
  const isListed = async (): Promise<boolean> =>
    (await report()).servers.some(({ address }) => address === leaving.address);
  t.regex((await cluster.gfs('forget', cluster.servers[1]!.address)).stderr, /is up: only one that is gone/);
  await until(
    'it is down, and its leases are over',
    async () => (await cluster.gfs('forget', leaving.address)).code === 0,
  );
  t.false(await isListed());
  await cluster.master.stop();
  await cluster.startMaster();
  await until('the others are back', async () => (await report()).servers.every(({ state }) => state === 'up'));
  t.false(await isListed());
  await until('all is well without it', isClean);

  // Its data is looked at without a server; a running server's is not.
  const inspected = await program('gfs-chunkserver', ['inspect', '--data', leaving.data, '--json']);
  t.is(inspected.code, 0, inspected.stderr);
  t.true((JSON.parse(inspected.stdout) as { clean: boolean }).clean);
  const refused = await program('gfs-chunkserver', ['inspect', '--data', cluster.servers[1]!.data]);
  t.is(refused.code, 1);
  t.regex(refused.stderr, /in use/);
  t.regex((await program('gfs-master', ['inspect', '--data', cluster.masterData])).stderr, /another process/);

  await cluster.startServer(0);
  await until('it is a server like the others', async () =>
    (await report()).servers.some(({ address, state }) => address === leaving.address && state === 'up'),
  );
  await run('drain', '--no-wait', leaving.address);
  t.regex(await run('undrain', leaving.address), /is (up|recovering), and not to be drained/);

  // The trash gives a file back with every byte.
  await run('rm', '/f');
  const trash = await cluster.json<Array<{ path: string; size: number }>>('trash', 'ls');
  t.like(trash[0], { path: '/f', size: TEXT.length });
  await run('trash', 'restore', '/f');
  t.is(await run('cat', '/f'), TEXT);

  // So does it with what was in directories that are gone.
  await run('mkdir', '-p', '/d/e');
  for (const name of ['/d/one', '/d/e/two']) await put(cluster, name);
  await run('rm', '-r', '/d');
  t.regex(
    (await cluster.gfs('trash', 'restore', '/d/one')).stderr,
    /\/d\/one: its directory is gone: restore with --parents/,
  );
  t.regex(await run('trash', 'restore', '-r', '/d'), /restored \/d\/e\/two\nrestored \/d\/one/);
  for (const name of ['/d/one', '/d/e/two']) t.is(await run('cat', name), TEXT);
  await run('rm', '-r', '/d');
  await run('trash', 'purge', '--all');

  // Fewer copies, and more.
  await run('setrep', '2', '/f');
  await until('the third copies are gone', async () => {
    const { chunks } = await cluster.json<Info>('info', '/f');
    return chunks.every(({ replicas }) => replicas.length === 2);
  });
  await run('setrep', '3', '/f');
  await until('the third copies are back', isClean);

  // In safe mode names are read and nothing is written.
  t.regex(await run('safemode', 'enter'), /safe mode is on/);
  t.is(await run('cat', '/f'), TEXT);
  t.regex(await run('safemode', 'leave'), /safe mode is off/);

  // A damaged chunk file: found when it is read, named by fsck or healed already, and never served.
  const { chunks } = await cluster.json<Info>('info', '/f');
  const [victim] = chunks[0]!.replicas;
  const file = fs.openSync(victim!.path, 'r+');
  fs.writeSync(file, 'X', 100);
  fs.closeSync(file);
  for (let i = 0; i < 5; i++) t.is(await run('cat', '/f'), TEXT);
  await fsck('--repair');
  await until('the damaged copy was replaced', isClean);

  await run('rm', '/f');
  t.regex(await run('trash', 'purge', '/f'), /1 file gone for good/);
  await until('the trash is empty', async () => (await cluster.json<unknown[]>('trash', 'ls')).length === 0);

  await Promise.all(cluster.servers.map(server => server.daemon.stop()));
  await cluster.master.stop();
  const master = await program('gfs-master', ['inspect', '--data', cluster.masterData, '--json']);
  t.is(master.code, 0, master.stderr);
  t.like(JSON.parse(master.stdout), { problems: [], counters: { files: 0, directories: 1 } });
});

test.serial(
  'DESIGN 4, rule 8: after a loss of power on all servers, one of which stays away, an operator decides where a file ends',
  async t => {
    const cluster = await Cluster.start(t, { servers: 3, master: ['--lease', '20s', '--dead-after', '1s'] });
    const append = async (text: string): Promise<void> => {
      const args = ['bin/gfs.js', '--master', cluster.masterAddress, 'append', '/f'];
      const result = await run(process.execPath, args, { input: Buffer.from(text) });
      t.is(result.code, 0, result.stderr);
    };
    await append('hello');
    await append('world');
    for (const { daemon } of cluster.servers) await daemon.stop('SIGKILL');
    // What a machine forgets with its power: the witnesses in its memory.
    for (const { data } of cluster.servers) {
      const { stdout } = await program('gfs-chunkserver', ['inspect', '--data', data, '--json']);
      const { identity } = (JSON.parse(stdout) as { directories: [{ identity: { server: string; disk: string } }] })
        .directories[0];
      fs.rmSync(`/dev/shm/gfs-${process.getuid!()}/w-${identity.server}-${identity.disk}`);
    }
    await Promise.all([cluster.startServer(0), cluster.startServer(1)]);
    interface Recovery {
      stuck: boolean;
      sealed: boolean;
      size: number;
      tail?: { acceptBytes?: number; members: Array<{ state: string }> };
    }
    const isStuck = async (): Promise<boolean> => {
      const { stuck, tail } = await cluster.json<Recovery>('recover', '/f');
      return stuck && tail?.members.filter(({ state }) => state === 'suspect').length === 2;
    };
    await until('both servers are back and the end is not decided', isStuck);
    const fsck = await cluster.gfs('fsck');
    t.is(fsck.code, 1);
    t.regex(fsck.stdout, /everything from byte 0 cannot be read; gfs recover \/f shows why/);

    t.like(await cluster.json<Recovery>('recover', '/f', '--accept-suspect'), { sealed: true, stuck: false, size: 10 });

    t.is((await cluster.gfs('cat', '/f')).stdout, 'helloworld');
    await cluster.startServer(2);
    await until('the third copy is there', async () => (await cluster.gfs('fsck')).code === 0);

    // One chunk on a disk without a server: its record, and each block beside its checksum.
    const { daemon, data } = cluster.servers[2]!;
    await daemon.stop();
    const inspect = (...args: string[]) => program('gfs-chunkserver', ['inspect', '--data', data, '1', ...args]);
    t.regex((await inspect()).stdout, /every block matches its checksum/);
    fs.writeFileSync(path.join(data, 'chunks/01/0000000000000001'), 'helloWorld');
    const damaged = await inspect('--json');
    t.is(damaged.code, 1);
    t.like((JSON.parse(damaged.stdout) as unknown[])[0], { badBlocks: [{ fromByte: 0, lengthBytes: 10 }] });
  },
);
