// The FUSE transport on the fuse-native binding: loading it, mounting, noticing the end. The only file that imports fuse-native.
// Its defects and the ways around them are FUSE.md's first table. What the operations mean is native-handlers.ts's; this file never looks at paths.
import { accessSync, constants } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { constants as osConstants } from 'node:os';
import { dirname, join } from 'node:path';
import { assert } from '../lib/assert.js';
import type { Clock } from '../lib/clock.js';
import { every } from '../lib/clock.js';
import { deferred } from '../lib/deferred.js';
import type { Logger } from '../lib/logger.js';
import { GfsError } from '../protocol/errors.js';
import { Answerer } from './answer.js';
import type { FuseTransport, FuseTransportOptions } from './fuse-operations.js';
import type { MountEntry } from './mount-table.js';
import { findMount, hasConnection, isListed, unmountEntry } from './mount-table.js';
import type { NativeCallback, NativeHandlers } from './native-handlers.js';
import { createNativeHandlers } from './native-handlers.js';
import { type NativeTimes, timesOf, UTIMENS } from './native-times.js';

/** What the binding's native side calls: its thread's memory, the number of the operation, then the operation's arguments. */
type NativeDispatch = (locals: Buffer, opcode: number, path: string, ...rest: number[]) => unknown;

/** The parts of fuse-native 2.2.6 used here; it has no types of its own. */
interface NativeFuse {
  /** By the number of the operation. Called by the constructor. */
  _makeHandlerArray(): Array<NativeDispatch | undefined>;
  mount(callback: (error: Error | null) => void): void;
  unmount(callback: (error: Error | null) => void): void;
}

interface NativeFuseClass {
  new (mountPoint: string, handlers: object, options: { timeout: false }): NativeFuse;
  /** Called by the instance's unmount; replaced, since it would unmount whatever is at the mount point by then. */
  unmount(mountPoint: string, callback: (error: Error | null) => void): void;
}

/** dlopen(3): the library stays although the handle's owner does not self-register. */
const RTLD_NODELETE = 0x1000;
/** What libfuse 2.9 takes in one write, whatever it is offered. */
const MAX_WRITE_BYTES = 128 * 1024;
const MAX_READAHEAD_BYTES = 1024 * 1024;
/** The binding keeps mount point and options in arrays of this size. */
const TEXT_MAX_BYTES = 1023;
/** How often the table of mounts is looked at for the end, of which the binding does not tell. */
const WATCH_INTERVAL_MS = 100;
/** How long open files may keep the file system after unmount() was called. */
const UNMOUNT_GRACE_MS = 500;

const load = createRequire(import.meta.url);
/** Native threads point into these; they must outlive their mount. */
const everMounted: NativeFuse[] = [];
let loaded: NativeFuseClass | undefined;

/** Why this transport cannot serve here, in a sentence for people; undefined when it can. */
export function nativeTransportProblem(): string | undefined {
  try {
    accessSync('/dev/fuse', constants.F_OK);
  } catch {
    return 'there is no /dev/fuse (load the kernel module "fuse", or give the container the device)';
  }
  try {
    loadBinding();
    return undefined;
  } catch (error) {
    return `fuse-native does not load: ${firstLine((error as Error).message)}`;
  }
}

/** Requires that nativeTransportProblem() is undefined by the time mount() is called; otherwise that rejects with it. */
export function createNativeTransport(options: FuseTransportOptions, logger: Logger, clock: Clock): FuseTransport {
  return new NativeTransport(options, logger.child({ component: 'fuse-native' }), clock);
}

class NativeTransport implements FuseTransport {
  readonly kind = 'native';
  readonly ended: Promise<void>;

  private readonly options: FuseTransportOptions;
  private readonly logger: Logger;
  private readonly clock: Clock;
  private readonly end = deferred<void>();

  private fuse: NativeFuse | undefined;
  private entry: MountEntry | undefined;
  private watch: { stop(): void } | undefined;
  private unmounting: Promise<void> | undefined;

  constructor(options: FuseTransportOptions, logger: Logger, clock: Clock) {
    this.options = options;
    this.logger = logger;
    this.clock = clock;
    this.ended = this.end.promise;
  }

  async mount(): Promise<void> {
    assert(this.fuse === undefined, 'a transport mounts once');
    const problem = nativeTransportProblem();
    if (problem !== undefined) throw new GfsError('NOT_SUPPORTED', problem);
    const mountPoint = await realpath(this.options.mountPoint);
    const text = mountOptions(this.options);
    if (Buffer.byteLength(mountPoint) > TEXT_MAX_BYTES || Buffer.byteLength(text) > TEXT_MAX_BYTES) {
      throw new GfsError('NAME_TOO_LONG', `mount point and mount options have at most ${TEXT_MAX_BYTES} bytes each`);
    }

    const answerer = new Answerer({
      clock: this.clock,
      logger: this.logger,
      timeoutMs: this.options.operationTimeoutMs,
    });
    const handlers = createNativeHandlers(this.options.operations, answerer);
    this.fuse = createBinding({ mountPoint, handlers, text }, this.logger);
    everMounted.push(this.fuse);
    await open(this.fuse, mountPoint);

    const entry = await findMount(mountPoint);
    assert(entry !== undefined, 'the kernel lists the mount it has just initialised');
    this.entry = entry;
    this.watch = every(this.clock, WATCH_INTERVAL_MS, () => this.onWatch());
    this.logger.info({ mountPoint, connection: entry.minor }, 'mounted');
  }

