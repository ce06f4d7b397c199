// Writes one long stream to a file of its own, in pieces that may be split, each where the last one ended.
// Check: the file is that stream, at least as long as what was acknowledged.
import type { OpenFile } from '../../../src/client/types.js';
import type { Actor } from '../actor.js';
import { streamBytes } from '../records.js';
import { at, NEW_FILE, type Workload } from './workload.js';

const STREAM_BYTES_MAX = 200_000;
/** Now and then one write is so many times the largest record, and so over the end of a chunk or more. */
const LONG_WRITE_CHANCE = 0.05;
const LONG_WRITE_RECORDS = 6;
const LONG_WRITE_BYTES_MAX = 3 * 1024 * 1024;

export class StreamWriters implements Workload {
  readonly name = 'stream writers';

  async run(actor: Actor): Promise<void> {
    const stream = actor.nextWriter();
    const path = `stream-${actor.who}-${stream}`;
    const opened = await actor.persist(() =>
      actor.name('create a stream', () => actor.client.createFile(at(path), NEW_FILE)),
    );
    if (!opened) return;
    const { file } = opened;
    actor.history.tell({ kind: 'file', file: file.inode, style: { kind: 'stream', stream }, atMs: 0 });
    actor.history.tell({ kind: 'named', file: file.inode, path, atMs: 0 });
    let end: number | undefined = 0;
    while (!actor.isOver() && (end ?? 0) < STREAM_BYTES_MAX) {
      end = end === undefined ? await this.findEnd(actor, file) : await this.writeOne(actor, file, stream, end);
      await actor.sleep(actor.random.between(0, 600));
    }
    await actor.attempt(() => actor.name('close a stream', () => file.close({ durable: actor.random.chance(0.5) })));
  }

  /** The new end, or undefined when a failure left it open. */
  private async writeOne(actor: Actor, file: OpenFile, stream: number, end: number): Promise<number | undefined> {
    const { random, client } = actor;
    const isLong = random.chance(LONG_WRITE_CHANCE);
    const bytesMax = isLong ? Math.min(LONG_WRITE_RECORDS * client.recordBytesMax, LONG_WRITE_BYTES_MAX) : 6_000;
    const bytes = streamBytes(stream, end, end + 1 + random.int(bytesMax));
    const error = await actor.attempt(() => actor.appendPiece(file, bytes, end));
    return error ? undefined : end + bytes.length;
  }

  private async findEnd(actor: Actor, file: OpenFile): Promise<number | undefined> {
    let size: number | undefined;
    await actor.attempt(async () => {
      size = (await actor.size(file)).sizeBytes;
    });
    return size;
  }
}
