// What every room of the client library is given: the doors to the platform, the servers, the settings. Types only.
import type { Clock } from '../lib/clock.js';
import type { Logger } from '../lib/logger.js';
import type { Random } from '../lib/random.js';
import type { PeerPool } from '../rpc/types.js';
import type { ClientSettings } from './settings.js';

export interface ClientParts {
  clock: Clock;
  random: Random;
  logger: Logger;
  peers: PeerPool;
  settings: ClientSettings;
}
