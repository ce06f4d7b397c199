// Runs a server, and another one in its place when a disk that it lacked room on has some again: on the same data and address, in the same process,
// so that nobody has to start anything. It knows nothing of what the server does.
import { sleep } from '../lib/clock.js';
import { type Deferred, deferred } from '../lib/deferred.js';
import type { Platform } from '../lib/platform.js';
import { asGfsError } from '../protocol/errors.js';

export interface Server {
  /** Settles with the address listened on. */
  start(): Promise<string>;
  stop(): Promise<void>;
}

export interface ServerEvents {
  onFailure: (error: unknown) => void;
  onRoom: () => void;
}

/** Pause before another attempt when the room was gone again. */
const PAUSE_MS = 2_000;

export class Reopening {
  /** Rejects when the server failed for good. */
  readonly ended: Deferred<void> = deferred<void>();
  private readonly stopAsked: Deferred<void> = deferred<void>();
  private isStopping = false;
  private current: Server | undefined;
  private reopening: Promise<void> | undefined;
  private address = '';

  constructor(
    private readonly platform: Pick<Platform, 'clock' | 'logger'>,
    /** A server that has not started; `listen`: the address of the one before, undefined for the first. */
    private readonly make: (events: ServerEvents, listen: string | undefined) => Server,
  ) {}

  /** Settles with the address, and rejects as the server's start does. */
  async start(): Promise<string> {
    this.address = await this.begin(undefined);
    return this.address;
  }

  async stop(): Promise<void> {
    this.isStopping = true;
    this.stopAsked.resolve();
    await this.reopening;
    await this.current?.stop();
  }

  private begin(listen: string | undefined): Promise<string> {
    const events = {
      onFailure: (error: unknown) => {
        if (this.current === server) this.ended.reject(asGfsError(error));
      },
      onRoom: () => {
        if (this.current === server) this.reopening ??= this.reopen().finally(() => (this.reopening = undefined));
      },
    };
    const server = this.make(events, listen);
    this.current = server;
    return server.start();
  }

  /** Never rejects. */
  private async reopen(): Promise<void> {
    const { clock, logger } = this.platform;
    try {
      await this.current?.stop();
    } catch (error) {
      logger.warn({ reason: asGfsError(error).message }, 'what a full disk kept from being written is left out');
    }
    while (!this.isStopping) {
      try {
        await this.begin(this.address);
        logger.info({ address: this.address }, 'the server goes on');
        return;
      } catch (error) {
        const { code, message } = asGfsError(error);
        if (code !== 'NO_SPACE') {
          this.ended.reject(asGfsError(error));
          return;
        }
        logger.warn({ code, reason: message }, 'the room is gone again');
        await Promise.race([sleep(clock, PAUSE_MS), this.stopAsked.promise]);
      }
    }
  }
}
