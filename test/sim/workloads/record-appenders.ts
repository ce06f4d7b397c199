// Appends whole records to files that many clients share, a few at a time in flight, and reads below the end that it knows of, without a look.
// Checks: every acknowledged record stands exactly once at its offset, in the order of its writer; no byte is ever another.
import type { OpenFile } from '../../../src/client/types.js';
import type { Actor } from '../actor.js';
import { RECORD_BYTES_MIN } from '../records.js';
import { at, NEW_FILE, type Workload } from './workload.js';

const LARGE_BYTES = 16 * 1024;

export interface RecordAppendersOptions {
  paths: readonly string[];
  /** Appends that one appender has in flight: 1 for plain ones, more for pipelined ones. */
  inFlight: number;
  /** Mean pause between two appends. */
  pauseMs: number;
  /** Reads too: nobody may where acknowledged bytes can still be lost. */
  reads: boolean;
}

export class RecordAppenders implements Workload {
  readonly name: string;

  constructor(private readonly options: RecordAppendersOptions) {
    this.name = options.inFlight > 1 ? 'pipelined record appenders' : 'appenders';
  }

  async run(actor: Actor): Promise<void> {
    while (!actor.isOver()) {
      const path = this.options.paths[actor.random.int(this.options.paths.length)]!;
      const file = await actor.persist(() => openRecords(actor, path));
      if (!file) return;
      await this.write(actor, file);
      await actor.attempt(() => actor.name(`close ${path}`, () => file.close()));
    }
  }

  private async write(actor: Actor, file: OpenFile): Promise<void> {
    const { random } = actor;
    const writer = actor.nextWriter();
    const count = 1 + random.int(30);
    const inFlight = new Set<Promise<unknown>>();
    let reading: Promise<unknown> | undefined;
    let end = 0;
    // An open file may know its append target long before it uses it.
    if (random.chance(0.4)) await actor.sleep(random.between(0, 1_500));
    for (let sequence = 1; sequence <= count && !actor.isOver(); sequence++) {
      const append = actor.attempt(async () => {
        const lengthBytes = this.length(actor);
        end = Math.max(end, lengthBytes + (await actor.appendRecord(file, { writer, sequence }, lengthBytes)));
      });
      inFlight.add(append);
      void append.then(() => inFlight.delete(append));
      while (inFlight.size >= this.options.inFlight) await Promise.race(inFlight);
      if (this.options.reads && end > 0 && random.chance(0.4))
        reading ??= this.readBack(actor, file, end).finally(() => {
          reading = undefined;
        });
      // Now and then long enough for a lease to be given back or to run out.
      await actor.sleep(random.chance(0.02) ? 3_000 : random.between(0, 2 * this.options.pauseMs));
    }
    await Promise.all([...inFlight, reading]);
  }

  /** Bytes that are there for certain, so that what the client knows of the file decides where it looks for them. */
  private async readBack(actor: Actor, file: OpenFile, end: number): Promise<void> {
    const { random } = actor;
    if (random.chance(0.3)) await actor.attempt(() => actor.size(file));
    // Around the end the file may have gone on in another chunk since it was looked at.
    const offset = random.chance(0.6) ? Math.max(0, end - 1 - random.int(3_000)) : random.int(end);
    await actor.attempt(() => actor.read(file, offset, Math.min(8_192, end - offset)));
  }

  private length({ random, client }: Actor): number {
    const most = client.recordBytesMax;
    // Of large ones few, and of the largest size fewer: all their bytes are compared.
    if (random.chance(0.03))
      return most <= LARGE_BYTES || random.chance(0.3) ? most : RECORD_BYTES_MIN + random.int(most);
    return RECORD_BYTES_MIN + random.int(Math.min(1_500, most - RECORD_BYTES_MIN));
  }
}

/** Opens a file for records, made when it is not there. */
export async function openRecords(actor: Actor, path: string): Promise<OpenFile> {
  const { file } = await actor.name(`open ${path}`, () => actor.client.createFile(at(path), NEW_FILE));
  actor.history.tell({ kind: 'file', file: file.inode, style: { kind: 'records' }, atMs: 0 });
  actor.history.tell({ kind: 'named', file: file.inode, path, atMs: 0 });
  return file;
}
