// Appends records to a file of its own and cuts it, one thing at a time, while others may read it.
// Check: it holds exactly what was acknowledged and not cut off.
import type { OpenFile } from '../../../src/client/types.js';
import type { Actor } from '../actor.js';
import { RECORD_BYTES_MIN } from '../records.js';
import { at, NEW_FILE, type Workload } from './workload.js';

export class Cutters implements Workload {
  readonly name = 'cutters';

  async run(actor: Actor): Promise<void> {
    while (!actor.isOver()) {
      const writer = actor.nextWriter();
      const path = `cut-${actor.who}-${writer}`;
      const opened = await actor.persist(() =>
        actor.name('create a file to cut', () => actor.client.createFile(at(path), NEW_FILE)),
      );
      if (!opened) return;
      actor.history.tell({ kind: 'file', file: opened.file.inode, style: { kind: 'cut' }, atMs: 0 });
      actor.history.tell({ kind: 'named', file: opened.file.inode, path, atMs: 0 });
      await this.use(actor, opened.file, writer);
      await actor.attempt(() => actor.name('close a cut file', () => opened.file.close()));
    }
  }

  /** Until something fails: what is in doubt is not judged. */
  private async use(actor: Actor, file: OpenFile, writer: number): Promise<void> {
    const { random } = actor;
    const ends = [0];
    for (let sequence = 1; sequence < 60 && !actor.isOver(); sequence++) {
      const lengthBytes = RECORD_BYTES_MIN + random.int(900);
      const error = await actor.attempt(async () => {
        const offset = await actor.appendRecord(file, { writer, sequence }, lengthBytes);
        ends.push(offset + lengthBytes);
        if (random.chance(0.15)) {
          ends.length = 1 + random.int(ends.length);
          await actor.truncate(file, ends[ends.length - 1]!);
        }
        if (random.chance(0.1)) await actor.size(file);
        if (random.chance(0.1)) await actor.read(file, 0, 100_000, { watchCuts: true });
      });
      if (error) return;
      await actor.sleep(random.between(5, 300));
    }
  }
}
