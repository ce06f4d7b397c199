// Parts of large appends that came ahead of their append, kept by (connection, push number) until it comes, and passed on to the next replica
// as they arrive. It judges no appends; what it may hold is bounded, and what does not fit or come in order is simply not here (PUSH_LOST).
import type { Clock } from '../lib/clock.js';
import type { Peer, ServerConnection } from '../rpc/types.js';
import { BOUNDS } from './settings.js';

/** The same bytes on the connection to the next replica. */
export interface ForwardedPush {
  peer: Peer;
  push: number;
  connectionNumber: number;
}

export interface StagedBytes {
  buffers: Buffer[];
  lengthBytes: number;
  /** Undefined where there is no next replica, or not all parts were passed on. */
  forwarded: ForwardedPush | undefined;
}

interface Staged extends StagedBytes {
  parts: number;
  /** A part is missing: the rest is not kept. */
  lost: boolean;
  sinceMs: number;
}

export interface PushPart {
  push: number;
  part: number;
  payload: Buffer[];
}

export class PushStage {
  private readonly connections = new Map<number, Map<number, Staged>>();
  private readonly bytesOf = new Map<number, number>();
  private stagedBytes = 0;
  private nextPush = 1;

  constructor(private readonly clock: Clock) {}

  get heldBytes(): number {
    return this.stagedBytes;
  }

  /** Takes a part; `next` is the peer to pass it on to, `forward` sends it there under the given number. */
  add(
    connection: ServerConnection,
    part: PushPart,
    next: Peer | undefined,
    forward: (peer: Peer, push: number) => void,
  ): void {
    const staged = this.find(connection, part.push, next);
    if (!staged) return;
    let lengthBytes = 0;
    for (const buffer of part.payload) lengthBytes += buffer.length;
    if (staged.lost) return;
    if (part.part !== staged.parts || !this.hasRoom(connection.id, lengthBytes)) {
      this.lose(connection.id, staged);
      return;
    }
    staged.parts++;
    for (const buffer of part.payload) staged.buffers.push(buffer);
    staged.lengthBytes += lengthBytes;
    this.count(connection.id, lengthBytes);
    const { forwarded } = staged;
    if (!forwarded) return;
    const isBehind = forwarded.peer.queuedBytes > BOUNDS.forwardQueuedBytesMax;
    if (!isBehind) forward(forwarded.peer, forwarded.push);
    // The first one may have made the connection.
    if (part.part === 0) forwarded.connectionNumber = forwarded.peer.connectionNumber;
    if (isBehind || forwarded.connectionNumber !== forwarded.peer.connectionNumber) staged.forwarded = undefined;
  }

  /** Hands over what was pushed and forgets it; undefined unless it is exactly `lengthBytes`. */
  take(connection: ServerConnection, push: number, lengthBytes: number): StagedBytes | undefined {
    const pushes = this.connections.get(connection.id);
    const staged = pushes?.get(push);
    if (!pushes || !staged) return undefined;
    pushes.delete(push);
    this.count(connection.id, -staged.lengthBytes);
    return !staged.lost && staged.lengthBytes === lengthBytes ? staged : undefined;
  }

  /** Drops what waited too long for its append. */
  expire(): void {
    const since = this.clock.monotonicMs() - BOUNDS.stagedMs;
    for (const [connectionId, pushes] of this.connections) {
      for (const [push, staged] of pushes) {
        if (staged.sinceMs > since) continue;
        pushes.delete(push);
        this.count(connectionId, -staged.lengthBytes);
      }
    }
  }

  private find(connection: ServerConnection, push: number, next: Peer | undefined): Staged | undefined {
    let pushes = this.connections.get(connection.id);
    if (!pushes) {
      pushes = new Map();
      this.connections.set(connection.id, pushes);
      connection.onClose(() => this.drop(connection.id));
    }
    let staged = pushes.get(push);
    if (!staged) {
      if (pushes.size >= BOUNDS.pushesPerConnectionMax) return undefined;
      staged = {
        buffers: [],
        lengthBytes: 0,
        parts: 0,
        lost: false,
        sinceMs: this.clock.monotonicMs(),
        forwarded: next && { peer: next, push: this.nextPush++, connectionNumber: next.connectionNumber },
      };
      pushes.set(push, staged);
    }
    return staged;
  }

  private lose(connectionId: number, staged: Staged): void {
    this.count(connectionId, -staged.lengthBytes);
    staged.buffers = [];
    staged.lengthBytes = 0;
    staged.lost = true;
  }

  private hasRoom(connectionId: number, lengthBytes: number): boolean {
    const own = this.bytesOf.get(connectionId) ?? 0;
    return (
      own + lengthBytes <= BOUNDS.stagedBytesPerConnectionMax && this.stagedBytes + lengthBytes <= BOUNDS.stagedBytesMax
    );
  }

  private count(connectionId: number, lengthBytes: number): void {
    this.stagedBytes += lengthBytes;
    this.bytesOf.set(connectionId, (this.bytesOf.get(connectionId) ?? 0) + lengthBytes);
  }

  private drop(connectionId: number): void {
    this.stagedBytes -= this.bytesOf.get(connectionId) ?? 0;
    this.bytesOf.delete(connectionId);
    this.connections.delete(connectionId);
  }
}
