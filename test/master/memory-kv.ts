// Stores in memory for the master's tests: they survive close and open, can be held in the middle of a batch, and can be made to fail.
import type { Kv, KvOp, KvRange, KvStores } from '../../src/lib/kv.js';

export class MemoryKv implements Kv {
  readonly rows = new Map<string, [Buffer, Buffer]>();
  /** Every batch that was asked for. */
  readonly batches: Array<{ ops: readonly KvOp[]; sync: boolean }> = [];
  /** A batch waits for this before it is applied. */
  gate: Promise<void> = Promise.resolve();
  /** A scan waits for this before it reads. */
  scanGate: Promise<void> = Promise.resolve();
  failure: Error | undefined;
  /** What was read: point reads, and entries of scans. */
  readonly reads = { gets: 0, scanned: 0 };

  getSync(key: Buffer): Buffer | undefined {
    this.reads.gets++;
    const value = this.rows.get(key.toString('latin1'))?.[1];
    // As from a disk: nothing but the bytes.
    return value && Buffer.from(value);
  }

  async batch(ops: readonly KvOp[], options: { sync: boolean }): Promise<void> {
    this.batches.push({ ops, sync: options.sync });
    await this.gate;
    if (this.failure !== undefined) throw this.failure;
    for (const op of ops) {
      const text = op.key.toString('latin1');
      if (op.type === 'put') this.rows.set(text, [op.key, op.value]);
      else this.rows.delete(text);
    }
  }

  async scan({ gte, lt, limit, reverse }: KvRange): Promise<Array<[Buffer, Buffer]>> {
    await this.scanGate;
    const found = [...this.rows.values()].filter(([key]) => key.compare(gte) >= 0 && key.compare(lt) < 0);
    found.sort(([a], [b]) => (reverse ? b.compare(a) : a.compare(b)));
    const page = found.slice(0, limit);
    this.reads.scanned += page.length;
    return page.map(([key, value]) => [Buffer.from(key), Buffer.from(value)]);
  }

  async close(): Promise<void> {
    await this.gate;
  }
}

export class MemoryKvStores implements KvStores {
  readonly stores = new Map<string, MemoryKv>();

  async open(path: string, { create }: { create: boolean }): Promise<MemoryKv> {
    let store = this.stores.get(path);
    if (store === undefined) {
      if (!create) throw Object.assign(new Error(`there is no store in ${path}`), { code: 'ENOENT' });
      store = new MemoryKv();
      this.stores.set(path, store);
    }
    return store;
  }

  /** The only store there is. */
  get only(): MemoryKv {
    return [...this.stores.values()][0]!;
  }
}
