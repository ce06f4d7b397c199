// How often the kernel was told each inode (its lookup count), so that we know when it has forgotten one. Inode numbers are stable ids and serve as
// node ids, so nothing is translated. Invariant: every count is positive; the root is never counted, as the kernel never forgets it.
import { ROOT_NODE } from './wire.js';

export class NodeTable {
  private readonly onForgotten: (inode: number) => void;
  private readonly counts = new Map<number, number>();

  constructor(onForgotten: (inode: number) => void) {
    this.onForgotten = onForgotten;
  }

  get size(): number {
    return this.counts.size;
  }

  has(inode: number): boolean {
    return inode === ROOT_NODE || this.counts.has(inode);
  }

  /** An answer names the inode once more. */
  remember(inode: number): void {
    if (inode === ROOT_NODE) return;
    this.counts.set(inode, (this.counts.get(inode) ?? 0) + 1);
  }

  /** The kernel gives back `times` mentions; unknown inodes and surplus times do no harm. */
  forget(inode: number, times: number): void {
    const count = this.counts.get(inode);
    if (count === undefined) return;
    if (times < count) {
      this.counts.set(inode, count - times);
      return;
    }
    this.counts.delete(inode);
    this.onForgotten(inode);
  }
}
