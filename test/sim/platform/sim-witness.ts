// Witness over a simulated machine's memory: a map that the processes of one uptime share and that a loss of power replaces.
import type { Witness } from '../../../src/lib/witness.js';
import type { SimProcess } from './sim-process.js';

export class SimWitness implements Witness {
  readonly #process: SimProcess;
  readonly #memory: Map<string, number>;

  constructor(process: SimProcess, memory: Map<string, number>) {
    this.#process = process;
    this.#memory = memory;
  }

  recall(name: string): number | undefined {
    return this.#memory.get(name);
  }

  raise(name: string, value: number): void {
    if (this.#process.isAlive) this.#memory.set(name, value);
  }
}
