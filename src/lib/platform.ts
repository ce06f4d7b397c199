// All doors to the outside in one value. Servers, clients and mounts receive it and use nothing else of the platform.
import type { Clock } from './clock.js';
import type { Disk } from './disk.js';
import type { KvStores } from './kv.js';
import type { Logger } from './logger.js';
import type { Random } from './random.js';
import type { Transport } from './transport.js';
import type { Witness } from './witness.js';

export interface Platform {
  clock: Clock;
  random: Random;
  transport: Transport;
  disk: Disk;
  kv: KvStores;
  witness: Witness;
  logger: Logger;
}
