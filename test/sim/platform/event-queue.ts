// The simulator's future: events ordered by virtual time, and by the order of scheduling within one moment. A binary heap; it runs nothing itself.

export interface SimEvent {
  readonly atMs: number;
  readonly sequence: number;
  /** Undefined once it was cancelled. */
  run: (() => void) | undefined;
}

export class EventQueue {
  readonly #heap: SimEvent[] = [];
  #sequence = 0;

  get size(): number {
    return this.#heap.length;
  }

  add(atMs: number, run: () => void): SimEvent {
    const event: SimEvent = { atMs, sequence: this.#sequence++, run };
    const heap = this.#heap;
    let index = heap.length;
    heap.push(event);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!isBefore(event, heap[parent]!)) break;
      heap[index] = heap[parent]!;
      index = parent;
    }
    heap[index] = event;
    return event;
  }

  peek(): SimEvent | undefined {
    return this.#heap[0];
  }

  /** Removes the earliest event; requires that there is one. */
  take(): SimEvent {
    const heap = this.#heap;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length > 0) this.#sink(last);
    return first;
  }

  #sink(event: SimEvent): void {
    const heap = this.#heap;
    const count = heap.length;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= count) break;
      if (child + 1 < count && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, event)) break;
      heap[index] = heap[child]!;
      index = child;
    }
    heap[index] = event;
  }
}

function isBefore(a: SimEvent, b: SimEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.sequence < b.sequence);
}
