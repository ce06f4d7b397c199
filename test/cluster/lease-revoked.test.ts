// Two clients append to one chunk at full speed while its lease is taken away again and again (I3, I4, §3.1): chunkservers and clients are processes
// of their own, the master runs here, so that the test can give its orders. GFS_TEST_REVOKE_SECONDS sets how long (CI: 3; `npm run soak:revoke`: 60).
import fs from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { systemPlatform } from '../../src/cli/system-platform.js';
import { connect } from '../../src/client/index.js';
import { silentLogger } from '../../src/lib/logger.js';
import { settingValues } from '../../src/lib/settings.js';
import { findChunk, tailOf } from '../../src/master/chunks.js';
import { formatMaster } from '../../src/master/format.js';
import { getFile } from '../../src/master/inodes.js';
import type { Lease } from '../../src/master/lease-table.js';
import { Master } from '../../src/master/master.js';
import { MASTER_SETTINGS } from '../../src/master/settings.js';
import { GfsError } from '../../src/protocol/errors.js';
import type { InodeId } from '../../src/protocol/ids.js';
import { checkLines, startRecordWriter } from './lines.js';
import { Daemon, folder } from './processes.js';

const seconds = Number(process.env['GFS_TEST_REVOKE_SECONDS'] ?? 3);
const SERVERS = 3;
const FILE = '/lines';
const GIVE_UP_MS = 10_000;

const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));

async function startMaster(t: ExecutionContext, base: string): Promise<{ master: Master; address: string }> {
  const platform = systemPlatform({ logger: silentLogger });
  const data = path.join(base, 'master');
  const owner = { uid: 0, gid: 0 };
  await formatMaster(platform, { data, owner, chunkSize: 256 * 1024 * 1024, replicas: 3, minReplicas: 2 });
  const settings = settingValues(MASTER_SETTINGS, { listen: '127.0.0.1:0' });
  const master = new Master(platform, { ...settings, data, secret: undefined });
  t.teardown(() => master.stop());
  return { master, address: await master.start() };
}

async function startServers(t: ExecutionContext, base: string, master: string): Promise<void> {
  const starts = Array.from({ length: SERVERS }, async (_, i) => {
    const args = ['serve', '--data', path.join(base, `c${i}`), '--master', master, '--listen', '127.0.0.1:0'];
    const { daemon } = await Daemon.start('gfs-chunkserver', args);
    t.teardown(() => daemon.stop('SIGKILL'));
  });
  await Promise.all(starts);
}

/** The lease of the file's open chunk, if there is one now. */
function leaseOf(master: Master, inode: InodeId): Lease | undefined {
  const { store, leases, time } = master.rooms.context;
  const tail = tailOf(store, getFile(store, inode));
  return tail && leases.live(tail.handle, time.nowMs());
}

/** The primary stops acknowledging, syncs its chain and says its length; the next target needs a new version. */
async function takeBack(master: Master, lease: Lease): Promise<void> {
  const { context, targets } = master.rooms;
  const { handle, version } = lease;
  const { server, epoch } = lease.chain[0]!;
  const { lengthBytes } = await context.orders.give(server, 'revokeLease', { handle, version });
  await targets.onReturnLease({ server, epoch, handle, version, lengthBytes });
}

/** As when a client complains: the chunk is sealed and the file goes on in another one. */
async function seal(master: Master, lease: Lease): Promise<void> {
  const { context, complaints } = master.rooms;
  const { handle, version } = lease;
  await complaints.onComplain({ handle, version }, context.platform.clock.monotonicMs() + GIVE_UP_MS);
}

function scenario(title: string, end: typeof seal, everyMs: number): void {
  test.serial(`${title}: two clients at full speed keep order, each append stands once`, async t => {
    t.timeout(seconds * 1000 + 90_000);
    const base = folder(t);
    const { master, address } = await startMaster(t, base);
    await startServers(t, base, address);
    const gfs = await connect({ master: address });
    t.teardown(() => gfs.close());
    await gfs.writeFile(FILE, '');
    const inode = (await gfs.stat(FILE)).inode as InodeId;
    const writers = ['a', 'b'].map(name => startRecordWriter(t, { master: address, file: FILE }, name, base));

    let ended = 0;
    for (const endMs = performance.now() + seconds * 1000; performance.now() < endMs; ) {
      await pause(everyMs);
      const lease = leaseOf(master, inode);
      if (!lease) continue;
      try {
        await end(master, lease);
        ended++;
      } catch (error) {
        // Nobody has appended yet, or the lease ended by itself.
        if (!(error instanceof GfsError)) throw error;
        t.log(`a lease was not ended: ${error.message}`);
      }
    }
    const accounts = await Promise.all(writers.map(writer => writer.stop()));

    for (const { stalls: _, ...account } of accounts) t.log(JSON.stringify(account));
    const lines = checkLines(await gfs.readFile(FILE, 'utf8'), writers);
    const { store } = master.rooms.context;
    const file = getFile(store, inode);
    const tail = tailOf(store, file);
    const { version = 0 } = (tail && findChunk(store, tail.handle)) ?? {};
    t.log(
      `${ended} leases ended, ${lines} lines stand, ${file.extentCount} sealed chunks, the last in version ${version}`,
    );
    t.true(ended > 0);
    for (const { acknowledged, errors } of accounts) {
      t.true(acknowledged > 0);
      t.deepEqual(errors, {});
    }
    const entries = writers.flatMap(({ log }) => fs.readFileSync(log, 'utf8').split('\n').filter(Boolean));
    t.is(lines, entries.length, 'what nobody heard of stands as well');
  });
}

scenario('the lease is taken back every second', takeBack, 1_000);
scenario('the lease is taken back ten times a second', takeBack, 100);
scenario('the chunk is sealed every second', seal, 1_000);
