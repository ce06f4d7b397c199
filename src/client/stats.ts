// Attributes as the public API shows them, shaped like those of node:fs. Values only.
import type { WireAttributes } from '../protocol/messages.js';

export class GfsStats {
  readonly inode: number;
  readonly type: 'file' | 'directory' | 'symlink';
  /** In bytes; of a file that is being appended to, exact at the moment of asking. */
  readonly size: number;
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  /** Grows when bytes that could be read were cut off. */
  readonly generation: number;
  /** Copies wanted of each chunk. */
  readonly goal: number;
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;

  constructor(attributes: WireAttributes) {
    this.inode = attributes.inode;
    this.type = attributes.type;
    this.size = attributes.sizeBytes;
    this.mode = attributes.mode;
    this.uid = attributes.uid;
    this.gid = attributes.gid;
    this.nlink = attributes.nlink;
    this.generation = attributes.generation;
    this.goal = attributes.goal;
    this.atimeNs = attributes.atimeNs;
    this.mtimeNs = attributes.mtimeNs;
    this.ctimeNs = attributes.ctimeNs;
  }

  get atime(): Date {
    return dateOf(this.atimeNs);
  }

  get mtime(): Date {
    return dateOf(this.mtimeNs);
  }

  get ctime(): Date {
    return dateOf(this.ctimeNs);
  }

  isFile(): boolean {
    return this.type === 'file';
  }

  isDirectory(): boolean {
    return this.type === 'directory';
  }

  isSymbolicLink(): boolean {
    return this.type === 'symlink';
  }
}

/** A time as nanoseconds since 1970, the way the wire has it. Numbers are seconds, as in node:fs. */
export function nanosecondsOf(time: Date | number | bigint): bigint {
  if (typeof time === 'bigint') return time;
  const ns =
    typeof time === 'number' ? BigInt(Math.round(time * 1e3)) * 1_000_000n : BigInt(time.getTime()) * 1_000_000n;
  // 0 on the wire means "now"; the first moment of 1970 is shown a nanosecond late instead.
  return ns === 0n ? 1n : ns;
}

function dateOf(ns: bigint): Date {
  return new Date(Number(ns / 1_000_000n));
}
