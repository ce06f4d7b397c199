// A chunkserver: puts its parts together, starts and stops them in order, and owns nothing else (DESIGN 6). It knows the outside only by its
// Platform, so that the simulator runs the same code.
import { assert } from '../lib/assert.js';
import { every } from '../lib/clock.js';
import { deferred } from '../lib/deferred.js';
import type { Logger } from '../lib/logger.js';
import type { Platform } from '../lib/platform.js';
import type { Address } from '../lib/transport.js';
import { asGfsError } from '../protocol/errors.js';
import type { ServerId } from '../protocol/ids.js';
import type { ChunkserverKind } from '../protocol/messages.js';
import { RpcPeers } from '../rpc/peer.js';
import { RpcServer } from '../rpc/server.js';
import { chunkserverHandlers } from './api.js';
import { Chain } from './chain.js';
import { ChunkStore } from './chunk-store.js';
import { Copying } from './copying.js';
import { Disks } from './disks.js';
import { HeardStamp } from './heard-stamp.js';
import { LeaseHolder } from './lease-holder.js';
import { LeaseReturn } from './lease-return.js';
import { MasterClock } from './master-clock.js';
import { MasterLink } from './master-link.js';
import { Mending } from './mending.js';
import { Orders } from './orders.js';
import { Pause } from './pause.js';
import { Primary } from './primary.js';
import { PushStage } from './push-stage.js';
import { RateLimit } from './rate-limit.js';
import { Scrubber } from './scrubber.js';
import { Secondary } from './secondary.js';
import { ServerIdentity } from './server-identity.js';
import { BOUNDS, type ChunkserverSettings } from './settings.js';
import { TokenGate } from './token-gate.js';

interface Running {
  identity: ServerIdentity;
  store: ChunkStore;
  leases: LeaseHolder;
  leaseReturn: LeaseReturn;
  link: MasterLink;
  heardStamp: HeardStamp;
  scrubber: Scrubber;
  copying: Copying;
  pushes: PushStage;
  peers: RpcPeers;
  server: RpcServer<ChunkserverKind>;
  pause: Pause;
  timers: Array<{ stop(): void }>;
  loops: Array<Promise<void>>;
}

export class Chunkserver {
  private readonly logger: Logger;
  private readonly disks: Disks;
  private running: Running | undefined;
  private address: Address = '';
  private stopping: Promise<void> | undefined;

  constructor(
    private readonly platform: Platform,
    private readonly settings: ChunkserverSettings,
  ) {
    this.logger = platform.logger;
    this.disks = new Disks(platform, settings);
  }

