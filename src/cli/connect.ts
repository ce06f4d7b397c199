// Connections of the programs to a cluster: the file system's client, and the operator's calls to the master. Both end in good time when there is no
// master, with its address in the message.
import type { FileSystemClient } from '../client/types.js';
import type { Platform } from '../lib/platform.js';
import { GfsError, hasCode } from '../protocol/errors.js';
import type { MasterKind, Reply, Request } from '../protocol/messages.js';

/** Below the five seconds in which a program says that there is no master. */
export const CONNECT_MS_MAX = 4000;
const ADMIN_CALL_MS = 20_000;

export interface ConnectOptions {
  master: string;
  secret?: Buffer | undefined;
  wantsChanges: boolean;
  /** Every operation of the client ends within this time. */
  opTimeoutMs: number;
  /** Shown by the master. */
  name: string;
  location?: string | undefined;
}

/** Rejects with UNREACHABLE naming the master. */
export async function connectClient(platform: Platform, options: ConnectOptions): Promise<FileSystemClient> {
  const { connectFileSystem } = await import('../client/connect.js');
  const { master, secret, wantsChanges, opTimeoutMs, name, location } = options;
  try {
    return await connectFileSystem(platform, {
      master,
      ...(secret === undefined ? {} : { secret }),
      name,
      wantsChanges,
      settings: {
        opTimeoutMs,
        connectTimeoutMs: Math.min(CONNECT_MS_MAX, opTimeoutMs),
        ...(location === undefined ? {} : { location }),
      },
    });
  } catch (error) {
    throw nameMaster(master, error);
  }
}

/** Asks the master one thing; rejects with its error, or UNREACHABLE naming it. */
export type AskMaster = <K extends MasterKind>(kind: K, request: Request<K>, timeoutMs?: number) => Promise<Reply<K>>;

export interface MasterConnection {
  master: string;
  secret?: Buffer | undefined;
  /** One call, where it says no other time itself. */
  callTimeoutMs?: number;
}

/** Runs `work` with an operator's connection to the master, and closes it. */
export async function withMaster<T>(
  platform: Platform,
  options: MasterConnection,
  work: (ask: AskMaster) => Promise<T>,
): Promise<T> {
  const { RpcPeers } = await import('../rpc/peer.js');
  const peers = new RpcPeers(platform, {
    role: 'admin',
    clusterId: () => '',
    secret: options.secret,
    connectTimeoutMs: CONNECT_MS_MAX,
  });
  const ask: AskMaster = async (kind, request, timeoutMs = options.callTimeoutMs ?? ADMIN_CALL_MS) => {
    try {
      return (await peers.get(options.master).call(kind, request, { timeoutMs })).body;
    } catch (error) {
      throw nameMaster(options.master, error);
    }
  };
  try {
    return await work(ask);
  } finally {
    await peers.close();
  }
}

/** One operator's call to the master, on a connection of its own. */
export function callMaster<K extends MasterKind>(
  platform: Platform,
  options: MasterConnection,
  kind: K,
  request: Request<K>,
  timeoutMs?: number,
): Promise<Reply<K>> {
  return withMaster(platform, options, ask => ask(kind, request, timeoutMs));
}

function nameMaster(master: string, error: unknown): unknown {
  if (!hasCode(error, 'UNREACHABLE', 'TIMED_OUT', 'CONNECTION_LOST')) return error;
  return new GfsError(
    'UNREACHABLE',
    `no master answers on ${master}; is gfs-master running there? (${error.message})`,
    {
      cause: error,
    },
  );
}
