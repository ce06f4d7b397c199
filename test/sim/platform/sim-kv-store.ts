// The ordered stores of one simulated machine: their entries, and the unsynced batches, of which a loss of power takes a suffix (LevelDB's log is sequential).
// Processes see it through SimKvStores.
import type { KvOp } from '../../../src/lib/kv.js';
import type { SimRandom } from './sim-random.js';
import type { Simulator } from './simulator.js';
import { SortedMap } from './sorted-map.js';

export interface KvFaults {
  /** Chance that a batch fails; the store then refuses batches until it is opened anew. */
  batchErrorRate: number;
  openErrorRate: number;
  /** Factor on every latency. */
  slowFactor: number;
}

export const NO_KV_FAULTS: KvFaults = { batchErrorRate: 0, openErrorRate: 0, slowFactor: 1 };

/** Above this the store writes a table and syncs it, as LevelDB does with a full log. */
const UNSYNCED_BATCHES_MAX = 20_000;

type Undo = ReadonlyArray<readonly [key: string, before: Buffer | undefined]>;

/** One store on the disk. */
export class SimKvData {
  readonly entries = new SortedMap<Buffer>();
  isDamaged = false;
  /** What restores the state before each unsynced batch, oldest first. */
  #unsynced: Undo[] = [];

  apply(ops: readonly KvOp[]): void {
    const undo: Array<[string, Buffer | undefined]> = [];
    for (const op of ops) {
      const key = op.key.toString('latin1');
      undo.push([key, this.entries.get(key)]);
      if (op.type === 'put') this.entries.set(key, op.value);
      else this.entries.delete(key);
    }
    this.#unsynced.push(undo);
    if (this.#unsynced.length > UNSYNCED_BATCHES_MAX) this.sync();
  }

  sync(): void {
    this.#unsynced = [];
  }

  /** Undoes a random number of the last unsynced batches; returns how many. */
  losePower(random: SimRandom): number {
    const keptCount = random.int(this.#unsynced.length + 1);
    const lost = this.#unsynced.splice(keptCount);
    for (const undo of lost.toReversed()) {
      for (const [key, before] of undo.toReversed()) {
        if (before === undefined) this.entries.delete(key);
        else this.entries.set(key, before);
      }
    }
    this.sync();
    return lost.length;
  }
}

export class SimKvStore {
  readonly #simulator: Simulator;
  readonly #host: string;
  readonly #random: SimRandom;
  readonly #stores = new Map<string, SimKvData>();
  faults: KvFaults = NO_KV_FAULTS;

  constructor(simulator: Simulator, host: string) {
    this.#simulator = simulator;
    this.#host = host;
    this.#random = simulator.random(`${host}/kv-store`);
  }

  get(path: string): SimKvData | undefined {
    return this.#stores.get(path);
  }

  create(path: string): SimKvData {
    const data = new SimKvData();
    this.#stores.set(path, data);
    return data;
  }

  losePower(): void {
    for (const [path, data] of this.#stores) {
      const lostCount = data.losePower(this.#random);
      this.#simulator.trace(`${this.#host} store ${path} lost ${lostCount} unsynced batches`);
    }
  }

  /** The store in `path` is gone, as after a new disk; without a path all are. */
  wipe(path?: string): void {
    this.#simulator.fault('kv-wiped', `${this.#host}:${path ?? '*'}`);
    if (path === undefined) this.#stores.clear();
    else this.#stores.delete(path);
  }

  /** From now on opening it fails with EIO. */
  damage(path: string): void {
    const data = this.#stores.get(path);
    if (data === undefined) return;
    this.#simulator.fault('kv-damaged', `${this.#host}:${path}`);
    data.isDamaged = true;
  }
}