  /**
   * Opens the data, checks what it finds, listens, and tries once to register; settles with the address listened on. When the master does not
   * answer it goes on trying. Rejects with WRONG_DATA, IN_USE, DISK_FAILED, NO_SPACE, WRONG_CLUSTER, UNAUTHENTICATED; then nothing is left running.
   */
  async start(): Promise<Address> {
    assert(!this.running && !this.stopping, 'a chunkserver starts once');
    try {
      const running = await this.open();
      this.running = running;
      this.address = await running.server.listen(this.settings.listen ?? '');
      await running.link.start();
      this.runLoops(running);
      return this.address;
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Gives leases back, ends calls, syncs, closes. May be called again; settles when all is closed. */
  stop(): Promise<void> {
    this.stopping ??= this.shutDown();
    return this.stopping;
  }

  get server(): ServerId {
    assert(this.running, 'it has started');
    return this.running.identity.server;
  }

  get epoch(): number {
    assert(this.running, 'it has started');
    return this.running.identity.epoch;
  }

  get isRegistered(): boolean {
    return this.running?.link.isRegistered ?? false;
  }

  /** Bytes that this process copied to bring replicas up to date. */
  get copiedBytes(): number {
    return this.running?.copying.copiedBytes ?? 0;
  }

  /** Throws AssertionError when a part of this server contradicts itself. */
  checkInvariants(): void {
    this.running?.store.checkInvariants();
    this.running?.leases.checkInvariants();
  }

  private async open(): Promise<Running> {
    const { platform, settings, logger } = this;
    const { clock } = platform;
    const { disks } = this;
    await disks.open();
    const identity = await ServerIdentity.begin(disks.opened, platform, { isPartial: disks.isPartial });
    const me = { server: identity.server, epoch: identity.epoch };
    const store = new ChunkStore(platform, settings, disks.opened);
    await disks.takeIn(store);
    const pause = new Pause(clock);
    const masterClock = new MasterClock(clock);
    const tokens = new TokenGate(masterClock, identity.server);
    const leases = new LeaseHolder(clock, settings.leaseIdle);
    const pushes = new PushStage(clock);
    const { secret } = settings;
    const peers = new RpcPeers(platform, { role: 'chunkserver', clusterId: () => identity.clusterId, secret });
    const chain = new Chain(settings, store, peers, pushes, masterClock);
    const orders = new Orders({ me, logger, clock, masterClock, tokens, store, leases, blindness: disks.blindness });
    const rate = new RateLimit(clock, settings.copyRate);
    const copying = new Copying({ me, clock, logger, rate, store, peers, orders });
    const mending = new Mending({ clock, logger, rate, store, peers, orders });
    const copiesOut = new RateLimit(clock, settings.copyRate);
    const scrubber = new Scrubber(store, clock, logger, pause, settings.scrubPeriod);
    const heardStamp = new HeardStamp(disks.opened, clock);
    const link: MasterLink = new MasterLink({
      ...{ settings, clock, logger, peers, pause, identity, tokens, masterClock, store, leases, heardStamp },
      join: clusterId => identity.join(clusterId, platform),
      address: () => settings.advertise ?? this.address,
      failedDisks: () => disks.failed(),
      work: () => ({ copiedBytes: copying.copiedBytes, scrub: scrubber.progress() }),
    });
    const leaseReturn = new LeaseReturn({ store, leases, chain, logger, tell: lease => link.returnLease(lease) });
    const isStopping = (): boolean => this.stopping !== undefined;
    const chunkSizeBytes = (): number => link.chunkSizeBytes;
    const primary = new Primary({
      ...{ me, clock, logger, settings, masterClock, tokens, store, leases, chain, chunkSizeBytes, isStopping },
    });
    const secondary = new Secondary({ me, settings, tokens, store, chain });
    const server = new RpcServer<ChunkserverKind>(platform, {
      handlers: chunkserverHandlers({
        ...{
          me,
          tokens,
          store,
          primary,
          secondary,
          orders,
          copying,
          mending,
          leaseReturn,
          pushes,
          peers,
          isStopping,
          copiesOut,
        },
        wait: ms => pause.sleep(ms),
      }),
      // Chain.takeBytes does, with the checksums of the blocks.
      payloadCheckedByHandler: ['append', 'replicate'],
      clusterId: () => identity.clusterId,
      secret,
      connectionsMax: settings.connectionsMax,
      idleTimeoutMs: settings.idleTimeout,
      frameTimeoutMs: settings.frameTimeout,
      payloadBytesMax: settings.frameSize,
    });
    return {
      ...{ identity, store, leases, leaseReturn, link, heardStamp, scrubber, copying, pushes, peers, server, pause },
      timers: [],
      loops: [],
    };
  }

  private runLoops(running: Running): void {
    const { link, scrubber, leases, leaseReturn, store, pushes } = running;
    running.loops.push(
      link.run().catch(error => this.giveUp(error)),
      scrubber.run(),
    );
    const { clock } = this.platform;
    const housekeeping = every(clock, BOUNDS.housekeepingMs, () => {
      pushes.expire();
      store.deactivateIdle();
      leases.dropOver();
    });
    const idleCheckMs = Math.max(5, Math.min(leases.idleMs, this.settings.leaseIdle) / 4);
    const returning = every(clock, idleCheckMs, () => leaseReturn.returnIdle());
    let isTold = false;
    const lookingForRoom = every(clock, BOUNDS.roomCheckMs, async () => {
      if (isTold || !(await this.disks.haveRoomAgain()) || this.stopping) return;
      isTold = true;
      this.logger.info({}, 'a disk that was full has room again: it is opened anew');
      this.settings.onRoom?.();
    });
    running.timers.push(housekeeping, returning, lookingForRoom);
  }

  private giveUp(error: unknown): void {
    const failure = asGfsError(error);
    this.logger.error({ code: failure.code, reason: failure.message }, 'this chunkserver cannot go on');
    this.settings.onFailure?.(failure);
  }

  private async shutDown(): Promise<void> {
    const { running } = this;
    if (running) await this.stopParts(running);
    await this.disks.close();
  }

  private async stopParts(running: Running): Promise<void> {
    const { clock } = this.platform;
    const { link, heardStamp, scrubber, leaseReturn, store, peers, server, pause, identity, timers } = running;
    for (const timer of timers) timer.stop();
    const returnLimit = deferred<void>();
    const timer = clock.setTimer(BOUNDS.stopLeasesMs, () => returnLimit.resolve());
    if (link.isRegistered) await Promise.race([leaseReturn.returnAll(), returnLimit.promise]);
    timer.cancel();
    link.stop();
    scrubber.stop();
    pause.end();
    await server.close();
    const isSynced = await store.syncAll(clock.monotonicMs() + BOUNDS.stopSyncMs);
    await peers.close();
    await Promise.allSettled(running.loops);
    await heardStamp.save({ sync: true });
    if (!isSynced) return;
    try {
      await identity.saveClean(this.platform);
    } catch (error) {
      this.logger.warn({ reason: (error as Error).message }, 'the clean stop could not be recorded');
    }
  }
}
