// Takes an exclusive lock on one file that all clients know, holds it for a while, and gives it back.
// Check: no two undisturbed holders at once.
import type { OpenFile } from '../../../src/client/types.js';
import type { Actor } from '../actor.js';
import { at, NEW_FILE, type Workload } from './workload.js';

const TO_THE_END = Number.MAX_SAFE_INTEGER;
const WAIT_MS = 2_000;

export class Lockers implements Workload {
  readonly name = 'lockers';

  async run(actor: Actor): Promise<void> {
    const opened = await actor.persist(() =>
      actor.name('open the lock', () => actor.client.createFile(at('lock'), NEW_FILE)),
    );
    if (!opened) return;
    while (!actor.isOver()) {
      await actor.attempt(() => this.hold(actor, opened.file));
      await actor.sleep(actor.random.between(50, 800));
    }
  }

  private async hold(actor: Actor, { inode }: OpenFile): Promise<void> {
    const lock = { owner: actor.who, startByte: 0, endByte: TO_THE_END, space: 'flock' as const };
    const asked = { file: inode, owner: actor.who };
    await actor.history.operate(actor.who, { kind: 'lock', ...asked }, actor.limitMs + 1.1 * WAIT_MS, async () => {
      await actor.client.lock(inode, { ...lock, kind: 'exclusive', pid: 1 }, { waitMs: WAIT_MS });
      return { kind: 'lock' };
    });
    await actor.sleep(actor.random.between(0, 400));
    await actor.history.operate(actor.who, { kind: 'unlock', ...asked }, actor.limitMs, async () => {
      await actor.client.unlock(inode, lock);
      return { kind: 'unlock' };
    });
  }
}
