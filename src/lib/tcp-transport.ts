// Transport over TCP: the only file that knows node:net. It moves bytes and reports ends; it knows no messages and never retries.
// All sends of one turn of the event loop leave in one writev, also those that answers to different connections caused.
import * as net from 'node:net';
import { assert } from './assert.js';
import { ReceiveSlabs } from './receive-slabs.js';
import type { Address, Connection, Listener, Transport } from './transport.js';

export interface TcpOptions {
  /** queuedBytes above which onDrain will be called. */
  highWaterBytes?: number;
  /** A silent connection is probed by the kernel after this time. */
  keepAliveMs?: number;
  /** Told about failures of a listener after it listens (out of descriptors, for example); it goes on listening. */
  onListenerError?: (error: Error) => void;
}

const HIGH_WATER_BYTES_DEFAULT = 4 * 1024 * 1024;
const KEEP_ALIVE_MS_DEFAULT = 30_000;
/** After close({flush: true}): a peer that takes no bytes for this long is cut off. */
const FLUSH_STALL_MS = 10_000;

class TcpConnection implements Connection {
  readonly remoteAddress: Address;
  onData: (data: Buffer) => void = () => assert(false, 'onData is set before bytes arrive');
  onClose: (error?: Error) => void = () => undefined;
  onDrain: () => void = () => undefined;

  readonly #socket: net.Socket;
  /** Sent in this turn. */
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #isClosed = false;
  #error: Error | undefined;

