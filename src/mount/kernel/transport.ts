// The FUSE transport that speaks the kernel's protocol itself: mounting through mount(8) with the inherited descriptor, serving, ending.
// What requests mean is the session's; how bytes move is the device's.
import { accessSync, constants } from 'node:fs';
import { realpath, writeFile } from 'node:fs/promises';
import { endianness } from 'node:os';
import { assert } from '../../lib/assert.js';
import type { Clock } from '../../lib/clock.js';
import { deferred } from '../../lib/deferred.js';
import type { Logger } from '../../lib/logger.js';
import { GfsError } from '../../protocol/errors.js';
import type { FuseTransport, FuseTransportOptions } from '../fuse-operations.js';
import type { MountEntry } from '../mount-table.js';
import { abortDetachedConnection, dropMountNow, findMount, runProgram, unmountEntry } from '../mount-table.js';
import { Device } from './device.js';
import { MAX_WRITE_BYTES } from './negotiation.js';
import { Session } from './session.js';

/** The number mount(8) sees the descriptor under. */
const MOUNT_FD = 3;
/** How long open files may keep the file system after unmount() was called. */
const UNMOUNT_GRACE_MS = 500;
/** The kernel answers mount(8) at once or not at all. */
const MOUNT_TIMEOUT_MS = 10_000;
/** What the kernel reads ahead of a sequential reader; its default of 128 KiB is the most that INIT can ask for. */
const READAHEAD_KIB = 1024;

/** Why this transport cannot serve here, in a sentence for people; undefined when it can. */
export function kernelTransportProblem(): string | undefined {
  if (endianness() !== 'LE') return 'the kernel transport is written for little-endian machines';
  try {
    accessSync('/dev/fuse', constants.F_OK);
  } catch {
    return 'there is no /dev/fuse (load the kernel module "fuse", or give the container the device)';
  }
  if (process.getuid?.() !== 0) {
    return 'the kernel transport mounts through mount(8) and needs root: without root, fusermount hands over the device by a way that Node cannot receive (use --fuse native)';
  }
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
  } catch (error) {
    return `/dev/fuse cannot be opened: ${(error as Error).message}`;
  }
  return undefined;
}

export function createKernelTransport(options: FuseTransportOptions, logger: Logger, clock: Clock): FuseTransport {
  return new KernelTransport(options, logger.child({ component: 'fuse-kernel' }), clock);
}

class KernelTransport implements FuseTransport {
  readonly kind = 'kernel';
  readonly ended: Promise<void>;

  private readonly options: FuseTransportOptions;
  private readonly logger: Logger;
  private readonly clock: Clock;
  private readonly end = deferred<void>();

  private entry: MountEntry | undefined;
  private session: Session | undefined;
  private unmounting: Promise<void> | undefined;
  private hasEnded = false;

  constructor(options: FuseTransportOptions, logger: Logger, clock: Clock) {
    this.options = options;
    this.logger = logger;
    this.clock = clock;
    this.ended = this.end.promise;
  }

  async mount(): Promise<void> {
    assert(this.session === undefined, 'a transport mounts once');
    const problem = kernelTransportProblem();
    if (problem !== undefined) throw new GfsError('NOT_SUPPORTED', problem);
    const mountPoint = await realpath(this.options.mountPoint);
    if ((await findMount(mountPoint)) !== undefined) {
      throw new GfsError('IN_USE', `${mountPoint} is a mount point already`);
    }

    const device = await Device.open(this.clock, this.logger).catch(error => {
      throw new GfsError('FAILED', `cannot open /dev/fuse: ${(error as Error).message}`, { cause: error });
    });
    const ready = deferred<GfsError | undefined>();
    const session = new Session(
      { ...this.options, onReady: () => ready.resolve(undefined), onRefused: ready.resolve },
      device,
      {
        clock: this.clock,
        logger: this.logger,
      },
    );
    this.session = session;
    // Serving starts before mount(8) runs, for whatever it asks of the new mount must be answered.
    void device.serve(buffer => session.onRequest(buffer)).then(() => this.onServed());

    const { status, output } = await runProgram('mount', this.mountArguments(mountPoint), device.fd);
    if (status !== 0) {
      device.stop();
      throw new GfsError('FAILED', `mount(8) failed on ${mountPoint}: ${output.trim()}`);
    }
    this.entry = await findMount(mountPoint);
    process.once('exit', this.onExit);
    await this.waitUntilReady(ready.promise, mountPoint);
    if (this.entry !== undefined) await raiseReadahead(this.entry.minor, this.logger);
    this.logger.info({ mountPoint, connection: this.entry?.minor }, 'mounted');
  }

  async unmount(): Promise<void> {
    if (this.entry === undefined) return;
    this.unmounting ??= this.unmountOnce(this.entry);
    await this.unmounting;
    await this.ended;
  }

  private async unmountOnce(entry: MountEntry): Promise<void> {
    const parts = { clock: this.clock, logger: this.logger, graceMs: UNMOUNT_GRACE_MS };
    await unmountEntry(entry, parts);
    this.clock.setTimer(UNMOUNT_GRACE_MS, () => void this.onGraceOver(entry), { background: true });
  }

  /** Somebody had unmounted it lazily before, and files are open still. */
  private async onGraceOver(entry: MountEntry): Promise<void> {
    if (this.hasEnded) return;
    await abortDetachedConnection(entry.minor);
    this.finish();
  }

  /** Node joins its threads at exit, and those that read the device would wait for ever. */
  private readonly onExit = (): void => {
    if (this.entry !== undefined && !this.hasEnded) dropMountNow(this.entry.mountPoint);
  };

  private onServed(): void {
    if (this.entry !== undefined) this.logger.info({ mountPoint: this.entry.mountPoint }, 'unmounted');
    this.finish();
  }

  private finish(): void {
    this.hasEnded = true;
    process.removeListener('exit', this.onExit);
    this.session?.abort();
    this.end.resolve();
  }

  /** Settles when the kernel agreed with us; otherwise undoes the mount and rejects with the reason. */
  private async waitUntilReady(ready: Promise<GfsError | undefined>, mountPoint: string): Promise<void> {
    const late = deferred<GfsError>();
    const reason = `the kernel did not begin to use the mount on ${mountPoint}`;
    const timer = this.clock.setTimer(MOUNT_TIMEOUT_MS, () => late.resolve(new GfsError('TIMED_OUT', reason)));
    const gone = this.ended.then(() => new GfsError('FAILED', `${mountPoint} was unmounted at once`));
    const failure = await Promise.race([ready, late.promise, gone]);
    timer.cancel();
    if (failure === undefined) return;
    await this.unmount();
    throw failure;
  }

  private mountArguments(mountPoint: string): string[] {
    const { options, readOnly, sourceName } = this.options;
    const list = [
      `fd=${MOUNT_FD}`,
      'rootmode=40000',
      'user_id=0',
      'group_id=0',
      `max_read=${MAX_WRITE_BYTES}`,
      readOnly ? 'ro' : 'rw',
      ...options.filter(option => option !== 'ro' && option !== 'rw'),
    ];
    // -i: mount(8) itself, no helper of fuse3, which would look for a program named like the type.
    return ['-i', '-t', 'fuse.gfs', '-o', list.join(','), sourceName, mountPoint];
  }
}

async function raiseReadahead(minor: number, logger: Logger): Promise<void> {
  await writeFile(`/sys/class/bdi/0:${minor}/read_ahead_kb`, String(READAHEAD_KIB)).catch(error => {
    logger.debug({ reason: (error as Error).message }, 'the kernel keeps its default read-ahead');
  });
}
