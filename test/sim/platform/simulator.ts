// Virtual time: runs events one at a time in order, and lets every promise chain that an event set off come to rest before the next one.
// One seed gives one run. Owns the event queue, the random streams and the trace; it knows no nodes, disks or networks.
//
// How a simulated cluster is put together (the parts are in this folder):
//
//   const simulator = new Simulator({ seed: 7 });
//   const network = new SimNetwork(simulator);
//   const node = new SimNode(simulator, network, 'cs1');   // a machine; its address is 'cs1:9411'
//   const platform = node.boot();                          // a process on it: the Platform for the real code
//   void startServer(platform);                            // never await real code outside of run()
//   await simulator.run(10_000);                           // ten virtual seconds
//   node.kill(); node.powerLoss(); node.boot();            // faults: see SimNode, SimNetwork, SimDiskStore, SimKvStore
//
// Code under simulation may wait for promises, process.nextTick and the doors of its Platform, and for nothing else.
import { assert } from '../../../src/lib/assert.js';
import { crc32 } from '../../../src/lib/checksum.js';
import { EventQueue, type SimEvent } from './event-queue.js';
import { SimRandom } from './sim-random.js';

/** Steps that are handed to the platform's event loop at once. Node drains nextTicks and microtasks after each setImmediate callback. */
const STEPS_PER_TURN = 512;

export interface SimulatorOptions {
  seed: number;
  /** Trace lines that are kept, the latest ones; the fingerprint covers all. */
  traceLinesMax?: number;
  /** Called with each trace line, for watching a run. */
  onTrace?: (line: string) => void;
}

export class Simulator {
  readonly seed: number;
  /** Faults injected so far, by kind. */
  readonly faultCounts = new Map<string, number>();
  readonly #queue = new EventQueue();
  readonly #traceLinesMax: number;
  readonly #onTrace: ((line: string) => void) | undefined;
  #trace: string[] = [];
  #traceHash = 0;
  #timeHash = 0;
  #nowMs = 0;
  #eventCount = 0;
  #isRunning = false;

  constructor(options: SimulatorOptions) {
    this.seed = options.seed;
    this.#traceLinesMax = options.traceLinesMax ?? 2_000;
    this.#onTrace = options.onTrace;
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  /** Events that were run so far. */
  get eventCount(): number {
    return this.#eventCount;
  }

  /** A stream of its own for this name: the same for the same seed, whatever others draw. */
  random(stream: string): SimRandom {
    return new SimRandom(this.seed, stream);
  }

  /** Runs `run` `delayMs` from now, after what is due at the same moment already. The result is for `cancel`. */
  schedule(delayMs: number, run: () => void): SimEvent {
    assert(delayMs >= 0, 'events lie in the future');
    return this.#queue.add(this.#nowMs + delayMs, run);
  }

  cancel(event: SimEvent): void {
    event.run = undefined;
  }

  /** Settles after `delayMs` of virtual time: for scenarios, which are no node. */
  sleep(delayMs: number): Promise<void> {
    return new Promise(resolve => {
      this.schedule(delayMs, resolve);
    });
  }

  /** Lets `durationMs` pass. Rejects with what an event threw. */
  async run(durationMs: number): Promise<void> {
    await this.runUntil(() => false, durationMs);
  }

  /** Lets time pass until `predicate` holds between two events (true), or `maxMs` are over (false). */
  runUntil(predicate: () => boolean, maxMs: number): Promise<boolean> {
    assert(!this.#isRunning, 'a simulator runs once at a time');
    this.#isRunning = true;
    const endMs = this.#nowMs + maxMs;
    return new Promise((resolve, reject) => {
      // Steps of this run that are left over in the event loop must not run on behalf of the next one.
      let isOver = false;
      const finish = (settle: () => void): void => {
        isOver = true;
        this.#isRunning = false;
        settle();
      };
      let stepsLeft = 0;
      const step = (): void => {
        stepsLeft--;
        if (isOver) return;
        try {
          if (predicate()) finish(() => resolve(true));
          else if (!this.#runNext(endMs)) finish(() => resolve(predicate()));
          else if (stepsLeft === 0) turn();
        } catch (error) {
          finish(() => reject(error));
        }
      };
      const turn = (): void => {
        stepsLeft = STEPS_PER_TURN;
        for (let i = 0; i < STEPS_PER_TURN; i++) setImmediate(step);
      };
      turn();
    });
  }

  /** Adds a line to the trace, with the time before it. */
  trace(line: string): void {
    const stamped = `${this.#nowMs.toFixed(3)} ${line}`;
    this.#traceHash = crc32(Buffer.from(stamped), this.#traceHash);
    this.#onTrace?.(stamped);
    this.#trace.push(stamped);
    if (this.#trace.length > 2 * this.#traceLinesMax) this.#trace = this.#trace.slice(-this.#traceLinesMax);
  }

  /** Counts an injected fault by its kind and traces it. */
  fault(kind: string, detail: string): void {
    this.faultCounts.set(kind, (this.faultCounts.get(kind) ?? 0) + 1);
    this.trace(`fault ${kind} ${detail}`);
  }

  /** The latest lines of the trace. */
  get traceLines(): readonly string[] {
    return this.#trace.slice(-this.#traceLinesMax);
  }

  /** A checksum of every trace line and of every event's time: equal for two runs that went the same way. */
  get fingerprint(): string {
    return [this.#eventCount, this.#timeHash >>> 0, this.#traceHash].map(part => part.toString(16)).join('-');
  }

  /** Runs the simulator until `work` has settled, and settles likewise. Rejects when `maxMs` of virtual time are over before. */
  async drive<T>(work: Promise<T>, maxMs: number): Promise<T> {
    let isSettled = false;
    const onSettled = (): void => {
      isSettled = true;
    };
    work.then(onSettled, onSettled);
    if (!(await this.runUntil(() => isSettled, maxMs))) throw new Error(`nothing came of it in ${maxMs} virtual ms`);
    return work;
  }

  /** Runs the next event that is due by `endMs`; without one, time jumps there and the answer is false. */
  #runNext(endMs: number): boolean {
    for (;;) {
      const next = this.#queue.peek();
      if (next === undefined || next.atMs > endMs) {
        this.#nowMs = endMs;
        return false;
      }
      this.#queue.take();
      if (next.run === undefined) continue;
      this.#nowMs = next.atMs;
      this.#eventCount++;
      this.#timeHash = Math.imul(this.#timeHash ^ Math.floor(next.atMs * 1000), 0x01000193);
      next.run();
      return true;
    }
  }
}
