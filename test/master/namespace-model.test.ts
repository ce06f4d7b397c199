// The names and contents of the master against a plain model, with the invariants checked after every step.
import test from 'ava';
import fc from 'fast-check';
import { checkInvariants } from '../../src/master/check.js';
import { forgetGarbage, garbageDue, getChunk, openChunk, recordCommitted, sealChunk } from '../../src/master/chunks.js';
import { listExtents, truncateFile } from '../../src/master/file-extents.js';
import {
  createFile,
  link,
  makeDirectory,
  readDirectory,
  removeDirectory,
  renameEntry,
  resolve,
  unlink,
} from '../../src/master/namespace.js';
import type { InodeRecord } from '../../src/master/records.js';
import { snapshotFile } from '../../src/master/snapshot.js';
import type { Store } from '../../src/master/store.js';
import { collectDue } from '../../src/master/trash.js';
import { GfsError } from '../../src/protocol/errors.js';
import { at, CHAIN, find, formatted, OWNER, reopen, root } from './fixture.js';
import type { MemoryKvStores } from './memory-kv.js';
import { type ModelDirectory, Refusal, TreeModel } from './tree-model.js';

/** Few names, so that operations meet. */
const path = fc.constantFrom('a', 'b', 'c', 'a/a', 'a/b', 'b/a', 'b/b', 'a/a/a', 'a/a/b', 'a/b/a', 'b/a/a', 'a/a/a/a');
const two = fc.record({ from: path, to: path });

const step = fc.oneof(
  fc.record({ kind: fc.constant('create' as const), path, exclusive: fc.boolean() }),
  fc.record({ kind: fc.constant('mkdir' as const), path }),
  fc.record({ kind: fc.constant('link' as const), two }),
  fc.record({ kind: fc.constant('unlink' as const), path }),
  fc.record({ kind: fc.constant('rmdir' as const), path }),
  fc.record({
    kind: fc.constant('rename' as const),
    two,
    flags: fc.constantFrom(
      { noReplace: false, exchange: false },
      { noReplace: false, exchange: false },
      { noReplace: true, exchange: false },
      { noReplace: false, exchange: true },
    ),
  }),
  fc.record({ kind: fc.constant('append' as const), path, lengthBytes: fc.nat(5), seal: fc.boolean() }),
  fc.record({ kind: fc.constant('truncate' as const), path, sizeBytes: fc.nat(12) }),
  fc.record({ kind: fc.constant('snapshot' as const), two }),
  fc.record({ kind: fc.constant('collect' as const) }),
  fc.record({ kind: fc.constant('restart' as const) }),
);
/** A tree in which most operations have something to work on. */
const START: Step[] = [
  { kind: 'mkdir', path: 'a' },
  { kind: 'mkdir', path: 'a/a' },
  { kind: 'mkdir', path: 'b' },
  { kind: 'create', path: 'a/a/a', exclusive: true },
  { kind: 'create', path: 'b/a', exclusive: true },
  { kind: 'append', path: 'b/a', lengthBytes: 3, seal: true },
  { kind: 'append', path: 'b/a', lengthBytes: 4, seal: false },
];
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** The system under test with what stands for the chunkservers: the cells of each chunk. */
class Tested {
  store: Store;
  nowMs = 10_000;
  readonly chunks = new Map<number, number[]>();
  #nextCell = 1;

  constructor(
    store: Store,
    readonly kv: MemoryKvStores,
  ) {
    this.store = store;
  }

  newCells(lengthBytes: number): number[] {
    return Array.from({ length: lengthBytes }, () => this.#nextCell++);
  }

  /** As the master does it: what is known to be committed is sealed before the end of a file is looked at. */
  sealTail(path: string): void {
    const file = this.#open(path);
    if (file.tailHandle === 0) return;
    const { handle, lengthBytes } = getChunk(this.store, file.tailHandle);
    this.store.change(change => sealChunk(change, handle, lengthBytes, at(this.nowMs)));
  }

  append(path: string, cells: number[], seal: boolean): void {
    const file = this.#open(path);
    this.store.change(change => {
      const handle = file.tailHandle || openChunk(change, { inode: file.inode, chain: CHAIN }, at(this.nowMs)).handle;
      const stored = [...(this.chunks.get(handle) ?? []), ...cells];
      this.chunks.set(handle, stored);
      recordCommitted(change, handle, stored.length, at(this.nowMs));
      if (seal) sealChunk(change, handle, stored.length, at(this.nowMs));
    });
  }

  read(file: InodeRecord): number[] {
    const cells: number[] = [];
    for (const { handle, chunkOffset, lengthBytes } of listExtents(this.store, file, 0, file.extentCount)) {
      if (handle === 0) cells.push(...new Array<number>(lengthBytes).fill(0));
      else cells.push(...this.chunks.get(handle)!.slice(chunkOffset, chunkOffset + lengthBytes));
    }
    return file.tailHandle === 0 ? cells : [...cells, ...this.chunks.get(file.tailHandle)!];
  }

  #open(path: string): InodeRecord {
    const file = resolve(this.store, root(path), true);
    if (file.type === 'directory') throw new GfsError('IS_DIRECTORY');
    return file;
  }
}

