// The way in: a client on given doors to the platform, or, for programs that use the package, on the real ones. The only file of this folder that
// builds real parts.
import type { Logger } from '../lib/logger.js';
import { silentLogger } from '../lib/logger.js';
import type { Platform } from '../lib/platform.js';
import { settingValues } from '../lib/settings.js';
import { SystemClock } from '../lib/system-clock.js';
import { SystemRandom } from '../lib/system-random.js';
import { TcpTransport } from '../lib/tcp-transport.js';
import type { Address } from '../lib/transport.js';
import { RpcPeers } from '../rpc/peer.js';
import { GfsFileSystemClient } from './client.js';
import { Gfs } from './gfs.js';
import { CLIENT_SETTINGS, type ClientSettings } from './settings.js';

export interface ConnectFileSystemOptions {
  /** host:port of the master. */
  master: Address;
  /** The secret that the cluster shares, if it has one. */
  secret?: Buffer;
  /** Shown by the master to people who look at sessions. */
  name?: string;
  /** Be told when other clients change what this one looked at. */
  wantsChanges?: boolean;
  settings?: Partial<ClientSettings>;
}

/** A client on these doors. Rejects with UNREACHABLE or TIMED_OUT when the master does not answer in time. */
export function connectFileSystem(
  platform: Pick<Platform, 'clock' | 'random' | 'transport' | 'logger'>,
  options: ConnectFileSystemOptions,
): Promise<GfsFileSystemClient> {
  const { clock, random, logger } = platform;
  const { master, secret, name = 'client', wantsChanges = false } = options;
  const settings = settingValues(CLIENT_SETTINGS, options.settings ?? {});
  return GfsFileSystemClient.connect({
    clock,
    random,
    logger,
    settings,
    master,
    name,
    wantsChanges,
    openPeers: hooks =>
      new RpcPeers(platform as Platform, {
        role: 'client',
        clusterId: hooks.clusterId,
        secret,
        onNotice: hooks.onNotice,
        onLost: hooks.onLost,
        connectTimeoutMs: settings.connectTimeoutMs,
      }),
  });
}

export interface ConnectOptions extends Omit<ConnectFileSystemOptions, 'wantsChanges'> {
  /** Where the client's log lines go; nowhere by default. */
  logger?: Logger;
}

/** Connects to a cluster. The result is closed with `close()`. */
export async function connect(options: ConnectOptions): Promise<Gfs> {
  const { logger = silentLogger, ...rest } = options;
  const platform = {
    clock: new SystemClock(),
    random: new SystemRandom(),
    transport: new TcpTransport(),
    logger,
  };
  const owner = { random: platform.random, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  return new Gfs(await connectFileSystem(platform, rest), owner);
}
