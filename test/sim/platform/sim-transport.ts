// Transport as one process sees it: its door to the SimNetwork.
import type { Address, Connection, Listener, Transport } from '../../../src/lib/transport.js';
import type { SimNetwork } from './sim-network.js';
import type { SimProcess } from './sim-process.js';

export class SimTransport implements Transport {
  readonly #process: SimProcess;
  readonly #network: SimNetwork;

  constructor(process: SimProcess, network: SimNetwork) {
    this.#process = process;
    this.#network = network;
    process.onEnd(end => network.onProcessEnd(process, end));
  }

  listen(address: Address, onConnection: (connection: Connection) => void): Promise<Listener> {
    return this.#process.after(0, () => {
      const bound = this.#network.listen(this.#process, address, onConnection);
      return {
        address: bound,
        close: async () => this.#network.unlisten(this.#process, bound),
      };
    });
  }

  connect(address: Address, timeoutMs: number): Promise<Connection> {
    return this.#network.connect(this.#process, address, timeoutMs);
  }
}
