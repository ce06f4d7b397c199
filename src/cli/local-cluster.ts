// The embedded cluster of gfs-mount: one master and three chunkservers as child processes under one data directory, on loopback.
// It formats the directory on first use, remembers the master's port, keeps its processes running, and leaves none behind.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Logger } from '../lib/logger.js';
import { makeDirectories } from '../lib/make-directories.js';
import { GfsError } from '../protocol/errors.js';
import { ClusterChild, programPath } from './child-process.js';

export interface LocalClusterOptions {
  data: string;
  logger: Logger;
  /** Passed on to all processes. */
  secretFile?: string | undefined;
  /** For the first use of the directory, as `gfs-master format` takes it. */
  chunkSize?: string | undefined;
}

const CHUNKSERVERS = 3;
/** Also how soon a chunkserver that was faster than the master at the start tries again. */
const CHUNKSERVER_HEARTBEAT = '200ms';
const READY_MS_MAX = 10_000;
/** A process killed a moment ago may still hold its data; then starting is tried again until this has passed. */
const START_MS_MAX = 10_000;
const START_PAUSE_MS = 100;
/** Time for all processes to end by themselves, and the chunkservers' part of it; afterwards they are ended by force, which costs them a check at the next start. */
const STOP_MS_MAX = 1_200;
const CHUNKSERVERS_PART = 2 / 3;
const ADDRESS_FILE = 'master-address';
const FORMATTED_FILE = 'formatted';

/** Where gfs-mount keeps its own cluster unless told otherwise. */
export function defaultDataDirectory(): string {
  return process.env.GFS_DATA ?? join(homedir(), '.gfs');
}

/** The address of the master that serves this directory now or served it last, if any. */
export function rememberedMaster(data: string): string | undefined {
  const path = join(data, ADDRESS_FILE);
  return existsSync(path) ? readFileSync(path, 'utf8').trim() : undefined;
}

export class LocalCluster {
  private readonly options: LocalClusterOptions;
  private readonly chunkservers: ClusterChild[] = [];
  private master: ClusterChild | undefined;
  private claim: Server | undefined;
  private address = '';

  constructor(options: LocalClusterOptions) {
    this.options = options;
  }

  get masterAddress(): string {
    return this.address;
  }

  /** One line for people. */
  get description(): string {
    return `embedded cluster: master on ${this.address} and ${CHUNKSERVERS} chunkservers, data in ${this.options.data}`;
  }

