// The states of the files that this client has looked at: all open ones, and a bounded number of others.
import { boundedCache } from '../lib/lru.js';
import type { InodeId } from '../protocol/ids.js';
import { InodeState } from './inode-state.js';
import { CLIENT_LIMITS } from './settings.js';

export class InodeTable {
  readonly #open = new Map<InodeId, InodeState>();
  readonly #others = boundedCache<InodeId, InodeState>(CLIENT_LIMITS.inodesMax);

  /** The state of this inode, made when it is new. */
  get(inode: InodeId): InodeState {
    const known = this.peek(inode);
    if (known) return known;
    const state = new InodeState(inode);
    this.#others.set(inode, state);
    return state;
  }

  /** The state of this inode if there is one. */
  peek(inode: InodeId): InodeState | undefined {
    return this.#open.get(inode) ?? this.#others.get(inode);
  }

  /** Keeps the state until it is released as often. */
  hold(state: InodeState): void {
    state.opens++;
    this.#open.set(state.inode, state);
    this.#others.delete(state.inode);
  }

  release(state: InodeState): void {
    state.opens--;
    if (state.opens > 0) return;
    this.#open.delete(state.inode);
    this.#others.set(state.inode, state);
  }

  /** Everything known may be old. */
  expireAll(): void {
    for (const state of this.#open.values()) state.checkedMs = Number.NEGATIVE_INFINITY;
    for (const state of this.#others.values()) state.checkedMs = Number.NEGATIVE_INFINITY;
  }

  expire(inode: number): void {
    const state = this.peek(inode as InodeId);
    if (state) state.checkedMs = Number.NEGATIVE_INFINITY;
  }
}