  async unmount(): Promise<void> {
    if (this.entry === undefined) return;
    this.unmounting ??= this.unmountOnce(this.entry);
    await this.unmounting;
    await this.ended;
  }

  private async unmountOnce(entry: MountEntry): Promise<void> {
    await unmountEntry(entry, { clock: this.clock, logger: this.logger, graceMs: UNMOUNT_GRACE_MS });
    // Files that keep a lazily unmounted connection end with this process, which libfuse's threads do not hold up.
    this.finish(entry);
  }

  private async onWatch(): Promise<void> {
    const entry = this.entry as MountEntry;
    if (this.watch === undefined || (await isListed(entry))) return;
    if (await hasConnection(entry.minor)) return; // Unmounted lazily by somebody; files are open.
    this.finish(entry);
  }

  private finish(entry: MountEntry): void {
    if (this.watch === undefined) return;
    this.watch.stop();
    this.watch = undefined;
    // Lets go of the event loop; the unmounting itself is done (see loadBinding).
    this.fuse?.unmount(error => {
      if (error) this.logger.warn({ err: error }, 'the binding did not close');
    });
    this.logger.info({ mountPoint: entry.mountPoint }, 'unmounted');
    this.end.resolve();
  }
}

function open(fuse: NativeFuse, mountPoint: string): Promise<void> {
  return new Promise((resolve, reject) => {
    fuse.mount(error => {
      if (!error) resolve();
      else if (/in use/.test(error.message)) reject(new GfsError('IN_USE', `${mountPoint} is a mount point already`));
      else reject(new GfsError('FAILED', `libfuse cannot mount ${mountPoint}: ${error.message}`, { cause: error }));
    });
  });
}

function createBinding(
  { mountPoint, handlers, text }: { mountPoint: string; handlers: NativeHandlers; text: string },
  logger: Logger,
): NativeFuse {
  /** Of the call that is being handed over. */
  let times: NativeTimes | undefined;
  let isToldInexact = false;

  // fuse-native's class decides by name which operations exist; these four lose something on the way through it.
  class Binding extends loadBinding() {
    override _makeHandlerArray(): Array<NativeDispatch | undefined> {
      const dispatch = super._makeHandlerArray();
      const utimens = dispatch[UTIMENS];
      assert(utimens !== undefined, 'fuse-native has utimens at its place');
      dispatch[UTIMENS] = (locals, opcode, path, ...rest) => {
        times = timesOf(locals, rest[0] as number, rest[1] as number);
        if (!times.isExact && !isToldInexact) {
          isToldInexact = true;
          logger.warn({}, 'this build of fuse-native does not tell modification times: access times are set instead');
        }
        return utimens(locals, opcode, path, ...rest);
      };
      return dispatch;
    }

    _op_utimens(signal: NativeCallback, path: string): void {
      handlers.utimens(path, times as NativeTimes, signal);
    }

    _fuseOptions(): string {
      return text;
    }

    _op_fgetattr(signal: NativeCallback, path: string, handle: number): void {
      handlers.fgetattr(path, handle, signal);
    }

    _op_getxattr(signal: NativeCallback, path: string, name: string, target: Buffer): void {
      handlers.getxattr(path, name, target, status => signal(status, target.buffer));
    }

    _op_listxattr(signal: NativeCallback, path: string, target: Buffer): void {
      handlers.listxattr(path, target, status => signal(status, target.buffer));
    }
  }
  return new Binding(mountPoint, handlers, { timeout: false });
}

/**
 * The options of libfuse 2.9. The list of fuse-native is closed and lacks big_writes, without which every write has 4 KiB. No hard_remove: libfuse
 * then finds no path for a file that is unlinked while open and answers ENOENT to its reads; as it is, such a file shows as .fuse_hidden… until closed.
 */
function mountOptions(options: FuseTransportOptions): string {
  const list = [
    `fsname=${options.sourceName.replace(/[\\,]/g, '\\$&')}`,
    'subtype=gfs',
    'use_ino',
    'big_writes',
    `max_write=${MAX_WRITE_BYTES}`,
    `max_readahead=${MAX_READAHEAD_BYTES}`,
    'atomic_o_trunc',
    `entry_timeout=${options.entryTimeoutMs / 1000}`,
    `attr_timeout=${options.attributeTimeoutMs / 1000}`,
    'negative_timeout=0',
    ...(options.readOnly ? ['ro'] : []),
    ...options.options.filter(option => option !== 'ro' && option !== 'rw'),
  ];
  return `-o${list.join(',')}`;
}

/** Throws when the addon or its library cannot be loaded. */
function loadBinding(): NativeFuseClass {
  if (loaded !== undefined) return loaded;
  try {
    loaded = load('fuse-native') as NativeFuseClass;
  } catch (error) {
    if (!/libfuse/.test((error as Error).message)) throw error;
    loadShippedLibrary();
    loaded = load('fuse-native') as NativeFuseClass;
  }
  loaded.unmount = (_mountPoint, callback) => callback(null);
  return loaded;
}

/** The addon wants libfuse.so.2, which today's distributions lack; the package brings one along that the loader does not find. */
function loadShippedLibrary(): void {
  const path = join(dirname(load.resolve('fuse-native/package.json')), 'prebuilds/linux-x64/libfuse.so');
  const flags = osConstants.dlopen.RTLD_NOW | osConstants.dlopen.RTLD_GLOBAL | RTLD_NODELETE;
  try {
    process.dlopen({ exports: {} }, path, flags);
  } catch (error) {
    // It is no Node addon, and Node says so after having loaded it.
    if (!/did not self-register/.test((error as Error).message)) throw error;
  }
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] as string;
}
