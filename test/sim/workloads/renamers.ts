// Moves a file of its own from name to name while it appends to it, unlinks it in the end while it is open, and races others to create names.
// Checks: an acknowledged rename shows, one creator wins each name, and what is open goes on after its name is gone.
import type { OpenFile } from '../../../src/client/types.js';
import { hasCode } from '../../../src/protocol/errors.js';
import type { Actor } from '../actor.js';
import { RECORD_BYTES_MIN } from '../records.js';
import { at, NEW_FILE, type Workload } from './workload.js';

const ROUNDS_UNNAMED = 10;

export class Renamers implements Workload {
  readonly name = 'renamers';

  async run(actor: Actor): Promise<void> {
    while (!actor.isOver()) {
      // Never a name that the process before may have used: what has it would be replaced.
      const path = `moved-${actor.who}-${actor.nextWriter()}`;
      const opened = await actor.persist(() =>
        actor.name(`create ${path}`, () => actor.client.createFile(at(`${path}-0`), NEW_FILE)),
      );
      if (!opened) return;
      actor.history.tell({ kind: 'file', file: opened.file.inode, style: { kind: 'records' }, atMs: 0 });
      actor.history.tell({ kind: 'named', file: opened.file.inode, path: `${path}-0`, atMs: 0 });
      await this.move(actor, opened.file, path);
      await this.race(actor);
      await actor.attempt(() => actor.name('close', () => opened.file.close()));
    }
  }

  private async move(actor: Actor, file: OpenFile, path: string): Promise<void> {
    const writer = actor.nextWriter();
    let sequence = 0;
    let isEmpty = true;
    const append = async (): Promise<void> => {
      const record = { writer, sequence: ++sequence };
      const lengthBytes = RECORD_BYTES_MIN + actor.random.int(500);
      if (!(await actor.attempt(() => actor.appendRecord(file, record, lengthBytes)))) isEmpty = false;
    };
    let name = `${path}-0`;
    for (let step = 1; step < 4 + actor.random.int(8) && !actor.isOver(); step++) {
      await append();
      const next = `${path}-${step}`;
      const from = name;
      actor.history.tell({ kind: 'named', file: file.inode, atMs: 0 });
      const error = await actor.attempt(() => this.rename(actor, from, next));
      // Only the file system knows which of the two it is; this workload starts over with another file.
      if (error) return;
      name = next;
      actor.history.tell({ kind: 'named', file: file.inode, path: name, atMs: 0 });
      await actor.attempt(() => this.check(actor, file.inode, name, from));
      await actor.sleep(actor.random.between(10, 300));
    }
    actor.history.tell({ kind: 'named', file: file.inode, mayGo: true, atMs: 0 });
    if (await actor.attempt(() => actor.name(`unlink ${name}`, () => actor.client.unlink(at(name))))) return;
    // An empty file is not kept.
    if (!isEmpty) actor.history.tell({ kind: 'unlinked', file: file.inode, atMs: 0 });
    await actor.attempt(() => actor.read(file, 0, 50_000));
    // Long enough, now and then, for it to be collected if nobody had it open.
    for (let round = actor.random.int(ROUNDS_UNNAMED); round >= 0 && !actor.isOver(); round--) {
      await append();
      await actor.attempt(() => actor.read(file, 0, 50_000));
      await actor.sleep(actor.random.between(10, 1_000));
    }
  }

  private async rename(actor: Actor, from: string, to: string): Promise<void> {
    await actor.history.operate(actor.who, { kind: 'rename', from, to }, actor.limitMs, async () => {
      await actor.client.rename(at(from), at(to));
      return { kind: 'rename' };
    });
  }

  private async check(actor: Actor, inode: number, present: string, absent: string): Promise<void> {
    const found = await actor.name(`look up ${present}`, () => actor.client.lookup(at(present)));
    if (found.inode !== inode)
      actor.history.violate('An acknowledged rename shows.', `${present} is inode ${found.inode}, not ${inode}.`);
    await actor.name(`miss ${absent}`, async () => {
      try {
        const other = await actor.client.lookup(at(absent));
        actor.history.violate('An acknowledged rename shows.', `${absent} is still there, inode ${other.inode}.`);
      } catch (error) {
        if (!hasCode(error, 'NOT_FOUND')) throw error;
      }
    });
  }

  /** All clients count through the same names. */
  private async race(actor: Actor): Promise<void> {
    const name = `raced-${actor.random.int(6)}`;
    await actor.attempt(() =>
      actor.history.operate(actor.who, { kind: 'createExclusive', name }, actor.limitMs, async () => {
        const { created, file } = await actor.client.createFile(at(name), { ...NEW_FILE, exclusive: true });
        await file.close();
        return { kind: 'createExclusive', created };
      }),
    );
  }
}
