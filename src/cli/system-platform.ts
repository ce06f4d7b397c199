// The real Platform: the one place where all real doors are put together.
import { LevelKvStores } from '../lib/level-kv.js';
import type { Logger } from '../lib/logger.js';
import { NodeDisk } from '../lib/node-disk.js';
import type { Platform } from '../lib/platform.js';
import { ShmWitness } from '../lib/shm-witness.js';
import { SystemClock } from '../lib/system-clock.js';
import { paceGarbageCollection } from '../lib/system-memory.js';
import { SystemRandom } from '../lib/system-random.js';
import { TcpTransport } from '../lib/tcp-transport.js';

export interface SystemPlatformOptions {
  logger: Logger;
  /** Where the witness lives: memory that outlives processes and not the machine. Each user has a directory there. */
  sharedMemory?: string;
}

export function systemPlatform(options: SystemPlatformOptions): Platform {
  const { logger } = options;
  paceGarbageCollection();
  const sharedMemory = options.sharedMemory ?? '/dev/shm';
  return {
    clock: new SystemClock(),
    random: new SystemRandom(),
    transport: new TcpTransport({
      onListenerError: error => logger.error({ error }, 'a listener failed to accept'),
    }),
    disk: new NodeDisk(),
    kv: new LevelKvStores(),
    witness: new ShmWitness(`${sharedMemory}/gfs-${process.getuid?.() ?? 0}`),
    logger,
  };
}
