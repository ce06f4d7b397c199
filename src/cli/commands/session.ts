// What the commands of gfs share: connecting as their options say, paths, and output. It closes every client that it opened.
import type { Command } from 'commander';
import { CLIENT_SETTINGS } from '../../client/settings.js';
import type { FileSystemClient, Where } from '../../client/types.js';
import type { Platform } from '../../lib/platform.js';
import { GfsError } from '../../protocol/errors.js';
import type { InodeId } from '../../protocol/ids.js';
import type { MasterKind, Reply, Request } from '../../protocol/messages.js';
import { buildPlatform } from '../build-platform.js';
import { type AskMaster, connectClient, type MasterConnection, withMaster } from '../connect.js';
import { usageError } from '../exit.js';
import { defaultDataDirectory, rememberedMaster } from '../local-cluster.js';
import { type CommonOptions, DEFAULT_MASTER } from '../options.js';

export { print, printJson } from './output.js';

/** What every command of gfs takes besides the connection's own. */
export const GFS_SETTINGS = { opTimeoutMs: CLIENT_SETTINGS.opTimeoutMs };

const ROOT = 1 as InodeId;

export interface SessionOptions extends CommonOptions {
  master?: string;
  json?: boolean;
  /** In ms. */
  opTimeout: number;
}

/** The options of a command with those given before its name. */
export function optionsOf<T extends SessionOptions>(command: Command): T {
  const parent = command.parent!;
  const merged: Record<string, unknown> = { ...parent.opts(), ...command.opts() };
  // What was given before the command counts unless it was given behind it too.
  for (const name of Object.keys(parent.opts())) {
    const source = command.getOptionValueSource(name);
    if (
      source === undefined ||
      source === 'default' ||
      (source === 'env' && parent.getOptionValueSource(name) === 'cli')
    )
      merged[name] = parent.getOptionValue(name);
  }
  merged.master ??= rememberedMaster(defaultDataDirectory()) ?? DEFAULT_MASTER;
  return merged as unknown as T;
}

export function platformOf(options: SessionOptions): Platform {
  return buildPlatform(options, 'gfs');
}

export function connectionOf(options: SessionOptions): MasterConnection {
  return { master: options.master!, secret: options.secretFile?.content, callTimeoutMs: options.opTimeout };
}

/** Runs `work` with an operator's connection to the master that the options name. */
export function asOperator<T>(options: SessionOptions, work: (ask: AskMaster) => Promise<T>): Promise<T> {
  return withMaster(platformOf(options), connectionOf(options), work);
}

/** One operator's call. Rejects with UNREACHABLE naming the master. */
export function askMaster<K extends MasterKind>(
  options: SessionOptions,
  kind: K,
  request: Request<K>,
  timeoutMs?: number,
): Promise<Reply<K>> {
  return asOperator(options, ask => ask(kind, request, timeoutMs));
}

/** Runs `work` with a client of the cluster and closes it. */
export async function withClient<T>(
  options: SessionOptions,
  work: (client: FileSystemClient) => Promise<T>,
): Promise<T> {
  const client = await connectClient(platformOf(options), {
    master: options.master!,
    secret: options.secretFile?.content,
    wantsChanges: false,
    opTimeoutMs: options.opTimeout,
    name: 'gfs',
  });
  try {
    return await work(client);
  } finally {
    await client.close();
  }
}

/** A path from the root, with `.` and `..` resolved as text. Throws USAGE unless it starts with a slash. */
export function placeOf(path: string): Where {
  if (!path.startsWith('/')) throw usageError(`${path || "''"}: a path in the file system starts with /`);
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return { start: ROOT, path: parts.join('/') };
}

/** A place's name in a directory. */
export function childOf(where: Where, name: string): Where {
  return { start: where.start, path: where.path === '' ? name : `${where.path}/${name}` };
}

/** Failures name the path they are about. */
export async function about<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof GfsError) || error.message.includes(path)) throw error;
    throw new GfsError(error.code, `${path}: ${error.message}`, { cause: error });
  }
}
