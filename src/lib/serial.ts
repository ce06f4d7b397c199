// Runs asynchronous jobs one after another per key, in the order of their arrival. It has no bound of its own: callers limit what they put in.

export class Serial<K> {
  /** The last job of each key that has unfinished ones. */
  readonly #tails = new Map<K, Promise<unknown>>();

  /** Runs `job` once all earlier jobs of `key` have settled; settles as the job does. A failed job does not stop the next. */
  run<T>(key: K, job: () => Promise<T>): Promise<T> {
    const previous = this.#tails.get(key);
    const result = previous === undefined ? start(job) : previous.then(job, job);
    this.#tails.set(key, result);
    const onSettled = (): void => {
      if (this.#tails.get(key) === result) this.#tails.delete(key);
    };
    result.then(onSettled, onSettled);
    return result;
  }

  /** Settles when no job of `key` is left, also none that was added meanwhile; never rejects. */
  async idle(key: K): Promise<void> {
    for (let tail = this.#tails.get(key); tail !== undefined; tail = this.#tails.get(key)) {
      await Promise.allSettled([tail]);
    }
  }

  /** How many keys have unfinished jobs. */
  get size(): number {
    return this.#tails.size;
  }
}

async function start<T>(job: () => Promise<T>): Promise<T> {
  return job();
}
