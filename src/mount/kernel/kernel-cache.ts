// What the kernel may still hold of what it was told: names and attributes, each with an end; and how such are taken back when another mount changed
// them. It looks into no request. Invariant: an answer that may be kept was asked for after the last change that was told, and stands in a table here.
import type { Clock } from '../../lib/clock.js';
import type { Attributes, FuseNotifier, Where } from '../fuse-operations.js';
import { type Ticket, Tickets } from '../tickets.js';
import type { NodeTable } from './node-table.js';
import * as wire from './wire.js';

/** Sends an unasked message; see AnswerSink.notify. */
export type Notify = (code: number, data: Buffer, key: string) => void;

export type KeepTicket = Ticket;

export interface KernelCacheOptions {
  attributeTimeoutMs: number;
  entryTimeoutMs: number;
}

/** Names and inodes the kernel may hold, each; what does not fit is not to be kept by it. */
const GIVEN_MAX = 16_384;
/**
 * Every invalidation is sent twice, at least this far apart and at most twice as far: a thread that has been given its answer may come to note it only after the first one, and the kernel
 * has no order between the two for names, nor for inodes that are new to it.
 */
const AGAIN_MS = 30;
/** The kernel counts from when it takes an answer, which is later than here. */
const SLACK_MS = 1000;
const TO_THE_END = 0;
const ATTRIBUTES_ONLY = -1;

export class KernelCache implements FuseNotifier {
  private readonly options: KernelCacheOptions;
  private readonly clock: Clock;
  private readonly nodes: NodeTable;
  private readonly notify: Notify;

  private readonly inodes: GivenTable<number>;
  private readonly entries: GivenTable<Where>;
  private readonly tickets = new Tickets();
  /** Invalidations to be sent once more, by key: at the next tick, and at the one after it. */
  private due = new Map<string, () => void>();
  private young = new Map<string, () => void>();
  private isTicking = false;

  constructor(options: KernelCacheOptions, parts: { clock: Clock; nodes: NodeTable; notify: Notify }) {
    this.options = options;
    this.clock = parts.clock;
    this.nodes = parts.nodes;
    this.notify = parts.notify;
    this.inodes = new GivenTable(parts.clock);
    this.entries = new GivenTable(parts.clock);
  }

  /** To be taken before the operations are asked. */
  ticket(): KeepTicket {
    return this.tickets.take();
  }

  /** How long the kernel may keep these attributes, in milliseconds; it is told so with the answer. */
  keepAttributes(ticket: KeepTicket, attributes: Attributes): number {
    // Of a growing file no notice tells the size.
    const key = inodeKey(attributes.inode);
    if (attributes.growing || !this.tickets.isGood(ticket, key)) return 0;
    return this.inodes.give(key, attributes.inode, this.options.attributeTimeoutMs);
  }

  /** The same for a name. */
  keepEntry(ticket: KeepTicket, where: Where): number {
    const key = entryKey(where);
    return this.tickets.isGood(ticket, key) ? this.entries.give(key, where, this.options.entryTimeoutMs) : 0;
  }

  /** The kernel moved a name by itself, and keeps it as long as the old one. */
  entryMoved(to: Where): void {
    if (this.entries.give(entryKey(to), to, this.options.entryTimeoutMs) === 0) this.sendEntry(to);
  }

  invalidateInode(inode: number, fromByte?: number): void {
    this.tickets.noteChange();
    this.takeBackInode(inode, fromByte);
  }

  invalidateEntry(parentInode: number, name: string): void {
    this.tickets.noteChange();
    this.takeBackEntry({ start: parentInode, path: name });
  }

  forgetInode(inode: number): void {
    this.tickets.noteForgotten(inodeKey(inode));
    this.takeBackInode(inode, 0);
  }

  forgetEntry(parentInode: number, name: string): void {
    const where = { start: parentInode, path: name };
    this.tickets.noteForgotten(entryKey(where));
    this.takeBackEntry(where);
  }

  invalidateAll(): void {
    this.tickets.noteChange();
    for (const inode of this.inodes.takeAll()) this.invalidateInode(inode, 0);
    for (const where of this.entries.takeAll()) this.sendTwice(`entry ${entryKey(where)}`, () => this.sendEntry(where));
  }

  private takeBackInode(inode: number, fromByte?: number): void {
    this.inodes.take(inodeKey(inode));
    if (this.nodes.has(inode))
      this.sendTwice(`inode ${inode} ${fromByte ?? ''}`, () => this.sendInode(inode, fromByte));
  }

  private takeBackEntry(where: Where): void {
    if (this.entries.take(entryKey(where))) this.sendTwice(`entry ${entryKey(where)}`, () => this.sendEntry(where));
  }

  private sendTwice(key: string, send: () => void): void {
    send();
    this.young.set(key, send);
    this.startTicking();
  }

  private startTicking(): void {
    if (this.isTicking) return;
    this.isTicking = true;
    this.clock.setTimer(AGAIN_MS, () => this.onTick(), { background: true });
  }

  private onTick(): void {
    const { due } = this;
    this.due = this.young;
    this.young = new Map();
    this.isTicking = false;
    if (this.due.size > 0) this.startTicking();
    for (const send of due.values()) send();
  }

  private sendInode(inode: number, fromByte: number | undefined): void {
    const range = { off: fromByte ?? ATTRIBUTES_ONLY, len: TO_THE_END };
    const data = wire.NOTIFY_INVAL_INODE_OUT.encode({ ino: inode, ...range });
    this.notify(wire.NOTIFY.INVAL_INODE, data, `inode ${inode} ${fromByte ?? ''}`);
  }

  private sendEntry(where: Where): void {
    const text = Buffer.from(`${where.path}\0`);
    // Expired, not dropped: a dropped directory would lose those who work in it.
    const flags = wire.INVAL_ENTRY_EXPIRE_ONLY;
    const head = wire.NOTIFY_INVAL_ENTRY_OUT.encode({ parent: where.start, namelen: text.length - 1, flags });
    this.notify(wire.NOTIFY.INVAL_ENTRY, Buffer.concat([head, text]), `entry ${entryKey(where)}`);
  }
}

/** What was given to the kernel, until when. All of one table live equally long, so the oldest end first. */
class GivenTable<T> {
  private readonly given = new Map<string, { value: T; untilMs: number }>();

  constructor(private readonly clock: Clock) {}

  /** Returns `keepMs`, or 0 when there is no room. */
  give(key: string, value: T, keepMs: number): number {
    if (keepMs === 0) return 0;
    const nowMs = this.clock.monotonicMs();
    this.given.delete(key);
    this.dropEnded(nowMs);
    if (this.given.size >= GIVEN_MAX) return 0;
    this.given.set(key, { value, untilMs: nowMs + keepMs + SLACK_MS });
    return keepMs;
  }

  /** Returns whether the kernel may have held it. */
  take(key: string): boolean {
    const known = this.given.get(key);
    this.given.delete(key);
    return known !== undefined && known.untilMs >= this.clock.monotonicMs();
  }

  takeAll(): T[] {
    const values = [...this.given.values()].map(({ value }) => value);
    this.given.clear();
    return values;
  }

  private dropEnded(nowMs: number): void {
    for (const [key, { untilMs }] of this.given) {
      if (untilMs >= nowMs) return;
      this.given.delete(key);
    }
  }
}

function inodeKey(inode: number): string {
  return `i${inode}`;
}

function entryKey(where: Where): string {
  return `${where.start}/${where.path}`;
}
