// Follows files that others append to, as `tail -f` does, and now and then reads anywhere in them.
// Check: no byte changes or vanishes, for any reader, also one that goes by what it learned earlier.
import type { OpenFile } from '../../../src/client/types.js';
import { ROOT_INODE } from '../../../src/protocol/ids.js';
import type { Actor } from '../actor.js';
import { at, type Workload } from './workload.js';

const READ_BYTES = 8_192;
/** Rounds in which the client asks nobody whether what it knows of the file is still so. A file that is cut is looked at around each read. */
const UNSEEN_CHANCE = 0.7;

export class Followers implements Workload {
  readonly name = 'followers';

  async run(actor: Actor): Promise<void> {
    while (!actor.isOver()) {
      const opened = await this.open(actor);
      if (opened) await this.follow(actor, opened);
      else await actor.sleep(200);
    }
  }

  private async open(actor: Actor): Promise<{ file: OpenFile; isCut: boolean } | undefined> {
    let opened: { file: OpenFile; isCut: boolean } | undefined;
    await actor.attempt(async () => {
      const { entries } = await actor.name('list', () => actor.client.readDirectory(ROOT_INODE, '', 200));
      const files = entries.filter(({ attributes }) => attributes.type === 'file');
      if (files.length === 0) return;
      const { name } = files[actor.random.int(files.length)]!;
      const { inode } = await actor.name(`look up ${name}`, () => actor.client.lookup(at(name)));
      const file = await actor.name(`open ${name}`, () => actor.client.openInode(inode));
      opened = { file, isCut: name.startsWith('cut-') };
    });
    return opened;
  }

  private async follow(actor: Actor, { file, isCut }: { file: OpenFile; isCut: boolean }): Promise<void> {
    const { random } = actor;
    let position = 0;
    for (let round = random.int(12) + 3; round > 0 && !actor.isOver(); round--) {
      await actor.attempt(async () => {
        const watchCuts = isCut || !random.chance(UNSEEN_CHANCE);
        if (random.chance(0.4)) await actor.size(file);
        if (random.chance(0.2)) await actor.read(file, random.int(position + 1), READ_BYTES, { watchCuts });
        const bytes = await actor.read(file, position, READ_BYTES, { watchCuts });
        position = bytes.length === 0 && random.chance(0.1) ? 0 : position + bytes.length;
      });
      await actor.sleep(random.between(20, 400));
    }
    await actor.attempt(() => actor.name('close', () => file.close()));
  }
}
