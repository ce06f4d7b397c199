// Two owners of each client take shared and exclusive locks on ranges of one file that all clients know, hold them for a while, now and then for longer than
// a session lives without its master, and give them back, at times in two parts. Check: nobody is granted what somebody else believes to hold.
import type { OpenFile } from '../../../src/client/types.js';
import type { Actor } from '../actor.js';
import type { LockRange } from '../history.js';
import { at, NEW_FILE, type Workload } from './workload.js';

const TO_THE_END = Number.MAX_SAFE_INTEGER;
const WAIT_MS = 2_000;
const OWNERS = 2;
const BYTES = 8;

export class Lockers implements Workload {
  readonly name = 'lockers';

  async run(actor: Actor): Promise<void> {
    const opened = await actor.persist(() =>
      actor.name('open the lock', () => actor.client.createFile(at('lock'), NEW_FILE)),
    );
    if (!opened) return;
    await Promise.all(
      Array.from({ length: OWNERS }, (_, i) => this.runOwner(actor, opened.file, `${actor.who}.${i + 1}`)),
    );
  }

  private async runOwner(actor: Actor, file: OpenFile, owner: string): Promise<void> {
    while (!actor.isOver()) {
      await actor.attempt(() => this.hold(actor, this.chooseLock(actor, file.inode, owner)));
      await actor.sleep(actor.random.between(50, 800));
    }
  }

  private chooseLock({ random }: Actor, file: number, owner: string): LockRange {
    const exclusive = random.chance(0.6);
    if (random.chance(0.4)) return { file, owner, exclusive, space: 'flock', startByte: 0, endByte: TO_THE_END };
    const startByte = random.int(BYTES);
    const endByte = random.chance(0.2) ? TO_THE_END : startByte + random.int(BYTES - startByte);
    return { file, owner, exclusive, space: 'posix', startByte, endByte };
  }

  private async hold(actor: Actor, lock: LockRange): Promise<void> {
    const { random, history, client, who } = actor;
    const { file, owner, space, startByte, endByte, exclusive } = lock;
    await history.operate(who, { kind: 'lock', ...lock }, actor.limitMs + 1.1 * WAIT_MS, async () => {
      const kind = exclusive ? 'exclusive' : 'shared';
      const options = { waitMs: random.chance(0.3) ? 0 : WAIT_MS, onLost: () => history.loseLock(who, lock) };
      await client.lock(file, { owner, kind, space, startByte, endByte, pid: 1 }, options);
      return { kind: 'lock' };
    });
    await actor.sleep(random.chance(0.15) ? random.between(1_000, 6_000) : random.between(0, 400));
    const middle = startByte + 1;
    const isCut = space === 'posix' && endByte >= middle && random.chance(0.3);
    if (isCut) {
      await this.giveBack(actor, { ...lock, endByte: middle - 1 });
      await actor.sleep(random.between(0, 200));
    }
    await this.giveBack(actor, isCut ? { ...lock, startByte: middle } : lock);
  }

  private async giveBack(actor: Actor, lock: LockRange): Promise<void> {
    const { file, owner, space, startByte, endByte } = lock;
    await actor.history.operate(actor.who, { kind: 'unlock', ...lock }, actor.limitMs, async () => {
      await actor.client.unlock(file, { owner, space, startByte, endByte });
      return { kind: 'unlock' };
    });
  }
}
