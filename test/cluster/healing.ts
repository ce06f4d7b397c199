// What the healing tests share: files whose bytes can be told from their names, and waiting until every chunk has its copies. It asks the master over the wire and looks at flat files on the disk.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import type { ExecutionContext } from 'ava';
import { withMaster } from '../../src/cli/connect.js';
import { systemPlatform } from '../../src/cli/system-platform.js';
import { connect, type Gfs } from '../../src/client/index.js';
import { silentLogger } from '../../src/lib/logger.js';
import type { Reply } from '../../src/protocol/messages.js';
import type { Cluster } from './cluster.js';
import { must, shell } from './processes.js';

export type Report = Reply<'report'>;

export const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));

/** Bytes that only depend on name and length, so that nothing has to be kept to check them. */
export function bytesOf(name: string, lengthBytes: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  const seed = createHash('sha256').update(name).digest();
  for (let at = 0; at < lengthBytes; at += 4) {
    const block = seed.readUInt32LE((at / 4) % 7) ^ Math.imul(at, 2654435761);
    for (let i = 0; i < 4 && at + i < lengthBytes; i++) bytes[at + i] = block >>> (8 * i);
  }
  return bytes;
}

/** A client in this process, closed with the test. */
export async function client(t: ExecutionContext, cluster: Cluster): Promise<Gfs> {
  const gfs = await connect({ master: cluster.masterAddress, name: 'healing test' });
  t.teardown(() => gfs.close());
  return gfs;
}

/** The master's report, over a connection of its own. */
export function report(cluster: Cluster): Promise<Report> {
  const platform = systemPlatform({ logger: silentLogger });
  return withMaster(platform, { master: cluster.masterAddress }, ask => ask('report', {}));
}

/** Whether every chunk has exactly as many good copies as it should, or takes appends on all of them. */
export function isWell({ chunks }: Report, copies = 3): boolean {
  return chunks.degraded === 0 && chunks.lost === 0 && chunks.byCopies.every(entry => entry.copies === copies);
}

/** Turns one bit of a file over, somewhere in its first `lengthBytes`. */
export function flipBit(victim: string, lengthBytes: number): void {
  const file = fs.openSync(victim, 'r+');
  const at = Math.floor(lengthBytes / 2);
  const byte = Buffer.alloc(1);
  fs.readSync(file, byte, 0, 1, at);
  byte[0]! ^= 0x10;
  fs.writeSync(file, byte, 0, 1, at);
  fs.closeSync(file);
}

/** Small file systems for the servers with these numbers. */
export async function smallDisks(
  t: ExecutionContext,
  folder: string,
  indices: readonly number[],
  mib: number,
): Promise<void> {
  for (const i of indices) {
    const data = path.join(folder, `c${i}`);
    fs.mkdirSync(data);
    await must(t, `mount -t tmpfs -o size=${mib}M none ${data}`);
    t.teardown(async () => void (await shell(`umount -l ${data}`)));
  }
}
