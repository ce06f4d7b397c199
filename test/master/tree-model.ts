// A plain model of a POSIX tree, to compare the master's names and contents with: nested maps, files as lists of cells. Refusals are error codes.
import type { ErrorCode } from '../../src/protocol/errors.js';

export interface ModelFile {
  type: 'file';
  nlink: number;
  /** One per byte; 0 is a hole's zero. */
  cells: number[];
}
export interface ModelDirectory {
  type: 'directory';
  children: Map<string, ModelNode>;
}
export type ModelNode = ModelFile | ModelDirectory;

export class Refusal extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode) {
    super(code);
    this.code = code;
  }
}

export class TreeModel {
  readonly root: ModelDirectory = { type: 'directory', children: new Map() };

  create(path: string, exclusive: boolean): void {
    const { parent, name, node } = this.#place(path);
    if (node === undefined) {
      parent.children.set(name, { type: 'file', nlink: 1, cells: [] });
      return;
    }
    if (exclusive) throw new Refusal('EXISTS');
    if (node.type === 'directory') throw new Refusal('IS_DIRECTORY');
  }

  makeDirectory(path: string): void {
    const { parent, name, node } = this.#place(path);
    if (node !== undefined) throw new Refusal('EXISTS');
    parent.children.set(name, { type: 'directory', children: new Map() });
  }

  link(existing: string, created: string): void {
    const file = this.find(existing);
    const { parent, name, node } = this.#place(created);
    if (node !== undefined) throw new Refusal('EXISTS');
    if (file.type === 'directory') throw new Refusal('NOT_PERMITTED');
    file.nlink++;
    parent.children.set(name, file);
  }

  unlink(path: string): void {
    const { parent, name } = this.#place(path);
    const node = this.find(path);
    if (node.type === 'directory') throw new Refusal('IS_DIRECTORY');
    node.nlink--;
    parent.children.delete(name);
  }

  removeDirectory(path: string): void {
    const { parent, name } = this.#place(path);
    const node = this.find(path);
    if (node.type !== 'directory') throw new Refusal('NOT_DIRECTORY');
    if (node.children.size > 0) throw new Refusal('NOT_EMPTY');
    parent.children.delete(name);
  }

  rename(from: string, to: string, { noReplace, exchange }: { noReplace: boolean; exchange: boolean }): void {
    const source = this.#place(from);
    const target = this.#place(to);
    const [moved, other] = [source.node, target.node];
    if (moved === undefined) throw new Refusal('NOT_FOUND');
    if (contains(moved, target.parent)) throw new Refusal('INVALID');
    if (noReplace && other !== undefined) throw new Refusal('EXISTS');
    if (exchange) {
      if (other === undefined) throw new Refusal('NOT_FOUND');
      if (contains(other, source.parent)) throw new Refusal('INVALID');
      source.parent.children.set(source.name, other);
      target.parent.children.set(target.name, moved);
      return;
    }
    if (moved === other) return;
    if (other?.type === 'directory') {
      if (moved.type !== 'directory') throw new Refusal('IS_DIRECTORY');
      if (other.children.size > 0) throw new Refusal('NOT_EMPTY');
    } else if (other !== undefined) {
      if (moved.type === 'directory') throw new Refusal('NOT_DIRECTORY');
      other.nlink--;
    }
    source.parent.children.delete(source.name);
    target.parent.children.set(target.name, moved);
  }

  append(path: string, cells: number[]): void {
    this.#file(path).cells.push(...cells);
  }

  truncate(path: string, sizeBytes: number): void {
    const file = this.#file(path);
    file.cells = file.cells.slice(0, sizeBytes);
    while (file.cells.length < sizeBytes) file.cells.push(0);
  }

  snapshot(from: string, to: string): void {
    const file = this.find(from);
    if (file.type === 'directory') throw new Refusal('IS_DIRECTORY');
    const { parent, name, node } = this.#place(to);
    if (node !== undefined) throw new Refusal('EXISTS');
    parent.children.set(name, { type: 'file', nlink: 1, cells: file.cells.slice() });
  }

  find(path: string): ModelNode {
    const { node } = this.#place(path);
    if (node === undefined) throw new Refusal('NOT_FOUND');
    return node;
  }

  #file(path: string): ModelFile {
    const node = this.find(path);
    if (node.type === 'directory') throw new Refusal('IS_DIRECTORY');
    return node;
  }

  #place(path: string): { parent: ModelDirectory; name: string; node: ModelNode | undefined } {
    const names = path.split('/');
    const name = names.pop()!;
    let parent: ModelNode | undefined = this.root;
    for (const step of names) {
      if (parent.type !== 'directory') throw new Refusal('NOT_DIRECTORY');
      parent = parent.children.get(step);
      if (parent === undefined) throw new Refusal('NOT_FOUND');
    }
    if (parent.type !== 'directory') throw new Refusal('NOT_DIRECTORY');
    return { parent, name, node: parent.children.get(name) };
  }
}

function contains(node: ModelNode, directory: ModelDirectory): boolean {
  if (node.type !== 'directory') return false;
  return node === directory || [...node.children.values()].some(child => contains(child, directory));
}
