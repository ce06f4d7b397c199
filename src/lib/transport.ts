// Byte streams between processes as an interface: ordered and whole while a connection lives, cut without notice when it does not.

/** "host:port"; IPv6 hosts in brackets. */
export type Address = string;

export interface Connection {
  readonly remoteAddress: Address;
  /** Queues bytes in order; never throws. The buffers must not be changed afterwards. Bytes sent after a close are dropped. */
  send(buffers: readonly Buffer[]): void;
  /** Bytes queued here and not yet taken by the operating system: the caller's measure for holding back. */
  readonly queuedBytes: number;
  /** Called with each piece that arrives; set once, right after the connection is handed over. The buffer belongs to the callee. */
  onData: (data: Buffer) => void;
  /** Called once, when the connection ended for any reason. */
  onClose: (error?: Error) => void;
  /** Called when queuedBytes falls to (nearly) zero after having been above the transport's high-water mark. */
  onDrain: () => void;
  /** Stops and goes on calling onData (flow control towards the sender). */
  pause(): void;
  resume(): void;
  /** Ends it: queued bytes are sent first when `flush`, dropped otherwise. */
  close(options?: { flush?: boolean }): void;
}

export interface Listener {
  /** The address actually bound (port 0 resolved). */
  readonly address: Address;
  /** Stops accepting; open connections stay. */
  close(): Promise<void>;
}

export interface Transport {
  /** Rejects with code EADDRINUSE, EACCES or EADDRNOTAVAIL. */
  listen(address: Address, onConnection: (connection: Connection) => void): Promise<Listener>;
  /** Rejects with code ECONNREFUSED, EHOSTUNREACH, ETIMEDOUT, …; gives up after `timeoutMs`. */
  connect(address: Address, timeoutMs: number): Promise<Connection>;
}
