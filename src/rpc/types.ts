// The shapes of calls: what a handler receives and answers, what a caller gives and gets. No behaviour.
import type { Address } from '../lib/transport.js';
import type { Kind, Reply, Request } from '../protocol/messages.js';

/** Who a process says it is in the greeting. */
export type Role = 'client' | 'admin' | 'master' | 'chunkserver';

/** The other end of a connection, as a server sees it. */
export interface ServerConnection {
  /** Unique within the process. */
  readonly id: number;
  readonly remoteAddress: Address;
  readonly role: Role;
  /** Sends a one-way message on this connection; dropped when it is gone. */
  notify<K extends Kind>(kind: K, body: Request<K>): void;
  /** Bytes waiting to be sent to this peer. */
  readonly queuedBytes: number;
  /** Calls back once when the connection ends (at once when it already has). */
  onClose(callback: () => void): void;
}

export interface CallContext {
  /** The request's payload; the buffers belong to the handler. */
  payload: Buffer[];
  /** CRC-32 of the payload: verified, unless the server leaves that to this handler (payloadCheckedByHandler). */
  payloadCrc: number;
  connection: ServerConnection;
  /** Monotonic time after which nobody waits for the answer. */
  deadlineMs: number;
}

export interface Answer<K extends Kind> {
  body: Reply<K>;
  payload?: readonly Buffer[];
  /** CRC-32 of the payload when the handler has it already. */
  payloadCrc?: number;
}

/** Called the moment the message is complete, in order of arrival; it may answer in any order. Rejections that are not GfsErrors are answered FAILED and logged. */
export type Handler<K extends Kind> = (request: Request<K>, context: CallContext) => Answer<K> | Promise<Answer<K>>;

/** One handler for every kind: a missing one does not compile. */
export type Handlers<Kinds extends Kind> = { [K in Kinds]: Handler<K> };

export interface CallOptions {
  /** The whole call, connecting included, ends within this time: TIMED_OUT. */
  timeoutMs: number;
  payload?: readonly Buffer[];
  /** CRC-32 of the payload when the caller has it already; computed otherwise. */
  payloadCrc?: number;
}

export interface CallResult<K extends Kind> {
  body: Reply<K>;
  payload: Buffer[];
}

/**
 * One server as its callers see it. Connects on the first call and again on the first call after a loss. Calls on one connection arrive in the order
 * they were made. Rejects with the server's GfsError; or UNREACHABLE (nothing was sent), CONNECTION_LOST (unknown whether it was done), TIMED_OUT
 * (likewise), OVERLOADED (too many calls waiting here; nothing was sent).
 */
export interface Peer {
  readonly address: Address;
  call<K extends Kind>(kind: K, request: Request<K>, options: CallOptions): Promise<CallResult<K>>;
  /** One-way: sent when connected (or connecting), otherwise dropped. `payloadCrc`: CRC-32 of the payload when the caller has it already. */
  send<K extends Kind>(kind: K, request: Request<K>, payload?: readonly Buffer[], payloadCrc?: number): void;
  /** Bytes waiting here to be sent. */
  readonly queuedBytes: number;
  /** Raised by every new connection, as soon as the last one is over. What was pushed under an older number is lost. */
  readonly connectionNumber: number;
}

export interface PeerPool {
  /** The peer at this address; the same object every time. */
  get(address: Address): Peer;
  /** Ends all connections; calls in flight reject with STOPPING. Settles when done. */
  close(): Promise<void>;
}