  constructor(socket: net.Socket, slabs: ReceiveSlabs) {
    this.#socket = socket;
    this.remoteAddress = formatAddress(socket.remoteAddress ?? '', socket.remotePort ?? 0);
    slabs.onData = data => {
      if (!this.#isClosed) this.onData(data);
    };
    socket.on('drain', () => {
      if (!this.#isClosed) this.onDrain();
    });
    socket.on('error', error => {
      this.#error = error;
    });
    socket.on('close', () => {
      this.#isClosed = true;
      this.onClose(this.#error);
    });
  }

  get queuedBytes(): number {
    return this.#socket.destroyed ? 0 : this.#socket.writableLength + this.#pendingBytes;
  }

  send(buffers: readonly Buffer[]): void {
    if (this.#isClosed || !this.#socket.writable) return;
    if (this.#pending.length === 0) flushSoon(this);
    for (const buffer of buffers) {
      if (buffer.length === 0) continue;
      this.#pending.push(buffer);
      this.#pendingBytes += buffer.length;
    }
  }

  /** For this file only. */
  flush(): void {
    const socket = this.#socket;
    const pending = this.#pending;
    this.#pending = [];
    this.#pendingBytes = 0;
    if (pending.length === 0 || socket.destroyed) return;
    if (pending.length === 1) {
      socket.write(pending[0]!);
      return;
    }
    socket.cork();
    for (const buffer of pending) socket.write(buffer);
    socket.uncork();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(options: { flush?: boolean } = {}): void {
    if (options.flush !== true) {
      this.#pending = [];
      this.#isClosed = true;
      this.#socket.destroy();
      return;
    }
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.flush();
    // The end of the peer is only seen by a socket that reads.
    this.#socket.resume();
    this.#socket.end();
    this.#socket.setTimeout(FLUSH_STALL_MS, () => this.#socket.destroy());
  }
}

let toFlush: TcpConnection[] = [];

function flushSoon(connection: TcpConnection): void {
  if (toFlush.length === 0) setImmediate(flushAll);
  toFlush.push(connection);
}

function flushAll(): void {
  const connections = toFlush;
  toFlush = [];
  for (const connection of connections) connection.flush();
}

export class TcpTransport implements Transport {
  readonly #highWaterBytes: number;
  readonly #keepAliveMs: number;
  readonly #onListenerError: (error: Error) => void;

  constructor(options: TcpOptions = {}) {
    this.#highWaterBytes = options.highWaterBytes ?? HIGH_WATER_BYTES_DEFAULT;
    this.#keepAliveMs = options.keepAliveMs ?? KEEP_ALIVE_MS_DEFAULT;
    this.#onListenerError = options.onListenerError ?? (() => undefined);
  }

  listen(address: Address, onConnection: (connection: Connection) => void): Promise<Listener> {
    const { host, port } = parseAddress(address);
    const server = net.createServer({ ...this.#socketOptions(), pauseOnConnect: true }, accepted => {
      // A peer that is gone already has no address left.
      if (accepted.remoteAddress === undefined) {
        accepted.destroy();
        return;
      }
      const slabs = new ReceiveSlabs();
      onConnection(new TcpConnection(takeOver(accepted, { ...this.#socketOptions(), onread: slabs.onread }), slabs));
    });
    return new Promise((resolve, reject) => {
      server.once('error', error => reject(withCode(error, 'EADDRNOTAVAIL')));
      server.listen({ host, port }, () => {
        server.removeAllListeners('error');
        server.on('error', this.#onListenerError);
        resolve(new TcpListener(server));
      });
    });
  }

  connect(address: Address, timeoutMs: number): Promise<Connection> {
    const { host, port } = parseAddress(address);
    return new Promise((resolve, reject) => {
      const slabs = new ReceiveSlabs();
      // net.Socket passes highWaterMark on to its stream and takes a function as buffer; the types know neither.
      const options = { host, port, ...this.#socketOptions(), onread: slabs.onread } as unknown as net.NetConnectOpts;
      const socket = net.connect(options);
      const timer = setTimeout(() => {
        socket.destroy(
          Object.assign(new Error(`no connection to ${address} in ${timeoutMs} ms`), { code: 'ETIMEDOUT' }),
        );
      }, timeoutMs);
      const onError = (error: Error): void => {
        clearTimeout(timer);
        reject(withCode(error, 'EHOSTUNREACH'));
      };
      socket.once('error', onError);
      socket.once('connect', () => {
        clearTimeout(timer);
        socket.off('error', onError);
        resolve(new TcpConnection(socket, slabs));
      });
    });
  }

  #socketOptions(): { noDelay: true; keepAlive: true; keepAliveInitialDelay: number; highWaterMark: number } {
    return {
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: this.#keepAliveMs,
      highWaterMark: this.#highWaterBytes,
    };
  }
}

class TcpListener implements Listener {
  readonly address: Address;
  readonly #server: net.Server;

  constructor(server: net.Server) {
    this.#server = server;
    const bound = server.address() as net.AddressInfo;
    this.address = formatAddress(bound.address, bound.port);
  }

  async close(): Promise<void> {
    // The callback of close() would wait for the open connections too; the port is free without it.
    if (this.#server.listening) this.#server.close();
  }
}

/**
 * The same connection as a socket that reads into our memory, which those that a server makes cannot be told to do. It relies on two things that
 * Node does not document: a socket's `_handle`, and that the constructor takes a `handle`.
 */
function takeOver(accepted: net.Socket, options: object): net.Socket {
  const shell = accepted as unknown as { _handle: unknown };
  const handle = shell._handle;
  assert(handle, 'an accepted socket has a handle');
  shell._handle = null;
  accepted.destroy();
  return new net.Socket({ ...options, handle, readable: true, writable: true } as net.SocketConstructorOpts);
}

/** "host:port" or "[v6]:port" taken apart; throws with code EINVAL. */
export function parseAddress(address: Address): { host: string; port: number } {
  const match = /^(?:\[([^[\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(address);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || !(port <= 65_535)) {
    throw Object.assign(new Error(`"${address}" is no address: it should read host:port`), { code: 'EINVAL' });
  }
  return { host, port };
}

export function formatAddress(host: string, port: number): Address {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Names that do not resolve get the code that the interface promises; the system's own codes stay. */
function withCode(error: Error, unresolvedCode: string): Error {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return Object.assign(error, { code: unresolvedCode });
  return error;
}
