// Appends whole records to a file that others append to as well, each where it takes the file to end: of two that claim one place one gets it.
// Checks: an append that was refused because the file ends elsewhere does not stand, and one that was acknowledged stands where it was asked to.
import type { OpenFile } from '../../../src/client/types.js';
import type { Actor } from '../actor.js';
import { RECORD_BYTES_MIN } from '../records.js';
import { openRecords } from './record-appenders.js';
import type { Workload } from './workload.js';

const PATH = 'claimed';
/** Claims on their way at once, each behind the one before. */
const CLAIMS_MAX = 3;

export class Claimers implements Workload {
  readonly name = 'claimers';

  constructor(private readonly pauseMs: number) {}

  async run(actor: Actor): Promise<void> {
    while (!actor.isOver()) {
      const file = await actor.persist(() => openRecords(actor, PATH));
      if (!file) return;
      await this.claim(actor, file);
      await actor.attempt(() => actor.name(`close ${PATH}`, () => file.close()));
    }
  }

  private async claim(actor: Actor, file: OpenFile): Promise<void> {
    const { random } = actor;
    const writer = actor.nextWriter();
    let end: number | undefined;
    for (let sequence = 1; sequence < 40 && !actor.isOver(); ) {
      end ??= await this.findEnd(actor, file);
      const claims: Array<Promise<unknown>> = [];
      let claimed = end;
      for (let count = 1 + random.int(CLAIMS_MAX); count > 0 && claimed !== undefined; count--) {
        const lengthBytes = RECORD_BYTES_MIN + random.int(700);
        const where = random.chance(0.85) ? { expectedOffset: claimed } : {};
        const record = { writer, sequence: sequence++ };
        claims.push(actor.attempt(() => actor.appendRecord(file, record, lengthBytes, where)));
        claimed += lengthBytes;
      }
      const failures = await Promise.all(claims);
      // Where one failed, or landed elsewhere, only the file system knows its end; now and then an old idea of it is tried again.
      const isLost = failures.some(error => error !== undefined) || random.chance(0.2);
      end = isLost && !random.chance(0.1) ? undefined : claimed;
      await actor.sleep(random.between(0, 2 * this.pauseMs));
    }
  }

  private async findEnd(actor: Actor, file: OpenFile): Promise<number | undefined> {
    let size: number | undefined;
    await actor.attempt(async () => {
      size = (await actor.size(file)).sizeBytes;
    });
    return size;
  }
}
