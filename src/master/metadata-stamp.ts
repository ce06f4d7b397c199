// How far this metadata has come: a number that every batch of the store raises, and which starts of a master raised it from where. Chunkservers are told, and
// name it when they register, so that a master on an old copy finds out also where no chunk shows it (FAULTS, promise 8). It compares; it stops nothing.
import type { KvOp } from '../lib/kv.js';
import { type Random, randomId } from '../lib/random.js';
import type { ServerId } from '../protocol/ids.js';
import type { WireStamp } from '../protocol/messages.js';
import { metaKey } from './keys.js';
import { codec } from './records.js';
import type { BatchRow, Change, Store } from './store.js';

interface StartRecord {
  start: string;
  /** Number of its first batch. */
  from: number;
}
const STAMP = codec<{ number: number }>('stamp');
const STAMP_KEY = metaKey('stamp');
const STARTS = codec<{ starts: StartRecord[] }>('starts');
const STARTS_KEY = metaKey('starts');

/** Starts that are remembered; of older ones only the number counts. */
const STARTS_MAX = 64;

export class MetadataStamp implements BatchRow {
  /** The last one is this process's. */
  private starts: StartRecord[] = [];
  private nextNumber = 1;
  private writingNumber = 0;
  private durableNumber = 0;
  /** Servers that named something that this metadata lacks. */
  private readonly ahead = new Map<ServerId, { heard: number; has: number }>();

  /** Takes up what the store has. In its next batch this start begins. */
  begin(store: Store, random: Random): void {
    const value = store.get(STAMP_KEY);
    this.durableNumber = value === undefined ? 0 : STAMP.decode(STAMP_KEY, value).number;
    this.nextNumber = this.durableNumber + 1;
    const known = store.get(STARTS_KEY);
    const before = known === undefined ? [] : STARTS.decode(STARTS_KEY, known).starts;
    this.starts = [...before.slice(1 - STARTS_MAX), { start: randomId(random), from: this.nextNumber }];
    store.change(change => this.putStarts(change));
  }

  /** For the batch that leaves now. */
  row(): KvOp {
    this.writingNumber = this.nextNumber++;
    return { type: 'put', key: STAMP_KEY, value: STAMP.encode(STAMP_KEY, { number: this.writingNumber }) };
  }

  written(): void {
    this.durableNumber = this.writingNumber;
  }

  /** Of the last batch that is on the disk: nothing newer may be told. */
  get durable(): WireStamp {
    return { start: this.own.start, number: this.durableNumber };
  }

  /**
   * A server names what it was told last. Returns the number up to which this metadata has what the naming master had, when that is less: an old copy. A
   * start that is not known here went on from an older state than this process did, or was one of a copy that is out of use.
   */
  lacking(server: ServerId, named: WireStamp): number | undefined {
    const index = this.starts.findIndex(({ start }) => start === named.start);
    const next = index < 0 ? this.own : this.starts[index + 1];
    const end = next ? next.from - 1 : this.durableNumber;
    if (named.number <= end) {
      this.ahead.delete(server);
      return undefined;
    }
    this.ahead.set(server, { heard: named.number, has: end });
    return end;
  }

  /** Servers that heard of changes that this metadata lacks, of which, and up to where it has them. */
  serversAhead(): ReadonlyMap<ServerId, { heard: number; has: number }> {
    return this.ahead;
  }

  /** An operator goes on with an old copy: from its next batch on it is newer than all that was ever named, and what was before is forgiven. */
  goBeyond(change: Change, numbers: number): void {
    this.nextNumber = Math.max(this.nextNumber, ...[...this.ahead.values()].map(({ heard }) => heard)) + numbers;
    this.starts = [{ start: this.own.start, from: this.nextNumber }];
    this.putStarts(change);
    this.ahead.clear();
  }

  forgetServer(server: ServerId): void {
    this.ahead.delete(server);
  }

  private get own(): StartRecord {
    return this.starts[this.starts.length - 1]!;
  }

  private putStarts(change: Change): void {
    change.put(STARTS_KEY, STARTS.encode(STARTS_KEY, { starts: this.starts }));
  }
}