  /** Settles when all processes are ready; rejects with the reason, and nothing left behind, otherwise. */
  async start(): Promise<void> {
    await makeDataDirectory(this.options.data);
    this.claim = await claimDirectory(this.options.data);
    try {
      await this.formatOnce();
      await this.startChildren();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Settles when all processes are gone, shortly after `timeoutMs` at the latest. */
  async stop(timeoutMs = STOP_MS_MAX): Promise<void> {
    await this.stopChildren(timeoutMs);
    this.master = undefined;
    this.claim?.close();
    this.claim = undefined;
  }

  private async formatOnce(): Promise<void> {
    const { data, chunkSize } = this.options;
    const marker = join(data, FORMATTED_FILE);
    if (existsSync(marker)) return;
    const size = chunkSize === undefined ? [] : ['--chunk-size', chunkSize];
    try {
      await runToEnd('gfs-master', ['format', '--data', join(data, 'master'), ...size]);
    } catch (error) {
      // An earlier start ended between formatting and saying so.
      if (!/already holds the cluster/.test((error as Error).message)) throw error;
    }
    writeFileSync(marker, '');
  }

  private async startChildren(): Promise<void> {
    const giveUpMs = Date.now() + START_MS_MAX;
    for (;;) {
      try {
        await this.tryStart();
        return;
      } catch (error) {
        if (Date.now() > giveUpMs || !/in use|another process|EADDRINUSE/i.test((error as Error).message)) throw error;
        await this.stopChildren();
        await new Promise(resolve => setTimeout(resolve, START_PAUSE_MS));
      }
    }
  }

  /** All at the same time: chunkservers wait for the master by themselves. */
  private async tryStart(): Promise<void> {
    const { data } = this.options;
    const remembered = rememberedMaster(data);
    this.address = (await isFree(remembered)) ? remembered! : await freeAddress();
    writeFileSync(join(data, ADDRESS_FILE), `${this.address}\n`);
    this.master = this.child('gfs-master', 'master', ['--listen', this.address]);
    for (let number = 1; number <= CHUNKSERVERS; number++) {
      const place = ['--master', this.address, '--listen', '127.0.0.1:0', '--location', `/local/disk${number}`];
      place.push('--heartbeat', CHUNKSERVER_HEARTBEAT);
      this.chunkservers.push(this.child('gfs-chunkserver', `chunkserver-${number}`, place));
    }
    await Promise.all([this.master, ...this.chunkservers].map(child => child.start()));
  }

  /** Chunkservers first: they give their leases back to the master. */
  private async stopChildren(timeoutMs = STOP_MS_MAX): Promise<void> {
    const endMs = performance.now() + timeoutMs;
    await Promise.all(this.chunkservers.splice(0).map(child => child.stop(timeoutMs * CHUNKSERVERS_PART)));
    await this.master?.stop(Math.max(0, endMs - performance.now()));
  }

  private child(program: string, name: string, args: readonly string[]): ClusterChild {
    const { data, logger, secretFile } = this.options;
    const own = ['serve', '--data', join(data, name), '--log-file', join(data, `${name}.log`)];
    const secret = secretFile === undefined ? [] : ['--secret-file', secretFile];
    return new ClusterChild({ program, args: [...own, ...secret, ...args], logger, readyMsMax: READY_MS_MAX });
  }
}

/** Rejects with WRONG_DATA when it cannot be made or written. */
export async function makeDataDirectory(data: string): Promise<void> {
  try {
    await makeDirectories(data);
    // A file made here tells more than the permission bits, which root overrides and a full disk does not show.
    writeFileSync(join(data, '.writable'), '');
  } catch (error) {
    throw new GfsError(
      'WRONG_DATA',
      `data directory ${data} cannot be written (${(error as NodeJS.ErrnoException).code})`,
    );
  }
}

/** A name that lives exactly as long as this process: an abstract socket. Rejects with IN_USE when another one has it. */
function claimDirectory(data: string): Promise<Server> {
  const name = createHash('sha256').update(realpathSync(data)).digest('hex').slice(0, 32);
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.unref();
    server.once('error', error => {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') return reject(error);
      const master = rememberedMaster(data);
      const hint = master === undefined ? '' : `; to mount the same cluster once more, use --master ${master}`;
      return reject(new GfsError('IN_USE', `data directory ${data} is in use by another gfs-mount${hint}`));
    });
    server.listen(`\0gfs-mount-${name}`, () => resolve(server));
  });
}

async function isFree(address: string | undefined): Promise<boolean> {
  if (address === undefined) return false;
  const port = Number(address.split(':').at(-1));
  return (await bindOnce(port)) !== undefined;
}

async function freeAddress(): Promise<string> {
  const port = await bindOnce(0);
  if (port === undefined) throw new GfsError('IN_USE', 'no free port on 127.0.0.1');
  return `127.0.0.1:${port}`;
}

/** The port, when it can be bound at this moment. */
function bindOnce(port: number): Promise<number | undefined> {
  return new Promise(resolve => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen({ host: '127.0.0.1', port }, () => {
      const address = server.address();
      const bound = typeof address === 'object' && address !== null ? address.port : undefined;
      server.close(() => resolve(bound));
    });
  });
}

function runToEnd(program: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [programPath(program), ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
    let errorText = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errorText += text;
    });
    child.once('error', reject);
    child.once('close', code => {
      if (code === 0) resolve();
      else reject(new GfsError('FAILED', errorText.trim() || `${program} ended with ${code}`));
    });
  });
}