async function apply(tested: Tested, model: TreeModel, s: Step): Promise<void> {
  const { store } = tested;
  const now = at(tested.nowMs);
  switch (s.kind) {
    case 'create':
      return both(
        () =>
          store.change(change =>
            createFile(change, { where: root(s.path), mode: 0o644, ...OWNER, exclusive: s.exclusive }, now),
          ),
        () => model.create(s.path, s.exclusive),
      );
    case 'mkdir':
      return both(
        () => store.change(change => makeDirectory(change, { where: root(s.path), mode: 0o755, ...OWNER }, now)),
        () => model.makeDirectory(s.path),
      );
    case 'link':
      return both(
        () => store.change(change => link(change, { existing: root(s.two.from), created: root(s.two.to) }, now)),
        () => model.link(s.two.from, s.two.to),
      );
    case 'unlink':
      return both(
        () => store.change(change => unlink(change, root(s.path), now)),
        () => model.unlink(s.path),
      );
    case 'rmdir':
      return both(
        () => store.change(change => removeDirectory(change, root(s.path), now)),
        () => model.removeDirectory(s.path),
      );
    case 'rename':
      return both(
        () =>
          store.change(change => renameEntry(change, { from: root(s.two.from), to: root(s.two.to), ...s.flags }, now)),
        () => model.rename(s.two.from, s.two.to, s.flags),
      );
    case 'append': {
      const cells = tested.newCells(s.lengthBytes);
      return both(
        () => tested.append(s.path, cells, s.seal),
        () => model.append(s.path, cells),
      );
    }
    case 'truncate':
      return both(
        () => {
          tested.sealTail(s.path);
          store.change(change => truncateFile(change, find(store, s.path).inode, s.sizeBytes, now));
        },
        () => model.truncate(s.path, s.sizeBytes),
      );
    case 'snapshot':
      return both(
        () => {
          tested.sealTail(s.two.from);
          store.change(change => snapshotFile(change, { from: root(s.two.from), to: root(s.two.to), ...OWNER }, now));
        },
        () => model.snapshot(s.two.from, s.two.to),
      );
    case 'collect': {
      tested.nowMs += 8_000;
      await collectDue(store, { at: at(tested.nowMs), isOpen: () => false, filesMax: 2, extentsMax: 3 });
      for (const handle of await garbageDue(store, tested.nowMs, 10)) {
        store.change(change => forgetGarbage(change, handle));
        tested.chunks.delete(handle);
      }
      return;
    }
    case 'restart':
      await store.close();
      tested.store = await reopen(tested.kv);
      return;
  }
}

/** Both do it, or both refuse with the same code. */
function both(real: () => unknown, model: () => unknown): void {
  const refused = refusalOf(model);
  const got = refusalOf(real);
  if (got !== refused) throw new Error(`got ${got ?? 'success'}, the model says ${refused ?? 'success'}`);
}

function refusalOf(work: () => unknown): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    if (error instanceof GfsError || error instanceof Refusal) return error.code;
    throw error;
  }
}

async function compare(tested: Tested, directory: ModelDirectory, where: string): Promise<void> {
  const { inode } = find(tested.store, where);
  const { entries } = await readDirectory(tested.store, { inode, after: '', limit: 100 });
  const names = entries.map(({ name }) => name);
  const expected = [...directory.children.keys()].sort();
  if (names.join() !== expected.join()) throw new Error(`${where}/ has ${names.join()}, not ${expected.join()}`);
  for (const { name, attributes, record } of entries) {
    const below = where === '' ? name : `${where}/${name}`;
    const node = directory.children.get(name)!;
    if (node.type !== attributes.type) throw new Error(`${below} is a ${attributes.type}`);
    if (node.type === 'directory') {
      await compare(tested, node, below);
      continue;
    }
    const cells = tested.read(record);
    if (cells.join() !== node.cells.join()) throw new Error(`${below} holds ${cells.join()}, not ${node.cells.join()}`);
    if (attributes.nlink !== node.nlink) throw new Error(`${below} has ${attributes.nlink} links, not ${node.nlink}`);
    if (attributes.sizeBytes !== cells.length) throw new Error(`${below} claims ${attributes.sizeBytes} bytes`);
  }
}

test('any sequence of operations agrees with a plain tree, and every invariant holds after each', async t => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 40, size: 'max' }), async steps => {
      const { store, kv } = await formatted();
      const tested = new Tested(store, kv);
      const model = new TreeModel();
      for (const s of [...START, ...steps]) {
        tested.nowMs += 100;
        await apply(tested, model, s);
        await compare(tested, model.root, '');
        await checkInvariants(tested.store);
      }
    }),
    { numRuns: 300 },
  );
  t.pass();
});
